//! The two panels with lines: how first tokens are distributed, and what caches hit over time.

use plotters::coord::ranged1d::Ranged;
use plotters::coord::ranged1d::ValueFormatter;
use plotters::prelude::{
    Cartesian2d, ChartBuilder, ChartContext, Color, DashedLineSeries, IntoLogRange, LineSeries, RGBColor,
    SVGBackend,
};

use super::cast::{Cast, Role};
use super::{Area, Drawn, FAINT, INK, letters};

/// The shortest time that the logarithmic axis shows, in seconds.
const SHORTEST_S: f64 = 1e-3;
const GRID: RGBColor = RGBColor(225, 225, 225);

/// Shares of requests over the time to their first token, the mean over seeds at each share.
pub(super) fn distribution(area: &Area<'_>, cast: &Cast<'_>) -> Drawn {
    let curves: Vec<(&Role<'_>, Vec<(f64, f64)>)> =
        cast.leads().map(|role| (role, cumulative(role))).collect();
    let times = || curves.iter().flat_map(|(_, points)| points.iter().map(|(time, _)| *time));
    let least = times().fold(f64::INFINITY, f64::min).min(1.0);
    let most = times().fold(10.0 * least, f64::max);
    let mut chart = ChartBuilder::on(area)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .margin_right(16)
        .build_cartesian_2d((least..most).log_scale(), 0.0..100.0)?;
    mesh(&mut chart, "seconds (logarithmic)", "% of requests", |seconds| format!("{seconds}"))?;
    for (role, points) in curves {
        chart.draw_series(LineSeries::new(points, role.colour.stroke_width(thickness(role))))?;
    }
    Ok(())
}

fn cumulative(role: &Role<'_>) -> Vec<(f64, f64)> {
    let known = role.row.runs.iter().map(|run| run.ttft_quantiles_s.len()).min().unwrap_or(0);
    let steps = known.saturating_sub(1).max(1) as f64;
    (0..known)
        .map(|place| {
            let time = role.row.figure(|run| run.ttft_quantiles_s[place]).mean;
            (time.max(SHORTEST_S), 100.0 * place as f64 / steps)
        })
        .collect()
}

/// Hit rates of the first seed over time; the dashed line is the hero's cache without end.
pub(super) fn hits(area: &Area<'_>, cast: &Cast<'_>) -> Drawn {
    let end = cast.leads().filter_map(|role| curve(role, |timeline| &timeline.hit_rate).pop());
    let end = end.map(|(time, _)| time).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .margin_right(16)
        .build_cartesian_2d(0.0..end, 0.0..100.0)?;
    mesh(&mut chart, "seconds from the start", "% of prompt tokens", |seconds| format!("{seconds:.0}"))?;
    for role in cast.leads() {
        let points = curve(role, |timeline| &timeline.hit_rate);
        chart.draw_series(LineSeries::new(points, role.colour.stroke_width(thickness(role))))?;
    }
    let oracle = curve(cast.hero(), |timeline| &timeline.oracle_hit_rate);
    let label = oracle.iter().copied().nth(oracle.len() / 2);
    chart.draw_series(DashedLineSeries::new(oracle, 7, 5, INK.stroke_width(2)))?;
    label.map_or(Ok(()), |(time, hits)| {
        let (x, y) = chart.backend_coord(&(time, hits));
        let (base_x, base_y) = area.get_base_pixel();
        let above = (x - base_x, (y - base_y - 20).max(0));
        area.draw(&plotters::prelude::Text::new("a cache without end".to_owned(), above, letters(13, FAINT)))
    })
}

/// One value a slice, each drawn at its slice's middle.
fn curve(role: &Role<'_>, of: fn(&crate::simulate::report::Timeline) -> &Vec<f64>) -> Vec<(f64, f64)> {
    let Some(timeline) = role.row.runs.first().map(|run| &run.timeline) else { return Vec::new() };
    let middle = |slice: usize| (slice as f64 + 0.5) * timeline.slice_s;
    of(timeline).iter().enumerate().map(|(slice, share)| (middle(slice), 100.0 * share)).collect()
}

fn thickness(role: &Role<'_>) -> u32 {
    if role.is_ours() { 4 } else { 2 }
}

fn mesh<X>(
    chart: &mut ChartContext<'_, SVGBackend<'_>, Cartesian2d<X, plotters::coord::types::RangedCoordf64>>,
    across: &str,
    up: &str,
    told: fn(&f64) -> String,
) -> Drawn
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    chart
        .configure_mesh()
        .x_desc(across)
        .y_desc(up)
        .x_label_formatter(&told)
        .y_label_formatter(&|percent| format!("{percent:.0}"))
        .x_labels(8)
        .y_labels(6)
        .bold_line_style(GRID)
        .light_line_style(plotters::style::TRANSPARENT)
        .axis_style(FAINT)
        .label_style(letters(13, FAINT))
        .axis_desc_style(letters(13, INK))
        .draw()
}
