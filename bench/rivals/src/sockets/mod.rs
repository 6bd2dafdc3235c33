//! What it costs to follow engines, from their sockets to the index: whole services, each a process of its own, that many publishers tell
//! at once.
//!
//! `warmroute index` and the indexer service of dynamo-kv-router have one API, so one client drives both: it registers the publishers, and
//! asks until everything that was sent shows in the answers.

#[path = "../../../proxy/src/process.rs"]
mod process;
mod publishers;
mod service;

use std::path::Path;

use serde::Serialize;

use self::publishers::Publishers;
use self::service::{Launch, SERVICES, Service};
use crate::ingestion::{BLOCK_TOKENS, Fleet, PROMPT_BLOCKS, Sent};
use crate::measure::{median, spread};

/// One service's figures for one fleet: medians of the rounds.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    pub service: &'static str,
    pub fleet: String,
    /// Per second of the service's CPU time.
    pub indexed_blocks_per_s: f64,
    /// Of the rounds: (largest - smallest) / median.
    pub indexed_spread: f64,
    /// Resident with the publishers registered, when they hold the most, and when they hold nothing any more.
    pub resident_kb: [f64; 3],
}

/// One round's.
struct Round {
    rate: f64,
    resident_kb: [u64; 3],
}

pub fn figures(fleet: &Fleet, rounds: usize, program: &Path) -> anyhow::Result<Vec<Figures>> {
    let sent = fleet.sent();
    let mut taken: Vec<Vec<Round>> = SERVICES.iter().map(|_| vec![]).collect();
    for first in 0..rounds {
        for turn in 0..SERVICES.len() {
            let service = (first + turn) % SERVICES.len();
            taken[service].push(round(SERVICES[service], fleet, &sent, program)?);
        }
    }
    let row = |((service, _), rounds): (&Launch, Vec<Round>)| {
        let rates: Vec<_> = rounds.iter().map(|round| round.rate).collect();
        let resident = |at: usize| median(rounds.iter().map(|round| round.resident_kb[at] as f64).collect());
        Figures {
            service,
            fleet: fleet.name(),
            indexed_spread: spread(&rates),
            indexed_blocks_per_s: median(rates),
            resident_kb: [resident(0), resident(1), resident(2)],
        }
    };
    Ok(SERVICES.iter().zip(taken).map(row).collect())
}

fn round(launch: Launch, fleet: &Fleet, sent: &Sent, program: &Path) -> anyhow::Result<Round> {
    let mut publishers = Publishers::bind(fleet.publishers)?;
    let mut service = Service::start(launch, program)?;
    service.follow(&publishers.endpoints()?)?;
    publishers.heard()?;
    let (began, ready) = (service.process.cpu()?, service.process.resident_kb()?);
    publishers.send(&sent.filling)?;
    service.wait(|service| holds_last(service, fleet, PROMPT_BLOCKS * BLOCK_TOKENS))?;
    let full = service.process.resident_kb()?;
    publishers.send(&sent.emptying)?;
    service.wait(|service| holds_last(service, fleet, 0))?;
    let took = service.process.cpu()? - began;
    let resident_kb = [ready, full, service.process.resident_kb()?];
    Ok(Round { rate: fleet.told() as f64 / took.as_secs_f64(), resident_kb })
}

/// Whether the service knows of every publisher's last prompt what it should, and has forgotten what left before: the last message that was
/// sent is of the one or of the other.
fn holds_last(service: &Service, fleet: &Fleet, tokens: usize) -> anyhow::Result<bool> {
    let last = fleet.prompts - 1;
    // The last publisher is asked first: mostly that is enough to know that it is too early.
    for publisher in (0..fleet.publishers).rev() {
        let holds = |place| service.holds(publisher, fleet.prompt(publisher, place));
        if holds(last)? != tokens as u64 || holds(last - fleet.held)? != 0 {
            return Ok(false);
        }
    }
    Ok(true)
}
