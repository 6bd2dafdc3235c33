//! The oracle: what a cache that forgets nothing and is shared by everyone would have hit.
//!
//! No policy on any fleet can do better on the same requests in the same order, so a hit rate means something only next
//! to this one. The rules are the workers': whole blocks of leading tokens hit, and the last token of a prompt is always
//! computed, since its logits are the answer's first token.

use std::collections::HashSet;

use warmroute_kv::{BlockHash, Namespace, TokenId, Tokens, token_chain};

/// Every block ever seen.
#[derive(Debug)]
pub struct Oracle {
    seen: HashSet<BlockHash>,
    block_tokens: usize,
}

impl Oracle {
    /// An empty cache with blocks of `block_tokens` tokens.
    pub fn new(block_tokens: usize) -> Self {
        Self { seen: HashSet::new(), block_tokens }
    }

    /// The tokens of `prompt` that an earlier one has left in the cache; afterwards it is there too.
    pub fn ask(&mut self, prompt: &[TokenId]) -> Tokens {
        let mut hits = 0;
        let mut leading = true;
        for block in token_chain(Namespace::default().root(), prompt, self.block_tokens) {
            leading &= !self.seen.insert(block);
            hits += usize::from(leading);
        }
        let computable = prompt.len().saturating_sub(1) / self.block_tokens;
        Tokens::of(hits.min(computable) * self.block_tokens)
    }
}

/// Share of all prompt tokens that the oracle hits when the prompts come in this order.
pub fn hit_rate<'a>(prompts: impl IntoIterator<Item = &'a [TokenId]>, block_tokens: usize) -> f64 {
    let mut oracle = Oracle::new(block_tokens);
    let (hit, all) = prompts.into_iter().fold((0.0, 0.0), |(hit, all), prompt| {
        (hit + oracle.ask(prompt).as_f64(), all + Tokens::of(prompt.len()).as_f64())
    });
    if all > 0.0 { hit / all } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// The longest prefix in whole blocks that some earlier prompt starts with, short of the last token.
    fn naive(earlier: &[Vec<TokenId>], prompt: &[TokenId], block: usize) -> usize {
        let most = prompt.len().saturating_sub(1) / block;
        (0..=most)
            .rev()
            .map(|blocks| blocks * block)
            .find(|&length| length == 0 || earlier.iter().any(|one| one.starts_with(&prompt[..length])))
            .expect("nothing at all is always a prefix")
    }

    proptest! {
        #[test]
        fn the_oracle_hits_what_a_search_of_all_earlier_prompts_finds(
            prompts in vec(vec(0_u32..2, 0..14), 0..30),
            block in 1_usize..5,
        ) {
            let mut oracle = Oracle::new(block);
            for (place, prompt) in prompts.iter().enumerate() {
                prop_assert_eq!(oracle.ask(prompt).get(), naive(&prompts[..place], prompt, block));
            }
        }
    }

    #[test]
    fn a_repeated_prompt_of_whole_blocks_still_computes_its_last_block() {
        let prompt: Vec<TokenId> = (0..32).collect();
        let rate = hit_rate([&prompt[..], &prompt[..]], 16);
        assert!((rate - 16.0 / 64.0).abs() < 1e-12, "{rate}");
        assert!(hit_rate([], 16).abs() < 1e-12);
    }
}
