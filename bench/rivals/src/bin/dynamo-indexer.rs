//! The indexer service of dynamo-kv-router as a program, since the crate ships it as a function: `dynamo-indexer PORT`.
//!
//! Its own defaults otherwise, and the allocator that warmroute has, so that this makes no difference.

use dynamo_kv_router::services::indexer::{IndexerConfig, run_server};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What its router gives its index unless told otherwise (`router_event_threads`).
const THREADS: usize = 4;

fn main() -> anyhow::Result<()> {
    let port = std::env::args().nth(1).unwrap_or_default().parse()?;
    let config = IndexerConfig {
        block_size: None,
        port,
        threads: THREADS,
        workers: None,
        model_name: "m".to_owned(),
        routing_group: "default".to_owned(),
        peers: None,
        access_log: None,
        trace_id_header: "x-request-id".parse()?,
        access_log_local_time: false,
    };
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run_server(config))
}
