//! `docs/routing.md` names every policy, option, reason and fate that there is, with the defaults and ranges of the code.

use std::collections::BTreeMap;

use warmroute_routing::Reason;
use warmroute_routing::policy::POLICIES;

const PAGE: &str = include_str!("../../../docs/routing.md");

/// What the page says of an option: its default, and the least and the most that it takes.
type Said = (f64, f64, f64);

/// The cells of a table's row, if the line is one.
fn cells(line: &'static str) -> Option<Vec<&'static str>> {
    let inner = line.strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(str::trim).collect())
}

fn code(cell: &'static str) -> Option<&'static str> {
    cell.strip_prefix('`')?.strip_suffix('`')
}

fn number(text: &str) -> f64 {
    let plain: String = text.chars().filter(|character| *character != ',').collect();
    plain.parse().unwrap_or_else(|_| panic!("docs/routing.md: '{text}' is no number"))
}

/// The rows of the options' table: policy, option, default, range, meaning.
fn options_of_the_page() -> BTreeMap<(&'static str, &'static str), Said> {
    let row = |line: &'static str| {
        let [policy, option, default, range, _] = cells(line)?[..] else { return None };
        let key = (code(policy)?, code(option)?);
        let (least, most) = range.split_once(" to ").expect("a range is written `0 to 100`");
        Some((key, (number(default), number(least), number(most))))
    };
    PAGE.lines().filter_map(row).collect()
}

#[test]
fn the_page_has_every_option_with_its_default_and_range_and_no_other() {
    let options =
        POLICIES.iter().flat_map(|policy| policy.options.iter().map(|option| (policy.name, option)));
    let known: BTreeMap<_, Said> = options
        .map(|(policy, option)| ((policy, option.name), (option.default, option.range.0, option.range.1)))
        .collect();
    assert_eq!(options_of_the_page(), known, "left: docs/routing.md, right: the code");
}

#[test]
fn the_page_has_every_policy_and_every_reason() {
    let reasons = Reason::ALL.iter().map(|reason| reason.as_str());
    for name in POLICIES.iter().map(|policy| policy.name).chain(reasons) {
        let row = |line: &'static str| cells(line).is_some_and(|cells| code(cells[0]) == Some(name));
        assert!(PAGE.lines().any(row), "docs/routing.md has no row for `{name}`");
    }
}

#[test]
fn the_page_explains_every_fate() {
    for fate in ["hit", "lost_to_load", "lost_to_eviction", "unseen"] {
        assert!(PAGE.contains(&format!("| `{fate}` |")), "docs/routing.md has no row for `{fate}`");
    }
}
