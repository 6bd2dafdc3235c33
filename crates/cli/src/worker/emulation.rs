//! The flags of `--engine emulated`: how it spends time, how it answers, and what goes wrong.

use std::time::Duration;

use clap::Args;
use warmroute_kv::Tokens;
use warmroute_kv::timed::{EngineModel, StepTime};
use warmroute_worker::emulated::faults::{FAULTS, FaultRule};
use warmroute_worker::emulated::{EmulatedConfig, Pace};

/// What only an emulated worker has.
#[derive(Args)]
#[command(next_help_heading = "With --engine emulated")]
pub(super) struct Emulation {
    /// How long steps take: h100 or mocker, as in the simulator
    #[arg(long, hide_short_help = true, value_name = "MODEL", value_parser = engine_model, default_value = "h100")]
    engine_model: EngineModel,
    /// How many times as fast as the model says; 0 spends no time at all
    #[arg(long, hide_short_help = true, value_name = "FACTOR", value_parser = factor)]
    speed: Option<f64>,
    /// Instead of a model: prompt tokens read in a second
    #[arg(long, hide_short_help = true, value_name = "TOKENS", value_parser = factor, requires = "decode_ms_per_token")]
    prefill_tokens_per_second: Option<f64>,
    /// Instead of a model: milliseconds from one token of an answer to the next
    #[arg(long, hide_short_help = true, value_name = "MS", value_parser = factor, requires = "prefill_tokens_per_second")]
    decode_ms_per_token: Option<f64>,
    /// Instead of a model: every request takes this long, --max-running at a time
    #[arg(long, hide_short_help = true, value_name = "MS", conflicts_with_all = ["speed", "prefill_tokens_per_second"])]
    latency_ms: Option<u64>,
    /// Tokens of an answer whose length the client leaves open [default: 16]
    #[arg(long, hide_short_help = true, value_name = "TOKENS")]
    answer_tokens: Option<u32>,
    /// Bytes of text in a token of an answer, which is one event of a stream [default: 4]
    #[arg(long, hide_short_help = true, value_name = "BYTES")]
    chunk_bytes: Option<usize>,
    #[arg(long = "fault", hide_short_help = true, value_name = "FAULT", help = fault_help())]
    faults: Vec<FaultRule>,
    /// Where the chance of faults begins [default: 1]
    #[arg(long, hide_short_help = true, value_name = "SEED")]
    fault_seed: Option<u64>,
    /// Take orders at /faults from this machine: GET, POST {"fault": "stall", "p": 0.1} and DELETE
    #[arg(long, hide_short_help = true)]
    allow_fault_injection: bool,
}

/// One line for each fault there is.
fn fault_help() -> String {
    let lines = FAULTS.iter().map(|info| format!("\n  {}: {}", info.name, info.about));
    let head = "What goes wrong, as NAME[:KEY=VALUE,..]; keys: p (probability), next (requests), seconds (from the start), ms; repeat";
    head.to_owned() + &lines.collect::<String>()
}

fn engine_model(text: &str) -> Result<EngineModel, String> {
    let known = EngineModel::ALL.into_iter().find(|model| model.name() == text);
    known.ok_or_else(|| format!("'{text}' is no engine model; hint: h100 or mocker"))
}

fn factor(text: &str) -> Result<f64, String> {
    let possible = |factor: &f64| *factor == 0.0 || (1e-3..=1e9).contains(factor);
    let factor = text.parse().ok().filter(possible);
    factor.ok_or_else(|| format!("'{text}' is no number from 0.001 to 1e9, nor 0; hint: such as 0, 1 or 2.5"))
}

impl Emulation {
    /// A worker that computes has none of these.
    pub(super) fn refuse_all(&self) -> anyhow::Result<()> {
        let given = [
            ("--speed", self.speed.is_some()),
            ("--prefill-tokens-per-second", self.prefill_tokens_per_second.is_some()),
            ("--latency-ms", self.latency_ms.is_some()),
            ("--answer-tokens", self.answer_tokens.is_some()),
            ("--chunk-bytes", self.chunk_bytes.is_some()),
            ("--fault", !self.faults.is_empty()),
            ("--fault-seed", self.fault_seed.is_some()),
            ("--allow-fault-injection", self.allow_fault_injection),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            Some((name, _)) => anyhow::bail!("{name} is for emulated workers; hint: add --engine emulated"),
            None => Ok(()),
        }
    }

    pub(super) fn applied_to(self, usual: EmulatedConfig) -> anyhow::Result<EmulatedConfig> {
        Ok(EmulatedConfig {
            pace: self.pace()?,
            answer_tokens: self.answer_tokens.map_or(usual.answer_tokens, Tokens),
            chunk_bytes: self.chunk_bytes.unwrap_or(usual.chunk_bytes),
            seed: self.fault_seed.unwrap_or(usual.seed),
            allow_fault_injection: self.allow_fault_injection,
            faults: self.faults,
            ..usual
        })
    }

    fn pace(&self) -> anyhow::Result<Pace> {
        if let Some(ms) = self.latency_ms {
            return Ok(Pace::Fixed(Duration::from_millis(ms)));
        }
        let speed = self.speed.unwrap_or(1.0);
        if speed == 0.0 {
            return Ok(Pace::Instant);
        }
        let time = match (self.prefill_tokens_per_second, self.decode_ms_per_token) {
            (Some(0.0), _) => {
                anyhow::bail!(
                    "a prompt is never read at 0 tokens a second; hint: --speed 0 spends no time at all"
                )
            }
            (Some(prefill), Some(decode_ms)) => {
                StepTime::Rates { prompt_token_s: 1.0 / prefill, answer_token_s: decode_ms / 1e3 }
            }
            _ => StepTime::Model(self.engine_model),
        };
        Ok(Pace::Steps { time, speed })
    }
}
