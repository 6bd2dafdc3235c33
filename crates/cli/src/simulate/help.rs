//! The end of the help: lists that are derived from the registries.

use std::fmt::Write;

use warmroute_lab::simulate::suite::REGIMES;
use warmroute_routing::policy::OptionInfo;

use warmroute_lab::{rivals, traffic::WORKLOADS};

/// Under the short help.
pub(super) const SHORT: &str = "\
All times are virtual: no machine is measured. --help-all lists workloads, policies, rivals and regimes.
Exit code 1 with --suite: a promise made of cache_aware was broken.";

/// Under the long help.
pub(super) fn lists() -> String {
    let mut text = format!("{SHORT}\n\nWorkloads, with options as in b2b:rate=10 :\n");
    for workload in WORKLOADS {
        entry(&mut text, workload.name, workload.about, workload.options);
    }
    let _ = write!(text, "\n{}", crate::gateway::policies());
    text.push_str("\nRivals, the rules of other routers, as rival:NAME :\n");
    for rival in rivals::RIVALS {
        entry(&mut text, rival.name, rival.about, rival.options);
    }
    text.push_str("\nRegimes of the suite:\n");
    for regime in REGIMES {
        entry(&mut text, regime.name, regime.about, &[]);
    }
    text
}

fn entry(text: &mut String, name: &str, about: &str, options: &[OptionInfo]) {
    let _ = writeln!(text, "  {name:16} {about}");
    for option in options {
        let _ = writeln!(text, "  {:18}{}: {} [default: {}]", "", option.name, option.about, option.default);
    }
}
