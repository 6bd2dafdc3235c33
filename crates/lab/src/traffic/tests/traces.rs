//! Reading traces: what a row means, and what is said of rows that mean nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use warmroute_kv::Tokens;

use super::caches::{asks, hit_rate, mean};
use crate::traffic::Traffic;
use crate::traffic::trace::{Spread, TraceError, TraceOptions, parse, read};

fn parsed(text: &str, options: TraceOptions) -> Result<Traffic, TraceError> {
    parse(text.as_bytes(), Path::new("some/rows.jsonl"), options)
}

fn rows(text: &str) -> Traffic {
    parsed(text, TraceOptions::default()).unwrap()
}

fn message(text: &str) -> String {
    parsed(text, TraceOptions::default()).unwrap_err().to_string()
}

#[test]
fn a_row_is_a_session_of_one_request() {
    let traffic = rows(concat!(
        r#"{"timestamp": 1500, "input_length": 1100, "output_length": 7, "hash_ids": [0, 5, 9]}"#,
        "\n\n",
        r#"{"timestamp": 3000, "input_length": 1024, "output_length": 0, "hash_ids": [0, 5], "more": true}"#,
    ));
    assert_eq!((&*traffic.name, traffic.block, traffic.sessions.len()), ("rows", Tokens(512), 2));
    let [one, other] = [0, 1].map(|place| &traffic.sessions[place].turns[0].asks[0]);
    assert_eq!(traffic.sessions[0].start, Duration::from_millis(1_500));
    assert_eq!((one.prompt, one.output, other.output), (Tokens(1_100), Tokens(7), Tokens(1)));
    assert_eq!(one.content.blocks, other.content.blocks, "the last block of the first is not whole");
    assert_eq!(one.content.text, other.content.text);
}

#[test]
fn an_id_after_other_ids_is_another_block() {
    let traffic = rows(concat!(
        r#"{"timestamp": 0, "input_length": 1024, "output_length": 1, "hash_ids": [1, 2]}"#,
        "\n",
        r#"{"timestamp": 0, "input_length": 1024, "output_length": 1, "hash_ids": [3, 2]}"#,
    ));
    let [one, other] = [0, 1].map(|place| &traffic.sessions[place].turns[0].asks[0].content);
    assert_ne!(one.blocks[1], other.blocks[1]);
    assert_ne!(one.text, other.text);
}

#[test]
fn rows_out_of_order_are_sorted() {
    let traffic = rows(concat!(
        r#"{"timestamp": 9, "input_length": 3, "output_length": 1, "hash_ids": [1]}"#,
        "\n",
        r#"{"timestamp": 2, "input_length": 4, "output_length": 1, "hash_ids": [2]}"#,
    ));
    let prompts: Vec<u32> = asks(&traffic).map(|ask| ask.prompt.0).collect();
    assert_eq!(prompts, [4, 3]);
}

#[test]
fn rows_with_one_session_id_wait_for_each_other() {
    let traffic = rows(concat!(
        r#"{"timestamp": 10, "input_length": 600, "output_length": 600, "hash_ids": [1, 2], "session_id": "a"}"#,
        "\n",
        r#"{"timestamp": 12, "input_length": 600, "output_length": 1, "hash_ids": [7, 8], "session_id": 4, "delay": null}"#,
        "\n",
        r#"{"input_length": 1300, "output_length": 9, "hash_ids": [1, 3, 4], "session_id": "a", "delay": 2500}"#,
    ));
    let [first, second] = &traffic.sessions[..] else { panic!("two sessions") };
    assert_eq!((first.turns.len(), second.turns.len()), (2, 1));
    assert_eq!(first.turns[1].think, Duration::from_millis(2_500));
    let [before, after] = [0, 1].map(|turn| &first.turns[turn].asks[0]);
    assert!(Arc::ptr_eq(&before.content, &after.content), "the second goes on from the first");
    assert_eq!(before.prompt_blocks(traffic.block).len(), 1);
    assert_eq!(before.final_blocks(traffic.block).len(), 2, "its answer stands in what follows");
}

#[test]
fn rows_are_spread_inside_their_steps_as_the_seed_says() {
    let row =
        |at: u32| format!(r#"{{"timestamp": {at}, "input_length": 9, "output_length": 1, "hash_ids": [1]}}"#);
    let text = [0, 2_999, 3_001, 6_000].map(row).join("\n");
    let starts = |seed| -> Vec<Duration> {
        let options = TraceOptions { spread: Some(Spread::mooncake(seed)), ..TraceOptions::default() };
        parsed(&text, options).unwrap().sessions.iter().map(|session| session.start).collect()
    };
    let steps: Vec<u64> = starts(1).iter().map(|start| start.as_secs() / 3).collect();
    assert_eq!(steps, [0, 1, 1, 2]);
    assert_eq!(starts(1), starts(1));
    assert_ne!(starts(1), starts(2));
}

#[test]
fn a_block_size_is_checked_against_the_lengths() {
    let text = r#"{"timestamp": 0, "input_length": 1024, "output_length": 1, "hash_ids": [1, 2]}"#;
    let options = TraceOptions { block: Tokens(16), ..TraceOptions::default() };
    assert_eq!(
        parsed(text, options).unwrap_err().to_string(),
        "trace some/rows.jsonl, line 1: 2 hash_ids for 1024 tokens, which are 64 whole blocks of 16; \
         hint: read it with the block size it was written with"
    );
}

#[test]
fn errors_name_the_file_the_line_the_cause_and_the_next_step() {
    let good = r#"{"timestamp": 0, "input_length": 9, "output_length": 1, "hash_ids": [1]}"#;
    let bad = message(&format!("{good}\n{{\"timestamp\": 0}}\n"));
    assert!(
        bad.starts_with("trace some/rows.jsonl, line 2: not a row of a trace: missing field `input_length`")
    );
    assert!(bad.contains("hint: "), "{bad}");
    assert_eq!(
        message(&good.replace("\"timestamp\": 0, ", "")),
        "trace some/rows.jsonl, line 1: no timestamp; hint: only further rows of a session_id may go without"
    );
    assert!(message(&good.replace("\"timestamp\": 0", "\"timestamp\": -3")).contains("-3 ms is no time"));
    assert!(message(&good.replace("\"timestamp\": 0", "\"timestamp\": 1e300")).contains("is no time; hint:"));
    assert!(message(&good.replace("[1]", "[]")).contains("hash_ids is empty"));
    assert!(message("\n \n").starts_with("trace some/rows.jsonl: has no rows; hint:"));
}

#[test]
fn a_line_without_an_end_is_refused_before_it_fills_the_memory() {
    let endless = std::io::BufReader::new(std::io::repeat(b'['));
    let error = parse(endless, Path::new("endless"), TraceOptions::default()).unwrap_err().to_string();
    assert!(error.starts_with("trace endless, line 1: longer than 1048576 bytes; hint:"), "{error}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = read(Path::new("no/such.jsonl"), TraceOptions::default()).unwrap_err().to_string();
    assert!(error.starts_with("trace no/such.jsonl: cannot be read: ") && error.contains("hint:"), "{error}");
}

/// Runs where `WARMROUTE_TRACE` names the public conversation trace.
#[test]
fn the_public_conversation_trace_reads_as_published() {
    let Some(path) = std::env::var_os("WARMROUTE_TRACE") else { return };
    let traffic = read(Path::new(&path), TraceOptions::default()).unwrap();
    assert_eq!(traffic.requests(), 12_031);
    let near = |what: &str, is: f64, should: f64, by: f64| {
        assert!((is - should).abs() <= by, "{what} is {is}, and should be {should}");
    };
    near("mean prompt", mean(asks(&traffic).map(|ask| ask.prompt)), 12_035.0, 1.0);
    near("mean output", mean(asks(&traffic).map(|ask| ask.output)), 342.6, 0.1);
    near("hit rate of an endless cache", hit_rate(&traffic, usize::MAX), 0.374, 0.001);
    near("hit rate of 1M tokens", hit_rate(&traffic, 1_000_000), 0.055, 0.002);
    near("hit rate of 10M tokens", hit_rate(&traffic, 10_000_000), 0.29, 0.01);
}
