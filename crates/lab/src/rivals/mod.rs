//! The rules of other routers as policies, to be compared with in the simulator and never shipped.
//!
//! A rival is one file and one word in `rivals!`; what can be parsed, what is listed and what the tests go through
//! derive from [`RIVALS`]. Each is written from the rule its project or paper states, and its file's head says where it
//! departs from it. All of them see the same [`Candidate`](warmroute_routing::policy::Candidate)s as our own policies,
//! fresher than what most of these routers scrape: the comparison is of rules, not of plumbing.

mod choosing;
#[cfg(test)]
mod conformance;
mod history;
mod prefix;
mod ring;
#[cfg(test)]
mod scene;

use warmroute_routing::policy::{BadPolicy, POLICIES, PolicyConfig, PolicyInfo};

/// Declares the rivals: their modules, and the lists that everything else is derived from.
macro_rules! rivals {
    ($($name:ident)+) => {
        $(mod $name;)+

        /// Every rival, in the order in which tables show them.
        pub static RIVALS: &[PolicyInfo] = &[$(PolicyInfo {
            name: stringify!($name),
            about: $name::ABOUT,
            options: $name::OPTIONS,
            build: |options| Box::new($name::build(options)),
        }),+];

        /// The rivals' names as they are written, in the same order.
        static WRITTEN: &[&str] = &[$(concat!("rival:", stringify!($name))),+];
    };
}

rivals! { sglang gie llmd dynamo lmetric lpwl preble dualmap bounded_hash }

/// Stands before a rival's name wherever a shipped policy's could stand too.
pub const PREFIX: &str = "rival:";

/// Reads a policy as people write it: a shipped one as `cache_aware:wait=2`, a rival as `rival:dynamo:temperature=0.5`.
/// Returns what reports call it, settings at their defaults left out, and how to build it.
///
/// # Errors
/// If there is no such policy, rival or option, or the value is no number in the option's range.
pub fn parse(text: &str) -> Result<(String, PolicyConfig), BadPolicy> {
    match text.strip_prefix(PREFIX) {
        Some(rival) => PolicyConfig::parse(rival, RIVALS)
            .map(|config| (format!("{PREFIX}{config}"), config))
            .map_err(as_written),
        None => {
            PolicyConfig::parse(text, POLICIES).map(|config| (config.to_string(), config)).map_err(|error| {
                match error {
                    BadPolicy::Unknown { kind, name, .. } => {
                        BadPolicy::Unknown { kind, name, known: names().collect() }
                    }
                    other => other,
                }
            })
        }
    }
}

/// Every shipped policy and every rival, as [`parse`] reads them.
pub fn all() -> Vec<String> {
    names().map(str::to_owned).collect()
}

fn names() -> impl Iterator<Item = &'static str> {
    POLICIES.iter().map(|info| info.name).chain(WRITTEN.iter().copied())
}

/// An error about a rival, in the words its user wrote.
fn as_written(error: BadPolicy) -> BadPolicy {
    let written =
        |bare| *WRITTEN.iter().find(|name| name.strip_prefix(PREFIX) == Some(bare)).unwrap_or(&bare);
    match error {
        BadPolicy::Unknown { kind, name, .. } => {
            BadPolicy::Unknown { kind, name: format!("{PREFIX}{name}"), known: names().collect() }
        }
        BadPolicy::UnknownOption { kind, owner, option, known } => {
            BadPolicy::UnknownOption { kind, owner: written(owner), option, known }
        }
        BadPolicy::BadValue { kind, owner, option, value, range } => {
            BadPolicy::BadValue { kind, owner: written(owner), option, value, range }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(text: &str) -> String {
        parse(text).unwrap().0
    }

    fn message(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn everything_that_is_listed_is_parsed_and_called_what_it_was_written_as() {
        for text in all() {
            assert_eq!(label(&text), text);
        }
        assert_eq!(all().len(), POLICIES.len() + RIVALS.len());
    }

    #[test]
    fn labels_name_only_what_differs_from_the_defaults() {
        assert_eq!(label("prefix_hash:chars=200"), "prefix_hash:chars=200");
        assert_eq!(label("prefix_hash:chars=20"), "prefix_hash");
        assert_eq!(label("rival:dynamo:temperature=0.5"), "rival:dynamo:temperature=0.5");
        assert_eq!(label("rival:dynamo:temperature=0,overlap_credit=2"), "rival:dynamo:overlap_credit=2");
    }

    #[test]
    fn errors_list_shipped_policies_and_rivals_as_they_are_written() {
        for (text, start) in [
            ("fastest", "there is no policy 'fastest'; hint: use one of random, "),
            ("rival:fastest", "there is no policy 'rival:fastest'; hint: use one of random, "),
            ("dynamo", "there is no policy 'dynamo'; hint: use one of random, "),
        ] {
            assert!(message(text).starts_with(start), "{}", message(text));
            assert!(message(text).contains("rival:sglang, "), "{}", message(text));
        }
        assert_eq!(
            message("rival:lpwl:beta=1"),
            "policy rival:lpwl has no option 'beta'; hint: it takes none"
        );
        assert!(
            message("rival:llmd:threshold=7").ends_with("as in rival:llmd:threshold=0"),
            "{}",
            message("rival:llmd:threshold=7")
        );
    }
}
