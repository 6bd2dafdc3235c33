//! Who computed how much when: a row of cells for each worker, for the hero and the villain, the darker the more.

use plotters::prelude::{Color, RGBColor, Rectangle, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::cast::{Cast, Role};
use super::{Area, Drawn, FAINT, INK, letters, letters_before};
use crate::simulate::RunReport;

/// The colour of most work; no work is white.
const DARKEST: RGBColor = RGBColor(0, 56, 107);
const NO_WORK: RGBColor = RGBColor(246, 246, 246);
/// Room to the left and the right of the cells, and for the axis and scale below, in pixels.
const LEFT: i32 = 56;
const RIGHT: i32 = 16;
const BELOW: i32 = 44;
const HEADING: i32 = 24;
/// Steps of the scale of colours, and their width in pixels.
const STEPS: i32 = 40;
const STEP: i32 = 3;
/// Times on the axis, beside 0.
const TICKS: i32 = 5;

/// What both maps share.
struct Scale {
    /// Tokens a second that are darkest.
    most: f64,
    /// The end of time, in seconds.
    end_s: f64,
}

pub(super) fn draw(area: &Area<'_>, cast: &Cast<'_>) -> Drawn {
    let shown: Vec<&Role<'_>> = std::iter::once(cast.hero()).chain(cast.villain()).collect();
    let runs = || shown.iter().filter_map(|role| role.row.runs.first().copied());
    let scale = Scale {
        most: runs().flat_map(speeds).fold(1.0, f64::max),
        end_s: runs().map(length_s).fold(1.0, f64::max),
    };
    let (width, height) = area.dim_in_pixel();
    let (maps, legend) = area.split_vertically(height as i32 - BELOW);
    for (map, role) in maps.split_evenly((shown.len(), 1)).iter().zip(&shown) {
        map.draw(&Text::new(role.row.policy.to_owned(), (LEFT, 5), letters(14, role.colour)))?;
        if let Some(run) = role.row.runs.first() {
            cells(map, run, &scale)?;
        }
    }
    explain(&legend, &scale, width as i32)
}

/// Tokens a second of every worker in every slice.
fn speeds(run: &RunReport) -> impl Iterator<Item = f64> {
    let slice_s = run.timeline.slice_s.max(f64::MIN_POSITIVE);
    run.timeline.prefilled.iter().flatten().map(move |tokens| *tokens as f64 / slice_s)
}

fn length_s(run: &RunReport) -> f64 {
    let slices = run.timeline.prefilled.iter().map(Vec::len).max().unwrap_or(0);
    slices as f64 * run.timeline.slice_s
}

fn cells(area: &Area<'_>, run: &RunReport, scale: &Scale) -> Drawn {
    let (width, height) = area.dim_in_pixel();
    let (width, height) = (width as i32 - LEFT - RIGHT, height as i32 - HEADING - 4);
    let workers = run.timeline.prefilled.len().max(1) as i32;
    let across =
        |slice: usize| LEFT + (f64::from(width) * slice as f64 * run.timeline.slice_s / scale.end_s) as i32;
    let down = |worker: i32| HEADING + height * worker / workers;
    for (worker, work) in (0..).zip(&run.timeline.prefilled) {
        // A gap between workers, unless there are so many that nothing else would be left.
        let gap = i32::from(height / workers > 4);
        let (top, bottom) = (down(worker), down(worker + 1) - gap);
        for (slice, tokens) in work.iter().enumerate() {
            let share = *tokens as f64 / run.timeline.slice_s.max(f64::MIN_POSITIVE) / scale.most;
            let cell = [(across(slice), top), (across(slice + 1), bottom)];
            area.draw(&Rectangle::new(cell, shade(share).filled()))?;
        }
        if height / workers >= 12 || worker == 0 || worker == workers - 1 {
            let label =
                Text::new(worker.to_string(), (LEFT - 8, top.midpoint(bottom)), letters_before(11, FAINT));
            area.draw(&label)?;
        }
    }
    Ok(())
}

/// From hardly grey to dark blue; half of the most is already well visible.
fn shade(share: f64) -> RGBColor {
    let share = share.clamp(0.0, 1.0).sqrt();
    let mix = |from: u8, to: u8| (f64::from(from) + share * (f64::from(to) - f64::from(from))).round() as u8;
    RGBColor(mix(NO_WORK.0, DARKEST.0), mix(NO_WORK.1, DARKEST.1), mix(NO_WORK.2, DARKEST.2))
}

/// The axis of time, and what the colours mean.
fn explain(area: &Area<'_>, scale: &Scale, width: i32) -> Drawn {
    for tick in 0..=TICKS {
        let place = LEFT + (width - LEFT - RIGHT) * tick / TICKS;
        let time = scale.end_s * f64::from(tick) / f64::from(TICKS);
        let style = letters(12, FAINT).pos(Pos::new(HPos::Center, VPos::Top));
        area.draw(&Text::new(format!("{time:.0}"), (place, 0), style))?;
    }
    area.draw(&Text::new("worker; seconds from the start", (LEFT, 22), letters(13, INK)))?;
    // Two digits are enough for the end of a scale of colours.
    let most = format!("{:.0}k tokens/s", scale.most / 1e3);
    let end = width - RIGHT - 110;
    for step in 0..STEPS {
        let left = end - STEP * (STEPS - step);
        let cell = [(left, 23), (left + STEP, 35)];
        area.draw(&Rectangle::new(cell, shade(f64::from(step) / f64::from(STEPS - 1)).filled()))?;
    }
    area.draw(&Text::new("0", (end - STEP * STEPS - 14, 22), letters(13, FAINT)))?;
    area.draw(&Text::new(most, (end + 8, 22), letters(13, FAINT)))
}
