//! Who tells the router about workers: discovery, health checks, descriptions and KV events now; load later.
//!
//! [`Membership`] decides who belongs to the [`Fleet`]: what the settings list, what is discovered and what the admin API adds. Each member
//! has one checker task ([`health`]), which ends with it. Only a worker's own checker changes its health, so `Joined` and `Left` reach
//! the router in order; the front may only cast doubt on a worker, which its checker acts on at once. What requests themselves find out is
//! in two more: [`breaker`] says whether a worker's latest answers are good enough, and [`trial`] when they are again; [`seats`] how many requests it
//! takes at once.

mod breaker;
pub(crate) mod catalogue;
mod circuit;
mod comparison;
pub(crate) mod describe;
pub(crate) mod discovery;
mod fleet;
pub(crate) mod health;
pub(crate) mod kv_events;
mod membership;
mod seats;
mod token_check;
mod trial;
mod truth;
pub(crate) mod weights;
mod window;
mod worker;

pub(crate) use self::breaker::Circuit;
pub(crate) use self::circuit::Attempt;
pub(crate) use self::comparison::CacheView;
pub(crate) use self::fleet::Fleet;
pub(crate) use self::membership::{Membership, Origin};
pub(crate) use self::truth::{Answer, Honesty};
pub(crate) use self::window::Outcome;
pub(crate) use self::worker::{State, Worker, bearer};
