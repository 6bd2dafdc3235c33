//! The tokenizers of the models in token mode, read once when the gateway starts.
//!
//! A tokenizer takes up to some hundred megabytes and remembers what it has seen, so all lanes share it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use warmroute_kv::Tokens;
use warmroute_tokens::{LoadError, PromptTokenizer, Source, load};

use crate::config::{GatewayConfig, ModelConfig, TokenizerSource};

/// Why a gateway cannot tokenize what it is to tokenize.
#[derive(Debug, thiserror::Error)]
#[error("the tokenizer of model `{model}`: {source}")]
pub struct TokenizerError {
    /// The model.
    model: String,
    source: LoadError,
}

/// The models in token mode.
#[derive(Debug)]
pub(crate) struct Tokenizers {
    models: Vec<TokenModel>,
    /// Prompts tokenized at once apart from the lanes: more than there are processors would only slow each other, and the lanes.
    pub(crate) turns: Arc<Semaphore>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct TokenModel {
    pub(crate) name: String,
    /// Tokens in a block of its workers' caches.
    pub(crate) block: Tokens,
    pub(crate) by: By,
}

/// Who tokenizes.
#[derive(Debug)]
pub(crate) enum By {
    /// The gateway.
    Ours(Arc<PromptTokenizer>),
    /// A worker that is asked.
    Worker(Asked),
}

/// How workers were asked so far.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    next: AtomicU32,
    /// Not before this.
    rests_until: Mutex<Option<Instant>>,
}

/// Where asking has failed, requests would only wait in vain.
const REST: Duration = Duration::from_secs(5);

impl Tokenizers {
    /// Reads all of them. Blocking, and takes up to a second for each, or a download.
    pub(crate) fn load(config: &GatewayConfig) -> Result<Self, TokenizerError> {
        let processors = thread::available_parallelism().map_or(1, Into::into);
        Ok(Self {
            models: config.models.iter().map(TokenModel::load).collect::<Result<_, _>>()?,
            turns: Arc::new(Semaphore::new(processors)),
        })
    }

    /// The model of this name, if it is in token mode.
    pub(crate) fn of(&self, model: &str) -> Option<&TokenModel> {
        self.models.iter().find(|one| one.name == model)
    }
}

impl TokenModel {
    fn load(config: &ModelConfig) -> Result<Self, TokenizerError> {
        let source = match &config.tokenizer {
            TokenizerSource::Path(path) => Some(Source::Path(path.clone())),
            TokenizerSource::Hub(name) => Some(Source::Hub(name.clone())),
            TokenizerSource::Worker => None,
        };
        let instead = config.chat_template.as_ref().map(|path| &*path.0);
        let by = match source {
            None => By::Worker(Asked::default()),
            Some(source) => {
                let loaded = load(&source, instead);
                let wrong = |source| TokenizerError { model: config.name.clone(), source };
                By::Ours(Arc::new(loaded.map_err(wrong)?))
            }
        };
        tracing::info!(model = %config.name, tokenizer = %config.tokenizer, "token mode");
        Ok(Self { name: config.name.clone(), block: Tokens(config.block_tokens.get()), by })
    }
}

impl Asked {
    /// Which of `count` workers is next; none while they are left alone.
    pub(crate) fn turn(&self, count: usize) -> Option<usize> {
        let rests = self.rests_until.lock().is_some_and(|until| Instant::now() < until);
        (!rests && count > 0).then(|| self.next.fetch_add(1, Ordering::Relaxed) as usize % count)
    }

    /// It failed: workers are left alone for a while.
    pub(crate) fn failed(&self) {
        *self.rests_until.lock() = Some(Instant::now() + REST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn workers_are_asked_in_turn_and_left_alone_after_a_failure() {
        let asked = Asked::default();
        assert_eq!(
            [asked.turn(2), asked.turn(2), asked.turn(2), asked.turn(0)],
            [Some(0), Some(1), Some(0), None]
        );
        asked.failed();
        assert_eq!(asked.turn(2), None);
        tokio::time::advance(REST).await;
        assert!(asked.turn(2).is_some());
    }

    #[test]
    fn a_tokenizer_that_cannot_be_read_is_named_with_its_model_and_a_hint() {
        let mut config = GatewayConfig::default();
        let text = "[[models]]\nname = \"m\"\ntokenizer = \"/nowhere\"";
        config.models = GatewayConfig::from_toml(text).unwrap().models;
        let error = Tokenizers::load(&config).unwrap_err().to_string();
        assert!(error.contains("model `m`: cannot read /nowhere") && error.contains("hint: "), "{error}");
    }
}
