//! Everything an emulated worker serves: one list, from which requests are routed and errors get their hints.

/// An API whose answer is generated text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Surface {
    /// OpenAI's chat completions.
    Chat,
    /// OpenAI's completions.
    Completion,
    /// OpenAI's responses.
    Responses,
    /// Anthropic's messages.
    Messages,
}

/// What lives at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Generate(Surface),
    Embeddings,
    Rerank,
    Transcription,
    Tokenize,
    Detokenize,
    ResetCache,
    Models,
    Health,
    Metrics,
    Version,
    /// What goes wrong; for this machine only, and only where it was allowed.
    Faults,
}

/// Method, path, and what it is; an empty method takes any.
const PLACES: [(&str, &str, Place); 16] = [
    ("POST", "/v1/chat/completions", Place::Generate(Surface::Chat)),
    ("POST", "/v1/completions", Place::Generate(Surface::Completion)),
    ("POST", "/v1/responses", Place::Generate(Surface::Responses)),
    ("POST", "/v1/messages", Place::Generate(Surface::Messages)),
    ("POST", "/v1/embeddings", Place::Embeddings),
    ("POST", "/v1/rerank", Place::Rerank),
    ("POST", "/rerank", Place::Rerank),
    ("POST", "/v1/audio/transcriptions", Place::Transcription),
    ("POST", "/tokenize", Place::Tokenize),
    ("POST", "/detokenize", Place::Detokenize),
    ("POST", "/reset_prefix_cache", Place::ResetCache),
    ("GET", "/v1/models", Place::Models),
    ("GET", "/health", Place::Health),
    ("GET", "/metrics", Place::Metrics),
    ("GET", "/version", Place::Version),
    ("", "/faults", Place::Faults),
];

/// The place at `path` and the method it takes.
pub(super) fn find(path: &str) -> Option<(&'static str, Place)> {
    PLACES.iter().find(|(_, known, _)| *known == path).map(|(method, _, place)| (*method, *place))
}

impl Place {
    /// Whether it is work for the model, so that the faults of requests befall it.
    pub(super) fn is_work(self) -> bool {
        matches!(self, Self::Generate(_) | Self::Embeddings | Self::Rerank | Self::Transcription)
    }
}
