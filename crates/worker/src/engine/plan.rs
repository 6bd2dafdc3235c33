//! How many tokens each running sequence computes in the next step.
//!
//! Every decode advances by one token in every step, and prompts share a fixed budget of tokens, oldest first. So the
//! time between two tokens of an answer is bounded by `prefill_tokens`, however long the prompts are that arrive meanwhile.
//! (Chunked prefill: Agrawal et al., Sarathi-Serve, 2024.)

/// The tokens each sequence may compute now, given how many each has `pending` (oldest first, at least one each).
///
/// One pending token is a decode, or the last token of a prompt whose rest was cached: it costs the budget nothing.
pub(super) fn plan(pending: &[usize], prefill_tokens: usize) -> Vec<usize> {
    let mut budget = prefill_tokens.max(1);
    let mut share = |&wanted: &usize| {
        if wanted <= 1 {
            return wanted;
        }
        let granted = wanted.min(budget);
        budget -= granted;
        granted
    };
    pending.iter().map(&mut share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_go_on_in_every_step_of_a_long_prefill() {
        let mut pending = [1, 1000, 1];
        let mut steps = 0;
        while pending[1] > 0 {
            let granted = plan(&pending, 256);
            assert_eq!((granted[0], granted[2]), (1, 1), "a decode stalled in step {steps}");
            assert!(granted[1] <= 256, "step {steps} computes {} prompt tokens at once", granted[1]);
            pending[1] -= granted[1];
            steps += 1;
        }
        assert_eq!(steps, 4, "1000 tokens at 256 a step");
    }

    #[test]
    fn prompts_share_the_budget_oldest_first() {
        assert_eq!(plan(&[100, 100, 100], 256), [100, 100, 56]);
        assert_eq!(plan(&[300, 100, 1], 256), [256, 0, 1]);
    }

    #[test]
    fn a_budget_of_nothing_still_moves() {
        assert_eq!(plan(&[5, 5], 0), [1, 0]);
    }
}
