//! What must hold in every run, whatever the policy: watched while it runs, so that a table is never made of a defect.

use warmroute_kv::timed::RequestId;
use warmroute_routing::WorkerId;

use super::scenario::{Happening, View};
use super::world::World;

/// Every so many decisions the index is compared with the caches themselves.
const EVERY: usize = 64;

/// An invariant does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The index says something else of a worker's cache than the cache.
    #[error(
        "request {request}: the index believes that worker {worker} holds {believed} leading blocks, its cache holds {held}; hint: this is a defect, please report the command"
    )]
    Index {
        /// The request, counted from zero.
        request: usize,
        /// The worker.
        worker: usize,
        /// Blocks by the index.
        believed: usize,
        /// Blocks in the pool.
        held: usize,
    },
    /// Work is booked, or owed, when all is over.
    #[error("{what} when every request had ended; hint: this is a defect, please report the command")]
    LeftOver {
        /// What is left.
        what: String,
    },
}

/// Whether the index ought to equal the caches at every moment.
fn is_exact(world: &World<'_>) -> bool {
    let scenario = world.scenario;
    let loses = |happening| matches!(happening, Happening::LoseEvents(share) if share > 0.0);
    scenario.view == View::Exact
        && scenario.view_lag.is_zero()
        && !scenario.changes.iter().any(|change| loses(change.happening))
}

/// The index equals the pools, for the prompt that was just decided about.
pub(super) fn at_a_decision(world: &World<'_>, id: RequestId) -> Result<(), Broken> {
    if !id.0.is_multiple_of(EVERY) || !is_exact(world) {
        return Ok(());
    }
    let ask = &world.flights[id.0].ask;
    let blocks = ask.prompt_blocks(world.traffic.block);
    for (worker, seat) in world.seats.iter().enumerate().filter(|(_, seat)| seat.alive) {
        let held = seat.engine.pool.longest_prefix(blocks.iter().map(|name| (*name, &())));
        for router in world.gateways.routers() {
            let believed = router.leading_blocks(WorkerId(worker as u32), blocks);
            if believed != held {
                return Err(Broken::Index { request: id.0, worker, believed, held });
            }
        }
    }
    Ok(())
}

/// Nothing is left: no booking, no queued work, no request without an end.
pub(super) fn at_the_end(world: &World<'_>) -> Result<(), Broken> {
    let left = |what: String| Err(Broken::LeftOver { what });
    if let Some(lost) = world.flights.iter().position(|flight| flight.ended.is_none()) {
        return left(format!("request {lost} has no end"));
    }
    for (gateway, router) in world.gateways.routers().iter().enumerate() {
        if router.in_flight() > 0 {
            return left(format!("gateway {gateway} has {} bookings open", router.in_flight()));
        }
        if let Some(view) = router
            .workers()
            .find(|view| view.in_flight > 0 || view.queued.0 > 0 || view.active.0 > 0 || view.context.0 > 0)
        {
            return left(format!("gateway {gateway} counts work on {view:?}"));
        }
    }
    for (worker, seat) in world.seats.iter().enumerate().filter(|(_, seat)| seat.alive) {
        if seat.engine.jobs() > 0 {
            return left(format!("worker {worker} has {} requests", seat.engine.jobs()));
        }
        let resident = seat.engine.pool.resident();
        for router in world.gateways.routers().iter().filter(|_| is_exact(world)) {
            let believed = router.held_by(WorkerId(worker as u32));
            if believed != resident {
                return left(format!(
                    "the index counts {believed} blocks on worker {worker}, not {resident}"
                ));
            }
        }
    }
    Ok(())
}
