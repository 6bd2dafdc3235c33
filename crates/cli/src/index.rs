//! `warmroute index`: the flags of the indexer service, and the service run on them.

use std::net::SocketAddr;
use std::num::NonZeroU32;

use clap::Args;
use warmroute_gateway::indexer::{self, IndexerConfig, Publisher, RunningIndexer};
use warmroute_kv::Tokens;

use crate::{Verdict, signals};

/// Run an indexer: other routers ask it over HTTP who holds how much of a prompt (RFC 1403)
#[derive(Args)]
#[command(after_help = MORE)]
pub(crate) struct Flags {
    /// Address and port to listen on
    #[arg(long, value_name = "ADDRESS", env = "WARMROUTE_INDEX_LISTEN", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// A publisher of KV events to follow from the start, INSTANCE=tcp://HOST:PORT, then a comma and where to replay from; repeat for more
    #[arg(long = "publisher", value_name = "PUBLISHER", requires = "model")]
    publishers: Vec<Publisher>,
    /// The model that those publishers' engines serve
    #[arg(long, value_name = "NAME", env = "WARMROUTE_INDEX_MODEL")]
    model: Option<String>,
    /// Tokens in a block of those engines' caches
    #[arg(long, value_name = "TOKENS", env = "WARMROUTE_INDEX_BLOCK_SIZE", default_value = "16")]
    block_size: NonZeroU32,
}

const MORE: &str = "\
Publishers come and go by POST /register and /unregister; GET /workers lists them, POST /query asks.
docs/indexer.md has the API. Nobody is asked for a key: keep it on a network that you trust.";

pub(crate) async fn run(flags: Flags) -> anyhow::Result<Verdict> {
    let model = flags.model.unwrap_or_default();
    let block = Tokens(flags.block_size.get());
    let publishers = flags.publishers.into_iter().map(|one| one.registration(model.clone(), block)).collect();
    let config = IndexerConfig { listen: flags.listen, publishers };
    let start = async { Ok(indexer::start(config).await?) };
    signals::serve(start, async |indexer: RunningIndexer| indexer.shutdown().await).await?;
    Ok(Verdict::Well)
}
