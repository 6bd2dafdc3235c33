//! The APIs whose answers are not text: embeddings, ranks and transcripts. Small, well formed, and the same for the same input.

use serde_json::value::RawValue;
use serde_json::{Value, json};
use warmroute_kv::{BlockHash, Tokens};
use warmroute_openai::ApiError;
use warmroute_openai::response::Usage;

use super::look::{Other, Prompt};
use super::routes::{Answered, Emulator, answer_json};
use super::text::Text;

/// Sound makes about this many bytes a token (speech at 16 kB a second, some 25 tokens a second).
const SOUND_TOKEN_BYTES: usize = 640;

/// Numbers in an embedding.
const EMBEDDING_WIDTH: u32 = 8;

impl Emulator {
    /// Has a prompt read for an answer that is not text.
    async fn read(&self, prompt: Prompt) -> Result<Usage, ApiError> {
        let tokens = prompt.tokens;
        let mut ticket = self.engine.begin(prompt).await?;
        ticket.reached(1).await?;
        let usage = Usage::new(tokens.0, ticket.cached().0, 0);
        ticket.finish();
        Ok(usage)
    }

    pub(super) async fn embed(&self, body: &[u8]) -> Answered {
        let asked = Other::read(body)?;
        let model = self.served(asked.model.as_deref())?;
        let Some(input) = asked.input else {
            return Err(ApiError::invalid_param("input", "is missing", "send the text as 'input'"));
        };
        let several: Vec<&RawValue> = serde_json::from_str(input.get()).unwrap_or_default();
        let texts = several.iter().all(|text| !text.get().starts_with(|first: char| first.is_ascii_digit()));
        let texts = if several.is_empty() || !texts { vec![input] } else { several };
        let usage = self.read(asked.prompt(&self.names[0])).await?;
        let data: Vec<Value> = texts
            .iter()
            .enumerate()
            .map(|(index, text)| {
                json!({"object": "embedding", "index": index, "embedding": embedding(text.get())})
            })
            .collect();
        let usage = json!({"prompt_tokens": usage.prompt_tokens, "total_tokens": usage.prompt_tokens});
        Ok(answer_json(&json!({"object": "list", "data": data, "model": model, "usage": usage})))
    }

    pub(super) async fn rerank(&self, body: &[u8]) -> Answered {
        let asked = Other::read(body)?;
        let model = self.served(asked.model.as_deref())?;
        let documents: Option<Vec<Value>> =
            asked.documents.and_then(|raw| serde_json::from_str(raw.get()).ok());
        let Some(documents) = documents else {
            return Err(ApiError::invalid_param("documents", "is no array", "send the texts as 'documents'"));
        };
        let usage = self.read(asked.prompt(&self.names[0])).await?;
        let score = |text: &str| number(name(text.as_bytes()));
        let mut results: Vec<(usize, f64)> =
            documents.iter().map(|document| score(&document.to_string())).enumerate().collect();
        results.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        let results: Vec<Value> = results
            .into_iter()
            .take(asked.top_n.unwrap_or(usize::MAX))
            .map(|(index, score)| {
                let document = &documents[index];
                let text = document.get("text").unwrap_or(document);
                json!({"index": index, "relevance_score": score, "document": {"text": text}})
            })
            .collect();
        let usage = json!({"total_tokens": usage.prompt_tokens, "prompt_tokens": usage.prompt_tokens});
        Ok(answer_json(&json!({"id": "rerank-0", "model": model, "results": results, "usage": usage})))
    }

    pub(super) async fn transcribe(&self, body: &[u8]) -> Answered {
        let tokens = Tokens::of(body.len().div_ceil(SOUND_TOKEN_BYTES).max(1));
        self.read(Prompt::of_nothing(tokens)).await?;
        let name = name(body);
        let mut text = Vec::new();
        (0..self.answer_tokens.0)
            .for_each(|place| Text { prompt: name, token_bytes: self.chunk_bytes }.write(place, &mut text));
        Ok(answer_json(&json!({"text": String::from_utf8_lossy(&text)})))
    }
}

/// The name of some bytes, from which all numbers about them follow.
fn name(bytes: &[u8]) -> BlockHash {
    Prompt::of(BlockHash(0), bytes).name
}

/// A number from 0 up to but without 1.
fn number(name: BlockHash) -> f64 {
    // The upper 53 bits are as many as an f64 holds.
    (name.0 >> 11) as f64 / (1_u64 << 53) as f64
}

fn embedding(text: &str) -> Vec<f64> {
    let name = name(text.as_bytes());
    (0..EMBEDDING_WIDTH).map(|place| number(name.next_text(&place.to_le_bytes()))).collect()
}
