//! The least cost in seconds: the wait there, what of this prompt is missing there, and what the choice costs everybody else.
//!
//! ```text
//! cost = busy x (wait x before  +  (1 + behind x waiting) x missing x (1 + price x full x churn^2))
//!        +  apart x others x free x missing  +  kappa x in flight  +  crowding
//!
//! busy      1 and, where prompts are reused, `returning` times its requests in flight over the mean of all workers
//! before    seconds until this worker could tell the first token of a prompt that it holds, by its learned pace
//! missing   seconds that it takes to read what it does not hold
//! waiting   unread prompts per worker beyond the first: others that wait for whatever is read
//! price     what an evicted token is worth: the share of tokens that are asked for again, times a strength that
//!           follows what evictions have cost lately; `first` until caches have been full for a while
//! full      share of its cache that is soon in use: what is, and what the fleet reads while requests in flight stay
//! churn     what it has read lately over the mean of all workers
//! others    other gateways that decide too, on workers that one of them is the first to fill
//! free      how little binds the prompt to such a worker: what it has to read over the least that one of this gateway's own
//!           would have to, at most 1
//! crowding  where requests in flight need most of its memory: the time until what is short has been given back
//! ```
//!
//! Affinity is priced in the unit of what it saves, so that a queue longer than the saving breaks it by itself, per request
//! and per worker; there is no threshold on how much of a prompt must match, and no global switch. `docs/routing.md`
//! explains each term with a worked example; `docs/results.md` has the figures behind the defaults.
//!
//! A copy that was made is kept for as long as it is used, and while caches have room nothing tells what it is going to cost. So evictions
//! are taken to be dear at first, and prompts to be reused. That is given up as caches are full and evictions turn out to cost less. And
//! room that will be gone before the requests in flight have given theirs back is no room.
//!
//! Where nothing is reused, `price` is zero, `missing` is the same everywhere, and this is least work. Equal costs go to
//! the worker with the least recent work, then the fewest requests, then to the one chosen longest ago.

use warmroute_kv::Tokens;

use super::lately::{Filling, Reuse};
use super::{Candidate, Candidates, Choice, OptionInfo, Options, Policy, Totals};
use crate::chance::Chance;
use crate::event::Part;
use crate::request::{Reason, Request};

pub(super) const ABOUT: &str =
    "the least work, counting what each worker's cache saves and what the choice evicts";
pub(super) const OPTIONS: &[OptionInfo] = &[
    OptionInfo {
        name: "wait",
        default: 1.5,
        range: (0.0, 100.0),
        about: "price of a second of waiting: whoever joins a queue makes it longer for those who come after",
    },
    OptionInfo {
        name: "behind",
        default: 2.0,
        range: (0.0, 100.0),
        about: "how much dearer reading a token becomes with each unread prompt per worker that has to wait",
    },
    OptionInfo {
        name: "apart",
        default: 8.0,
        range: (0.0, 100.0),
        about: "how much dearer reading a prompt that nothing binds there becomes with each other gateway, on workers that another one is the first to fill",
    },
    OptionInfo {
        name: "returning",
        default: 0.5,
        range: (0.0, 100.0),
        about: "how much dearer a worker's time becomes with its part of the requests in flight, which come back to it if prompts are reused",
    },
    OptionInfo {
        name: "gain",
        default: 400.0,
        range: (0.0, 1e6),
        about: "how fast evictions become dear, per share of reusable tokens that evictions have cost lately",
    },
    OptionInfo {
        name: "first",
        default: 10.0,
        range: (0.0, 1e3),
        about: "strength of that price at first; it is forgotten while caches are full and evictions cost less",
    },
    OptionInfo {
        name: "least",
        default: 1.0,
        range: (0.0, 1e3),
        about: "strength of that price while evictions cost nothing",
    },
    OptionInfo {
        name: "most",
        default: 8.0,
        range: (0.0, 1e3),
        about: "strength of that price however much evictions cost",
    },
    OptionInfo {
        name: "kappa",
        default: 100.0,
        range: (0.0, 1e9),
        about: "price of each request already in flight on a worker, in prompt tokens: keeps long answers from piling up",
    },
    OptionInfo {
        name: "crowding",
        default: 0.1,
        range: (0.0, 100.0),
        about: "price of a second until memory that is short has been given back",
    },
];

/// Requests in flight crowd a worker from this share of its memory on: four fifths.
const CROWDED: (u64, u64) = (4, 5);
/// What is in flight stays for half of its time on average.
const STILL_THERE: f64 = 0.5;

pub(super) fn build(options: &Options<'_>) -> impl Policy + use<> {
    CacheAware::new(options)
}

#[derive(Clone)]
struct CacheAware {
    wait: f64,
    behind: f64,
    apart: f64,
    returning: f64,
    gain: f64,
    first: f64,
    strength: (f64, f64),
    kappa: f64,
    crowding: f64,
    reuse: Reuse,
    filling: Filling,
}

/// What a decision has in common for all workers, divided once so that no cost has to be.
struct Fleet {
    /// How much dearer reading is while prompts wait, beyond the one that each worker may be reading.
    reading: f64,
    /// Which of several gateways decides.
    part: Part,
    /// How much dearer reading is where another one decides.
    apart: f64,
    /// One over the tokens that a worker of one's own would have to read at least.
    free: f64,
    /// How much dearer each request in flight on a worker makes its time.
    company: f64,
    /// What an evicted token is worth, in tokens, where nobody has read anything lately, and for the square of each token that
    /// somebody has.
    price: (f64, f64),
    /// Seconds from a request's arrival to its end.
    stay_s: f64,
    /// The mean share of the caches in use.
    full: f64,
    /// The share of the caches that is filled before what is in flight is over.
    coming: f64,
}

impl CacheAware {
    fn new(options: &Options<'_>) -> Self {
        Self {
            wait: options.get("wait"),
            behind: options.get("behind"),
            apart: options.get("apart"),
            returning: options.get("returning"),
            gain: options.get("gain"),
            first: options.get("first"),
            // Given the wrong way round, the greater one holds.
            strength: (options.get("least"), options.get("most").max(options.get("least"))),
            kappa: options.get("kappa"),
            crowding: options.get("crowding"),
            reuse: Reuse::default(),
            filling: Filling::default(),
        }
    }

    fn fleet(&self, among: Candidates<'_>) -> Fleet {
        let Totals { unread, in_flight, recent, fill, capacity, .. } = among.totals();
        let (count, reused) = (among.count() as f64, self.reuse.share());
        let waiting = (unread as f64 / count - 1.0).max(0.0);
        let known = (self.gain * self.reuse.lost()).clamp(self.strength.0, self.strength.1);
        let price = reused * known.max(self.first * self.reuse.doubt);
        Fleet {
            reading: 1.0 + self.behind * waiting,
            part: among.part(),
            apart: self.apart * others(among, in_flight as f64),
            free: own_missing(among).as_f64().max(1.0).recip(),
            // What is in flight has to come back, and to find what it left: hence the square.
            company: self.returning * reused * reused / (in_flight as f64 / count + 1.0),
            price: if recent > 0.0 { (0.0, price * (count / recent).powi(2)) } else { (price, 0.0) },
            stay_s: among.stay_s(),
            full: fill / count,
            coming: self.filling.per_s() * STILL_THERE * among.stay_s() / (capacity as f64).max(1.0),
        }
    }

    fn cheapest<'a>(&self, among: Candidates<'a>, fleet: &Fleet) -> &'a Candidate {
        among.least_within(
            |candidate| self.least_cost(candidate),
            |candidate| self.cost(candidate, fleet),
            |candidate| [candidate.recent, f64::from(candidate.in_flight), candidate.last_chosen as f64],
        )
    }

    /// What it costs at least: each factor of `cost` is at least one, each of its terms at least zero.
    fn least_cost(&self, candidate: &Candidate) -> f64 {
        self.wait * candidate.wait_s + candidate.token_s * candidate.uncached.as_f64()
    }

    fn cost(&self, candidate: &Candidate, fleet: &Fleet) -> f64 {
        let missing = candidate.token_s * candidate.uncached.as_f64();
        let full = (candidate.fill + fleet.coming).min(1.0);
        let evicting = full * (fleet.price.0 + fleet.price.1 * candidate.recent * candidate.recent);
        let reading = fleet.reading * missing * (1.0 + evicting);
        let in_flight = f64::from(candidate.in_flight);
        let others_first = fleet.apart > 0.0 && !fleet.part.is_first_at(candidate.place);
        let free = (fleet.free * candidate.uncached.as_f64()).min(1.0);
        let apart = if others_first { fleet.apart * free } else { 0.0 };
        (1.0 + fleet.company * in_flight) * (self.wait * candidate.wait_s + reading)
            + apart * missing
            + self.kappa * candidate.token_s * in_flight
            + self.crowding * fleet.stay_s * crowded(candidate)
    }
}

/// How many other gateways decide, by the requests that they have in flight.
fn others(among: Candidates<'_>, in_flight: f64) -> f64 {
    let of = among.part().of.get();
    if of == 1 || in_flight == 0.0 {
        return 0.0;
    }
    // Requests on workers that take no new ones count as this gateway's too.
    f64::from(of) * (1.0 - among.own() as f64 / in_flight).max(0.0)
}

/// What has to be read of the prompt at least where this gateway is the first to fill: nothing if that is nowhere, since then all
/// workers are the same to it.
fn own_missing(among: Candidates<'_>) -> Tokens {
    let part = among.part();
    if part == Part::ALL {
        return Tokens::ZERO;
    }
    let own = among.iter().filter(|candidate| part.is_first_at(candidate.place));
    own.map(|candidate| candidate.uncached).min().unwrap_or_default()
}

/// How far the requests in flight, this one included, go beyond their share of the memory.
fn crowded(candidate: &Candidate) -> f64 {
    let Some(capacity) = candidate.capacity else { return 0.0 };
    let needed = u64::from(candidate.active.0) + u64::from(candidate.uncached.0);
    // Mostly they do not, which whole numbers tell at the least expense.
    if needed * CROWDED.1 <= u64::from(capacity.0) * CROWDED.0 {
        return 0.0;
    }
    needed as f64 / capacity.as_f64().max(1.0) - CROWDED.0 as f64 / CROWDED.1 as f64
}

impl Policy for CacheAware {
    fn choose(&mut self, _: &Request<'_>, among: Candidates<'_>, _: &mut Chance) -> Choice {
        let fleet = self.fleet(among);
        let chosen = self.cheapest(among, &fleet);
        let (common, best) = among.overlaps();
        self.reuse.learn(chosen, (among.remembered() - best).as_f64(), fleet.full);
        self.filling.learn(chosen.uncached, among.now());
        let reason = match chosen.overlap {
            _ if best == common => Reason::LeastLoad,
            overlap if overlap == best => Reason::Prefix,
            _ => Reason::Spill,
        };
        Choice { worker: chosen.worker, reason }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::policy::{Chosen, Occasion, POLICIES};
    use crate::request::WorkerId;

    /// Coarse numbers, so that many cost the same.
    fn anybody(worker: u32, chance: &mut Chance) -> Candidate {
        let mut tokens = |most| Tokens(1_000 * chance.below(most) as u32);
        let (overlap, active) = (tokens(3), tokens(8));
        Candidate {
            overlap,
            uncached: Tokens(2_000) - overlap,
            wait_s: 0.2 * chance.below(2) as f64,
            recent: 1_000.0 * chance.below(3) as f64,
            in_flight: chance.below(3) as u32,
            fill: 0.5 * chance.below(3) as f64,
            active,
            capacity: (chance.below(4) > 0).then_some(Tokens(6_000)),
            last_chosen: chance.below(3) as u64,
            ..Candidate::idle(WorkerId(worker))
        }
    }

    #[test]
    fn whoever_need_not_be_asked_would_not_have_been_chosen() {
        let chosen = Chosen::parse("cache_aware", POLICIES).unwrap();
        let (policy, mut chance) = (CacheAware::new(&chosen.options()), Chance::new(3));
        for round in 0..3_000 {
            let list: Vec<_> = (0..2 + round % 150).map(|worker| anybody(worker, &mut chance)).collect();
            // One gateway, or one of up to four.
            let of = NonZeroU32::MIN.saturating_add(round % 4);
            let part = Part { which: round % 3, of };
            let among = Candidates::new(&list, Occasion { stay_s: 10.0, part, ..Occasion::default() }).unwrap();
            let fleet = policy.fleet(among);
            let order =
                |one: &Candidate| (policy.cost(one, &fleet), one.recent, one.in_flight, one.last_chosen);
            let plain = list.iter().reduce(|least, one| if order(one) < order(least) { one } else { least });
            assert_eq!(Some(policy.cheapest(among, &fleet)), plain, "round {round}");
        }
    }
}
