//! Policies: rules that choose one of the workers that take requests.
//!
//! A policy is one file and one word in `policies!`. Flags, help, config, metric labels, reference pages, benches and
//! the conformance tests derive from [`POLICIES`]. A comparison policy that is not shipped is a [`PolicyInfo`] elsewhere.

mod config;
#[cfg(test)]
mod conformance;
mod lately;
mod options;
mod rendezvous;
mod totals;

use std::cmp::Ordering;

use warmroute_kv::Tokens;

pub use self::config::{BadPolicy, PolicyConfig};
pub use self::options::{BadChoice, Chosen, Named, OptionInfo, Options, nearest};
pub(crate) use self::totals::Totals;
use crate::chance::Chance;
use crate::event::Part;
use crate::request::{Reason, Request, WorkerId};
use crate::time::Time;

/// Declares the shipped policies: their modules, and the list that everything else is derived from.
macro_rules! policies {
    ($($name:ident)+) => {
        $(mod $name;)+

        /// Every shipped policy, in the order in which help and tables show them.
        pub static POLICIES: &[PolicyInfo] = &[$(PolicyInfo {
            name: stringify!($name),
            about: $name::ABOUT,
            options: $name::OPTIONS,
            build: |options| Box::new($name::build(options)),
        }),+];
    };
}

policies! { random round_robin least_loaded power_of_two prefix_hash bounded_hash session cache_aware }

/// The policy used when none is named.
pub const DEFAULT: &str = "cache_aware";

/// Candidates that are looked at together: a bit for each in one word.
const AT_ONCE: usize = u64::BITS as usize;

/// The policy for requests of which no cache can hold anything.
pub(crate) const BY_LOAD: &str = "least_loaded";

/// Makes that policy.
pub(crate) fn by_load() -> Box<dyn Policy> {
    PolicyConfig::parse(BY_LOAD, POLICIES).expect("it is registered").build()
}

/// A rule that chooses among workers.
pub trait Policy: Fork + Send {
    /// Chooses one of at least two candidates.
    fn choose(&mut self, request: &Request<'_>, among: Candidates<'_>, chance: &mut Chance) -> Choice;
}

/// A policy can be copied with all that it has learned, so that it may be asked what it would choose without learning of the question.
pub trait Fork {
    /// The copy.
    fn fork(&self) -> Box<dyn Policy>;
}

impl<P: Policy + Clone + 'static> Fork for P {
    fn fork(&self) -> Box<dyn Policy> {
        Box::new(self.clone())
    }
}

/// A policy as people see it, and how to make one.
#[derive(Debug)]
pub struct PolicyInfo {
    /// What `--policy` calls it.
    pub name: &'static str,
    /// One line of help.
    pub about: &'static str,
    /// The settings it takes.
    pub options: &'static [OptionInfo],
    /// Makes one.
    pub build: fn(&Options<'_>) -> Box<dyn Policy>,
}

/// A worker that could take the request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Who.
    pub worker: WorkerId,
    /// Prompt tokens whose state it is believed to hold.
    pub overlap: Tokens,
    /// Prompt tokens it would have to compute.
    pub uncached: Tokens,
    /// Requests it has been sent that have not ended.
    pub in_flight: u32,
    /// Those of them whose first token has not come.
    pub unread: u32,
    /// The uncached prompt tokens of these.
    pub queued: Tokens,
    /// Seconds until it could tell the first token of a prompt that it holds already: what it has to read before, and what its
    /// answers under way take of its time, by its learned pace.
    pub wait_s: f64,
    /// Seconds it takes to read one prompt token, learned from first tokens.
    pub token_s: f64,
    /// Uncached prompt tokens it has been sent lately, old ones counting less.
    pub recent: f64,
    /// The share of its cache that is in use, 0 to 1.
    pub fill: f64,
    /// Tokens of KV state that its requests in flight need on average over their time, half of each answer; what several share
    /// counts once.
    pub active: Tokens,
    /// The same, with what they share counted for each.
    pub context: Tokens,
    /// Tokens its KV cache holds, if known.
    pub capacity: Option<Tokens>,
    /// The number of the decision that chose it last; 0 if none did.
    pub last_chosen: u64,
    /// Where all gateways have it in their order of workers.
    pub place: u32,
}

impl Candidate {
    /// A worker that has nothing to do and holds nothing of any prompt, to be refined by struct update.
    pub const fn idle(worker: WorkerId) -> Self {
        Self {
            worker,
            overlap: Tokens::ZERO,
            uncached: Tokens::ZERO,
            in_flight: 0,
            unread: 0,
            queued: Tokens::ZERO,
            wait_s: 0.0,
            token_s: 1e-4,
            recent: 0.0,
            fill: 0.0,
            active: Tokens::ZERO,
            context: Tokens::ZERO,
            capacity: None,
            last_chosen: 0,
            place: worker.0,
        }
    }
}

/// What a decision is about beside the workers themselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Occasion {
    /// When it is made.
    pub now: Time,
    /// Leading prompt tokens that somebody sent lately: what a cache that never forgets would hold.
    pub remembered: Tokens,
    /// Seconds from a request's arrival to its end, as they have been lately.
    pub stay_s: f64,
    /// Which of several gateways decides.
    pub part: Part,
    /// Requests in flight that it has sent.
    pub own: usize,
}

/// Workers to choose from, in order of their ids: never empty.
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'a> {
    list: &'a [Candidate],
    totals: Totals,
    occasion: Occasion,
}

impl<'a> Candidates<'a> {
    /// The list, if there is anything in it.
    pub fn new(list: &'a [Candidate], occasion: Occasion) -> Option<Self> {
        Self::counted(list, Totals::of(list), occasion)
    }

    /// The same, where what they come to is known.
    pub(crate) const fn counted(list: &'a [Candidate], totals: Totals, occasion: Occasion) -> Option<Self> {
        if list.is_empty() { None } else { Some(Self { list, totals, occasion }) }
    }

    /// What they come to together.
    pub(crate) const fn totals(self) -> Totals {
        self.totals
    }

    /// How many there are; at least one.
    pub const fn count(self) -> usize {
        self.list.len()
    }

    /// The candidate at `index`, counted modulo their number.
    pub const fn nth(self, index: usize) -> &'a Candidate {
        &self.list[index % self.list.len()]
    }

    /// The one for this worker, if it is there.
    pub(crate) fn of(self, worker: WorkerId) -> Option<&'a Candidate> {
        place(self.list, worker).map(|place| &self.list[place])
    }

    /// All of them.
    pub fn iter(self) -> impl Iterator<Item = &'a Candidate> {
        self.list.iter()
    }

    /// When the decision is made.
    pub const fn now(self) -> Time {
        self.occasion.now
    }

    /// Seconds from a request's arrival to its end, as they have been lately: how long it takes until memory is given back.
    pub const fn stay_s(self) -> f64 {
        self.occasion.stay_s
    }

    /// Which of several gateways decides.
    pub const fn part(self) -> Part {
        self.occasion.part
    }

    /// Requests in flight that this gateway has sent.
    pub const fn own(self) -> usize {
        self.occasion.own
    }

    /// Leading prompt tokens that somebody sent lately, whether or not a worker still holds them.
    pub const fn remembered(self) -> Tokens {
        self.occasion.remembered
    }

    /// The least and the largest overlap of all.
    pub const fn overlaps(self) -> (Tokens, Tokens) {
        (self.totals.common, self.totals.most)
    }

    /// The one with the least `cost`, the first of equals. Costs are compared by `f64::total_cmp`.
    pub fn least<const N: usize>(self, cost: impl Fn(&Candidate) -> [f64; N]) -> &'a Candidate {
        self.least_or(|_| 0.0, cost)
    }

    /// The one with the least `cost`; of equals the one that is least by `ties`, which are seldom asked for; the first of equals
    /// in both. Costs are compared by `f64::total_cmp`.
    pub fn least_or<const N: usize>(
        self,
        cost: impl Fn(&Candidate) -> f64,
        ties: impl Fn(&Candidate) -> [f64; N],
    ) -> &'a Candidate {
        self.least_within(|_| f64::NEG_INFINITY, cost, ties)
    }

    /// The same, where `bound` is never more than `cost` and worked out sooner. Whoever holds most of the prompt is asked first, beside
    /// whom the costs of most others need not be known.
    pub(crate) fn least_within<const N: usize>(
        self,
        bound: impl Fn(&Candidate) -> f64,
        cost: impl Fn(&Candidate) -> f64,
        ties: impl Fn(&Candidate) -> [f64; N],
    ) -> &'a Candidate {
        let most = self.list.iter().position(|candidate| candidate.overlap == self.totals.most);
        let mut least = most.unwrap_or(0);
        let mut least_cost = cost(&self.list[least]);
        for (candidates, first) in self.list.chunks(AT_ONCE).zip((0..).step_by(AT_ONCE)) {
            // Who may be cheaper is chance, and a branch on it that is guessed wrongly costs more than to note a bit of everybody.
            let noted = |bits, (place, candidate)| bits | u64::from(bound(candidate) <= least_cost) << place;
            let mut asked = candidates.iter().enumerate().fold(0, noted);
            while asked != 0 {
                let place = asked.trailing_zeros() as usize;
                asked &= asked - 1;
                let candidate = &candidates[place];
                let cost = cost(candidate);
                if cost > least_cost {
                    continue;
                }
                let ties = || compare(ties(candidate), ties(&self.list[least]));
                let order = cost.total_cmp(&least_cost).then_with(ties).then((first + place).cmp(&least));
                if order.is_lt() {
                    (least, least_cost) = (first + place, cost);
                }
            }
        }
        &self.list[least]
    }
}

/// Where `worker` is in a list in order of ids. Drivers number workers from zero, so it mostly is where its number says.
pub(crate) fn place(list: &[Candidate], worker: WorkerId) -> Option<usize> {
    let likely = worker.0 as usize;
    if list.get(likely).is_some_and(|candidate| candidate.worker == worker) {
        return Some(likely);
    }
    list.binary_search_by_key(&worker, |candidate| candidate.worker).ok()
}

fn compare<const N: usize>(one: [f64; N], other: [f64; N]) -> Ordering {
    let orders = one.iter().zip(&other).map(|(a, b)| a.total_cmp(b));
    orders.fold(Ordering::Equal, Ordering::then)
}

/// What a policy chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// One of the candidates.
    pub worker: WorkerId,
    /// What decided.
    pub reason: Reason,
}
