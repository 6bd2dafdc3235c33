//! A request's prompt as tokens, where its model is in token mode; whatever stands in the way, its text serves instead.
//!
//! All of this happens before the router is asked, outside its lock. What is new in a prompt is mostly little, since the tokens of earlier
//! messages are remembered; what is long is tokenized on another thread, so that a lane's other requests do not wait for it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;
use tokio::time::timeout;
use warmroute_kv::{TokenId, Tokens};
use warmroute_openai::PromptKeys;
use warmroute_tokens::{ChatRequest, Prompt, PromptTokenizer, Untokenized};

use super::Gateway;
use super::meant::Meant;
use super::surfaces::{Route, Surface};
use crate::show::metrics::Metrics;
use crate::sources::catalogue::Among;
use crate::sources::{State, Worker};
use crate::tokens::{Asked, By, TokenModel};
use crate::upstream::Outbound;

/// A longer body is read and rendered on another thread: that takes some ten microseconds for each kilobyte.
const INLINE_BODY_BYTES: usize = 256 << 10;

/// More new text than this is tokenized on another thread. Qwen3's tokenizer takes 1.4 ms for each kilobyte (`benches/turns.rs`), so a lane's
/// other requests wait for some six milliseconds at most; a question and an answer of usual length are below.
const INLINE_NEW_BYTES: usize = 4 << 10;

/// Longer than this no request waits for its tokens: its text is a good guess, and time to the first token is what all of this is for.
const PATIENCE: Duration = Duration::from_secs(1);

/// A worker's list of tokens is not read beyond this: a million of them.
const MOST_TOLD_BYTES: usize = 8 << 20;

/// A prompt in tokens.
#[derive(Debug)]
pub(super) struct Counted {
    pub tokens: Vec<TokenId>,
    /// Tokens in a block.
    pub block: Tokens,
}

/// What of a request is looked at for its tokens.
pub(super) struct Asking<'a> {
    pub surface: &'a Surface,
    pub model: &'a Meant<'a>,
    pub among: &'a Among,
    pub headers: &'a HeaderMap,
    /// As workers will get it.
    pub body: &'a Bytes,
}

/// Why a prompt's text serves instead of its tokens.
#[derive(Debug, thiserror::Error)]
enum InText {
    #[error(transparent)]
    Untokenized(#[from] Untokenized),
    #[error("workers do not tokenize prompts of this path")]
    Surface,
    #[error("no worker told its tokens")]
    Worker,
    #[error("it took too long")]
    Slow,
}

impl InText {
    fn cause(&self) -> &'static str {
        match self {
            Self::Untokenized(why) => why.cause(),
            Self::Surface => "surface",
            Self::Worker => "worker",
            Self::Slow => "slow",
        }
    }
}

/// The forms of prompts that are tokenized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Chat,
    Completion,
    Messages,
    Responses,
}

impl Form {
    /// None if the surface has no prompts.
    fn of(surface: &Surface) -> Option<Result<Self, InText>> {
        let Route::Prompt(keys) = surface.route else { return None };
        Some(match keys {
            PromptKeys::CHAT => Ok(Self::Chat),
            PromptKeys::COMPLETION => Ok(Self::Completion),
            PromptKeys::MESSAGES => Ok(Self::Messages),
            PromptKeys::RESPONSES => Ok(Self::Responses),
            _ => Err(InText::Surface),
        })
    }

    fn read(self, tokenizer: &PromptTokenizer, body: &[u8]) -> Result<Prompt, Untokenized> {
        match self {
            Self::Chat => tokenizer.read_chat(body),
            Self::Completion => Prompt::of_completion(body),
            Self::Messages => tokenizer.read_messages(body),
            Self::Responses => tokenizer.read_responses(body),
        }
    }
}

impl Gateway {
    /// The prompt's tokens, if its model is in token mode and nothing stands in the way. Dropping the future lets what runs on another
    /// thread end in vain.
    pub(super) async fn counted(&self, asking: Asking<'_>) -> Option<Counted> {
        let model = self.token_model(asking.model)?;
        // Apart in memory, or every request of every model would carry room for it.
        Box::pin(self.counted_for(model, asking)).await
    }

    /// The model of this name, else that whose weights it has, if it is in token mode.
    fn token_model(&self, model: &Meant<'_>) -> Option<&TokenModel> {
        let base = || self.tokenizers.of(&model.weights.as_ref()?.base);
        self.tokenizers.of(&model.name).or_else(base)
    }

    async fn counted_for(&self, model: &TokenModel, asking: Asking<'_>) -> Option<Counted> {
        let counted = match Form::of(asking.surface)? {
            Ok(form) => match &model.by {
                By::Ours(tokenizer) => self.tokenize(tokenizer, form, asking.body).await,
                By::Worker(asked) => self.ask_for_tokens(asked, form, &asking).await,
            },
            Err(why) => Err(why),
        };
        match counted {
            Ok(tokens) => Some(Counted { tokens, block: model.block }),
            Err(why) => {
                tracing::debug!(model = model.name, %why, "a prompt is routed by its text");
                self.core.metrics.in_text(&model.name, why.cause());
                None
            }
        }
    }

    /// The same without waiting for anybody, for who only wants to know where a request would go.
    pub(super) fn counted_now(&self, surface: &Surface, model: &Meant<'_>, body: &[u8]) -> Option<Counted> {
        let model = self.token_model(model)?;
        let By::Ours(tokenizer) = &model.by else { return None };
        let prompt = Form::of(surface)?.ok()?.read(tokenizer, body).ok()?;
        Some(Counted { tokens: tokenizer.tokens(prompt).ok()?, block: model.block })
    }

    async fn tokenize(
        &self,
        tokenizer: &Arc<PromptTokenizer>,
        form: Form,
        body: &Bytes,
    ) -> Result<Vec<TokenId>, InText> {
        if body.len() > INLINE_BODY_BYTES {
            let (tokenizer, body) = (Arc::clone(tokenizer), body.clone());
            return self.apart(move || tokenizer.tokens(form.read(&tokenizer, &body)?)).await;
        }
        let prompt = form.read(tokenizer, body)?;
        if tokenizer.unknown_bytes(&prompt, INLINE_NEW_BYTES) < INLINE_NEW_BYTES {
            return Ok(tokenizer.tokens(prompt)?);
        }
        let tokenizer = Arc::clone(tokenizer);
        self.apart(move || tokenizer.tokens(prompt)).await
    }

    /// On another thread, when there is one to spare.
    async fn apart(
        &self,
        work: impl FnOnce() -> Result<Vec<TokenId>, Untokenized> + Send + 'static,
    ) -> Result<Vec<TokenId>, InText> {
        let turns = Arc::clone(&self.tokenizers.turns);
        let done = async {
            let turn = turns.acquire_owned().await.expect("nobody closes it");
            // The turn ends with the work, though nobody may be waiting for it any more.
            tokio::task::spawn_blocking(move || (work(), turn).0).await
        };
        match timeout(PATIENCE, done).await {
            Ok(Ok(tokens)) => Ok(tokens?),
            // A panic in there has been told by the panic itself.
            Ok(Err(_)) | Err(_) => Err(InText::Slow),
        }
    }

    /// Some worker's answer to `/tokenize`, which takes what the two APIs take.
    async fn ask_for_tokens(
        &self,
        asked: &Asked,
        form: Form,
        asking: &Asking<'_>,
    ) -> Result<Vec<TokenId>, InText> {
        match form {
            Form::Chat => ChatRequest::check(asking.body)?,
            Form::Completion => {
                if let Prompt::Tokens(tokens) = Prompt::of_completion(asking.body)? {
                    return Ok(tokens);
                }
            }
            Form::Messages | Form::Responses => return Err(InText::Surface),
        }
        let workers = self.fleet.workers();
        let may = |worker: &Worker| asking.among.as_ref().is_none_or(|among| among.contains(&worker.id));
        let able: Vec<_> =
            workers.iter().filter(|worker| worker.state() == State::Up && may(worker)).collect();
        let turn = asked.turn(able.len()).ok_or(InText::Worker)?;
        let told = timeout(PATIENCE, self.tokens_told_by(able[turn], asking)).await;
        told.ok().flatten().ok_or_else(|| {
            asked.failed();
            InText::Worker
        })
    }

    async fn tokens_told_by(&self, worker: &Worker, asking: &Asking<'_>) -> Option<Vec<TokenId>> {
        #[derive(Deserialize)]
        struct Told {
            tokens: Vec<TokenId>,
        }
        let mut headers =
            HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        headers.extend(asking.headers.get(AUTHORIZATION).map(|key| (AUTHORIZATION, key.clone())));
        let (path, headers) = (PathAndQuery::from_static("/tokenize"), worker.authorized(&headers));
        let outbound = Outbound {
            method: Method::POST,
            to: &worker.url,
            path: &path,
            headers: &headers,
            body: asking.body,
            fresh: false,
            departure: None,
        };
        let response = self.upstream.request(&outbound).await.ok()?;
        let found = response.status().is_success();
        let body = Limited::new(response.into_body(), MOST_TOLD_BYTES).collect().await.ok()?.to_bytes();
        serde_json::from_slice::<Told>(&body).ok().filter(|_| found).map(|told| told.tokens)
    }
}

/// How long a prompt is by our count, to be compared with what its worker reports.
#[derive(Debug)]
pub(super) struct Count {
    model: Box<str>,
    tokens: Tokens,
}

impl Count {
    pub(super) fn of(model: &str, tokens: usize) -> Self {
        Self { model: model.into(), tokens: Tokens::of(tokens) }
    }

    /// The worker counted `reported` tokens. Where that is not our count the names of blocks are not the worker's either.
    pub(super) fn compare(&self, worker: &Worker, reported: Tokens, metrics: &Metrics) {
        if reported == self.tokens {
            worker.tokens_agree();
            return;
        }
        metrics.tokens_differ(worker.label());
        if worker.tokens_differ() {
            tracing::warn!(
                worker = %worker.name,
                model = %self.model,
                ours = self.tokens.0,
                theirs = reported.0,
                "a prompt has another number of tokens here than its worker counts, so its blocks have other names; hint: let \
                 `tokenizer` in [[models]] be the files that the worker serves, and `chat_template` what it was given (docs/tokens.md)"
            );
        }
    }
}
