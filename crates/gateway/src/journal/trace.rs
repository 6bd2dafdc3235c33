//! A request as a row of a trace in Mooncake's schema, which `warmroute simulate --trace` reads back.
//!
//! A row has the prompt's *hashes* and never its text. The gateway hashes bytes and traces count tokens, so four bytes stand for a token
//! whatever the text: prefixes that two requests share then share exactly the same ids, which a count by
//! each request's own tokens per byte would break. What the worker reported is in fields of its own.

use std::time::Duration;

use serde::Serialize;

use super::Entry;
use super::access::since_1970_ms;

/// About what English has. `--trace-block` is `text_chunk_bytes` divided by this.
const BYTES_PER_TOKEN: usize = 4;

/// The four fields of the schema, and ours after them.
#[derive(Debug, Serialize)]
pub(super) struct Row<'a> {
    /// Milliseconds since the log was opened.
    timestamp: u64,
    input_length: usize,
    output_length: u32,
    hash_ids: Vec<u64>,
    time_ms: u64,
    request_id: &'a str,
    model: &'a str,
    worker: Option<&'a str>,
    status: u16,
    prompt_tokens: Option<u32>,
    cached_tokens: Option<u32>,
    overlap_tokens: u32,
}

/// The row of a request, if it has a prompt; `after` is its arrival, counted from when the log was opened.
pub(super) fn row(entry: &Entry, after: Duration, block_bytes: usize) -> Option<Row<'_>> {
    let prompt = entry.blocks.as_ref()?;
    let (whole, block_tokens) = (prompt.blocks.len(), (block_bytes / BYTES_PER_TOKEN).max(1));
    let rest_bytes = prompt.bytes.saturating_sub(whole * block_bytes);
    let rest = (rest_bytes / BYTES_PER_TOKEN).min(block_tokens - 1);
    let mut hash_ids: Vec<u64> = prompt.blocks.iter().map(|block| block.0).collect();
    if hash_ids.is_empty() {
        // A prompt shorter than one block: readers want an id, and do not use that of a block that is not whole.
        hash_ids.push(prompt.root.0);
    }
    Some(Row {
        timestamp: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
        input_length: (whole * block_tokens + rest).max(1),
        // Not every worker reports usage; engines send a stream token by token.
        output_length: entry.usage.map_or(entry.pieces, |usage| usage.output.0).max(1),
        hash_ids,
        time_ms: since_1970_ms(entry.at),
        request_id: entry.id(),
        model: &entry.model,
        worker: entry.worker.as_deref(),
        status: entry.status,
        prompt_tokens: entry.usage.map(|usage| usage.prompt.0),
        cached_tokens: entry.usage.and_then(|usage| usage.cached).map(|tokens| tokens.0),
        overlap_tokens: entry.overlap.0,
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Method};
    use warmroute_kv::{BlockHash, text_chain};

    use super::super::Prompt;
    use super::*;

    fn row_of(text: &str) -> (usize, Vec<u64>) {
        let mut entry = Entry::new(HeaderValue::from_static("r"), Method::POST, "/");
        let blocks = text_chain(BlockHash(7), text.as_bytes(), 64).collect();
        entry.blocks = Some(Prompt { root: BlockHash(7), blocks, bytes: text.len() });
        let row = row(&entry, Duration::from_millis(5), 64).unwrap();
        assert_eq!((row.timestamp, row.output_length), (5, 1));
        (row.input_length, row.hash_ids)
    }

    #[test]
    fn lengths_and_ids_agree_as_readers_want_them() {
        for bytes in [1, 4, 63, 64, 65, 127, 128, 1_000] {
            let (tokens, ids) = row_of(&"x".repeat(bytes));
            let whole = tokens / 16;
            assert!(ids.len() == whole || ids.len() == tokens.div_ceil(16), "{bytes}: {tokens}, {ids:?}");
            assert!(tokens.abs_diff(bytes / 4) <= 1, "{bytes} bytes are {tokens} tokens");
        }
    }

    #[test]
    fn a_shared_beginning_has_the_same_ids() {
        let system = "You are the help desk. ".repeat(30);
        let [(_, one), (_, other)] =
            ["Why?", "How much is it, and where do I buy it?"].map(|q| row_of(&(system.clone() + q)));
        assert_eq!(one[..10], other[..10]);
    }
}
