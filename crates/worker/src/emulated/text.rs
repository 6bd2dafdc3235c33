//! The words of an answer: they follow from the prompt and their place, so that the same prompt gets the same answer.
//!
//! Made when they are sent and never kept: an answer of any length costs no memory. All are letters, spaces, dots and commas, which
//! no JSON escapes.

use warmroute_kv::BlockHash;

const LETTERS: [u8; 32] = *b"etaoinshrdlucmfwypvbgkjqxz  ,.en";

/// An answer's text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text {
    /// The name of the whole prompt.
    pub(super) prompt: BlockHash,
    /// Bytes of each token.
    pub(super) token_bytes: usize,
}

impl Text {
    /// Appends the token at `place`.
    pub(super) fn write(&self, place: u32, out: &mut Vec<u8>) {
        let mut left = self.token_bytes;
        let mut name = self.prompt.next_text(&place.to_le_bytes());
        while left > 0 {
            let letters = name.0.to_le_bytes().map(|byte| LETTERS[usize::from(byte) % LETTERS.len()]);
            let more = left.min(letters.len());
            out.extend_from_slice(&letters[..more]);
            left -= more;
            name = name.next_text(&[]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(prompt: u64, token_bytes: usize) -> String {
        let mut out = Vec::new();
        (0..5).for_each(|place| Text { prompt: BlockHash(prompt), token_bytes }.write(place, &mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_same_prompt_gets_the_same_answer_and_another_another() {
        assert_eq!(written(1, 21), written(1, 21));
        assert_ne!(written(1, 21), written(2, 21));
        assert_eq!(written(1, 21).len(), 105);
    }

    #[test]
    fn nothing_in_it_needs_an_escape_in_json() {
        let text = written(3, 1_000);
        assert_eq!(serde_json::to_string(&text).unwrap().len(), text.len() + 2);
    }
}
