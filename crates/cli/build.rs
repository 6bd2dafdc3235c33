//! Tells the binary which commit it was built from, where there is a repository to ask.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=WARMROUTE_COMMIT");
    let head = git(&["rev-parse", "--git-path", "logs/HEAD"]);
    if let Some(log) = head.filter(|log| Path::new(log).exists()) {
        println!("cargo::rerun-if-changed={log}");
    }
    // A build from an archive may say so itself.
    let commit = std::env::var("WARMROUTE_COMMIT").ok().or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    if let Some(commit) = commit.filter(|commit| !commit.is_empty()) {
        let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
        println!("cargo::rustc-env=WARMROUTE_COMMIT={version} ({commit})");
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
