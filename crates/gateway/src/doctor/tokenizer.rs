//! Whether a prompt has the same tokens here and at the worker; where it has not, no block would have the same name.

use serde_json::{Value, json};
use warmroute_kv::TokenId;
use warmroute_tokens::{PromptTokenizer, Source, load};

use super::finding::{Chart, Check};
use super::probe::Probe;
use super::visit::Visit;
use crate::config::{ModelConfig, TokenizerSource};

const WRONG: &str = "point `tokenizer` in [[models]] to the directory that the worker loads, and `chat_template` to the template that it is given";

/// The probe's tokens, if they are certain to be the worker's.
pub(super) async fn examine(
    visit: &Visit<'_>,
    model: &ModelConfig,
    probe: &Probe,
    chart: &mut Chart,
) -> Option<Vec<TokenId>> {
    let theirs = ask(visit, &probe.body).await;
    let source = match &model.tokenizer {
        TokenizerSource::Worker => return taken_from_the_worker(theirs, probe, chart),
        TokenizerSource::Path(path) => Source::Path(path.clone()),
        TokenizerSource::Hub(name) => Source::Hub(name.clone()),
    };
    let template = model.chat_template.clone().map(|path| path.0);
    let body = probe.body.to_string();
    // Reading a tokenizer takes up to a second, or a download.
    let tokenized = tokio::task::spawn_blocking(move || {
        let tokenizer = load(&source, template.as_deref()).map_err(|error| error.to_string())?;
        let tokens = tokenizer.read_chat(body.as_bytes()).and_then(|prompt| tokenizer.tokens(prompt));
        Ok((tokens.map_err(|error| error.to_string())?, tokenizer))
    });
    let tokenized: Result<_, String> = tokenized.await.unwrap_or_else(|error| Err(error.to_string()));
    match tokenized {
        Ok((ours, tokenizer)) => compare(ours, theirs, probe, &tokenizer, chart),
        Err(error) => {
            chart.failed(
                Check::Tokenizer,
                format!("the tokenizer of {} cannot be used: {error}", model.name),
                WRONG,
            );
            None
        }
    }
}

fn taken_from_the_worker(
    theirs: Option<Vec<TokenId>>,
    probe: &Probe,
    chart: &mut Chart,
) -> Option<Vec<TokenId>> {
    match &theirs {
        None => chart.failed(
            Check::Tokenizer,
            "tokenizer = \"worker\", and the worker has no /tokenize",
            "name a directory, a .gguf file or hub:OWNER/MODEL in [[models]] instead",
        ),
        Some(theirs) if theirs.len() != probe.prompt.get() => {
            let seen = format!(
                "its /tokenize makes {} tokens of a prompt that it counts as {}",
                theirs.len(),
                probe.prompt
            );
            chart.failed(Check::Tokenizer, seen, WRONG);
            return None;
        }
        Some(theirs) => {
            chart.ok(
                Check::Tokenizer,
                format!("its own /tokenize is asked, and agrees ({} tokens)", theirs.len()),
            );
        }
    }
    theirs
}

fn compare(
    ours: Vec<TokenId>,
    theirs: Option<Vec<TokenId>>,
    probe: &Probe,
    tokenizer: &PromptTokenizer,
    chart: &mut Chart,
) -> Option<Vec<TokenId>> {
    let parted =
        theirs.as_ref().and_then(|theirs| ours.iter().zip(theirs).position(|(ours, theirs)| ours != theirs));
    if ours.len() == probe.prompt.get() && parted.is_none() {
        chart.ok(Check::Tokenizer, format!("{} tokens here and there", ours.len()));
        return Some(ours);
    }
    let spelt = |token: TokenId| tokenizer.codec().spelling(token).unwrap_or_else(|| token.to_string());
    let place = match (parted, &theirs) {
        (Some(at), Some(theirs)) => {
            format!("; token {at} is {:?} here and {:?} there", spelt(ours[at]), spelt(theirs[at]))
        }
        _ => String::new(),
    };
    let seen = format!("a prompt has {} tokens here and {} there{place}", ours.len(), probe.prompt);
    chart.failed(Check::Tokenizer, seen, WRONG);
    None
}

/// The worker's own tokens of a chat, if it tells them.
async fn ask(visit: &Visit<'_>, chat: &Value) -> Option<Vec<TokenId>> {
    let body = json!({"model": chat["model"], "messages": chat["messages"]});
    let answer = visit.post("/tokenize", &body).await.ok().filter(|answer| answer.status.is_success())?;
    let id = |token: &Value| token.as_u64().and_then(|id| TokenId::try_from(id).ok());
    answer.json()["tokens"].as_array()?.iter().map(id).collect()
}
