//! Bodies that were requests once: bytes are flipped, cut, doubled, mixed with other requests and strewn with what parsers trip over.

use warmroute_routing::Chance;

/// Where each is sent to, and what it was before.
const SEEDS: [(&str, &str); 7] = [
    (
        "/v1/chat/completions",
        r#"{"model":"m","messages":[{"role":"system","content":"You are the desk of a library."},{"role":"user","content":"Is \"The Trial\" there?\n"}],"temperature":0.7,"stream":false}"#,
    ),
    (
        "/v1/chat/completions",
        r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"What is this?"},{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}]}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"a":{"type":["string","null"]}}}}}],"user":"u"}"#,
    ),
    (
        "/v1/completions",
        r#"{"model":"m","prompt":"Once upon a time there was a \u00fcber-long sentence \ud83d\ude00","max_tokens":16,"stop":["\n"]}"#,
    ),
    ("/v1/completions", r#"{"model":"m","prompt":[1,2,3,4,5,6,7,8],"logit_bias":{"50256":-100}}"#),
    (
        "/v1/responses",
        r#"{"model":"m","input":"And then?","previous_response_id":"resp_1","instructions":"Be brief."}"#,
    ),
    (
        "/v1/messages",
        r#"{"model":"m","max_tokens":16,"system":[{"type":"text","text":"Be brief.","cache_control":{"type":"ephemeral"}}],"messages":[{"role":"user","content":"Hello"}]}"#,
    ),
    ("/v1/embeddings", r#"{"model":"m","input":["one","two",""]}"#),
];

const PIECES: [&[u8]; 16] = [
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\0",
    b"\xff\xfe",
    b"\\ud800",
    b"\r\n\r\n",
    b"null",
    b"1e999999",
    b"\"model\":\"m\",",
    b"{\"messages\":[{\"content\":",
];

/// A piece may come so often in a row.
const MOST_REPEATED: usize = 300;

/// Makes one after the other, the same for the same seed.
pub(crate) struct Mutator(Chance);

impl Mutator {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Chance::new(seed))
    }

    /// A path and a body for it.
    pub(crate) fn next(&mut self) -> (&'static str, Vec<u8>) {
        let (path, seed) = SEEDS[self.0.below(SEEDS.len())];
        let mut body = seed.as_bytes().to_vec();
        for _ in 0..self.0.below(6) {
            self.change(&mut body);
        }
        (path, body)
    }

    fn change(&mut self, body: &mut Vec<u8>) {
        let (from, to) = (self.0.below(body.len() + 1), self.0.below(body.len() + 1));
        let (from, to) = (from.min(to), from.max(to));
        match self.0.below(7) {
            0 => body.truncate(to),
            1 => _ = body.drain(from..to.min(from + 20)),
            2 => {
                let twice = body[from..to].to_vec();
                body.splice(from..from, twice);
            }
            3 => {
                let (_, other) = SEEDS[self.0.below(SEEDS.len())];
                body.splice(from..to, other.bytes());
            }
            4 if !body.is_empty() => {
                let place = from.min(body.len() - 1);
                body[place] ^= 1 << self.0.below(8);
            }
            5 => {
                let (piece, times) = (PIECES[self.0.below(PIECES.len())], 1 + self.0.below(MOST_REPEATED));
                body.splice(from..from, piece.repeat(times));
            }
            _ => {
                let piece = PIECES[self.0.below(PIECES.len())];
                body.splice(from..from, piece.iter().copied());
            }
        }
    }
}
