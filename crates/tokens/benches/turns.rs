//! What the next turn of a long conversation costs against tokenizing all of it: 20 turns, 8,000 tokens, rendering included in both.
//!
//! With Qwen3's tokenizer and template where `WARMROUTE_TOKENIZERS` has them (`scripts/fetch_tokenizers.sh`), else with the repository's.

use std::cell::Cell;
use std::hint::black_box;
use std::path::PathBuf;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use serde_json::{Value, json};
use warmroute_tokens::{Prompt, PromptTokenizer, Source, load};

const TURNS: usize = 20;
const WORDS: [&str; 16] = [
    "lighthouse",
    "keeper",
    "climbs",
    "the",
    "stairs",
    "every",
    "evening",
    "with",
    "bread",
    "and",
    "a",
    "lantern",
    "while",
    "ships",
    "wait",
    "offshore",
];

fn tokenizer() -> (String, PromptTokenizer) {
    let real = std::env::var("WARMROUTE_TOKENIZERS")
        .map(|directory| ("qwen3", PathBuf::from(directory).join("qwen3")));
    let tiny = || ("tiny", concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/warmroute-tiny").into());
    let (name, path) = real.unwrap_or_else(|_| tiny());
    (name.to_owned(), load(&Source::Path(path), None).expect("the tokenizer loads"))
}

/// A hundred and eighty words or so, others for every number.
fn said(number: usize) -> String {
    let words: Vec<&str> =
        (0..180).map(|place| WORDS[(place * 7 + number * 31 + place * place / 5) % WORDS.len()]).collect();
    format!("In case {number}: {}.", words.join(" "))
}

/// The conversation, whose last question has this number.
fn body(last: usize) -> Vec<u8> {
    let mut messages: Vec<Value> = Vec::new();
    for turn in 0..TURNS {
        let question = if turn + 1 == TURNS { last } else { turn };
        messages.push(json!({"role": "user", "content": said(question)}));
        messages.push(json!({"role": "assistant", "content": said(turn + 1_000)}));
    }
    messages.pop();
    json!({"model": "m", "messages": messages}).to_string().into_bytes()
}

fn text(prompt: Prompt) -> String {
    let (Prompt::Rendered(text) | Prompt::Raw(text)) = prompt else { panic!("a chat is text") };
    text
}

fn turns(criterion: &mut Criterion) {
    let (name, tokenizer) = tokenizer();
    let count = tokenizer.tokens(tokenizer.read_chat(&body(0)).expect("renders")).expect("tokenizes").len();
    eprintln!("{name}: {count} tokens in {TURNS} turns");
    let mut group = criterion.benchmark_group(format!("{name}, {count} tokens"));
    let fresh = Cell::new(1_000_000);
    let next = || {
        fresh.set(fresh.get() + 1);
        body(fresh.get())
    };
    group.bench_function("render and tokenize whole", |bencher| {
        let whole = |body: Vec<u8>| {
            let text = text(tokenizer.read_chat(&body).expect("renders"));
            black_box(tokenizer.codec().encode_whole(&text).expect("tokenizes"))
        };
        bencher.iter_batched(next, whole, BatchSize::SmallInput);
    });
    group.bench_function("render only", |bencher| {
        bencher.iter_batched(
            next,
            |body| black_box(tokenizer.read_chat(&body).expect("renders")),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("render and tokenize the next turn", |bencher| {
        let turn = |body: Vec<u8>| {
            let prompt = tokenizer.read_chat(&body).expect("renders");
            black_box(tokenizer.tokens(prompt).expect("tokenizes"))
        };
        bencher.iter_batched(next, turn, BatchSize::SmallInput);
    });
    group.finish();
}

criterion_group!(benches, turns);
criterion_main!(benches);
