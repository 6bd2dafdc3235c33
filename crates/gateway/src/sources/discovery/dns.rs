//! Workers behind a name: every address of it at one port, or every target of a service record at its own.
//!
//! The name is asked for again when the answer's time to live is over. An answer of nobody counts as a failure to answer, since a name
//! server on its way up says so too.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use tokio::time::{Instant, sleep_until};

use super::{Source, SourceError};
use crate::config::WorkerConfig;

/// Answers with a shorter time to live are asked for no more often than this.
const SHORTEST: Duration = Duration::from_secs(1);
/// And those with a longer one no less often: a mistake in a zone should not last for a day.
const LONGEST: Duration = Duration::from_secs(300);
/// How soon a name is asked for again that could not be resolved.
const RETRY: Duration = Duration::from_secs(5);
/// As many targets of a service record as are resolved.
const MOST_TARGETS: usize = 1024;

/// What is asked.
#[derive(Clone, Debug)]
pub(super) enum Question {
    /// Addresses; the port is known.
    Addresses { host: String, port: u16 },
    /// Targets with ports.
    Services { name: String },
}

impl Question {
    fn name(&self) -> &str {
        match self {
            Self::Addresses { host, .. } => host,
            Self::Services { name } => name,
        }
    }
}

/// A name that is asked for again and again.
pub(super) struct Names {
    question: Question,
    server: Option<SocketAddr>,
    /// Made at the first question, since the system's settings may not be readable.
    resolver: Option<TokioResolver>,
    due: Instant,
}

impl Names {
    pub(super) fn new(question: Question, server: Option<SocketAddr>) -> Self {
        Self { question, server, resolver: None, due: Instant::now() }
    }

    async fn ask(&mut self) -> Result<(Vec<SocketAddr>, Duration), String> {
        let resolver = match &mut self.resolver {
            Some(resolver) => resolver,
            none => none.insert(resolver(self.server).map_err(|error| error.to_string())?),
        };
        let (mut addresses, ttl) = match &self.question {
            Question::Addresses { host, port } => addresses(resolver, host, *port).await?,
            Question::Services { name } => services(resolver, name).await?,
        };
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.is_empty() { Err("the answer names nobody".to_owned()) } else { Ok((addresses, ttl)) }
    }
}

impl Source for Names {
    async fn next(&mut self) -> Result<Vec<WorkerConfig>, SourceError> {
        sleep_until(self.due).await;
        let told = self.ask().await;
        let pause = told.as_ref().map_or(RETRY, |(_, ttl)| (*ttl).clamp(SHORTEST, LONGEST));
        self.due = Instant::now() + pause;
        let unresolved = |why| SourceError::Unresolved { name: self.question.name().to_owned(), why };
        let (addresses, _) = told.map_err(unresolved)?;
        // An address with a port always makes a URL.
        Ok(addresses.iter().filter_map(|address| format!("http://{address}").parse().ok()).collect())
    }
}

fn resolver(server: Option<SocketAddr>) -> Result<TokioResolver, NetError> {
    let mut builder = match server {
        None => TokioResolver::builder_tokio()?,
        Some(server) => {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = server.port();
                connection
            });
            let server = NameServerConfig::new(server.ip(), true, connections.into());
            let config = ResolverConfig::from_name_servers(vec![server]);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
    };
    // We ask when the time to live is over; a cache would only add its own idea of that.
    builder.options_mut().cache_size = 0;
    builder.build()
}

/// The shortest time to live of some records.
fn shortest<'a>(records: impl IntoIterator<Item = &'a Record>) -> Duration {
    let ttls = records.into_iter().map(|record| Duration::from_secs(record.ttl.into()));
    ttls.min().unwrap_or(RETRY)
}

async fn addresses(
    resolver: &TokioResolver,
    host: &str,
    port: u16,
) -> Result<(Vec<SocketAddr>, Duration), String> {
    let answer = resolver.lookup(host, RecordType::A).await.map_err(|error| error.to_string());
    // Not every name has addresses of both kinds; that it has one is enough.
    let answers = match answer {
        Ok(answer) => answer,
        Err(why) => resolver.lookup(host, RecordType::AAAA).await.map_err(|_| why)?,
    };
    let records = answers.answers();
    let found = records.iter().filter_map(|record| match &record.data {
        RData::A(address) => Some(IpAddr::from(address.0)),
        RData::AAAA(address) => Some(IpAddr::from(address.0)),
        _ => None,
    });
    Ok((found.map(|address| SocketAddr::new(address, port)).collect(), shortest(records)))
}

async fn services(resolver: &TokioResolver, name: &str) -> Result<(Vec<SocketAddr>, Duration), String> {
    let answer = resolver.lookup(name, RecordType::SRV).await.map_err(|error| error.to_string())?;
    let (mut all, mut ttl) = (Vec::new(), shortest(answer.answers()));
    for record in answer.answers().iter().take(MOST_TARGETS) {
        let RData::SRV(service) = &record.data else { continue };
        // One target without an address must not hide the others; all of them without one is told above.
        match addresses(resolver, &service.target.to_utf8(), service.port).await {
            Ok((found, its_ttl)) => {
                all.extend(found);
                ttl = ttl.min(its_ttl);
            }
            Err(why) => {
                tracing::debug!(target = %service.target, why, "a target of a service record has no address")
            }
        }
    }
    Ok((all, ttl))
}

#[cfg(test)]
mod tests;
