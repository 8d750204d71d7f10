//! Charts as inline SVG in the page's colours.

use std::error::Error;

use maud::{Markup, PreEscaped, html};
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::error::{Result, TrainError};
use crate::text::thousands;

/// Chart units per pixel of the page, since plotters only draws at whole units.
const SCALE: u32 = 4;
/// Width and height of a chart of curves, in pixels.
const CURVES: (u32, u32) = (340, 205);
/// Width of a chart of rows, in pixels.
const ROWS_WIDTH: u32 = 720;
/// Maximum length of a row label, in characters; longer ones are cut.
const LONGEST_LABEL: usize = 28;
/// Maximum number of dots in a row, picked evenly from all values.
const MOST_DOTS: usize = 500;

/// The colours that a chart is drawn in. They are then replaced by variables of the page's style sheet.
const INK: RGBColor = RGBColor(0x1c, 0x1e, 0x21);
const MUTED: RGBColor = RGBColor(0x5d, 0x64, 0x6c);
const RULE: RGBColor = RGBColor(0xd9, 0xdc, 0xe0);
/// One for each run; with more runs they repeat.
const SERIES: [RGBColor; SERIES_COLOURS] = [
    RGBColor(0x00, 0x00, 0x01),
    RGBColor(0x00, 0x00, 0x02),
    RGBColor(0x00, 0x00, 0x03),
    RGBColor(0x00, 0x00, 0x04),
    RGBColor(0x00, 0x00, 0x05),
    RGBColor(0x00, 0x00, 0x06),
];

/// Number of colours that distinguish runs: `--c0`, `--c1`, ... of the style sheet.
pub(super) const SERIES_COLOURS: usize = 6;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Plot<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
type Drawn = std::result::Result<(), Box<dyn Error>>;

/// A curve.
pub(super) struct Curve<'a> {
    /// Number of its colour.
    pub(super) colour: usize,
    /// Thin and pale, drawn under the others.
    pub(super) faint: bool,
    /// Sorted by x.
    pub(super) points: &'a [(f64, f64)],
}

/// Curves over optimiser steps.
pub(super) fn curves(label: &str, curves: &[Curve<'_>]) -> Result<Markup> {
    let points = || curves.iter().flat_map(|curve| curve.points);
    let x = range(points().map(|point| point.0), 0.0);
    let y = range(points().map(|point| point.1), 0.06);
    svg(label, CURVES, |root| {
        let mut chart = ChartBuilder::on(root)
            .margin_top(8 * SCALE)
            .margin_right(14 * SCALE)
            .x_label_area_size(24 * SCALE)
            .y_label_area_size(48 * SCALE)
            .build_cartesian_2d(x.0..x.1, y.0..y.1)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(RULE.stroke_width(SCALE))
            .axis_style(RULE.stroke_width(SCALE))
            .set_all_tick_mark_size(4 * SCALE)
            .x_labels(5)
            .y_labels(6)
            .x_label_formatter(&|step| thousands(step.round() as usize))
            .y_label_formatter(&|value| number(*value, y.1 - y.0))
            .label_style(text(11, MUTED))
            .draw()?;
        for curve in curves {
            let colour = SERIES[curve.colour % SERIES_COLOURS];
            let style = if curve.faint {
                colour.mix(0.45).stroke_width(SCALE)
            } else {
                colour.stroke_width(2 * SCALE)
            };
            // Dots, because a single epoch has no line.
            let dots = if curve.faint || curve.points.len() > 40 {
                0
            } else {
                5 * SCALE / 2
            };
            let line = LineSeries::new(curve.points.iter().copied(), style.filled());
            chart.draw_series(line.point_size(dots))?;
        }
        Ok(())
    })
}

/// One row per run, with a dot for each value, the quartiles and the median. Values are from 0 to
/// 1.
pub(super) fn strips(label: &str, rows: &[(String, Vec<(f64, &str)>)]) -> Result<Markup> {
    let names: Vec<String> = rows.iter().map(|(name, _)| name.clone()).collect();
    // Names of the dots, in the order in which they are drawn.
    let mut cases: Vec<(f64, &str)> = Vec::new();
    let drawn = row_chart(label, &names, 54, (0.0, 1.0), |chart| {
        for (index, (_, values)) in rows.iter().enumerate() {
            let colour = SERIES[index % SERIES_COLOURS];
            let middle = rows.len() as f64 - index as f64 - 0.5;
            let mut named = values.clone();
            named.sort_by(|a, b| a.0.total_cmp(&b.0));
            let sorted: Vec<f64> = named.iter().map(|(value, _)| *value).collect();
            let span = [0.25, 0.75].map(|share| quantile(&sorted, share));
            chart.draw_series([Rectangle::new(
                [(span[0], middle - 0.36), (span[1], middle + 0.36)],
                colour.mix(0.16).filled(),
            )])?;
            let shown = sorted.len().min(MOST_DOTS);
            let picked = (0..shown).map(|dot| dot * sorted.len() / shown);
            cases.extend(picked.map(|index| named[index]));
            chart.draw_series((0..shown).map(|dot| {
                // Multiples of the golden ratio separate neighbours, and are the same every time.
                let spread = (dot as f64 * 0.618_034).fract() - 0.5;
                let value = sorted[dot * sorted.len() / shown];
                let centre = (value, middle + 0.56 * spread);
                Circle::new(centre, 3 * SCALE, colour.mix(0.55).filled())
            }))?;
            let median = quantile(&sorted, 0.5);
            chart.draw_series([PathElement::new(
                [(median, middle - 0.42), (median, middle + 0.42)],
                colour.stroke_width(3 * SCALE),
            )])?;
        }
        Ok(())
    })?;
    Ok(named_dots(&drawn.into_string(), &cases))
}

/// A chart whose dots have the names of their cases, which browsers show under the pointer.
fn named_dots(chart: &str, cases: &[(f64, &str)]) -> Markup {
    let mut parts = chart.split("<circle ");
    let mut named = parts.next().unwrap_or_default().to_owned();
    for (part, (value, name)) in parts.zip(cases) {
        let (dot, rest) = part.split_once("/>").unwrap_or((part, ""));
        let title = html! { title { (name) " " (format!("{value:.3}")) } };
        let case = html! { i data-case=(name) {} }.into_string();
        let case = case.trim_start_matches("<i ").trim_end_matches("></i>");
        named += &format!(
            "<circle {case} {dot}>{}</circle>{rest}",
            title.into_string()
        );
    }
    PreEscaped(named)
}

/// One row per name, with a dot for each run that has a value for it. Values are from 0 to 1; the
/// axis is limited to the tenths that contain them.
pub(super) fn dots(label: &str, rows: &[(String, Vec<Option<f64>>)]) -> Result<Markup> {
    let names: Vec<String> = rows.iter().map(|(name, _)| name.clone()).collect();
    let values = || {
        rows.iter()
            .flat_map(|(_, values)| values)
            .flatten()
            .copied()
    };
    let low = (10.0 * values().fold(0.8, f64::min)).floor();
    let high = (10.0 * values().fold(0.0, f64::max)).ceil().max(low + 2.0);
    let (low, high) = (low / 10.0, high / 10.0);
    row_chart(label, &names, 26, (low, high), |chart| {
        for (index, (_, values)) in rows.iter().enumerate() {
            let middle = rows.len() as f64 - index as f64 - 0.5;
            let ends = [(low, middle), (high, middle)];
            let line = PathElement::new(ends, RULE.stroke_width(SCALE));
            chart.draw_series([line])?;
            for (run, value) in values.iter().enumerate() {
                let style = SERIES[run % SERIES_COLOURS].filled();
                // Runs are offset, so that equal values do not hide each other.
                let above = (values.len() as f64 - 1.0) / 2.0 - run as f64;
                let y = middle + 0.5 * above / values.len() as f64;
                let dot = |value: f64| Circle::new((value, y), 4 * SCALE, style);
                chart.draw_series(value.map(dot))?;
            }
        }
        Ok(())
    })
}

/// A chart over a range with a row for each of `names`, the first on top. Row `i` of `n` is centred
/// at y = n - i - 0.5.
fn row_chart(
    label: &str,
    names: &[String],
    row_height: u32,
    (low, high): (f64, f64),
    draw: impl FnOnce(&mut Plot<'_, '_>) -> Drawn,
) -> Result<Markup> {
    const TOP: u32 = 6;
    const AXIS: u32 = 24;
    let names: Vec<String> = names.iter().map(|name| cut(name)).collect();
    let longest = names.iter().map(|name| name.chars().count()).max();
    let left = 26 + 7 * longest.unwrap_or(0) as u32;
    let size = (ROWS_WIDTH, TOP + AXIS + row_height * names.len() as u32);
    svg(label, size, |root| {
        let style = text(13, INK).pos(Pos::new(HPos::Right, VPos::Center));
        for (index, name) in names.iter().enumerate() {
            let y = TOP + row_height * index as u32 + row_height / 2;
            let at = (((left - 14) * SCALE) as i32, (y * SCALE) as i32);
            root.draw(&Text::new(name.clone(), at, style.clone()))?;
        }
        let mut chart = ChartBuilder::on(root)
            .margin_top(TOP * SCALE)
            .margin_left(left * SCALE)
            .margin_right(14 * SCALE)
            .x_label_area_size(AXIS * SCALE)
            .build_cartesian_2d(low..high, 0.0..names.len().max(1) as f64)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .light_line_style(TRANSPARENT)
            .bold_line_style(RULE.stroke_width(SCALE))
            .axis_style(RULE.stroke_width(SCALE))
            .set_all_tick_mark_size(4 * SCALE)
            .x_labels(6)
            .x_label_formatter(&|value| number(*value, high - low))
            .label_style(text(11, MUTED))
            .draw()?;
        draw(&mut chart)
    })
}

/// Draws a chart of `width` x `height` pixels and replaces its colours by the page's.
fn svg(
    label: &str,
    (width, height): (u32, u32),
    draw: impl FnOnce(&Area<'_>) -> Drawn,
) -> Result<Markup> {
    let (width, height) = (width * SCALE, height * SCALE);
    let mut text = String::new();
    let drawn = {
        let root = SVGBackend::with_string(&mut text, (width, height)).into_drawing_area();
        draw(&root).and_then(|()| Ok(root.present()?))
    };
    drawn.map_err(|error| TrainError::Report {
        message: format!("the chart \"{label}\" cannot be drawn: {error}"),
    })?;
    // The outer element is replaced by one with a label and without a fixed size.
    let inner = text.split_once('>').map_or("", |(_, rest)| rest);
    let mut inner = inner.replace("</svg>", "").replace(" opacity=\"1\"", "");
    for (colour, variable) in [(INK, "ink"), (MUTED, "muted"), (RULE, "rule")] {
        inner = inner.replace(&hex(colour), &format!("var(--{variable})"));
    }
    for (number, colour) in SERIES.into_iter().enumerate() {
        inner = inner.replace(&hex(colour), &format!("var(--c{number})"));
    }
    let view = format!("0 0 {width} {height}");
    Ok(html! { svg viewBox=(view) role="img" aria-label=(label) { (PreEscaped(inner.trim())) } })
}

/// A colour as plotters writes it.
fn hex(RGBColor(red, green, blue): RGBColor) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}

/// Text of a size in pixels.
fn text(size: u32, colour: RGBColor) -> TextStyle<'static> {
    // Plotters divides the size by 1.24 before it writes it.
    let size = f64::from(size * SCALE) * 1.24;
    ("sans-serif", size).into_font().color(&colour)
}

/// The range of the values, extended by `margin` times its length at both ends; never empty.
fn range(values: impl Iterator<Item = f64>, margin: f64) -> (f64, f64) {
    let wider = |(low, high): (f64, f64), value: f64| (low.min(value), high.max(value));
    let (low, high) = values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), wider);
    if low > high {
        return (0.0, 1.0);
    }
    let span = high - low;
    // A single value, or values that only differ by rounding errors.
    if span <= high.abs() * 1e-6 {
        let half = if high == 0.0 { 0.5 } else { high.abs() / 2.0 };
        return (low - half, high + half);
    }
    (low - margin * span, high + margin * span)
}

/// The quantile of sorted values, linear between neighbours.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let position = share * last as f64;
    let low = sorted[position as usize];
    let high = sorted[(position as usize + 1).min(last)];
    low + (high - low) * position.fract()
}

/// The label of a value on an axis of length `span`: `0.25`, `5e-4`.
fn number(value: f64, span: f64) -> String {
    // Ticks are sums, so the one at zero may be off by a rounding error.
    if value.abs() < 1e-6 * span {
        return "0".into();
    }
    if value.abs() < 0.0095 {
        return format!("{value:.1e}").replace(".0e", "e");
    }
    // One digit more than the span has, since ticks are at 1, 2 or 5 times a power of ten.
    let digits = (1.0 - span.log10().floor()).clamp(0.0, 9.0) as usize;
    format!("{value:.digits$}")
}

/// A label, cut so that it leaves space for the chart.
fn cut(label: &str) -> String {
    if label.chars().count() <= LONGEST_LABEL {
        return label.to_owned();
    }
    let start: String = label.chars().take(LONGEST_LABEL - 1).collect();
    start.trim_end().to_owned() + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_are_linear_between_neighbours() {
        let sorted = [0.0, 0.1, 0.2, 0.7];
        let quartiles = [0.0, 0.25, 0.5, 0.75, 1.0].map(|share| quantile(&sorted, share));
        for (value, expected) in quartiles.into_iter().zip([0.0, 0.075, 0.15, 0.325, 0.7]) {
            assert!((value - expected).abs() < 1e-12, "{value} {expected}");
        }
        assert_eq!(quantile(&[0.4], 0.75), 0.4);
    }

    #[test]
    fn ranges_are_never_empty() {
        assert_eq!(range([1.0, 3.0].into_iter(), 0.5), (0.0, 4.0));
        assert_eq!(range([2.0].into_iter(), 0.1), (1.0, 3.0));
        assert_eq!(range([0.0].into_iter(), 0.1), (-0.5, 0.5));
        assert_eq!(range([f64::NAN].into_iter(), 0.1), (0.0, 1.0));
    }

    #[test]
    fn axis_numbers_are_short() {
        let shown = [(0.5, 0.6), (1.0, 1.5), (40.0, 90.0), (0.2045, 0.003)];
        let shown = shown.map(|(value, span)| number(value, span));
        assert_eq!(shown, ["0.50", "1.0", "40", "0.2045"]);
        assert_eq!(number(1e-12, 1e-3), "0");
        assert_eq!(number(0.000_300_000_000_01, 1e-3), "3e-4");
    }

    #[test]
    fn charts_take_the_pages_colours_and_escape_their_labels() {
        let rows = [(
            "<b>&\"".to_owned(),
            vec![(0.1, "<i>"), (0.5, "b"), (1.0, "c")],
        )];
        let chart = strips("Dice of <b>&\"", &rows).unwrap().into_string();
        assert!(chart.contains("var(--c0)") && chart.contains("var(--muted)"));
        assert!(!chart.contains("#00") && !chart.contains("http"), "{chart}");
        assert!(!chart.contains("<b>") && chart.contains("&lt;b&gt;&amp;&quot;"));
        assert_eq!(chart.matches("<circle").count(), 3);
        assert!(chart.contains("<title>&lt;i&gt; 0.100</title>"), "{chart}");
        assert!(chart.contains("data-case=\"&lt;i&gt;\""), "{chart}");
        let point = [(10.0, 0.5)];
        let curve = Curve {
            colour: 7,
            faint: false,
            points: &point,
        };
        let chart = curves("loss", &[curve]).unwrap().into_string();
        assert!(chart.contains("var(--c1)"));
        assert_eq!(chart.matches("<circle").count(), 1);
    }
}
