//! One worker: its address and what is known of it.
//!
//! Its health is written by its own checker only, and whether it drains by [`Membership`](super::Membership) only; everybody reads both
//! as one [`State`].

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};

use arc_swap::ArcSwapOption;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use parking_lot::Mutex;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use warmroute_routing::{Standing, WorkerId};

use super::breaker::Breaker;
use super::describe::Description;
use super::kv_events::{Account, Objection};
use super::seats::Seats;
use super::token_check::{LastCheck, TokenCheck};
use super::truth::Truth;
use crate::config::{KvSource, Secret, WorkerConfig, WorkerUrl};
use crate::show::metrics::gone;
use crate::upstream::{Departure, Departures};

/// Whether a worker takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Its first probe has not ended yet.
    Unknown,
    /// It passes its probes.
    Up,
    /// It does not.
    Down,
    /// It finishes what it has and is given nothing new.
    Draining,
}

impl State {
    /// The word for it in `/health` and in the admin API.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
            Self::Draining => "draining",
        }
    }
}

/// What the probes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Health {
    Unknown,
    Up,
    Down,
}

/// A worker of the fleet.
pub(crate) struct Worker {
    /// Its name in the router; no other worker ever has the same.
    pub id: WorkerId,
    /// Its name to people: host and port.
    pub name: Arc<str>,
    /// The same as the value of `x-warmroute-worker`.
    pub header: HeaderValue,
    /// Where it is.
    pub url: WorkerUrl,
    health: AtomicU8,
    draining: AtomicBool,
    /// Cancelled when it is to go once its last request has ended.
    pub(super) leaving: CancellationToken,
    pub(super) doubted: Notify,
    /// Whether its latest answers are good enough.
    pub(super) breaker: Mutex<Breaker>,
    /// Tells that the breaker has a time to look at.
    pub(super) opened: Notify,
    /// Tells requests that wait for its first byte that it has gone silent.
    silent: Notify,
    /// How many requests it takes at once.
    pub(super) seats: Mutex<Seats>,
    /// What it said of itself when it last joined.
    description: Mutex<Option<Arc<Description>>>,
    /// What it is sent as `authorization`, if not what the client sent.
    key: ArcSwapOption<HeaderValue>,
    /// What its own settings say of its seats; 0 is nothing.
    own_seats: AtomicU32,
    /// Where it publishes KV events.
    pub(super) kv_sources: Vec<KvSource>,
    /// What it told of its cache since it last came up, if it is listened to.
    pub(super) kv_account: ArcSwapOption<Account>,
    /// Whether it counts tokens as we do.
    token_check: LastCheck,
    /// Why it does not speak for its cache itself, though it publishes; nothing if it does, or is not listened to.
    pub(super) objection: ArcSwapOption<Objection>,
    /// Whether what is believed of its cache is true.
    pub(super) truth: Mutex<Truth>,
    /// The order in which requests leave for it.
    departures: Departures,
    /// Whether it passes its probes, for who waits for that.
    pub(super) up: watch::Sender<bool>,
}

impl Worker {
    pub(super) fn new(id: WorkerId, config: &WorkerConfig) -> Self {
        let authority = config.url.authority();
        Self {
            id,
            name: authority.as_str().into(),
            header: HeaderValue::from_str(authority.as_str()).expect("a URL's authority is visible ASCII"),
            url: config.url.clone(),
            health: AtomicU8::new(Health::Unknown as u8),
            draining: AtomicBool::new(false),
            leaving: CancellationToken::new(),
            doubted: Notify::new(),
            breaker: Mutex::new(Breaker::new(Instant::now())),
            opened: Notify::new(),
            silent: Notify::new(),
            seats: Mutex::default(),
            description: Mutex::default(),
            key: ArcSwapOption::from(config.api_key.as_ref().map(bearer)),
            own_seats: AtomicU32::new(config.max_in_flight.map_or(0, NonZeroU32::get)),
            kv_sources: config.kv_sources(),
            kv_account: ArcSwapOption::empty(),
            token_check: LastCheck::default(),
            objection: ArcSwapOption::empty(),
            truth: Mutex::default(),
            departures: Departures::default(),
            up: watch::Sender::new(false),
        }
    }

    /// Whether it takes requests.
    pub(crate) fn state(&self) -> State {
        if self.draining() {
            return State::Draining;
        }
        match self.health() {
            Health::Unknown => State::Unknown,
            Health::Up => State::Up,
            Health::Down => State::Down,
        }
    }

    /// The seats that its own settings give it, if they do.
    pub(super) fn own_seats(&self) -> Option<u32> {
        Some(self.own_seats.load(Ordering::SeqCst)).filter(|seats| *seats > 0)
    }

    /// Whether it is given nothing new, however healthy it is.
    pub(crate) fn draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Whether it will be gone when its last request has ended.
    pub(crate) fn leaving(&self) -> bool {
        self.leaving.is_cancelled()
    }

    /// Its name in counts: once it is on its way out, that of all that are gone.
    pub(crate) fn label(&self) -> &Arc<str> {
        // Asked in this order, since only the first costs nothing.
        if self.draining() && self.leaving() { gone() } else { &self.name }
    }

    /// What it said of itself.
    pub(crate) fn description(&self) -> Arc<Description> {
        self.described().unwrap_or_default()
    }

    /// The same, if it ever said anything.
    pub(super) fn described(&self) -> Option<Arc<Description>> {
        self.description.lock().clone()
    }

    /// Headers that show it its own key, if it has one; the client's key is then none of its business.
    pub(crate) fn authorized<'h>(&self, headers: &'h HeaderMap) -> Cow<'h, HeaderMap> {
        let key = self.key.load();
        let Some(key) = &*key else { return Cow::Borrowed(headers) };
        let mut headers = headers.clone();
        headers.remove("x-api-key");
        headers.insert(AUTHORIZATION, HeaderValue::clone(key));
        Cow::Owned(headers)
    }

    /// Its key and seats may have changed.
    pub(super) fn configure(&self, config: &WorkerConfig) {
        self.key.store(config.api_key.as_ref().map(bearer));
        self.own_seats.store(config.max_in_flight.map_or(0, NonZeroU32::get), Ordering::SeqCst);
    }

    /// The place of a request among those that leave for it, where what it finds is predicted to the block. A shadow is not that exact.
    pub(crate) fn departs(&self, standing: Standing) -> Departure {
        self.departures.place(standing)
    }

    /// What it told of its cache, if it is listened to.
    pub(crate) fn kv_account(&self) -> Option<Arc<Account>> {
        self.kv_account.load_full()
    }

    /// Whether it counts the tokens of prompts as we do; where it does not, its KV events name other blocks than requests.
    pub(crate) fn token_check(&self) -> TokenCheck {
        self.token_check.now()
    }

    /// It counted the tokens of a prompt as we did.
    pub(crate) fn tokens_agree(&self) {
        self.token_check.agree();
    }

    /// It did not; returns whether that is new since it came up.
    pub(crate) fn tokens_differ(&self) -> bool {
        self.token_check.differ()
    }

    /// The front could not connect: the checker takes the worker out now instead of at its next probe.
    pub(crate) fn doubt(&self) {
        self.doubted.notify_one();
    }

    /// Ends when the worker has gone silent: its probes get no answer any more. Counts from this call on.
    pub(crate) fn silenced(&self) -> Notified<'_> {
        self.silent.notified()
    }

    /// Its probes get no answer, and so will nobody.
    pub(super) fn silence(&self) {
        self.silent.notify_waiters();
    }

    pub(super) fn health(&self) -> Health {
        match self.health.load(Ordering::SeqCst) {
            up if up == Health::Up as u8 => Health::Up,
            down if down == Health::Down as u8 => Health::Down,
            _ => Health::Unknown,
        }
    }

    pub(super) fn set_health(&self, health: Health) {
        self.health.store(health as u8, Ordering::SeqCst);
        self.up.send_replace(health == Health::Up);
    }

    pub(super) fn set_draining(&self, draining: bool) {
        self.draining.store(draining, Ordering::SeqCst);
    }

    pub(super) fn describe(&self, description: Description) {
        self.token_check.forget();
        *self.description.lock() = Some(Arc::new(description));
    }
}

pub(crate) fn bearer(key: &Secret) -> Arc<HeaderValue> {
    let mut value =
        HeaderValue::from_str(&format!("Bearer {}", key.reveal())).expect("a secret is visible ASCII");
    // Keeps it out of what is logged for debugging.
    value.set_sensitive(true);
    Arc::new(value)
}
