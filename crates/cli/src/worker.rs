//! `warmroute worker`: a CPU inference worker from the command line.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use warmroute_kv::Tokens;
use warmroute_worker::model::ModelSource;
use warmroute_worker::{RunningWorker, WorkerConfig, WorkerModel};

use crate::{Verdict, signals};

/// Run a worker: a model on this machine's CPU with a prefix cache, OpenAI-compatible
#[derive(Args)]
pub(crate) struct Flags {
    /// Address and port to listen on
    #[arg(long, value_name = "ADDRESS", env = "WARMROUTE_LISTEN", default_value = "127.0.0.1:8001")]
    listen: SocketAddr,
    /// The model: `embedded`, a directory or .gguf file, or a name on the Hugging Face hub
    #[arg(long, env = "WARMROUTE_MODEL", default_value = "embedded")]
    model: ModelSource,
    /// Further names under which clients may ask for the model; repeat or separate by commas
    #[arg(long = "alias", value_name = "NAME", env = "WARMROUTE_ALIASES", value_delimiter = ',')]
    aliases: Vec<String>,
    /// Tokens the KV cache holds, in whole blocks of 16; prompt and answer of a request must fit
    #[arg(long, value_name = "TOKENS", env = "WARMROUTE_KV_CACHE_TOKENS", default_value_t = defaults().kv_cache_tokens.0)]
    kv_cache_tokens: u32,
    /// Prompt tokens computed in one step: bounds how long an answer under way waits for another's prompt
    #[arg(long, value_name = "TOKENS", env = "WARMROUTE_PREFILL_CHUNK_TOKENS", default_value_t = defaults().prefill_chunk_tokens.0)]
    prefill_chunk_tokens: u32,
    /// Requests decoded together
    #[arg(long, value_name = "REQUESTS", env = "WARMROUTE_MAX_RUNNING", default_value_t = defaults().max_running)]
    max_running: usize,
    /// Requests that may wait behind them; more get status 429
    #[arg(long, value_name = "REQUESTS", env = "WARMROUTE_MAX_WAITING", default_value_t = defaults().max_waiting)]
    max_waiting: usize,
    /// Milliseconds a drain waits for running requests
    #[arg(long, value_name = "MS", env = "WARMROUTE_DRAIN_GRACE_MS", default_value_t = grace_ms())]
    drain_grace_ms: u64,
}

/// The worker's own defaults, so that none is written down twice.
fn defaults() -> WorkerConfig {
    WorkerConfig::default()
}

fn grace_ms() -> u64 {
    u64::try_from(defaults().grace.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) async fn run(flags: Flags) -> anyhow::Result<Verdict> {
    let config = flags.into_config();
    let start = async { Ok(warmroute_worker::start(config).await?) };
    signals::serve(start, async |worker: RunningWorker| worker.shutdown().await).await?;
    Ok(Verdict::Well)
}

impl Flags {
    fn into_config(self) -> WorkerConfig {
        WorkerConfig {
            listen: self.listen,
            model: WorkerModel::Source(self.model),
            aliases: self.aliases,
            kv_cache_tokens: Tokens(self.kv_cache_tokens),
            prefill_chunk_tokens: Tokens(self.prefill_chunk_tokens),
            max_running: self.max_running,
            max_waiting: self.max_waiting,
            grace: Duration::from_millis(self.drain_grace_ms),
        }
    }
}
