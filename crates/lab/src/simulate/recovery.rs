//! How soon after a change the fleet hits as often as before it.
//!
//! Hit rates are taken over windows of requests by arrival. The one before the first change is what is to be reached
//! again; the first window after the last change that comes up to 95 % of it is when it was.

use super::flight::Flight;

/// The window before the change.
const BEFORE_S: f64 = 120.0;
/// The windows after it, and how far apart they begin.
const AFTER_S: f64 = 20.0;
const STEP_S: f64 = 5.0;
/// The share of the former hit rate that counts as reached.
const REACHED: f64 = 0.95;

/// Seconds from `last` to the beginning of the first window after it that hits as before `first`. To the last arrival
/// if there is none. None if the run has no window before `first` or after `last`.
pub(super) fn recovery_s(flights: &[Flight], first: f64, last: f64) -> Option<f64> {
    let former = hit_rate(flights, first - BEFORE_S, first)?;
    let end = flights.iter().map(|flight| flight.arrived.as_secs_f64()).fold(0.0, f64::max);
    let windows =
        (0..).map(|step| f64::from(step) * STEP_S).take_while(|after| last + after + AFTER_S <= end);
    let mut later = windows.peekable();
    later.peek()?;
    let reached = |after: &f64| {
        let from = last + after;
        hit_rate(flights, from, from + AFTER_S).is_some_and(|rate| rate >= REACHED * former)
    };
    Some(later.find(reached).unwrap_or(end - last))
}

fn hit_rate(flights: &[Flight], from: f64, to: f64) -> Option<f64> {
    let within = |flight: &&Flight| (from..to).contains(&flight.arrived.as_secs_f64());
    let (hit, prompt) = flights.iter().filter(within).fold((0.0, 0.0), |(hit, prompt), flight| {
        (hit + flight.cached.as_f64(), prompt + flight.ask.prompt.as_f64())
    });
    (from >= 0.0 && prompt > 0.0).then(|| hit / prompt)
}
