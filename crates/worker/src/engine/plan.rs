//! How many tokens each running sequence computes in the next step.
//!
//! Every decode advances by one token in every step, and prompts share a fixed budget of tokens. So the time between two
//! tokens of an answer is bounded by that budget, however long the prompts are that arrive meanwhile (chunked prefill:
//! Agrawal et al., Sarathi-Serve, 2024).
//!
//! Of the budget, half is the oldest prompt's, so nothing starves; the rest goes to the prompts with the fewest tokens left.
//! A prompt whose prefix is cached thus need not wait behind a cold one: first come, first served would make a hit
//! as slow as the miss before it.

/// The tokens each sequence may compute now, given how many each has `pending` (oldest first, at least one each).
///
/// One pending token is a decode, or the last token of a prompt whose rest was cached: it costs the budget nothing.
pub(super) fn plan(pending: &[usize], prefill_tokens: usize) -> Vec<usize> {
    let mut granted: Vec<usize> = pending.iter().map(|&wanted| usize::from(wanted == 1)).collect();
    let mut prompts: Vec<usize> = (0..pending.len()).filter(|&place| pending[place] > 1).collect();
    let Some(&oldest) = prompts.first() else { return granted };
    let mut budget = prefill_tokens.max(1);
    let mut grant = |place: usize, most: usize| {
        let share = (pending[place] - granted[place]).min(most).min(budget);
        granted[place] += share;
        budget -= share;
    };
    grant(oldest, prefill_tokens.div_ceil(2).max(1));
    // A stable sort: of equal ones the older goes first.
    prompts.sort_by_key(|&place| pending[place]);
    prompts.into_iter().for_each(|place| grant(place, usize::MAX));
    granted
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
    fn a_nearly_cached_prompt_does_not_wait_behind_a_cold_one() {
        assert_eq!(plan(&[900, 20, 1], 256), [236, 20, 1]);
    }

    #[test]
    fn the_oldest_prompt_always_moves() {
        assert_eq!(plan(&[900, 100, 101, 102, 103], 256), [128, 100, 28, 0, 0]);
        assert_eq!(plan(&[5, 5], 1), [1, 0]);
    }

    #[test]
    fn no_budget_is_wasted_or_overdrawn() {
        for pending in [vec![300, 100, 1], vec![100, 100, 100], vec![2, 3, 1000], vec![1, 1], vec![40, 2]] {
            let granted = plan(&pending, 256);
            let prompts: usize = pending.iter().filter(|&&wanted| wanted > 1).sum();
            let spent: usize =
                pending.iter().zip(&granted).filter(|(wanted, _)| **wanted > 1).map(|(_, got)| got).sum();
            assert_eq!(spent, prompts.min(256), "{pending:?} got {granted:?}");
            assert!(pending.iter().zip(&granted).all(|(wanted, got)| got <= wanted));
        }
    }

    #[test]
    fn a_budget_of_nothing_still_moves() {
        assert_eq!(plan(&[5, 5], 0), [1, 0]);
    }
}
