//! `warmroute worker`: a worker from the command line, with a model on this machine's CPU or emulated.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use warmroute_kv::Tokens;
use warmroute_worker::emulated::RunningEmulator;
use warmroute_worker::model::ModelSource;
use warmroute_worker::{RunningWorker, WorkerConfig, WorkerModel, emulated};

use crate::{Verdict, signals};

mod emulation;
mod publishing;

/// Run a worker: a model on this machine's CPU with a prefix cache, or a stand-in without one, OpenAI-compatible
#[derive(Args)]
pub(crate) struct Flags {
    /// Address and port to listen on
    #[arg(long, value_name = "ADDRESS", env = "WARMROUTE_LISTEN", default_value = "127.0.0.1:8001")]
    listen: SocketAddr,
    /// What answers: `cpu` computes, `emulated` only keeps time and a cache
    #[arg(long, value_name = "ENGINE", env = "WARMROUTE_ENGINE", default_value = "cpu")]
    engine: EngineKind,
    /// The model: `embedded`, a directory or .gguf file, or a name on the Hugging Face hub; any name if emulated
    #[arg(long, env = "WARMROUTE_MODEL", default_value = "embedded")]
    model: String,
    /// Further names under which clients may ask for the model; repeat or separate by commas
    #[arg(long = "alias", value_name = "NAME", env = "WARMROUTE_ALIASES", value_delimiter = ',')]
    aliases: Vec<String>,
    /// Tokens the KV cache holds, in whole blocks of 16; prompt and answer of a request must fit [16384; emulated 1048576]
    #[arg(long, value_name = "TOKENS", env = "WARMROUTE_KV_CACHE_TOKENS")]
    kv_cache_tokens: Option<u32>,
    /// Prompt tokens computed in one step: bounds how long an answer waits for another's prompt [256; emulated 8192]
    #[arg(long, value_name = "TOKENS", env = "WARMROUTE_PREFILL_CHUNK_TOKENS")]
    prefill_chunk_tokens: Option<u32>,
    /// Requests decoded together [64; emulated 256]
    #[arg(long, value_name = "REQUESTS", env = "WARMROUTE_MAX_RUNNING")]
    max_running: Option<usize>,
    /// Requests that may wait behind them; more get status 429 [1024; emulated 4096]
    #[arg(long, value_name = "REQUESTS", env = "WARMROUTE_MAX_WAITING")]
    max_waiting: Option<usize>,
    /// Milliseconds a drain waits for running requests
    #[arg(long, value_name = "MS", env = "WARMROUTE_DRAIN_GRACE_MS", default_value_t = grace_ms())]
    drain_grace_ms: u64,
    #[command(flatten)]
    publishing: publishing::Publishing,
    #[command(flatten)]
    emulation: emulation::Emulation,
}

/// What answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EngineKind {
    /// A model on this machine's CPU
    Cpu,
    /// A stand-in that only keeps time and a cache
    Emulated,
}

fn grace_ms() -> u64 {
    u64::try_from(WorkerConfig::default().grace.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) async fn run(flags: Flags) -> anyhow::Result<Verdict> {
    match flags.engine {
        EngineKind::Cpu => {
            let config = flags.into_config()?;
            let start = async { Ok(warmroute_worker::start(config).await?) };
            signals::serve(start, async |worker: RunningWorker| worker.shutdown().await).await?;
        }
        EngineKind::Emulated => {
            let config = flags.into_emulation()?;
            let start = async { Ok(emulated::start(config).await?) };
            signals::serve(start, async |worker: RunningEmulator| worker.shutdown().await).await?;
        }
    }
    Ok(Verdict::Well)
}

impl Flags {
    fn into_config(self) -> anyhow::Result<WorkerConfig> {
        self.emulation.refuse_all()?;
        let usual = WorkerConfig::default();
        Ok(WorkerConfig {
            listen: self.listen,
            model: WorkerModel::Source(self.model.parse::<ModelSource>()?),
            aliases: self.aliases,
            kv_cache_tokens: self.kv_cache_tokens.map_or(usual.kv_cache_tokens, Tokens),
            prefill_chunk_tokens: self.prefill_chunk_tokens.map_or(usual.prefill_chunk_tokens, Tokens),
            max_running: self.max_running.unwrap_or(usual.max_running),
            max_waiting: self.max_waiting.unwrap_or(usual.max_waiting),
            grace: Duration::from_millis(self.drain_grace_ms),
            kv_events: self.publishing.asked(),
        })
    }

    fn into_emulation(self) -> anyhow::Result<emulated::EmulatedConfig> {
        let usual = emulated::EmulatedConfig::default();
        let model = if self.model == "embedded" { usual.model.clone() } else { self.model };
        let config = emulated::EmulatedConfig {
            listen: self.listen,
            model,
            aliases: self.aliases,
            kv_cache_tokens: self.kv_cache_tokens.map_or(usual.kv_cache_tokens, Tokens),
            prefill_chunk_tokens: self.prefill_chunk_tokens.map_or(usual.prefill_chunk_tokens, Tokens),
            max_running: self.max_running.unwrap_or(usual.max_running),
            max_waiting: self.max_waiting.unwrap_or(usual.max_waiting),
            grace: Duration::from_millis(self.drain_grace_ms),
            kv_events: self.publishing.asked(),
            ..usual
        };
        self.emulation.applied_to(config)
    }
}
