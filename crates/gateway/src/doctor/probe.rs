//! A prompt that nobody has sent before, asked twice: what a worker tells of it, and what it does with it.

use serde_json::{Value, json};
use uuid::Uuid;
use warmroute_kv::Tokens;

use super::finding::{Chart, Check};
use super::visit::Visit;

/// Blocks that the prompt fills: enough to see eviction of single ones, few enough for a CPU to read within seconds.
const BLOCKS: u32 = 8;
/// English has more tokens than words, so that this many words fill a block of as many tokens.
const SENTENCE: &str = "the wheel turns and the chain runs over it while the lamp shines on the road";

/// A probe's body, and what came of it.
pub(super) struct Probe {
    pub body: Value,
    /// Tokens of the prompt, as the worker counts them.
    pub prompt: Tokens,
    /// Those of the second time that it had cached, if it says so.
    pub cached: Option<Tokens>,
}

/// Asks twice; nothing if the worker cannot be asked at all.
pub(super) async fn ask_twice(
    visit: &Visit<'_>,
    model: &str,
    block: Tokens,
    chart: &mut Chart,
) -> Option<Probe> {
    let body = body(model, block);
    let first = ask(visit, &body, chart).await?;
    let second = ask(visit, &body, chart).await?;
    chart.ok(Check::Answers, format!("{model} answers to a prompt"));
    let Some(prompt) = count(&first, "prompt_tokens") else {
        let fix = "routing works without it, but nothing can be learned or checked; use an engine, or a version of it, that reports usage";
        chart.failed(Check::Usage, "its answers have no usage.prompt_tokens", fix);
        return None;
    };
    let cached = |usage: &Value| usage["prompt_tokens_details"]["cached_tokens"].as_u64();
    let told = (cached(&first), cached(&second));
    judge_caching(told, prompt, block, chart);
    Some(Probe { body, prompt, cached: told.1.map(|tokens| Tokens(tokens as u32)) })
}

fn judge_caching(told: (Option<u64>, Option<u64>), prompt: Tokens, block: Tokens, chart: &mut Chart) {
    match told {
        (_, None) => chart.failed(
            Check::Usage,
            "its answers do not tell cached tokens (usage.prompt_tokens_details.cached_tokens)",
            "start vLLM with --enable-prompt-tokens-details, SGLang with --enable-cache-report; without, predictions are never checked",
        ),
        (Some(first), _) if first >= u64::from(prompt.0) / 2 => {
            let seen = format!("it reports {first} of {prompt} tokens cached of a prompt that nobody has sent before");
            chart.failed(Check::Usage, seen, "something answers in the worker's place, such as a cache of answers; ask the engine itself");
        }
        (_, Some(second)) if second + u64::from(block.0) < u64::from(prompt.0) / 2 => {
            chart.ok(Check::Usage, format!("usage tells cached tokens ({second})"));
            chart.failed(
                Check::PrefixCache,
                format!("a prompt of {prompt} tokens was sent twice, and {second} of them were cached the second time"),
                "turn prefix caching on: --enable-prefix-caching for vLLM, no --disable-radix-cache for SGLang, --cache-reuse for llama.cpp",
            );
        }
        (_, Some(second)) => {
            chart.ok(Check::Usage, "usage tells cached tokens");
            chart.ok(Check::PrefixCache, format!("{second} of {prompt} tokens were cached the second time"));
        }
    }
}

/// A chat that begins with what no other begins with, so that nothing of it is cached.
fn body(model: &str, block: Tokens) -> Value {
    let words = (block.0.max(8) * BLOCKS) as usize;
    let text: Vec<&str> = SENTENCE.split(' ').cycle().take(words).collect();
    let content = format!("{} {}", Uuid::new_v4().simple(), text.join(" "));
    json!({"model": model, "max_tokens": 1, "temperature": 0, "messages": [{"role": "user", "content": content}]})
}

/// The answer's usage.
async fn ask(visit: &Visit<'_>, body: &Value, chart: &mut Chart) -> Option<Value> {
    match visit.post("/v1/chat/completions", body).await {
        Ok(answer) if answer.status.is_success() => Some(answer.json()["usage"].clone()),
        Ok(answer) => {
            let fix = "send the same request to the worker by hand; its log has more";
            chart.failed(Check::Answers, format!("it answers a chat with {}", answer.complaint()), fix);
            None
        }
        Err(error) => {
            let fix = "see whether it is busy or stuck; its log has more";
            chart.failed(Check::Answers, format!("no answer to a chat: {error}"), fix);
            None
        }
    }
}

fn count(usage: &Value, name: &str) -> Option<Tokens> {
    usage[name].as_u64().map(|tokens| Tokens(tokens as u32))
}
