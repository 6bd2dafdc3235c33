//! Progress of a long run on stderr: one bar for the step in hand, one line for what is being done.
//!
//! Drawn only on a terminal, so a pipe or a CI log sees nothing of it.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Where progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// On stderr.
    Shown,
    /// Nowhere.
    Silent,
}

impl Progress {
    /// Starts a step of `length` requests; the bar vanishes when it is dropped.
    pub fn step(self, name: &str, length: usize) -> Step {
        let target = match self {
            Self::Shown => ProgressDrawTarget::stderr(),
            Self::Silent => ProgressDrawTarget::hidden(),
        };
        let style = ProgressStyle::with_template("{msg:28} {bar:40} {pos}/{len} {elapsed}")
            .expect("the template is a constant that a test draws");
        let bar = ProgressBar::with_draw_target(Some(length as u64), target).with_style(style);
        bar.set_message(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        Step(bar)
    }
}

/// A step in hand.
#[derive(Debug)]
pub struct Step(ProgressBar);

impl Step {
    /// One more request has ended.
    pub fn advance(&self) {
        self.0.inc(1);
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_counts_without_a_terminal() {
        let step = Progress::Silent.step("desks", 3);
        step.advance();
        assert_eq!(step.0.position(), 1);
    }
}
