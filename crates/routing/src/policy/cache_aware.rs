//! The least cost in seconds: the wait there, what of this prompt is missing there, and what the choice costs everybody else.
//!
//! ```text
//! cost = busy x (wait x before  +  (1 + behind x waiting) x missing x (1 + price x full x churn^2))
//!        +  apart x others x missing  +  kappa x in flight  +  crowding
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

use super::{Candidate, Candidates, Choice, OptionInfo, Options, Policy};
use crate::chance::Chance;
use crate::event::Part;
use crate::request::{Reason, Request};
use crate::time::Time;

pub(super) const ABOUT: &str = "the least work, counting what each worker's cache saves and what the choice evicts";
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
        default: 5.0,
        range: (0.0, 100.0),
        about: "how much dearer reading a token becomes with each other gateway, on workers that another one is the first to fill",
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
/// Decisions after which one counts for 1/e in what is known of reuse: long enough to see a working set, short enough to
/// follow a change of traffic.
const MEMORY: f64 = 200.0;
/// What one decision leaves of it.
const KEEP: f64 = 1.0 - 1.0 / MEMORY;
/// Decisions before full caches after which the first strength counts for 1/e.
const DOUBT: f64 = 300.0;
/// Everything is taken to be reused at first, with the weight of so many prompts.
const HOPE: f64 = 25.0;
/// What is in flight stays for half of its time on average.
const STILL_THERE: f64 = 0.5;
/// Seconds over which it is measured at least how fast caches fill: two prompts at once are no flood.
const LEAST_SPAN_S: f64 = 1.0;

pub(super) fn build(options: &Options<'_>) -> impl Policy + use<> {
    CacheAware {
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
    fn fleet(&self, among: Candidates<'_>) -> Fleet {
        let (mut unread, mut in_flight, mut recent, mut full, mut capacity) = (0, 0, 0.0, 0.0, 0.0);
        for candidate in among.iter() {
            unread += u64::from(candidate.unread);
            in_flight += u64::from(candidate.in_flight);
            recent += candidate.recent;
            full += candidate.fill;
            capacity += candidate.capacity.map_or(0.0, |capacity| capacity.as_f64());
        }
        let (count, reused) = (among.count() as f64, self.reuse.share());
        let waiting = (unread as f64 / count - 1.0).max(0.0);
        let known = (self.gain * self.reuse.lost()).clamp(self.strength.0, self.strength.1);
        let price = reused * known.max(self.first * self.reuse.doubt);
        Fleet {
            reading: 1.0 + self.behind * waiting,
            part: among.part(),
            apart: self.apart * others(among, in_flight as f64),
            // What is in flight has to come back, and to find what it left: hence the square.
            company: self.returning * reused * reused / (in_flight as f64 / count + 1.0),
            price: if recent > 0.0 { (0.0, price * (count / recent).powi(2)) } else { (price, 0.0) },
            stay_s: among.stay_s(),
            full: full / count,
            coming: self.filling.per_s() * STILL_THERE * among.stay_s() / capacity.max(1.0),
        }
    }

    fn cost(&self, candidate: &Candidate, fleet: &Fleet) -> f64 {
        let missing = candidate.token_s * candidate.uncached.as_f64();
        let full = (candidate.fill + fleet.coming).min(1.0);
        let evicting = full * (fleet.price.0 + fleet.price.1 * candidate.recent * candidate.recent);
        let reading = fleet.reading * missing * (1.0 + evicting);
        let in_flight = f64::from(candidate.in_flight);
        let others_first = fleet.apart > 0.0 && !fleet.part.is_first_at(candidate.worker);
        let apart = if others_first { fleet.apart } else { 0.0 };
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
        let chosen = among.least_or(
            |candidate| self.cost(candidate, &fleet),
            |candidate| [candidate.recent, f64::from(candidate.in_flight), candidate.last_chosen as f64],
        );
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

/// What became of prompt tokens lately: sums that forget.
#[derive(Clone, Debug)]
struct Reuse {
    prompt: f64,
    /// They went to a worker that held them.
    hit: f64,
    /// They had been sent before, and no worker held them any more.
    lost: f64,
    /// From 1 to 0 as evictions become known.
    doubt: f64,
}

impl Default for Reuse {
    fn default() -> Self {
        Self { prompt: 0.0, hit: 0.0, lost: 0.0, doubt: 1.0 }
    }
}

impl Reuse {
    /// The share of prompt tokens that were reused.
    fn share(&self) -> f64 {
        if self.prompt > 0.0 { self.hit / self.prompt } else { 0.0 }
    }

    /// The share of reusable tokens that evictions have cost.
    fn lost(&self) -> f64 {
        let reusable = self.hit + self.lost;
        if reusable > 0.0 { self.lost / reusable } else { 0.0 }
    }

    fn learn(&mut self, chosen: &Candidate, lost: f64, full: f64) {
        let prompt = (chosen.overlap + chosen.uncached).as_f64();
        if self.prompt == 0.0 {
            (self.prompt, self.hit) = (HOPE * prompt, HOPE * prompt);
        }
        self.doubt -= self.doubt * full / DOUBT;
        self.prompt = KEEP.mul_add(self.prompt, prompt);
        self.hit = KEEP.mul_add(self.hit, chosen.overlap.as_f64());
        self.lost = KEEP.mul_add(self.lost, lost);
    }
}

/// How fast prompts fill the caches lately, as far as this gateway sent them: sums that forget.
#[derive(Clone, Debug, Default)]
struct Filling {
    /// Tokens that were not held where they went.
    read: f64,
    /// Seconds in which they came.
    span_s: f64,
    last: Option<Time>,
}

impl Filling {
    /// Tokens in a second.
    fn per_s(&self) -> f64 {
        self.read / self.span_s.max(LEAST_SPAN_S)
    }

    fn learn(&mut self, read: Tokens, now: Time) {
        let passed_s = self.last.replace(now).map_or(0.0, |last| now.seconds_since(last));
        self.read = KEEP.mul_add(self.read, read.as_f64());
        self.span_s = KEEP.mul_add(self.span_s, passed_s);
    }
}
