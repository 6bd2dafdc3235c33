//! An order to fail: which fault, how likely, how often, for how long. Written the same in flags and as JSON.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde_json::{Value, json};

use super::registry::{FAULTS, FaultInfo, fault};

/// One fault and when it strikes.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultRule {
    /// What goes wrong.
    pub fault: &'static FaultInfo,
    /// For how many of those it could befall, 0 to 1.
    pub probability: f64,
    /// It ends after it has struck this often.
    pub next: Option<u64>,
    /// It ends after this time.
    pub lasts: Option<Duration>,
    /// How long a stall or delay is.
    pub delay: Option<Duration>,
}

/// Text or JSON that is no order.
#[derive(Debug, thiserror::Error)]
#[error("{what}; hint: write NAME[:KEY=VALUE,..] with a name of {names} and keys p, next, seconds, ms, as in status_500:p=0.1", names = names())]
pub struct BadRule {
    what: String,
}

fn names() -> String {
    FAULTS.iter().map(|info| info.name).collect::<Vec<_>>().join(", ")
}

fn bad(what: impl Into<String>) -> BadRule {
    BadRule { what: what.into() }
}

impl FaultRule {
    /// The fault of this name, always and for ever.
    ///
    /// # Errors
    /// If there is none.
    pub fn new(name: &str) -> Result<Self, BadRule> {
        let fault = fault(name).ok_or_else(|| bad(format!("'{name}' is no fault")))?;
        Ok(Self { fault, probability: 1.0, next: None, lasts: None, delay: None })
    }

    fn set(&mut self, key: &str, value: f64) -> Result<(), BadRule> {
        let time = |unit: f64| {
            Duration::try_from_secs_f64(value * unit).map_err(|_| bad(format!("{key}={value} is no time")))
        };
        match key {
            "p" if (0.0..=1.0).contains(&value) => self.probability = value,
            "next" if value >= 1.0 && value.fract() == 0.0 => self.next = Some(value as u64),
            "seconds" => self.lasts = Some(time(1.0)?),
            "ms" => self.delay = Some(time(1e-3)?),
            "p" => return Err(bad(format!("p={value} is not from 0 to 1"))),
            "next" => return Err(bad(format!("next={value} is no whole number from 1 on"))),
            _ => return Err(bad(format!("'{key}' is no key"))),
        }
        Ok(())
    }

    /// Reads `{"fault": NAME, KEY: NUMBER, ..}`.
    ///
    /// # Errors
    /// If it is no such thing.
    pub fn from_json(order: &Value) -> Result<Self, BadRule> {
        let fields = order.as_object().ok_or_else(|| bad("an order is a JSON object"))?;
        let name = fields.get("fault").and_then(Value::as_str).ok_or_else(|| bad("'fault' is missing"))?;
        let mut rule = Self::new(name)?;
        for (key, value) in fields.iter().filter(|(key, _)| *key != "fault") {
            rule.set(key, value.as_f64().ok_or_else(|| bad(format!("'{key}' is no number")))?)?;
        }
        Ok(rule)
    }

    /// The same as JSON.
    pub fn to_json(&self) -> Value {
        json!({
            "fault": self.fault.name, "p": self.probability, "next": self.next,
            "seconds": self.lasts.map(|time| time.as_secs_f64()),
            "ms": self.delay.map(|time| time.as_secs_f64() * 1e3),
        })
    }
}

impl FromStr for FaultRule {
    type Err = BadRule;

    fn from_str(text: &str) -> Result<Self, BadRule> {
        let (name, keys) = text.split_once(':').unwrap_or((text, ""));
        let mut rule = Self::new(name)?;
        for pair in keys.split(',').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| bad(format!("'{pair}' has no =")))?;
            let value = value.parse().map_err(|_| bad(format!("'{value}' is no number")))?;
            rule.set(key, value)?;
        }
        Ok(rule)
    }
}

impl fmt::Display for FaultRule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:p={}", self.fault.name, self.probability)?;
        self.next.map_or(Ok(()), |next| write!(out, ",next={next}"))?;
        self.lasts.map_or(Ok(()), |time| write!(out, ",seconds={}", time.as_secs_f64()))?;
        self.delay.map_or(Ok(()), |time| write!(out, ",ms={}", time.as_secs_f64() * 1e3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_reads_as_it_is_written_in_both_forms() {
        for info in FAULTS {
            for keys in ["p=1", "p=0.25,next=3", "p=1,seconds=1.5,ms=40"] {
                let text = format!("{}:{keys}", info.name);
                let rule: FaultRule = text.parse().unwrap();
                assert_eq!(rule.to_string(), text);
                let json: serde_json::Map<_, _> = rule
                    .to_json()
                    .as_object()
                    .unwrap()
                    .clone()
                    .into_iter()
                    .filter(|(_, v)| !v.is_null())
                    .collect();
                assert_eq!(FaultRule::from_json(&json.into()).unwrap(), rule);
            }
        }
    }

    #[test]
    fn mistakes_are_named_with_what_there_is() {
        for (text, expected) in [
            ("reset", "'reset' is no fault"),
            ("stall:p=2", "p=2 is not from 0 to 1"),
            ("stall:next=0.5", "no whole number"),
            ("stall:seconds=-1", "no time"),
            ("stall:often=1", "'often' is no key"),
            ("stall:p", "'p' has no ="),
        ] {
            let said = text.parse::<FaultRule>().unwrap_err().to_string();
            assert!(said.contains(expected) && said.contains("hint: "), "{text}: {said}");
        }
    }
}
