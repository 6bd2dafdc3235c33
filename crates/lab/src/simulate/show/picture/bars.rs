//! Mean time to first token as bars, from the fastest to the slowest, with the spread of seeds.
//!
//! Bars that are many times as long as the shortest are cut, and say so: otherwise one collapse hides every other
//! difference. Figures stand beside the bars, so no axis is needed.

use plotters::prelude::{Color, PathElement, Polygon, Rectangle, Text, WHITE};

use super::cast::{Cast, Role};
use super::{Area, Drawn, FAINT, INK, letters_after, letters_before};

/// Bars longer than this many times the shortest are cut.
const CUT: f64 = 12.0;
/// Room for the names of policies and for the figures, in pixels.
const NAMES: i32 = 210;
const FIGURES: i32 = 120;
/// The most a bar takes of the height.
const THICKEST: i32 = 34;

/// Where a bar lies, in pixels.
struct Place {
    middle: i32,
    half: i32,
    pixels_per_second: f64,
    longest: f64,
}

impl Place {
    fn at(&self, seconds: f64) -> i32 {
        NAMES + (seconds.clamp(0.0, self.longest) * self.pixels_per_second) as i32
    }
}

pub(super) fn draw(area: &Area<'_>, cast: &Cast<'_>) -> Drawn {
    let (width, height) = area.dim_in_pixel();
    let means = || cast.roles.iter().map(|role| role.row.ttft());
    let shortest = means().find(|mean| *mean > 0.0).unwrap_or(1.0);
    let longest = means().fold(shortest, f64::max).min(CUT * shortest);
    let room = f64::from((width as i32 - NAMES - FIGURES).max(1));
    let step = (height as i32 / cast.roles.len().max(1) as i32).clamp(1, THICKEST);
    for (number, role) in cast.roles.iter().enumerate() {
        let middle = step * number as i32 + step / 2;
        let place = Place { middle, half: step * 3 / 8, pixels_per_second: room / longest, longest };
        bar(area, role, &place)?;
    }
    Ok(())
}

fn bar(area: &Area<'_>, role: &Role<'_>, place: &Place) -> Drawn {
    let size = (2 * place.half).clamp(9, 14) as u32;
    let figure = role.row.figure(|run| run.ttft_s.mean);
    let (top, bottom) = (place.middle - place.half, place.middle + place.half);
    let end = place.at(figure.mean);
    let name = Text::new(role.row.policy.to_owned(), (NAMES - 8, place.middle), letters_before(size, INK));
    area.draw(&name)?;
    area.draw(&Rectangle::new([(NAMES, top), (end, bottom)], role.colour.filled()))?;
    let mut beside = end;
    if figure.mean > place.longest {
        cut(area, end, (top, bottom))?;
    } else if let Some(deviation) = figure.deviation {
        let (low, high) = (place.at(figure.mean - deviation), place.at(figure.mean + deviation));
        let middle = place.middle;
        let whisker = [
            (low, middle - 4),
            (low, middle + 4),
            (low, middle),
            (high, middle),
            (high, middle - 4),
            (high, middle + 4),
        ];
        area.draw(&PathElement::new(whisker.to_vec(), INK.stroke_width(1)))?;
        beside = beside.max(high);
    }
    area.draw(&Text::new(figure.seconds(), (beside + 8, place.middle), letters_after(size, FAINT)))
}

/// A slanted gap near the end of a bar that is longer than shown.
fn cut(area: &Area<'_>, end: i32, (top, bottom): (i32, i32)) -> Drawn {
    let gap = vec![(end - 24, bottom), (end - 18, bottom), (end - 10, top), (end - 16, top)];
    area.draw(&Polygon::new(gap, WHITE.filled()))
}
