//! What one gateway tells another: lines of JSON, so that `curl` shows them to people too.
//!
//! The first line of a feed says who speaks and how it names blocks; every line may tell of loads that have changed, of prompts, and that the
//! gateway is about to go. An empty one is a sign of life. What a line says that is not known here is passed over, so that a later release
//! may say more. Whoever reads believes nothing: lines, prompts and blocks have bounds, and what goes beyond them ends the feed.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use warmroute_kv::{BlockHash, BlockLength, Tokens};
use warmroute_routing::{Elsewhere, Prompt, Unit};

use super::outbox::LONGEST_PROMPT;

/// How this format is called; another number means something else by the same words.
pub(super) const VERSION: u32 = 1;
/// Blocks that a line tells of, but for its last prompt.
pub(super) const BLOCKS_AT_ONCE: usize = 1 << 16;
/// A line is no longer: 21 bytes for each block of the longest, and 1.4 MB for loads.
const LONGEST_LINE: usize = 4 << 20;
/// Blocks of text widen: with so many, a prompt has as many bytes as no body.
const MOST_WIDENING: usize = 16 * 24;
/// No engine and no setting has longer blocks.
const LONGEST_BLOCK: usize = 1 << 24;

/// One line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Frame {
    /// Who speaks; in the first line only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hello: Option<Hello>,
    /// It takes nothing new and goes when its last request has ended.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) draining: bool,
    /// What it has under way on workers, of those where that has changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) loads: Vec<Load>,
    /// What it has sent to workers that publish nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) sent: Vec<Sent>,
    /// Of which of its requests the prompt was read, by their numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) read: Vec<u64>,
    /// Which of them have ended after that, each with the tokens of prompt and answer; 0 and 0 if nobody reported any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) ended: Vec<(u64, u32, u32)>,
    /// Words before these that are not told any more: of what it has sent until then nothing more is told.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) lost: u64,
}

/// Who speaks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) version: u32,
    /// Drawn at its start, so that nobody has the same.
    pub(super) gateway: u64,
    /// What its names of blocks depend on.
    #[serde(default)]
    pub(super) naming: BTreeMap<String, String>,
}

/// What it has under way on one worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Load {
    /// By its host and port.
    pub(super) worker: String,
    #[serde(default)]
    pub(super) in_flight: u32,
    #[serde(default)]
    pub(super) unread: u32,
    #[serde(default)]
    pub(super) queued: u32,
    #[serde(default)]
    pub(super) active: u32,
    #[serde(default)]
    pub(super) context: u32,
}

/// A prompt that it has sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sent {
    /// Its number there; one that was told before is at another worker now.
    pub(super) request: u64,
    pub(super) worker: String,
    root: u64,
    unit: In,
    /// The length of the first block.
    block: usize,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    widens: bool,
    blocks: Vec<u64>,
}

/// What blocks are measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum In {
    Tokens,
    Bytes,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Why a line is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadFrame {
    /// It has no end in sight.
    #[error("a line is longer than {LONGEST_LINE} bytes")]
    Long,
    /// It is no JSON, or says something else than we understand.
    #[error("a line cannot be read: {0}")]
    Unreadable(String),
    /// It tells of a prompt that there cannot be.
    #[error("a prompt of {blocks} blocks of {length} cannot be")]
    Prompt {
        /// How many.
        blocks: usize,
        /// How long the first is.
        length: usize,
    },
}

impl Frame {
    /// The line, with its end.
    pub(super) fn line(&self) -> Bytes {
        let mut line = serde_json::to_vec(self).expect("numbers and text are JSON");
        line.push(b'\n');
        line.into()
    }

    /// Reads a line.
    pub(super) fn read(line: &[u8]) -> Result<Self, BadFrame> {
        let frame: Self =
            serde_json::from_slice(line).map_err(|error| BadFrame::Unreadable(error.to_string()))?;
        frame.sent.iter().try_for_each(Sent::check)?;
        Ok(frame)
    }

    /// Whether it says nothing.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Load {
    pub(super) fn new(worker: &str, load: Elsewhere) -> Self {
        let Elsewhere { in_flight, unread, queued, active, context } = load;
        let (queued, active, context) = (queued.0, active.0, context.0);
        Self { worker: worker.to_owned(), in_flight, unread, queued, active, context }
    }

    pub(super) fn load(&self) -> Elsewhere {
        Elsewhere {
            in_flight: self.in_flight,
            unread: self.unread,
            queued: Tokens(self.queued),
            active: Tokens(self.active),
            context: Tokens(self.context),
        }
    }
}

impl Sent {
    pub(super) fn new(request: u64, worker: &str, prompt: &Prompt) -> Self {
        Self {
            request,
            worker: worker.to_owned(),
            root: prompt.root.0,
            unit: match prompt.unit {
                Unit::Tokens => In::Tokens,
                Unit::Bytes => In::Bytes,
            },
            block: prompt.block.first(),
            widens: prompt.block.widens(),
            blocks: prompt.blocks.iter().map(|block| block.0).collect(),
        }
    }

    fn check(&self) -> Result<(), BadFrame> {
        let most = if self.widens { MOST_WIDENING } else { LONGEST_PROMPT };
        let possible = (1..=LONGEST_BLOCK).contains(&self.block) && self.blocks.len() <= most;
        let impossible = || BadFrame::Prompt { blocks: self.blocks.len(), length: self.block };
        if possible { Ok(()) } else { Err(impossible()) }
    }

    /// The prompt. It was looked at when it was read.
    pub(super) fn prompt(&self) -> Prompt {
        let block = if self.widens { BlockLength::widening } else { BlockLength::even };
        Prompt {
            root: BlockHash(self.root),
            blocks: self.blocks.iter().copied().map(BlockHash).collect(),
            unit: match self.unit {
                In::Tokens => Unit::Tokens,
                In::Bytes => Unit::Bytes,
            },
            block: block(self.block),
        }
    }
}

/// Bytes as they come, taken apart into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    come: BytesMut,
    /// So much of it has no end of a line.
    looked: usize,
}

impl Lines {
    /// More has come.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.come.extend_from_slice(piece);
    }

    /// The next line of what has come, if it has come to its end.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, BadFrame> {
        let end = self.come[self.looked..].iter().position(|byte| *byte == b'\n');
        let Some(end) = end.map(|end| self.looked + end + 1) else {
            self.looked = self.come.len();
            return if self.looked > LONGEST_LINE { Err(BadFrame::Long) } else { Ok(None) };
        };
        self.looked = 0;
        let line = self.come.split_to(end);
        if end > LONGEST_LINE { Err(BadFrame::Long) } else { Frame::read(&line).map(Some) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prompt(unit: Unit, block: BlockLength, blocks: &[u64]) -> Prompt {
        let blocks = blocks.iter().copied().map(BlockHash).collect();
        Prompt { root: BlockHash(7), blocks, unit, block }
    }

    fn frame() -> Frame {
        let load = Elsewhere {
            in_flight: 3,
            unread: 1,
            queued: Tokens(900),
            active: Tokens(4_000),
            context: Tokens(5_000),
        };
        let sent = [
            prompt(Unit::Bytes, BlockLength::widening(256), &[u64::MAX, 1]),
            prompt(Unit::Tokens, BlockLength::even(16), &[5]),
        ];
        Frame {
            hello: Some(Hello {
                version: VERSION,
                gateway: 11,
                naming: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            }),
            draining: true,
            loads: vec![Load::new("w:1", load)],
            sent: (3..).zip(&sent).map(|(request, prompt)| Sent::new(request, "w:1", prompt)).collect(),
            read: vec![3],
            ended: vec![(3, 70, 9)],
            lost: 2,
        }
    }

    #[test]
    fn the_format_is_what_gateways_of_this_release_speak() {
        let golden = concat!(
            r#"{"hello":{"version":1,"gateway":11,"naming":{"a":"b"}},"draining":true,"#,
            r#""loads":[{"worker":"w:1","in_flight":3,"unread":1,"queued":900,"active":4000,"context":5000}],"#,
            r#""sent":[{"request":3,"worker":"w:1","root":7,"unit":"bytes","block":256,"widens":true,"blocks":[18446744073709551615,1]},"#,
            r#"{"request":4,"worker":"w:1","root":7,"unit":"tokens","block":16,"blocks":[5]}],"#,
            r#""read":[3],"ended":[[3,70,9]],"lost":2}"#,
            "\n",
        );
        assert_eq!(frame().line(), golden);
        assert_eq!(Frame::read(golden.as_bytes()), Ok(frame()));
        assert_eq!(
            (Frame::default().line(), Frame::default().is_empty()),
            (Bytes::from_static(b"{}\n"), true)
        );
    }

    #[test]
    fn what_a_later_release_says_beside_is_passed_over() {
        let line = br#"{"mood":"good","loads":[{"worker":"w:1","in_flight":1,"tired":true}]}"#;
        assert_eq!(Frame::read(line).unwrap().loads[0].in_flight, 1);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let with = |block: usize, widens: bool, blocks: usize| {
            let blocks = vec!["1"; blocks].join(",");
            let line = format!(
                r#"{{"sent":[{{"request":1,"worker":"w","root":1,"unit":"bytes","block":{block},"widens":{widens},"blocks":[{blocks}]}}]}}"#
            );
            Frame::read(line.as_bytes()).is_ok()
        };
        assert!(with(256, true, MOST_WIDENING) && with(16, false, LONGEST_PROMPT));
        assert!(!with(256, true, MOST_WIDENING + 1) && !with(16, false, LONGEST_PROMPT + 1));
        assert!(!with(0, false, 1) && !with(LONGEST_BLOCK + 1, false, 1));
        for line in ["", "7", "{\"lost\":-1}", "{\"loads\":[{}]}", "{"] {
            assert!(matches!(Frame::read(line.as_bytes()), Err(BadFrame::Unreadable(_))), "{line}");
        }
    }

    #[test]
    fn a_line_without_end_is_not_gathered_for_ever() {
        let mut lines = Lines::default();
        let taken = (0..10_000).find(|_| {
            lines.push(&[b' '; 1_024]);
            lines.next() == Err(BadFrame::Long)
        });
        assert_eq!(taken, Some(LONGEST_LINE / 1_024));
    }

    #[test]
    fn the_longest_that_is_told_can_be_read() {
        let blocks = vec![u64::MAX; LONGEST_PROMPT];
        let sent = Sent::new(1, "w:1", &prompt(Unit::Tokens, BlockLength::even(16), &blocks));
        // One that begins just within the bound comes whole behind those before it.
        let line = Frame { sent: vec![sent.clone(), sent], ..frame() }.line();
        let mut lines = Lines::default();
        lines.push(&line);
        assert_eq!(lines.next().map(|frame| frame.map(|frame| frame.sent.len())), Ok(Some(2)));
    }

    proptest! {
        #[test]
        fn lines_in_any_pieces_are_the_same_lines(cuts in proptest::collection::vec(0..200_usize, 0..20), count in 0..4_usize) {
            let whole: Vec<u8> = (0..count).flat_map(|_| frame().line()).collect();
            let (mut lines, mut rest, mut read) = (Lines::default(), &whole[..], Vec::new());
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                lines.push(piece);
                rest = after;
                while let Some(frame) = lines.next().unwrap() {
                    read.push(frame);
                }
            }
            prop_assert_eq!(read, vec![frame(); count]);
        }

        #[test]
        fn a_prompt_is_read_as_it_was_sent(
            blocks in proptest::collection::vec(any::<u64>(), 0..200),
            (first, widens, tokens) in (1..1_000_usize, any::<bool>(), any::<bool>()),
        ) {
            let block = if widens { BlockLength::widening(first) } else { BlockLength::even(first) };
            let told = prompt(if tokens { Unit::Tokens } else { Unit::Bytes }, block, &blocks);
            let line = Frame { sent: vec![Sent::new(1, "w:1", &told)], ..Frame::default() }.line();
            prop_assert_eq!(Frame::read(&line).unwrap().sent[0].prompt(), told);
        }
    }
}
