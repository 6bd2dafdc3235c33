//! One picture of one setting, as SVG: who is fast, for whom, what caches hit over time, and who did the work.
//!
//! Up to six policies have lines: ours, the best others, and the worst; their colours are those of their bars, which name
//! all policies. The colours are Okabe and Ito's, which people with any kind of colour vision can tell apart.

use std::io;

use plotters::coord::Shift;
use plotters::prelude::{
    DrawingArea, DrawingAreaErrorKind, IntoDrawingArea, IntoFont, RGBColor, SVGBackend, Text, TextStyle,
    WHITE,
};
use plotters::style::FontTransform;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use self::cast::Cast;
use super::summary::Group;

mod bars;
mod cast;
mod curves;
mod heat;

/// Width and height in pixels.
const SIZE: (u32, u32) = (1280, 900);
/// Height of the headline.
const HEADLINE: u32 = 64;
/// Text and axes.
const INK: RGBColor = RGBColor(40, 40, 40);
/// What stands back: the grid, and what is said in small letters.
const FAINT: RGBColor = RGBColor(110, 110, 110);
const FONT: &str = "sans-serif";

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<io::Error>>;

/// A picture that could not be drawn.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// There is nothing in it.
    #[error("there are no runs to draw; hint: simulate at least one policy")]
    Nothing,
    /// The canvas refused.
    #[error("cannot draw the picture: {0}; hint: print the runs with --json and draw them elsewhere")]
    Canvas(String),
}

/// Draws the runs of one setting; the same runs make the same text.
///
/// # Errors
/// If there is no run.
pub fn draw(group: &Group<'_>) -> Result<String, PictureError> {
    let cast = Cast::of(group).ok_or(PictureError::Nothing)?;
    let mut svg = String::new();
    paint(&SVGBackend::with_string(&mut svg, SIZE).into_drawing_area(), group, &cast)
        .map_err(|error| PictureError::Canvas(error.to_string()))?;
    Ok(svg)
}

fn paint(canvas: &Area<'_>, group: &Group<'_>, cast: &Cast<'_>) -> Drawn {
    canvas.fill(&WHITE)?;
    let (headline, panels) = canvas.split_vertically(HEADLINE);
    headline.draw(&Text::new(format!("Simulated: {}", group.setting), (24, 14), letters(21, INK)))?;
    let explained = format!(
        "{}; virtual time, no machine was measured. Lines have the colours of their bars; grey bars have no line.",
        group.seeds()
    );
    headline.draw(&Text::new(explained, (24, 42), letters(14, FAINT)))?;
    let panels = panels.margin(0, 12, 12, 12).split_evenly((2, 2));
    let [bars, distribution, hits, work] = panels.as_slice() else {
        unreachable!("two by two are four");
    };
    bars::draw(&panel(bars, "Mean time to first token, in seconds")?, cast)?;
    curves::distribution(&panel(distribution, "Requests whose first token came within a time")?, cast)?;
    curves::hits(&panel(hits, "Prompt tokens found in a cache, over time")?, cast)?;
    heat::draw(&panel(work, "Prompt tokens computed per worker, over time")?, cast)?;
    canvas.present()
}

/// Writes a panel's heading; what is left of it is for the figure.
fn panel<'a>(area: &Area<'a>, heading: &str) -> Result<Area<'a>, DrawingAreaErrorKind<io::Error>> {
    let area = area.margin(6, 6, 12, 12);
    let (head, rest) = area.split_vertically(30);
    head.draw(&Text::new(heading.to_owned(), (0, 4), letters(17, INK)))?;
    Ok(rest)
}

/// Letters of a size and colour, written to the right of and below where they are put.
fn letters(size: u32, colour: RGBColor) -> TextStyle<'static> {
    (FONT, size).into_font().transform(FontTransform::None).color(&colour)
}

/// Letters that end where they are put, and are centred on it.
fn letters_before(size: u32, colour: RGBColor) -> TextStyle<'static> {
    letters(size, colour).pos(Pos::new(HPos::Right, VPos::Center))
}

/// Letters that begin where they are put, and are centred on it.
fn letters_after(size: u32, colour: RGBColor) -> TextStyle<'static> {
    letters(size, colour).pos(Pos::new(HPos::Left, VPos::Center))
}

#[cfg(test)]
mod tests;
