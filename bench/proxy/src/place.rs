//! Where the bench finds and keeps things: the binary under test, installed rivals, and logs.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

/// What every measurement needs to know.
#[derive(Debug)]
pub struct Bench {
    /// Warmroute's binary: gateway and stand-ins.
    pub warmroute: PathBuf,
    /// The policy of the contender `warmroute`.
    pub policy: String,
    /// Threads that every proxy may use.
    pub threads: usize,
    /// Virtual environments of rivals; outlives the run.
    pub cache: PathBuf,
    /// Logs and written settings; emptied by nobody, so that a failure can be read.
    pub scratch: PathBuf,
}

impl Bench {
    /// Finds the binary and makes the directories.
    pub fn new(warmroute: Option<PathBuf>, policy: String, threads: usize) -> anyhow::Result<Self> {
        let warmroute = warmroute.unwrap_or_else(built_binary);
        ensure!(
            warmroute.is_file(),
            "there is no {}; hint: scripts/dist.sh makes it, or name another with --warmroute",
            warmroute.display()
        );
        let cache = cache_directory()
            .context("neither XDG_CACHE_HOME nor HOME is set; hint: WARMROUTE_BENCH_CACHE=DIR")?;
        let scratch = cache.join("scratch");
        fs::create_dir_all(&scratch)?;
        Ok(Self { warmroute, policy, threads, cache, scratch })
    }
}

/// What `scripts/dist.sh` leaves in this repository.
fn built_binary() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/guided/warmroute")
}

fn cache_directory() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("WARMROUTE_BENCH_CACHE").or_else(|| {
        Some(set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?.join("warmroute-bench"))
    })
}
