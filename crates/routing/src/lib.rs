//! The router: a pure state machine that sends each request to the worker that answers it soonest, all told.
//!
//! It is told what happens ([`Event`]) and asked where requests go ([`Router::route`]); time and chance are arguments.
//! The gateway drives it with the real clock, tests and simulations with a virtual one: the same code either way.
//!
//! ```
//! use warmroute_kv::{BlockHash, Tokens, text_chain};
//! use warmroute_routing::{Event, Publishes, Request, Router, Settings, Time, Unit, WorkerId, WorkerSpec};
//!
//! let mut router = Router::new(Settings::default());
//! for id in 0..3 {
//!     let spec = WorkerSpec { capacity: Some(Tokens(10_000)), publishes: Publishes::Nothing };
//!     router.observe(Event::Joined { worker: WorkerId(id), spec }, Time::ZERO);
//! }
//!
//! let text = "You are the help desk of a bicycle shop. ".repeat(30);
//! let blocks: Vec<_> = text_chain(BlockHash(0), text.as_bytes(), 64).collect();
//! let request = Request { unit: Unit::Bytes, prompt: text.len(), block: 64.into(), ..Request::new(BlockHash(0), &blocks) };
//!
//! let first = router.route(&request, Time::ZERO).unwrap();
//! assert_eq!(first.overlap, Tokens(0), "every cache is cold");
//! router.observe(Event::Finished { booking: first.booking, usage: None }, Time::from_millis(4));
//! let second = router.route(&request, Time::from_millis(5)).unwrap();
//! assert_eq!(second.worker, first.worker, "the second goes where the first warmed the cache");
//! assert!(second.overlap > Tokens(200));
//! ```

mod booking;
mod calibration;
mod chance;
mod event;
mod fleet;
mod ghost;
mod holder;
mod index;
mod overtaken;
mod partition;
pub mod policy;
mod promises;
mod request;
mod router;
mod scale;
mod shadow;
mod time;

pub use chance::Chance;
pub use event::{Distant, Elsewhere, Event, Part, Prompt, Publishes, Usage, WorkerSpec};
pub use fleet::WorkerView;
pub use index::{Index, Leading};
pub use request::{BookingId, Decision, Fate, NoWorker, Reason, Request, Standing, Text, Unit, WorkerId};
pub use router::{Explanation, Router, Settings};
pub use time::Time;
