//! Reads traces in the schema that Mooncake published: one JSON object a line, prompts as numbers of blocks.
//!
//! `timestamp` (ms), `input_length` and `output_length` (tokens), and `hash_ids`, one number for each block of the prompt: equal
//! numbers after equal numbers are equal content. A last block that is not whole may have a number, which is not used, since
//! caches hold whole blocks. Rows with one `session_id` are the turns of a session: the first is sent at its `timestamp`, each
//! further one `delay` milliseconds after the answer before. Other fields are ignored.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use warmroute_kv::{BlockHash, Namespace, Tokens};

use super::content::opening;
use super::dice::Dice;
use super::{Ask, Content, Session, Traffic, Turn};

/// A prompt of a million tokens in blocks of 16 stays below this; a file without line breaks does not fill the memory.
const LONGEST_LINE_BYTES: u64 = 1 << 20;

/// A thousand times the public traces.
const MOST_ROWS: usize = 10_000_000;

/// No trace is longer than a century; virtual time in nanoseconds fits far beyond.
const LATEST_MS: f64 = 100.0 * 365.25 * 86_400e3;

/// How a trace is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceOptions {
    /// Tokens in one block of `hash_ids`.
    pub block: Tokens,
    /// How rows that were told in coarse steps are spread; `None` sends them when they say.
    pub spread: Option<Spread>,
}

/// Times are rounded to a step, and each row is sent at a uniform time within its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// The step in which the trace tells time.
    pub step: Duration,
    /// Where chance begins.
    pub seed: u64,
}

impl Spread {
    /// For the public Mooncake traces, which tell time in steps of 3 seconds.
    pub const fn mooncake(seed: u64) -> Self {
        Self { step: Duration::from_secs(3), seed }
    }
}

/// Blocks of 512 tokens, sent when the rows say.
impl Default for TraceOptions {
    fn default() -> Self {
        Self { block: Tokens(512), spread: None }
    }
}

/// Reads the trace in the file `path`; the traffic is called by the file's name.
///
/// # Errors
/// If the file cannot be read, is empty, or a line is no row of a trace.
///
/// # Panics
/// If blocks have no tokens.
pub fn read(path: &Path, options: TraceOptions) -> Result<Traffic, TraceError> {
    let file = File::open(path).map_err(|source| TraceError {
        path: path.to_owned(),
        line: None,
        fault: source.into(),
    })?;
    parse(BufReader::new(file), path, options)
}

/// Reads a trace from anywhere; `path` names it in errors and in reports.
///
/// # Errors
/// As [`read`].
///
/// # Panics
/// If blocks have no tokens.
pub fn parse(mut from: impl BufRead, path: &Path, options: TraceOptions) -> Result<Traffic, TraceError> {
    let mut sessions = Sessions::new(options.block);
    let mut line = Vec::new();
    for number in 1.. {
        let fault = |fault| TraceError { path: path.to_owned(), line: Some(number), fault };
        line.clear();
        let read = from.by_ref().take(LONGEST_LINE_BYTES + 1).read_until(b'\n', &mut line);
        match read.map_err(|source| fault(source.into()))? {
            0 => break,
            length if length as u64 > LONGEST_LINE_BYTES => return Err(fault(Fault::TooLong)),
            _ if number > MOST_ROWS => return Err(fault(Fault::TooMany)),
            _ if line.trim_ascii().is_empty() => {}
            _ => sessions.add(&line).map_err(fault)?,
        }
    }
    let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let sessions = sessions.finish(options.spread);
    if sessions.is_empty() {
        return Err(TraceError { path: path.to_owned(), line: None, fault: Fault::Empty });
    }
    Ok(Traffic { name, block: options.block, sessions })
}

/// A row as it is written.
#[derive(Debug, Deserialize)]
struct Row {
    timestamp: Option<f64>,
    input_length: u32,
    output_length: u32,
    hash_ids: Vec<u64>,
    session_id: Option<SessionId>,
    delay: Option<f64>,
}

/// Both are found in the wild.
#[derive(Debug, Deserialize, PartialEq, Eq, Hash)]
#[serde(untagged)]
enum SessionId {
    Number(u64),
    Text(String),
}

/// Rows, put together to sessions in the order of the file.
struct Sessions {
    block: Tokens,
    list: Vec<Session>,
    /// The place in the list of each session with an id.
    named: HashMap<SessionId, usize>,
}

impl Sessions {
    fn new(block: Tokens) -> Self {
        assert!(block > Tokens::ZERO, "a block holds at least one token");
        Self { block, list: Vec::new(), named: HashMap::new() }
    }

    fn add(&mut self, line: &[u8]) -> Result<(), Fault> {
        let row: Row = serde_json::from_slice(line)?;
        let ask = self.ask(&row)?;
        if let Some(&place) = row.session_id.as_ref().and_then(|id| self.named.get(id)) {
            let think = milliseconds(row.delay.unwrap_or(0.0))?;
            self.list[place].turns.push(Turn { think, asks: vec![ask] });
            return Ok(());
        }
        let start = milliseconds(row.timestamp.ok_or(Fault::NoTime)?)?;
        let place = self.list.len();
        self.list.push(Session::one(place as u64, start, ask));
        if let Some(id) = row.session_id {
            self.named.insert(id, place);
        }
        Ok(())
    }

    fn ask(&self, row: &Row) -> Result<Ask, Fault> {
        let (tokens, block) = (row.input_length, self.block.0);
        let (whole, given) = ((tokens / block) as usize, row.hash_ids.len());
        let [first, ..] = row.hash_ids[..] else { return Err(Fault::NoBlocks) };
        if given != whole && given != tokens.div_ceil(block) as usize {
            return Err(Fault::Blocks { tokens, given, whole, block });
        }
        let root = Namespace::default().root();
        let names = row.hash_ids[..whole].iter().scan(root, |parent, id| {
            *parent = parent.next_text(&id.to_le_bytes());
            Some(*parent)
        });
        let blocks: Vec<BlockHash> = names.collect();
        let content = Arc::new(Content { root, blocks, text: opening(first) });
        // Some traces tell of answers without tokens; an engine gives at least one.
        Ok(Ask { content, prompt: Tokens(tokens), output: Tokens(row.output_length.max(1)) })
    }

    fn finish(mut self, spread: Option<Spread>) -> Vec<Session> {
        if let Some(Spread { step, seed }) = spread.filter(|spread| !spread.step.is_zero()) {
            let mut dice = Dice::new(seed);
            for session in &mut self.list {
                // A step's rows are told a little before or after it, so the nearest step is theirs.
                let steps = (session.start.as_secs_f64() / step.as_secs_f64()).round();
                session.start = step.mul_f64(steps + dice.unit());
            }
        }
        self.list.iter_mut().for_each(share_contents);
        self.list.sort_by_key(|session| session.start);
        self.list
    }
}

/// Lets a turn stand in the content of the next where that goes on from it, so that its answer is found there.
fn share_contents(session: &mut Session) {
    let mut asks: Vec<&mut Ask> = session.turns.iter_mut().flat_map(|turn| &mut turn.asks).collect();
    for place in (1..asks.len()).rev() {
        let next = Arc::clone(&asks[place].content);
        if next.blocks.starts_with(&asks[place - 1].content.blocks)
            && next.text == asks[place - 1].content.text
        {
            asks[place - 1].content = next;
        }
    }
}

fn milliseconds(value: f64) -> Result<Duration, Fault> {
    if (0.0..=LATEST_MS).contains(&value) {
        Ok(Duration::from_secs_f64(value / 1e3))
    } else {
        Err(Fault::Time(value))
    }
}

/// A trace that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("trace {}{}: {fault}", path.display(), line.map_or_else(String::new, |line| format!(", line {line}")))]
pub struct TraceError {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1, if it is about one.
    pub line: Option<usize>,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a trace.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The system does not give its content.
    #[error("cannot be read: {0}; hint: check the path and its permissions")]
    Unreadable(#[from] std::io::Error),
    /// There is not one row in it.
    #[error(
        "has no rows; hint: one JSON object a line, with timestamp, input_length, output_length and hash_ids"
    )]
    Empty,
    /// A line without an end.
    #[error("longer than {LONGEST_LINE_BYTES} bytes; hint: one JSON object a line, not one array")]
    TooLong,
    /// More than anybody would simulate.
    #[error("more than {MOST_ROWS} lines; hint: cut the trace into parts")]
    TooMany,
    /// No row.
    #[error(
        "not a row of a trace: {0}; hint: timestamp, input_length, output_length and hash_ids are expected"
    )]
    Row(#[from] serde_json::Error),
    /// Nothing says when it is sent.
    #[error("no timestamp; hint: only further rows of a session_id may go without")]
    NoTime,
    /// A time before the start, or after the end of all traces.
    #[error("{0} ms is no time; hint: timestamp and delay are milliseconds, from 0 to a century")]
    Time(f64),
    /// A prompt whose content nobody knows.
    #[error("hash_ids is empty; hint: one id for each block of the prompt")]
    NoBlocks,
    /// Lengths and blocks contradict each other.
    #[error(
        "{given} hash_ids for {tokens} tokens, which are {whole} whole blocks of {block}; hint: read it with the block size it was written with"
    )]
    Blocks {
        /// Tokens of the prompt.
        tokens: u32,
        /// Blocks that have ids.
        given: usize,
        /// Blocks that are whole.
        whole: usize,
        /// Tokens in one.
        block: u32,
    },
}
