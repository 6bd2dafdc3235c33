//! A block's name: a hash of its content chained over the name of the block before it.
//!
//! Equal names mean equal prefixes, up to a collision of 64 bits. Where a collision could cost a wrong answer, as in
//! the worker's cache, the [pool](crate::pool) compares contents as well; in the router it can only cost a hit.
//!
//! The hash is XXH3 with the parent's name as the seed: 23 ns for a block of 16 tokens. Engines' own block hashes
//! (SHA-256 over pickled or CBOR tuples, seeded per process) are treated as opaque and never compared with these.

use std::fmt;
use std::hash::Hasher;

use twox_hash::XxHash3_64;

use crate::length::BlockLength;
use crate::units::TokenId;

/// The name of one block, given everything before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockHash(pub u64);

impl BlockHash {
    /// The name of the block that follows this one and holds `tokens`.
    #[must_use]
    pub fn next_tokens(self, tokens: &[TokenId]) -> Self {
        // Little-endian bytes whatever the machine, so that several gateways agree on names.
        let mut bytes = [0_u8; 4 * INLINE_TOKENS];
        if tokens.len() > INLINE_TOKENS {
            let long: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
            return self.next_text(&long);
        }
        for (place, token) in bytes.chunks_exact_mut(4).zip(tokens) {
            place.copy_from_slice(&token.to_le_bytes());
        }
        self.next_text(&bytes[..4 * tokens.len()])
    }

    /// The name of the block that follows this one and holds the raw bytes `text`.
    #[must_use]
    pub fn next_text(self, text: &[u8]) -> Self {
        if text.len() <= SEEDED_BYTES {
            return Self(XxHash3_64::oneshot_with_seed(self.0, text));
        }
        let of_text = XxHash3_64::oneshot(text);
        Self(XxHash3_64::oneshot_with_seed(self.0, &of_text.to_le_bytes()))
    }
}

/// XXH3 prepares 192 bytes of secret for every longer text that has a seed, which takes as long as to hash 300 bytes. Those are
/// hashed without one, and the parent's name seeds the hash of that.
const SEEDED_BYTES: usize = 240;
/// Blocks of up to this many tokens are hashed without touching the heap; vLLM's CPU build uses 32 and more.
const INLINE_TOKENS: usize = 64;

impl fmt::Debug for BlockHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}", self.0)
    }
}

/// What must agree before two prompts can share state at all; it names the root of every chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Namespace<'a> {
    /// The model's served name.
    pub model: &'a str,
    /// The LoRA adapter, where one is used.
    pub lora: Option<&'a str>,
    /// The tenant's cache salt: requests of different salts never share.
    pub salt: Option<&'a str>,
    /// Tool definitions, which chat templates render before the messages.
    pub tools: Option<&'a [u8]>,
}

impl Namespace<'_> {
    /// The name that stands before the first block.
    pub fn root(&self) -> BlockHash {
        let fields = [
            Some(self.model.as_bytes()),
            self.lora.map(str::as_bytes),
            self.salt.map(str::as_bytes),
            self.tools,
        ];
        // Absent, empty and shifted fields must differ: each is chained with its place and presence as a link of its own.
        fields.into_iter().zip(0_u8..).fold(BlockHash(0), |root, (field, place)| {
            root.next_text(&[place, u8::from(field.is_some())]).next_text(field.unwrap_or_default())
        })
    }
}

/// The names of the whole blocks of `tokens`; a last partial block has none. How many there are is known before.
///
/// # Panics
/// If `block_tokens` is zero.
pub fn token_chain(
    root: BlockHash,
    tokens: &[TokenId],
    block_tokens: usize,
) -> impl ExactSizeIterator<Item = BlockHash> + Clone + '_ {
    let mut name = root;
    tokens.chunks_exact(block_tokens).map(move |block| {
        name = name.next_tokens(block);
        name
    })
}

/// The names of the whole blocks of raw prompt bytes, for routing without a tokenizer.
///
/// # Panics
/// If blocks have no length.
pub fn text_chain(
    root: BlockHash,
    text: &[u8],
    block: impl Into<BlockLength>,
) -> impl ExactSizeIterator<Item = BlockHash> + Clone + '_ {
    let block = block.into();
    let (mut name, mut rest) = (root, text);
    (0..block.whole_in(text.len())).map(move |place| {
        let (chunk, behind) = rest.split_at(block.span(place) * block.first());
        rest = behind;
        name = name.next_text(chunk);
        name
    })
}

/// A hasher for maps whose keys are block names, which are uniform hashes already: hashing them again would only cost time.
#[derive(Clone, Copy, Debug, Default)]
pub struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("a block hash is one u64");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(tokens: &[TokenId]) -> Vec<BlockHash> {
        token_chain(Namespace::default().root(), tokens, 4).collect()
    }

    #[test]
    fn equal_prefixes_have_equal_names_and_only_they() {
        let one = names(&[1, 2, 3, 4, 5, 6, 7, 8]);
        let other = names(&[1, 2, 3, 4, 5, 6, 7, 9]);
        assert_eq!(one[0], other[0], "the first block is the same");
        assert_ne!(one[1], other[1], "the second differs in its last token");
        assert_ne!(
            names(&[9, 9, 9, 9, 5, 6, 7, 8])[1],
            one[1],
            "equal content after another parent is another block"
        );
    }

    #[test]
    fn a_partial_block_has_no_name() {
        assert_eq!(names(&[1, 2, 3, 4, 5]).len(), 1);
        assert_eq!(text_chain(BlockHash(7), b"abcdefg", 4).count(), 1);
        assert_eq!(text_chain(BlockHash(7), &[0; 37], BlockLength::widening(2)).count(), 17);
    }

    #[test]
    fn blocks_that_widen_are_named_by_all_that_they_cover() {
        let text: Vec<u8> = (0..200).collect();
        let names =
            |text: &[u8]| text_chain(BlockHash(7), text, BlockLength::widening(2)).collect::<Vec<_>>();
        let whole = names(&text);
        assert_eq!(whole[..16], text_chain(BlockHash(7), &text[..32], 2).collect::<Vec<_>>());
        for changed in 0..text.len() {
            let mut other = text.clone();
            other[changed] ^= 1;
            let same = BlockLength::widening(2).whole_in(changed);
            let shared = whole.iter().zip(names(&other)).take_while(|(one, other)| *one == other).count();
            assert_eq!(shared, same.min(whole.len()), "byte {changed}");
        }
    }

    #[test]
    fn long_blocks_are_named_like_short_ones() {
        let tokens: Vec<TokenId> = (0..100).collect();
        let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
        assert_eq!(BlockHash(1).next_tokens(&tokens), BlockHash(1).next_text(&bytes));
        assert_eq!(BlockHash(1).next_tokens(&tokens[..16]), BlockHash(1).next_text(&bytes[..64]));
    }

    #[test]
    fn namespaces_never_meet() {
        let namespaces = [
            Namespace::default(),
            Namespace { model: "a", ..Namespace::default() },
            Namespace { lora: Some("a"), ..Namespace::default() },
            Namespace { salt: Some("a"), ..Namespace::default() },
            Namespace { salt: Some(""), ..Namespace::default() },
            Namespace { tools: Some(b"a"), ..Namespace::default() },
        ];
        for (index, one) in namespaces.iter().enumerate() {
            for other in &namespaces[index + 1..] {
                assert_ne!(one.root(), other.root(), "{one:?} and {other:?} share a root");
            }
        }
    }

    /// Several gateways, and a gateway after an upgrade, must name blocks alike: a change of these is a change of format.
    #[test]
    fn names_are_stable_over_releases() {
        assert_eq!(format!("{:?}", Namespace::default().root()), "ac53fb4276e478c0");
        assert_eq!(format!("{:?}", names(&[1, 2, 3, 4])[0]), "6caf522035cfe408");
    }
}
