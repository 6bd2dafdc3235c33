//! How long a step of a serving engine takes, from what is computed in it.
//!
//! Two models, since a ranking of policies that holds under one only says something about the model. Both are fits that
//! others published or measured; neither is a promise about any machine.

use std::time::Duration;

/// Step-time models that others fitted; `docs/simulator.md` says to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineModel {
    /// A Qwen3-32B on two H100s: 12 ms, 40 us a request, 76 ns a token of context, 44 us a prompt token, 0.6 ns for each
    /// pair of a prompt token and one before it.
    H100,
    /// The polynomials of the mocker in Dynamo 1.6. `n` prompt tokens take 4.209989e-7 n^2 + 1.518344e-2 n + 16.50142 ms;
    /// the answers take -25.74 p^2 + 54.01 p + 5.74 ms, where `p` is the context that they read over the cache, at most 1 (what
    /// several share is read by each, and beyond 1 the polynomial would fall again); at least 1 ms.
    Mocker,
}

impl EngineModel {
    /// Every model.
    pub const ALL: [Self; 2] = [Self::H100, Self::Mocker];

    /// Its name in flags, tables and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::H100 => "h100",
            Self::Mocker => "mocker",
        }
    }
}

/// How long steps take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StepTime {
    /// As a model says.
    Model(EngineModel),
    /// So many seconds a prompt token, and so many a step in which answers grow: for stand-ins that are to be simple.
    Rates {
        /// Seconds to read one token of a prompt.
        prompt_token_s: f64,
        /// Seconds from one token of an answer to the next.
        answer_token_s: f64,
    },
}

/// What one step computes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Requests that take part.
    pub requests: usize,
    /// Requests among them that get one more token of their answer.
    pub decodes: usize,
    /// Tokens of KV state that these read.
    pub context: u64,
    /// Prompt tokens.
    pub prefill: u32,
    /// For each of these the tokens before it, added up.
    pub attended: u64,
}

impl StepTime {
    /// Time for one step on an engine whose cache holds `cache_tokens`.
    pub fn of(self, load: &Load, cache_tokens: u32) -> Duration {
        let seconds = match self {
            Self::Model(EngineModel::H100) => {
                12e-3
                    + 40e-6 * load.requests as f64
                    + 76e-9 * load.context as f64
                    + 44e-6 * f64::from(load.prefill)
                    + 0.6e-9 * load.attended as f64
            }
            Self::Model(EngineModel::Mocker) => mocker_ms(load, cache_tokens) / 1e3,
            Self::Rates { prompt_token_s, answer_token_s } => {
                let decode = if load.decodes > 0 { answer_token_s } else { 0.0 };
                prompt_token_s * f64::from(load.prefill) + decode
            }
        };
        Duration::from_secs_f64(seconds)
    }
}

fn mocker_ms(load: &Load, cache_tokens: u32) -> f64 {
    let read = f64::from(load.prefill);
    let share = (load.context as f64 / f64::from(cache_tokens)).min(1.0);
    let prefill = (4.209_989e-7 * read).mul_add(read, 1.518_344e-2 * read + 16.501_42);
    let decode = (-25.74 * share).mul_add(share, 54.01 * share + 5.74);
    let prefill = if load.prefill > 0 { prefill } else { 0.0 };
    let decode = if load.decodes > 0 { decode } else { 0.0 };
    (prefill + decode).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_chunk_on_two_h100s_takes_what_the_formula_says() {
        let load =
            Load { requests: 11, decodes: 10, context: 100_000, prefill: 8_192, attended: 8_192 * 4_096 };
        let expected = 0.012 + 11.0 * 40e-6 + 0.0076 + 8_192.0 * 44e-6 + 8_192.0 * 4_096.0 * 0.6e-9;
        let time = StepTime::Model(EngineModel::H100).of(&load, 1).as_secs_f64();
        assert!((time - expected).abs() < 1e-9, "{time} is not {expected}");
    }

    #[test]
    fn the_mockers_step_is_the_sum_of_its_two_polynomials() {
        let prefill = Load { requests: 1, prefill: 1_000, ..Load::default() };
        let both = Load { decodes: 4, context: 500, ..prefill };
        let ms = |load| StepTime::Model(EngineModel::Mocker).of(&load, 1_000).as_secs_f64() * 1e3;
        assert!((ms(prefill) - (0.420_998_9 + 15.183_44 + 16.501_42)).abs() < 1e-6, "{}", ms(prefill));
        assert!((ms(both) - ms(prefill) - (-6.435 + 27.005 + 5.74)).abs() < 1e-6, "{}", ms(both));
        assert!((ms(Load::default()) - 1.0).abs() < 1e-9, "no step takes less than a millisecond");
        let full = ms(Load { decodes: 4, context: 1_000, ..Load::default() });
        let shared = ms(Load { decodes: 12, context: 3_000, ..Load::default() });
        assert!(
            (full - 34.01).abs() < 1e-6 && full.total_cmp(&shared).is_eq(),
            "{full} ms, and {shared} ms for more"
        );
    }

    #[test]
    fn rates_add_the_prompts_tokens_and_one_token_of_every_answer() {
        let steps = StepTime::Rates { prompt_token_s: 1e-4, answer_token_s: 5e-3 };
        let seconds = |load| steps.of(&load, 1).as_secs_f64();
        let reading = Load { requests: 1, prefill: 100, ..Load::default() };
        assert!((seconds(reading) - 0.01).abs() < 1e-9);
        assert!((seconds(Load { decodes: 7, ..reading }) - 0.015).abs() < 1e-9);
    }
}
