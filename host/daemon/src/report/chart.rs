//! Draws how an indicator went as an SVG picture, with its limits and what it was the time before as lines across.

use pilothouse_files::evaluation::number;
use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::types::RangedCoordf64;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea};
use plotters::element::PathElement;
use plotters::prelude::SVGBackend;
use plotters::series::LineSeries;
use plotters::style::{Color, RGBColor};

use super::{IndicatorView, SeriesView};

/// Size of the picture; it grows with the page.
const SIZE: (u32, u32) = (640, 170);
/// Room above and below the lines, as a part of their height.
const ROOM: f64 = 0.08;
const LINE: RGBColor = RGBColor(37, 99, 235);
const LIMIT: RGBColor = RGBColor(220, 38, 38);
const BEFORE: RGBColor = RGBColor(107, 114, 128);
const GRID: RGBColor = RGBColor(229, 231, 235);

type Failed = DrawingAreaErrorKind<std::io::Error>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Draws an indicator that has a series; `None` without one.
pub(super) fn draw(indicator: &IndicatorView) -> Option<String> {
    let series = indicator.series.as_ref()?;
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    // A text in memory takes every write: a failure means numbers that no axis can have.
    let drawn = on(&area, indicator, series).and_then(|()| area.present());
    drop(area);
    drawn.ok().map(|()| scalable(&svg))
}

/// Lets the picture take the width that there is.
fn scalable(svg: &str) -> String {
    svg.replacen(&format!("width=\"{}\" height=\"{}\" ", SIZE.0, SIZE.1), "", 1)
}

/// The lines across a chart: what was asked for, and what it was before.
fn across(indicator: &IndicatorView) -> Vec<(f64, RGBColor)> {
    let limits = indicator.limits.iter().map(|limit| (limit.value, LIMIT));
    let before = indicator.before.map(|value| (value, BEFORE));
    limits.chain(before).filter(|(value, _)| value.is_finite()).collect()
}

/// Returns the range of the vertical axis.
fn heights(series: &SeriesView, across: &[(f64, RGBColor)]) -> (f64, f64) {
    let values = series.values.iter().flatten().copied().chain(across.iter().map(|(value, _)| *value));
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), it| (low.min(it), high.max(it)));
    let room = if high > low { (high - low) * ROOM } else { high.abs().max(1.0) * ROOM };
    // Most indicators cannot be below 0, and then the axis begins there rather than below.
    let bottom = if low >= 0.0 { (low - room).max(0.0) } else { low - room };
    (bottom, high + room)
}

fn on(area: &DrawingArea<SVGBackend<'_>, Shift>, indicator: &IndicatorView, series: &SeriesView) -> Result<(), Failed> {
    let step = series.step_seconds as f64;
    let last = step * series.values.len().saturating_sub(1).max(1) as f64;
    let across = across(indicator);
    let (bottom, top) = heights(series, &across);
    let mut chart = ChartBuilder::on(area)
        .margin(6)
        .margin_right(18)
        .x_label_area_size(22)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..last, bottom..top)?;
    chart
        .configure_mesh()
        .light_line_style(GRID.mix(0.0))
        .bold_line_style(GRID)
        .axis_style(BEFORE)
        .x_labels(8)
        .y_labels(5)
        .x_label_formatter(&|at| format!("{at:.0} s"))
        .y_label_formatter(&|value| number(*value))
        .draw()?;
    for (value, colour) in &across {
        let line = vec![(0.0, *value), (last, *value)];
        chart.draw_series(std::iter::once(PathElement::new(line, colour.mix(0.8).stroke_width(1))))?;
    }
    curve(&mut chart, series, step)
}

/// Draws the values; where one is missing, there is a gap.
fn curve(chart: &mut Chart<'_, '_>, series: &SeriesView, step: f64) -> Result<(), Failed> {
    let places = series.values.iter().enumerate();
    let points: Vec<Option<(f64, f64)>> =
        places.map(|(index, value)| value.filter(|it| it.is_finite()).map(|it| (index as f64 * step, it))).collect();
    for part in points.split(Option::is_none).filter(|part| !part.is_empty()) {
        let part: Vec<(f64, f64)> = part.iter().flatten().copied().collect();
        match part.as_slice() {
            // One value alone has no line.
            [(at, value)] => {
                let line = vec![(*at, *value), (at + step / 4.0, *value)];
                chart.draw_series(std::iter::once(PathElement::new(line, LINE.stroke_width(2))))?;
            }
            _ => {
                chart.draw_series(LineSeries::new(part, LINE.stroke_width(2)))?;
            }
        }
    }
    Ok(())
}
