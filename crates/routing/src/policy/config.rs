//! A policy and its settings as people write them: `cache_aware`, or `prefix_hash:chars=200`.

use std::fmt;
use std::str::FromStr;

use super::{DEFAULT, POLICIES, Policy, PolicyInfo};

/// One setting of a policy.
#[derive(Debug)]
pub struct OptionInfo {
    /// What it is called after the policy's name.
    pub name: &'static str,
    /// What it is unless said otherwise.
    pub default: f64,
    /// The least and the greatest value it takes.
    pub range: (f64, f64),
    /// What it does, with its unit.
    pub about: &'static str,
}

/// The values of a policy's settings, all within their ranges.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    names: &'static [OptionInfo],
    values: &'a [f64],
}

impl Options<'_> {
    /// The value of a setting.
    ///
    /// # Panics
    /// If the policy declares no such setting: a policy asks only for its own.
    pub fn get(&self, name: &str) -> f64 {
        let place = self.names.iter().position(|option| option.name == name);
        self.values[place.expect("a policy asks only for options it declares")]
    }

    /// The value of a setting that counts things.
    pub fn count(&self, name: &str) -> usize {
        // Ranges are checked on parsing; `as` drops a fraction.
        self.get(name) as usize
    }
}

/// Which policy to use, with which settings.
#[derive(Clone, Debug)]
pub struct PolicyConfig {
    info: &'static PolicyInfo,
    values: Vec<f64>,
}

impl PolicyConfig {
    /// A policy with its default settings.
    pub fn of(info: &'static PolicyInfo) -> Self {
        Self { info, values: info.options.iter().map(|option| option.default).collect() }
    }

    /// Parses `name` or `name:option=value,...` against a list of policies.
    ///
    /// # Errors
    /// If there is no such policy or option, or the value is no number in the option's range.
    pub fn parse(text: &str, known: &'static [PolicyInfo]) -> Result<Self, BadPolicy> {
        let (name, settings) = text.split_once(':').unwrap_or((text, ""));
        let info = known.iter().find(|info| info.name == name).ok_or_else(|| BadPolicy::Unknown {
            name: name.to_owned(),
            known: known.iter().map(|info| info.name).collect(),
        })?;
        let mut config = Self::of(info);
        for setting in settings.split(',').filter(|setting| !setting.is_empty()) {
            config.set(setting)?;
        }
        Ok(config)
    }

    /// The policy's name.
    pub fn name(&self) -> &'static str {
        self.info.name
    }

    /// Makes the policy.
    pub fn build(&self) -> Box<dyn Policy> {
        (self.info.build)(&Options { names: self.info.options, values: &self.values })
    }

    fn set(&mut self, setting: &str) -> Result<(), BadPolicy> {
        let policy = self.info.name;
        let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
        let place = self.info.options.iter().position(|option| option.name == name);
        let place = place.ok_or_else(|| BadPolicy::UnknownOption {
            policy,
            option: name.to_owned(),
            known: self.info.options.iter().map(|option| option.name).collect(),
        })?;
        let (least, most) = self.info.options[place].range;
        let in_range = value.parse().ok().filter(|value: &f64| (least..=most).contains(value));
        let bad =
            || BadPolicy::BadValue { policy, option: name.to_owned(), value: value.to_owned(), least, most };
        self.values[place] = in_range.ok_or_else(bad)?;
        Ok(())
    }
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self::parse(DEFAULT, POLICIES).expect("the default policy is registered")
    }
}

impl FromStr for PolicyConfig {
    type Err = BadPolicy;
    fn from_str(text: &str) -> Result<Self, BadPolicy> {
        Self::parse(text, POLICIES)
    }
}

/// As it is parsed; settings at their defaults are left out.
impl fmt::Display for PolicyConfig {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.info.name)?;
        let all = self.info.options.iter().zip(&self.values);
        let changed = all.filter(|(option, value)| option.default.to_bits() != value.to_bits());
        for (count, (option, value)) in changed.enumerate() {
            write!(out, "{}{}={value}", if count == 0 { ':' } else { ',' }, option.name)?;
        }
        Ok(())
    }
}

/// A policy that cannot be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BadPolicy {
    /// Nobody knows the name.
    #[error("there is no policy '{name}'; hint: use one of {}", known.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// The policy has no such setting.
    #[error("policy {policy} has no option '{option}'; hint: {}", options(known))]
    UnknownOption {
        /// The policy.
        policy: &'static str,
        /// What was asked for.
        option: String,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// The setting cannot have this value.
    #[error(
        "option '{option}' of policy {policy} cannot be '{value}'; hint: give a number from {least} to {most}, as in {policy}:{option}={least}"
    )]
    BadValue {
        /// The policy.
        policy: &'static str,
        /// The setting.
        option: String,
        /// What was given.
        value: String,
        /// The least it may be.
        least: f64,
        /// The most it may be.
        most: f64,
    },
}

fn options(known: &[&str]) -> String {
    if known.is_empty() { "it takes none".to_owned() } else { format!("it takes {}", known.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        text.parse::<PolicyConfig>().unwrap_err().to_string()
    }

    #[test]
    fn what_is_parsed_is_printed() {
        for text in ["random", "prefix_hash", "prefix_hash:chars=200", "cache_aware:kappa=50"] {
            assert_eq!(text.parse::<PolicyConfig>().unwrap().to_string(), text);
        }
        assert_eq!("prefix_hash:chars=20".parse::<PolicyConfig>().unwrap().to_string(), "prefix_hash");
    }

    #[test]
    fn errors_name_the_thing_the_cause_and_the_next_step() {
        assert!(
            message("fastest")
                .starts_with("there is no policy 'fastest'; hint: use one of random, round_robin")
        );
        assert_eq!(message("random:seed=1"), "policy random has no option 'seed'; hint: it takes none");
        assert_eq!(
            message("prefix_hash:length=9"),
            "policy prefix_hash has no option 'length'; hint: it takes chars"
        );
        assert!(
            message("prefix_hash:chars=many").contains("cannot be 'many'; hint: give a number from 1 to")
        );
        assert!(message("prefix_hash:chars").contains("cannot be ''"));
    }
}
