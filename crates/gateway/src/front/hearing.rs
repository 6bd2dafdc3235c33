//! What is heard of an answer as it passes: its usage, the name of a response, and the usage chunk that only we asked for.
//!
//! Nothing is parsed before it is needed and nothing is held back, but for the beginning of an event where a chunk is to be taken out.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use warmroute_kv::Tokens;
use warmroute_openai::{ErrorShape, Opening, UsageStrip, UsageTail};
use warmroute_routing::{Usage, WorkerId};

use super::responses::Responses;
use super::surfaces::{Route, Surface};

/// What is listened for, and what was heard.
#[derive(Default)]
pub(super) struct Hearing {
    /// In which shape the client expects errors.
    pub(super) errors: ErrorShape,
    tail: UsageTail,
    opening: Option<Box<Opening>>,
    /// Where the name of a response is told, until it was.
    names: Option<Arc<Responses>>,
    strip: Option<Box<UsageStrip>>,
}

impl Hearing {
    /// Of an answer of this surface. If `asked_for_usage`, which its client has not, the usage chunk is not for the client.
    pub(super) fn of(surface: &Surface, responses: &Arc<Responses>, asked_for_usage: bool) -> Self {
        let makes_response = surface.path == "/v1/responses";
        let begins_with_usage =
            surface.errors == ErrorShape::Anthropic && matches!(surface.route, Route::Prompt(_));
        Self {
            errors: surface.errors,
            opening: (makes_response || begins_with_usage).then(Box::default),
            names: makes_response.then(|| Arc::clone(responses)),
            strip: asked_for_usage.then(Box::default),
            ..Self::default()
        }
    }

    /// The answer is no stream, or one of a length that has been told: nothing can be taken out.
    pub(super) fn leave_whole(&mut self) {
        self.strip = None;
    }

    /// A piece of what `worker` says: returns what of it goes to the client. `last` if no more comes.
    pub(super) fn hear(&mut self, piece: Bytes, last: bool, worker: Option<WorkerId>) -> Bytes {
        self.tail.push(&piece);
        if let Some(opening) = self.opening.as_mut().filter(|opening| opening.is_open()) {
            opening.push(&piece);
            if let (Some(names), Some(worker), Some(id)) = (&self.names, worker, opening.id()) {
                names.remember(&id, worker);
                self.names = None;
            }
        }
        let Some(strip) = &mut self.strip else { return piece };
        let mut goes_on = match strip.push(&piece) {
            Cow::Borrowed(_) if !last => return piece.clone(),
            goes_on => goes_on.into_owned(),
        };
        if last {
            goes_on.append(&mut strip.end());
        }
        goes_on.into()
    }

    /// What was held and is not to be continued.
    pub(super) fn left(&mut self) -> Bytes {
        self.strip.as_mut().map(|strip| strip.end().into()).unwrap_or_default()
    }

    /// What the answer cost, now that it is complete.
    pub(super) fn usage(&self) -> Option<Usage> {
        let heard = match &self.opening {
            Some(opening) => self.tail.usage_after(opening),
            None => self.tail.usage(),
        };
        heard.map(|usage| Usage {
            prompt: Tokens(usage.prompt_tokens),
            cached: usage.cached_tokens().map(Tokens),
            output: Tokens(usage.completion_tokens),
        })
    }
}
