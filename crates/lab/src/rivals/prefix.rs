//! Upstream's units in ours: routers that count characters or 16-token blocks, on requests in blocks of any length.

use warmroute_kv::BlockHash;
use warmroute_routing::{Request, Unit};

/// Characters in a token of English text, the estimate these routers use themselves.
pub(super) const CHARS_PER_TOKEN: f64 = 4.0;

/// Tokens in the first block of the request.
pub(super) fn block_tokens(request: &Request<'_>) -> f64 {
    let length = request.block.first() as f64;
    match request.unit {
        Unit::Tokens => length,
        Unit::Bytes => length / CHARS_PER_TOKEN,
    }
}

/// How many of the request's blocks it takes to hold `tokens`; at least one.
pub(super) fn blocks_for(request: &Request<'_>, tokens: f64) -> usize {
    // `as` saturates.
    ((tokens / block_tokens(request)).ceil() as usize).max(1)
}

/// A name for the first `tokens` of the prompt, in whole blocks. A prompt without one whole block goes by its text.
pub(super) fn leading(request: &Request<'_>, tokens: f64) -> BlockHash {
    let blocks = blocks_for(request, tokens).min(request.blocks.len());
    match blocks.checked_sub(1) {
        Some(last) => request.blocks[last],
        None => request.root.next_text(request.text.start().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use warmroute_routing::Text;

    use super::*;

    #[test]
    fn a_prefix_is_counted_in_whole_blocks_of_whatever_length_the_request_has() {
        let blocks = [BlockHash(1), BlockHash(2), BlockHash(3)];
        let request = Request::new(BlockHash(0), &blocks);
        assert_eq!(leading(&request, 25.0), BlockHash(2), "25 tokens begin in the second block of 16");
        assert_eq!(leading(&Request { block: 512.into(), ..request }, 25.0), BlockHash(1));
        assert_eq!(leading(&Request { unit: Unit::Bytes, block: 64.into(), ..request }, 25.0), BlockHash(2));
        assert_eq!(leading(&request, 1e9), BlockHash(3), "a short prompt is its own prefix");
    }

    #[test]
    fn prompts_shorter_than_a_block_are_told_apart_by_their_text() {
        let request = |text| Request { text: Text::Known(text), ..Request::new(BlockHash(0), &[]) };
        assert_ne!(leading(&request("a"), 25.0), leading(&request("b"), 25.0));
    }
}
