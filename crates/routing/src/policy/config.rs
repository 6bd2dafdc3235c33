//! A policy and its settings as people write them: `cache_aware`, or `prefix_hash:chars=200`.

use std::fmt;
use std::str::FromStr;

use super::options::{BadChoice, Chosen, Named, OptionInfo};
use super::{DEFAULT, POLICIES, Policy, PolicyInfo};

/// A policy that cannot be.
pub type BadPolicy = BadChoice;

impl Named for PolicyInfo {
    const KIND: &'static str = "policy";

    fn name(&self) -> &'static str {
        self.name
    }

    fn options(&self) -> &'static [OptionInfo] {
        self.options
    }
}

/// Which policy to use, with which settings.
#[derive(Clone, Debug)]
pub struct PolicyConfig(Chosen<PolicyInfo>);

impl PolicyConfig {
    /// A policy with its default settings.
    pub fn of(info: &'static PolicyInfo) -> Self {
        Self(Chosen::of(info))
    }

    /// Parses `name` or `name:option=value,...` against a list of policies.
    ///
    /// # Errors
    /// If there is no such policy or option, or the value is no number in the option's range.
    pub fn parse(text: &str, known: &'static [PolicyInfo]) -> Result<Self, BadPolicy> {
        Chosen::parse(text, known).map(Self)
    }

    /// The policy's name.
    pub fn name(&self) -> &'static str {
        self.0.info().name
    }

    /// Makes the policy.
    pub fn build(&self) -> Box<dyn Policy> {
        (self.0.info().build)(&self.0.options())
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
        self.0.fmt(out)
    }
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
        assert!(message("cache_awre").ends_with("; did you mean cache_aware?"));
        assert!(message("cache_aware:kapa=1").ends_with("; did you mean kappa?"));
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
