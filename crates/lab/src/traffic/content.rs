//! Writes contents from segments: stretches of tokens with an identity instead of a text.
//!
//! The token at place `p` of segment `s` is the pair `(s, p)`, and a block is named by the pieces of segments in it, chained
//! over the block before. So two contents share exactly the whole blocks in which all tokens agree, at a cost of one short
//! hash for a block, however long the segments are.

use std::sync::Arc;

use warmroute_kv::{Namespace, Tokens};
use warmroute_routing::Chance;

use super::Content;

/// Tokens in a row that stand or fall together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Segments with the same id have the same tokens, as far as the shorter one goes.
    pub id: u64,
    /// How many there are.
    pub tokens: Tokens,
}

impl Segment {
    /// Its first tokens.
    #[must_use]
    pub fn first(self, tokens: Tokens) -> Self {
        Self { tokens: self.tokens.min(tokens), ..self }
    }
}

/// A source of segments that nobody has seen before.
#[derive(Clone, Debug)]
pub struct Segments(Chance);

impl Segments {
    /// A source whose ids follow from `seed`. One source never repeats an id, since its generator is a permutation.
    pub const fn new(seed: u64) -> Self {
        Self(Chance::new(seed))
    }

    /// A new segment.
    pub fn fresh(&mut self, tokens: u32) -> Segment {
        Segment { id: self.0.draw(), tokens: Tokens(tokens) }
    }
}

impl Content {
    /// What `segments` say one after the other.
    pub fn of(block: Tokens, segments: &[Segment]) -> Arc<Self> {
        let mut writer = Writer::new(block);
        for segment in segments {
            writer.write(*segment);
        }
        writer.finish()
    }
}

/// A content under way.
#[derive(Clone, Debug)]
pub struct Writer {
    block: u32,
    content: Content,
    /// The pieces in the block that is not yet whole.
    open: Vec<u8>,
    /// Tokens written so far.
    length: u32,
}

impl Writer {
    /// An empty content in blocks of `block` tokens.
    ///
    /// # Panics
    /// If blocks have no tokens.
    pub fn new(block: Tokens) -> Self {
        assert!(block > Tokens::ZERO, "a block holds at least one token");
        let root = Namespace::default().root();
        let content = Content { root, blocks: Vec::new(), text: String::new() };
        Self { block: block.0, content, open: Vec::new(), length: 0 }
    }

    /// Appends a segment.
    pub fn write(&mut self, segment: Segment) {
        if self.length == 0 && segment.tokens > Tokens::ZERO {
            self.content.text = opening(segment.id);
        }
        let mut from = 0;
        while from < segment.tokens.0 {
            let room = self.block - self.length % self.block;
            let piece = room.min(segment.tokens.0 - from);
            self.open.extend(segment.id.to_le_bytes());
            self.open.extend(from.to_le_bytes());
            self.open.extend(piece.to_le_bytes());
            from += piece;
            self.length += piece;
            if piece == room {
                self.close();
            }
        }
    }

    /// Tokens written so far.
    pub const fn length(&self) -> Tokens {
        Tokens(self.length)
    }

    /// The content as it stands.
    pub fn finish(self) -> Arc<Content> {
        Arc::new(self.content)
    }

    fn close(&mut self) {
        let parent = self.content.blocks.last().copied().unwrap_or(self.content.root);
        self.content.blocks.push(parent.next_text(&self.open));
        self.open.clear();
    }
}

/// The first characters of a content that begins with segment `id`: different from the first one on, as rules that hash the
/// first 20 characters need it.
pub(super) fn opening(id: u64) -> String {
    format!("{id:016x}, and so on as the first segment goes")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every token by itself.
    fn tokens(segments: &[Segment]) -> Vec<(u64, u32)> {
        segments.iter().flat_map(|segment| (0..segment.tokens.0).map(|place| (segment.id, place))).collect()
    }

    fn some_segments() -> impl Strategy<Value = Vec<Segment>> {
        let segment = (0..4_u64, 0..12_u32).prop_map(|(id, tokens)| Segment { id, tokens: Tokens(tokens) });
        prop::collection::vec(segment, 0..8)
    }

    proptest! {
        #[test]
        fn contents_share_exactly_the_whole_blocks_whose_tokens_all_agree(
            one in some_segments(),
            other in some_segments(),
            block in 1..9_u32,
        ) {
            let (first, second) = (tokens(&one), tokens(&other));
            let agreeing = first.iter().zip(&second).take_while(|(a, b)| a == b).count();
            let (first, second) = (Content::of(Tokens(block), &one), Content::of(Tokens(block), &other));
            let same: Vec<bool> = first.blocks.iter().zip(&second.blocks).map(|(a, b)| a == b).collect();
            let shared = agreeing / block as usize;
            prop_assert_eq!(first.blocks.len(), tokens(&one).len() / block as usize);
            prop_assert!(same.iter().enumerate().all(|(place, same)| *same == (place < shared)), "{:?}", same);
        }

        #[test]
        fn texts_agree_where_the_first_tokens_do(one in some_segments(), other in some_segments()) {
            let same = tokens(&one).first() == tokens(&other).first();
            prop_assert_eq!(Content::of(Tokens(4), &one).text == Content::of(Tokens(4), &other).text, same);
        }
    }

    #[test]
    fn twenty_characters_tell_segments_apart() {
        let texts = [0, 1, u64::MAX].map(opening);
        assert!(texts.iter().all(|text| text.len() > 20));
        assert_ne!(texts[0][..20], texts[1][..20]);
    }

    #[test]
    fn a_content_that_grows_keeps_its_blocks() {
        let mut segments = Segments::new(1);
        let parts = [segments.fresh(100), segments.fresh(30), segments.fresh(200)];
        let long = Content::of(Tokens(16), &parts);
        let short = Content::of(Tokens(16), &parts[..2]);
        assert_eq!((short.blocks.len(), long.blocks.len()), (8, 20));
        assert_eq!(long.blocks[..8], short.blocks[..]);
    }
}
