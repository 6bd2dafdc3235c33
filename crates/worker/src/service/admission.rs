//! From a parsed request to a running job: the model's name, the prompt's tokens, the room for the answer.
//!
//! All that can be refused is refused here, before the engine hears of it: inside it every job fits and every token exists.

use std::sync::Arc;

use tokio::sync::mpsc;
use uuid::Uuid;
use warmroute_kv::{Namespace, TokenId};
use warmroute_openai::ApiError;
use warmroute_openai::request::{ChatMessage, GenerationOptions, Prompt};

use super::Service;
use super::arrivals::Departed;
use super::refusal::Refusal;
use super::turns::Turn;
use crate::engine::{AnswerOptions, Job, Update};
use crate::model::{ChatTurn, LoadedModel, TextError};

/// Texts beyond this are tokenized on a blocking thread: at some 10 MB/s a longer one would hold up other connections.
const INLINE_TEXT_BYTES: usize = 4 << 10;

/// An answer has begun: its first token is here.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) first: Update,
    pub(super) rest: mpsc::Receiver<Update>,
}

/// The text a model is to read, and which special tokens it still needs.
#[derive(Debug)]
pub(super) enum Text {
    /// As the client wrote it.
    Raw(String),
    /// From the chat template, which wrote the special tokens.
    Rendered(String),
}

impl Service {
    /// Refuses requests for a model this worker does not serve.
    pub(super) fn check_model(&self, name: &str) -> Result<(), ApiError> {
        if self.names.iter().any(|known| known == name) {
            return Ok(());
        }
        Err(ApiError::model_not_found(name, &self.names))
    }

    /// The conversation as the model's template writes it.
    pub(super) fn render(&self, messages: &[ChatMessage]) -> Result<Text, ApiError> {
        let turns: Vec<ChatTurn<'_>> = messages
            .iter()
            .map(|message| ChatTurn { role: &message.role, content: message.content.text() })
            .collect();
        let rendered = self.model.template.render(&turns);
        rendered
            .map(Text::Rendered)
            .map_err(|error| ApiError::invalid_request(error.to_string()).with_param("messages"))
    }

    /// The tokens of a completion's prompt.
    pub(super) async fn prompt_tokens(&self, prompt: Prompt) -> Result<Vec<TokenId>, ApiError> {
        match prompt {
            Prompt::Text(text) => self.tokenize(Text::Raw(text)).await,
            Prompt::Tokens(tokens) => {
                let vocabulary = self.model.model.vocabulary();
                match tokens.iter().find(|token| **token as usize >= vocabulary) {
                    None => Ok(tokens),
                    Some(token) => Err(ApiError::invalid_param(
                        "prompt",
                        format_args!("has token {token}, but the model's vocabulary has {vocabulary} tokens"),
                        "tokenize with this model's tokenizer, see POST /tokenize",
                    )),
                }
            }
        }
    }

    /// The tokens of a text. Dropping the future lets a tokenization on a blocking thread finish in vain.
    pub(super) async fn tokenize(&self, text: Text) -> Result<Vec<TokenId>, ApiError> {
        let bytes = match &text {
            Text::Raw(text) | Text::Rendered(text) => text.len(),
        };
        let tokens = if bytes <= INLINE_TEXT_BYTES {
            encode(&self.model, &text)
        } else {
            let model = Arc::clone(&self.model);
            let encoded = tokio::task::spawn_blocking(move || encode(&model, &text)).await;
            encoded.map_err(|_| ApiError::internal("the tokenizer panicked"))?
        };
        tokens.map_err(ApiError::internal)
    }

    /// Queues the request when its turn comes, and waits for its first token, so that errors before it have their proper status.
    ///
    /// Dropping the future cancels the request.
    pub(super) async fn begin(
        &self,
        prompt: Vec<TokenId>,
        options: &GenerationOptions,
        (turn, departed): (Turn, Option<Departed>),
    ) -> Result<Begun, Refusal> {
        if self.is_draining() {
            return Err(Refusal(ApiError::draining()));
        }
        let job = Job { heard: departed.map(|departed| departed.heard), ..self.job(prompt, options)? };
        turn.come().await;
        let mut rest = self.engine.submit(job, turn.since)?;
        drop(turn);
        match rest.recv().await {
            Some(first) => Ok(Begun { first, rest }),
            None => Err(Refusal(engine_died())),
        }
    }

    fn job(&self, prompt: Vec<TokenId>, options: &GenerationOptions) -> Result<Job, ApiError> {
        if prompt.is_empty() {
            return Err(ApiError::invalid_param("prompt", "is empty", "send at least one token of text"));
        }
        let room = self.longest.saturating_sub(prompt.len());
        let asked = options.max_tokens.unwrap_or(0);
        if room == 0 || room < asked as usize {
            let length = u32::try_from(prompt.len()).unwrap_or(u32::MAX);
            return Err(ApiError::context_length_exceeded(length, asked, self.longest()));
        }
        let salt = options.cache_salt.clone().map(String::into_boxed_str);
        let namespace = Namespace { model: &self.model.name, salt: salt.as_deref(), ..Namespace::default() };
        let root = namespace.root();
        let answer = AnswerOptions {
            sampling: options.sampling,
            seed: options.sampling.seed.unwrap_or_else(fresh_seed),
            stops: options.stop.strings().to_vec(),
            max_tokens: if asked == 0 { room } else { asked as usize },
            ignore_eos: options.ignore_eos,
        };
        Ok(Job { root, salt, prompt, options: answer, heard: None })
    }
}

fn encode(model: &LoadedModel, text: &Text) -> Result<Vec<TokenId>, TextError> {
    match text {
        Text::Raw(text) => model.tokenizer.encode_prompt(text),
        Text::Rendered(text) => model.tokenizer.encode_rendered(text),
    }
}

/// A seed for a client that sent none: the random half of a fresh UUID.
fn fresh_seed() -> u64 {
    Uuid::now_v7().as_u64_pair().1
}

/// The engine ended under a request. The gateway may send it elsewhere as long as nothing was answered.
pub(super) fn engine_died() -> ApiError {
    ApiError::internal("the inference engine stopped before the answer ended")
}

#[cfg(test)]
mod tests {
    use warmroute_openai::request::CompletionRequest;

    use super::*;
    use crate::service::WorkerConfig;

    async fn cached(service: &Service, prompt: &[TokenId], turn: Turn) -> usize {
        let one_token = CompletionRequest::parse(br#"{"model": "", "prompt": "", "max_tokens": 1}"#).unwrap();
        let begun = service.begin(prompt.to_vec(), &one_token.options, (turn, None)).await.unwrap();
        begun.first.finish.expect("one token was asked for").1.cached
    }

    #[tokio::test]
    async fn a_prompt_that_is_tokenized_sooner_than_one_before_it_does_not_overtake_it() {
        let service = Service::start(&WorkerConfig::default(), None).await.unwrap();
        let prompt: Vec<TokenId> = (0..64).collect();
        let (first, second) = (service.turns.take(), service.turns.take());
        let (ahead, behind) =
            tokio::join!(cached(&service, &prompt, second), cached(&service, &prompt, first));
        assert_eq!((behind, ahead), (0, 48));
    }
}
