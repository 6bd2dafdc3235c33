//! `warmroute simulate`: the shipped router in virtual time, any policy on any fleet, told in tables, JSON or a picture.
//!
//! It computes and waits for nothing, so it runs on plain threads; what it prints depends on its flags alone.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::error::ErrorKind;
use warmroute_lab::simulate::RunReport;
use warmroute_lab::simulate::show::picture;
use warmroute_lab::simulate::show::summary::Group;

pub(crate) use self::flags::Flags;
use self::output::{Output, Played};
use self::plan::Plan;
use crate::Verdict;

mod flags;
mod help;
mod output;
mod plan;
mod play;
mod values;

#[cfg(test)]
mod tests;

pub(crate) fn run(flags: Flags) -> anyhow::Result<Verdict> {
    // Flags that are fine alone and wrong together are wrong usage, with clap's exit code.
    let plan = Plan::of(&flags)
        .unwrap_or_else(|error| clap::Error::raw(ErrorKind::ArgumentConflict, format!("{error}\n")).exit());
    let canvas = flags.output.plot.as_deref().map(Canvas::create).transpose()?;
    let threads =
        flags.runs.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let output = Output::of(&flags);
    let mut played = Vec::new();
    for experiment in &plan.experiments {
        let runs = play::play(&plan, experiment, threads)?;
        let this = Played { experiment, runs };
        output.tell(&this, &plan, flags.fleet.sweep.as_ref());
        played.push(this);
    }
    if let (Some(canvas), Some(played)) = (canvas, played.first()) {
        canvas.draw(&played.runs)?;
    }
    output.conclude(&played)
}

/// A file for a picture, created before the first run: a path that cannot be should not cost an hour.
struct Canvas {
    file: File,
    path: PathBuf,
}

impl Canvas {
    fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| {
            format!("cannot write {}; hint: name a file in a directory that exists", path.display())
        })?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// The plan sees to it that there is one setting.
    fn draw(mut self, runs: &[RunReport]) -> anyhow::Result<()> {
        let groups = Group::all(runs);
        let group =
            groups.first().context("there are no runs to draw; hint: simulate at least one policy")?;
        let svg = picture::draw(group)?;
        self.file.write_all(svg.as_bytes()).with_context(|| format!("cannot write {}", self.path.display()))
    }
}
