//! Values of flags: each parser takes one text, and says what would do where it does not.

use std::time::Duration;

use warmroute_lab::simulate::show::sweep::Axis;
use warmroute_lab::simulate::suite::{self, REGIMES, Regime};
use warmroute_lab::simulate::{EngineModel, View, change};
use warmroute_routing::policy::PolicyConfig;

use crate::lists::members;
use warmroute_lab::{
    rivals,
    traffic::{WORKLOADS, Workload},
};

/// Text that is no such thing.
#[derive(Debug)]
pub(super) struct BadValue {
    text: String,
    what: &'static str,
    hint: String,
}

impl std::fmt::Display for BadValue {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "'{}' is no {}; hint: {}", self.text, self.what, self.hint)
    }
}

impl std::error::Error for BadValue {}

fn bad(text: &str, what: &'static str, hint: &str) -> BadValue {
    BadValue { text: text.to_owned(), what, hint: hint.to_owned() }
}

/// A number of things, of which there is at least one.
pub(super) fn count(text: &str) -> Result<usize, BadValue> {
    let count = text.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| bad(text, "count", "a whole number from 1 on"))
}

/// Tokens, as `307200`, `307k` or `1M`.
pub(super) fn tokens(text: &str) -> Result<u32, BadValue> {
    let scales = [('k', 1e3), ('M', 1e6)];
    let scaled = scales.iter().find_map(|(unit, scale)| Some((text.strip_suffix(*unit)?, *scale)));
    let (number, scale) = scaled.unwrap_or((text, 1.0));
    let tokens = number.parse().ok().map(|number: f64| number * scale);
    let tokens =
        tokens.filter(|tokens| tokens.fract() == 0.0 && (1.0..=f64::from(u32::MAX)).contains(tokens));
    // Whole and in range, so nothing is lost.
    tokens
        .map(|tokens| tokens as u32)
        .ok_or_else(|| bad(text, "number of tokens", "write it as 307200, 307k or 1M"))
}

/// How many times as fast.
pub(super) fn rate(text: &str) -> Result<f64, BadValue> {
    let rate = text.parse().ok().filter(|rate: &f64| *rate > 0.0 && rate.is_finite());
    rate.ok_or_else(|| bad(text, "rate", "1.5 sends requests half as fast again; it must be above 0"))
}

/// A time in whole milliseconds.
pub(super) fn milliseconds(text: &str) -> Result<Duration, BadValue> {
    let time = text.parse().ok().map(Duration::from_millis);
    time.ok_or_else(|| bad(text, "time in milliseconds", "a whole number, such as 250"))
}

/// A change, as it will be read once the number of workers is known.
pub(super) fn change(text: &str) -> Result<String, change::BadChange> {
    change::parse(text).map(|_| text.to_owned())
}

/// Who speaks for the caches.
pub(super) fn view(text: &str) -> Result<View, BadValue> {
    View::ALL.into_iter().find(|view| view.name() == text).ok_or_else(|| bad(text, "view", "exact or shadow"))
}

/// What becomes of a trace's times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timestamps {
    /// Requests are spread over the steps in which the trace tells time.
    Spread,
    /// Requests come when the trace says.
    AsIs,
}

/// `spread` or `as-is`.
pub(super) fn timestamps(text: &str) -> Result<Timestamps, BadValue> {
    match text {
        "spread" => Ok(Timestamps::Spread),
        "as-is" => Ok(Timestamps::AsIs),
        _ => Err(bad(text, "way to read timestamps", "spread or as-is")),
    }
}

/// One or several of something, from one flag.
#[derive(Clone, Debug)]
pub(super) struct Several<T>(pub(super) Vec<T>);

/// `h100`, `mocker`, or both.
pub(super) fn engine_models(text: &str) -> Result<Several<EngineModel>, BadValue> {
    if text == "all" {
        return Ok(Several(EngineModel::ALL.to_vec()));
    }
    let one = |name: &str| EngineModel::ALL.into_iter().find(|model| model.name() == name);
    let models: Option<Vec<EngineModel>> = text.split(',').map(one).collect();
    models.map(Several).ok_or_else(|| bad(text, "engine model", "h100, mocker or all"))
}

/// Workloads with their options.
pub(super) fn workloads(text: &str) -> Result<Several<Workload>, String> {
    let names = if text == "all" {
        WORKLOADS.iter().map(|info| info.name.to_owned()).collect()
    } else {
        members(text)
    };
    let workloads: Result<Vec<Workload>, _> = names.iter().map(|name| Workload::parse(name)).collect();
    workloads.map(Several).map_err(|error| error.to_string())
}

/// A policy and what reports call it.
#[derive(Clone, Debug)]
pub(super) struct NamedPolicy {
    pub(super) name: String,
    pub(super) config: PolicyConfig,
}

/// Shipped policies and rivals with their options.
pub(super) fn policies(text: &str) -> Result<Several<NamedPolicy>, String> {
    let names = if text == "all" { rivals::all() } else { members(text) };
    let named = |text: &String| rivals::parse(text).map(|(name, config)| NamedPolicy { name, config });
    let policies: Result<Vec<NamedPolicy>, _> = names.iter().map(named).collect();
    policies.map(Several).map_err(|error| error.to_string())
}

/// Regimes of the suite.
pub(super) fn regimes(text: &str) -> Result<Several<&'static Regime>, suite::UnknownRegime> {
    if text == "all" {
        return Ok(Several(REGIMES.iter().collect()));
    }
    text.split(',').map(suite::regime).collect::<Result<_, _>>().map(Several)
}

/// What is varied, and over which values.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Sweep {
    Workers(Vec<usize>),
    CacheTokens(Vec<u32>),
    Rate(Vec<f64>),
}

impl Sweep {
    /// What is varied.
    pub(super) const fn axis(&self) -> Axis {
        match self {
            Self::Workers(_) => Axis::Workers,
            Self::CacheTokens(_) => Axis::CacheTokens,
            Self::Rate(_) => Axis::Rate,
        }
    }
}

/// `workers=2,4,8`, `cache-tokens=100k,300k` or `rate=1,1.5,2`.
pub(super) fn sweep(text: &str) -> Result<Sweep, BadValue> {
    let (name, values) = text.split_once('=').unwrap_or((text, ""));
    match Axis::ALL.into_iter().find(|axis| axis.name() == name) {
        Some(Axis::Workers) => each(values, count).map(Sweep::Workers),
        Some(Axis::CacheTokens) => each(values, tokens).map(Sweep::CacheTokens),
        Some(Axis::Rate) => each(values, rate).map(Sweep::Rate),
        None => Err(bad(text, "sweep", "workers=2,4,8 or cache-tokens=100k,300k or rate=1,1.5,2")),
    }
}

fn each<T>(values: &str, parse: fn(&str) -> Result<T, BadValue>) -> Result<Vec<T>, BadValue> {
    values.split(',').map(parse).collect()
}
