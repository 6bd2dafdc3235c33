//! The worked example of `docs/routing.md`: three workers, a prompt of 6,000 tokens. The page's table is computed here
//! term by term, and the shipped policy with its defaults must find the same costs.
//!
//! A policy tells whom it chose and not what that cost. So differences of costs are measured: a worker is made to wait
//! longer or less, until the choice between it and another tips over.

use std::sync::LazyLock;
use std::time::Duration;

use warmroute_kv::{BlockHash, Tokens};
use warmroute_routing::policy::{Candidate, Candidates, Choice, Occasion, Policy, PolicyConfig};
use warmroute_routing::{Chance, Reason, Request, Time, WorkerId};

const PAGE: &str = include_str!("../../../docs/routing.md");

const PROMPT: Tokens = Tokens(6_000);
const CAPACITY: Tokens = Tokens(307_200);
const TOKEN_S: f64 = 44e-6;
const STAY_S: f64 = 10.0;
/// The defaults of `cache_aware`; `docs.rs` compares those of the page with the code.
const WAIT: f64 = 1.5;
const BEHIND: f64 = 2.0;
const RETURNING: f64 = 0.5;
const KAPPA: f64 = 100.0;
/// 40 % of prompt tokens were hits lately.
const REUSED: f64 = 0.4;
/// The strength is 400 times the 1.125 % that evictions have cost.
const PRICE: f64 = REUSED * (400.0 * 0.01125);
/// The fleet reads 737.28 tokens a second lately: in half of a stay, 0.4 % of its caches.
const READ_S: f64 = 737.28;
const COMING: f64 = READ_S * 0.5 * STAY_S / (3.0 * 307_200.0);
/// Prompts of which 2,373 tokens are read come so often.
const EVERY: Duration = Duration::from_nanos((2_373.0 / READ_S * 1e9) as u64);

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

/// One worker of the page.
struct Told {
    held: u32,
    in_flight: u32,
    unread: u32,
    /// Tokens left to read before a new prompt.
    left: f64,
    context: f64,
    full: f64,
    recent: f64,
}

static WORKERS: LazyLock<[Candidate; 3]> = LazyLock::new(|| {
    [
        Told { held: 5_504, in_flight: 12, unread: 3, left: 4e3, context: 6e4, full: 0.95, recent: 3e4 },
        Told { held: 2_048, in_flight: 6, unread: 1, left: 1e3, context: 3e4, full: 0.9, recent: 2e4 },
        Told { held: 0, in_flight: 2, unread: 0, left: 0.0, context: 1e4, full: 0.8, recent: 1e4 },
    ]
    .map(|told| Candidate {
        overlap: Tokens(told.held),
        uncached: PROMPT - Tokens(told.held),
        in_flight: told.in_flight,
        unread: told.unread,
        queued: Tokens(told.left as u32),
        // The pace of the page: 20 ms a first token, 44 us a token of prompt, 0.1 us a token of context.
        wait_s: 0.02 + TOKEN_S * told.left + 1e-7 * told.context,
        token_s: TOKEN_S,
        recent: told.recent,
        fill: told.full,
        active: Tokens(told.context as u32),
        context: Tokens(told.context as u32),
        capacity: Some(CAPACITY),
        ..Candidate::idle(WorkerId(0))
    })
});

/// The page's workers, with something changed.
fn workers(change: impl FnOnce(&mut [Candidate; 3])) -> [Candidate; 3] {
    let mut workers = *WORKERS;
    change(&mut workers);
    for (id, worker) in workers.iter_mut().enumerate() {
        worker.worker = WorkerId(id as u32);
    }
    workers
}

/// Asks the policy for its decision number `count`.
fn ask(policy: &mut dyn Policy, workers: &[Candidate], (count, remembered): (u32, u32)) -> Choice {
    let now = Time::ZERO + EVERY * count;
    let occasion = Occasion { now, remembered: Tokens(remembered), stay_s: STAY_S, ..Occasion::default() };
    let among = Candidates::new(workers, occasion).expect("there are workers");
    policy.choose(&Request::new(BlockHash(0), &[]), among, &mut Chance::new(1))
}

/// Prompts of a day.
const DAY: u32 = 10_000;

/// The shipped policy after a day of one traffic before full caches, when what was guessed at first is forgotten: of each 3,955 tokens
/// so many are hit, and so many were sent before.
fn taught(hit: u32, remembered: u32) -> Box<dyn Policy> {
    let mut policy = PolicyConfig::default().build();
    let holder = Candidate { overlap: Tokens(hit), uncached: Tokens(3_955 - hit), ..WORKERS[A] };
    for count in 0..DAY {
        ask(&mut *policy, &[holder, holder], (count, remembered));
    }
    policy
}

thread_local! {
    /// The policy that has seen the page's traffic: 1,582 tokens are hit and 18 were evicted.
    static TAUGHT: Box<dyn Policy> = taught(1_582, 1_600);
}

/// What it chooses.
fn choice(workers: &[Candidate]) -> Choice {
    ask(&mut *TAUGHT.with(|taught| taught.fork()), workers, (DAY, 5_504))
}

fn chosen(workers: &[Candidate]) -> (usize, Reason) {
    let Choice { worker, reason } = choice(workers);
    (worker.0 as usize, reason)
}

/// How much more `dear` costs than `cheap`, in seconds: so much longer may `cheap` wait, at the price of waiting.
fn difference(mut workers: [Candidate; 3], cheap: usize, dear: usize) -> f64 {
    let third = A + B + C - cheap - dear;
    workers[third].wait_s += 1e6;
    let (mut least, mut most) = (-100.0, 100.0);
    for _ in 0..60 {
        let middle = f64::midpoint(least, most);
        let mut probe = workers;
        probe[cheap].wait_s += middle;
        if chosen(&probe).0 == cheap { least = middle } else { most = middle }
    }
    busy(&workers[cheap]) * WAIT * least
}

/// The factor for what is in flight, which no test changes.
fn busy(worker: &Candidate) -> f64 {
    let mean = WORKERS.iter().map(|worker| f64::from(worker.in_flight)).sum::<f64>() / 3.0;
    1.0 + RETURNING * REUSED * REUSED * f64::from(worker.in_flight) / (mean + 1.0)
}

/// The rows of the page's table: what each term is for each worker.
fn table() -> Vec<(&'static str, [f64; 3])> {
    let mean = |of: fn(&Candidate) -> f64| WORKERS.iter().map(of).sum::<f64>() / 3.0;
    let waiting = mean(|worker| f64::from(worker.unread)) - 1.0;
    let recent = mean(|worker| worker.recent);
    let row = |of: &dyn Fn(&Candidate) -> f64| WORKERS.each_ref().map(of);
    let wait = row(&|worker| WAIT * worker.wait_s);
    let missing = row(&|worker| TOKEN_S * worker.uncached.as_f64());
    let others = row(&|_| 1.0 + BEHIND * waiting);
    let evicting = row(&|worker| 1.0 + PRICE * (worker.fill + COMING) * (worker.recent / recent).powi(2));
    let reading = [A, B, C].map(|at| missing[at] * others[at] * evicting[at]);
    let busy = row(&busy);
    let kappa = row(&|worker| KAPPA * TOKEN_S * f64::from(worker.in_flight));
    let crowding = row(&|worker| {
        let needed = (worker.active + worker.uncached).as_f64() / CAPACITY.as_f64();
        0.1 * STAY_S * (needed - 0.8).max(0.0)
    });
    let cost = [A, B, C].map(|at| busy[at] * (wait[at] + reading[at]) + kappa[at] + crowding[at]);
    vec![
        ("`wait x before`", wait),
        ("`missing`", missing),
        ("`1 + behind x waiting`", others),
        ("`1 + price x full x churn^2`", evicting),
        ("the product of these three", reading),
        ("`busy`", busy),
        ("`kappa x in flight`", kappa),
        ("`crowding`", crowding),
        ("**cost**", cost),
    ]
}

#[test]
fn the_page_has_the_table_that_is_computed_here() {
    for (term, [a, b, c]) in table() {
        let row = format!("| {term} | {a:.4} | {b:.4} | {c:.4} |");
        assert!(PAGE.contains(&row), "docs/routing.md does not have the row\n{row}");
    }
}

#[test]
fn the_shipped_policy_finds_the_costs_of_the_table() {
    let table = table();
    let (_, cost) = table.last().expect("the table ends with the cost");
    for (cheap, dear) in [(A, B), (A, C), (C, B)] {
        let measured = difference(workers(|_| ()), cheap, dear);
        let expected = cost[dear] - cost[cheap];
        assert!((measured - expected).abs() < 1e-6, "{cheap} to {dear}: {measured} s, not {expected}");
    }
}

#[test]
fn the_warmest_worker_wins_and_says_why() {
    assert_eq!(chosen(&workers(|_| ())), (A, Reason::Prefix));
}

#[test]
fn a_longer_queue_before_the_warmest_worker_sends_the_prompt_to_the_idle_one() {
    let behind = |tokens: f64| chosen(&workers(|workers| workers[A].wait_s += TOKEN_S * tokens));
    assert_eq!(behind(790.0), (A, Reason::Prefix));
    assert_eq!(behind(820.0), (C, Reason::Spill));
}

#[test]
fn evictions_are_dear_until_decisions_before_full_caches_have_told_otherwise() {
    let waits = workers(|workers| workers[A].wait_s += TOKEN_S * 820.0);
    let after_prompts_before = |fill: f64| {
        let mut policy = PolicyConfig::default().build();
        let holder = Candidate { overlap: Tokens(1_582), uncached: Tokens(2_373), fill, ..WORKERS[A] };
        (0..2_000).for_each(|count| _ = ask(&mut *policy, &[holder, holder], (count, 1_600)));
        ask(&mut *policy, &waits, (2_000, 5_504)).worker.0 as usize
    };
    assert_eq!(
        (after_prompts_before(0.0), after_prompts_before(0.95)),
        (A, C),
        "a copy is spared at first, and made once it is known to cost little"
    );
}

#[test]
fn an_empty_cache_attracts_the_prompt() {
    let empty = workers(|workers| workers[C].fill = 0.0);
    assert_eq!(chosen(&empty), (C, Reason::Spill));
    let more = difference(empty, C, A);
    assert!((more - (0.5928 - 0.4909)).abs() < 1e-4, "{more}");
}

#[test]
fn a_worker_with_less_to_do_wins_with_a_shorter_prefix() {
    let holding = |held: u32| {
        chosen(&workers(|workers| {
            (workers[B].overlap, workers[B].uncached) = (Tokens(held), PROMPT - Tokens(held));
        }))
    };
    assert_eq!(holding(3_744), (A, Reason::Prefix));
    assert_eq!(holding(3_760), (B, Reason::Spill));
}

#[test]
fn memory_that_answers_under_way_need_sends_the_prompt_elsewhere() {
    let crowded = workers(|workers| workers[A].active = Tokens(280_000));
    assert_eq!(chosen(&crowded), (C, Reason::Spill));
    let more = difference(crowded, A, B);
    assert!((0.9423 - more - 0.7059).abs() < 1e-4, "A costs {} s", 0.9423 - more);
}

#[test]
fn where_nothing_was_reused_evictions_cost_nothing() {
    let told = ask(&mut *taught(0, 0), &workers(|_| ()), (DAY, 5_504));
    assert_eq!((told.worker, told.reason), (WorkerId(0), Reason::Prefix));
    let cost = |at: usize| {
        let [wait, missing, others, .., kappa, _, _] = &table()[..] else { unreachable!("nine rows") };
        wait.1[at] + missing.1[at] * others.1[at] + kappa.1[at]
    };
    let row = format!("{:.4} s for A, {:.4} s for B and {:.4} s for C", cost(A), cost(B), cost(C));
    let page: Vec<_> = PAGE.split_whitespace().collect();
    assert!(page.join(" ").contains(&row), "docs/routing.md does not say: {row}");
}

#[test]
fn a_prompt_that_nobody_holds_goes_to_the_least_work() {
    let nobody = workers(|workers| {
        for worker in workers {
            (worker.overlap, worker.uncached) = (Tokens(0), PROMPT);
        }
    });
    assert_eq!(chosen(&nobody), (C, Reason::LeastLoad));
}
