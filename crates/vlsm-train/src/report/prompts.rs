//! The section on prompts, and the marks of prompts that were read from the ground-truth mask.

use maud::{Markup, html};

use super::chart;
use super::sections::{dice, legend, section};
use super::{Report, ReportRun};
use crate::error::Result;
use crate::evaluate::{Metrics, number_of};

/// Dice under every prompt set, if some run has several.
pub(super) fn prompts(report: &Report) -> Result<Markup> {
    if report.runs.iter().all(|run| run.sets().len() < 2) {
        return Ok(html! {});
    }
    let mut sets: Vec<&str> = Vec::new();
    for set in report.runs.iter().flat_map(ReportRun::sets) {
        if !sets.contains(&set) {
            sets.push(set);
        }
    }
    sets.sort_by_key(|set| number_of(set).map_or((1, 0), |number| (0, number)));
    let metrics: Vec<Vec<Option<Metrics>>> = sets
        .iter()
        .map(|set| {
            let of_run = |run: &ReportRun| {
                let metrics = Metrics::of(run.of_set(set));
                (metrics.samples > 0).then_some(metrics)
            };
            report.runs.iter().map(of_run).collect()
        })
        .collect();
    let rows: Vec<(String, Vec<Option<f64>>)> = sets
        .iter()
        .zip(&metrics)
        .map(|(set, metrics)| {
            let dice = metrics
                .iter()
                .map(|metrics| Some(metrics.as_ref()?.dice.mean));
            let mark = match suspect(report, set) {
                true => " †",
                false if parts(report, set).is_empty() => "",
                false => " (oracle)",
            };
            (format!("{set}{mark}"), dice.collect())
        })
        .collect();
    let chart = chart::dots("Mean Dice by prompt", &rows)?;
    Ok(section(
        "Dice by prompt",
        html! {
            figure.wide {
                (legend(report))
                div.scroll { (chart) }
                figcaption { "Mean Dice of the same model on the same samples with different prompts." }
            }
            div.scroll {
                table {
                    thead {
                        tr {
                            th { "prompt" }
                            th.text { "example (first sample)" }
                            @if report.oracle.is_some() { th.text { "read from the mask" } }
                            @for run in &report.runs {
                                th { @if report.runs.len() > 1 { (run.name) } @else { "Dice" } }
                            }
                        }
                    }
                    tbody {
                        @for (set, metrics) in sets.iter().zip(&metrics) {
                            tr {
                                th scope="row" { (set) (mark(report, set)) }
                                td.text.words { (example(report, set)) }
                                @if report.oracle.is_some() {
                                    td.text.words { (parts(report, set).join(", ")) }
                                }
                                @for metrics in metrics {
                                    (dice(report, metrics.as_ref()))
                                }
                            }
                        }
                    }
                }
            }
        },
    ))
}

/// The prompt of the first sample, if it differs from the set's name.
fn example<'a>(report: &'a Report, set: &'a str) -> &'a str {
    let mut runs = report.runs.iter();
    match runs.find_map(|run| run.of_set(set).next()) {
        Some(row) if row.prompt.is_empty() => "(empty)",
        Some(row) if row.prompt != set => &row.prompt,
        _ => "",
    }
}

/// The parts of a set's prompts that were read from the mask, according to the data set. For a set
/// of several names, such as `p6,p5`, the parts of all of them.
fn parts<'a>(report: &'a Report, set: &str) -> Vec<&'a str> {
    let mut parts: Vec<&str> = Vec::new();
    for name in set.split(',') {
        let of_name = report.oracle.as_ref().and_then(|oracle| oracle.get(name));
        for part in of_name.into_iter().flatten() {
            if !parts.contains(&part.as_str()) {
                parts.push(part);
            }
        }
    }
    parts
}

/// Whether a set's prompts were probably read from the mask although the data set does not say so. In
/// the published data sets this holds for those beyond p1.
fn suspect(report: &Report, set: &str) -> bool {
    let beyond = |name: &str| number_of(name).is_some_and(|number| number > 1);
    report.oracle.is_none() && set.split(',').any(beyond)
}

/// The mark after the name of a prompt set that was read from the ground-truth mask, or may have been.
pub(super) fn mark(report: &Report, set: &str) -> Markup {
    html! {
        @if !parts(report, set).is_empty() {
            " " a.oracle href="#oracle" { "oracle" }
        } @else if suspect(report, set) {
            sup { a href="#oracle" { "†" } }
        }
    }
}

/// The explanation of the marks, if there are any.
pub(super) fn footnote(report: &Report) -> Option<Markup> {
    let sets = || report.runs.iter().flat_map(ReportRun::sets);
    if sets().any(|set| !parts(report, set).is_empty()) {
        return Some(html! {
            p #oracle {
                span.oracle { "oracle" }
                " Words of these prompts were read from the ground-truth mask. A user of the model does "
                "not have that mask and cannot write them, so these scores are higher than those in "
                "use."
            }
        });
    }
    sets().any(|set| suspect(report, set)).then(|| {
        html! {
            p #oracle {
                "† In the published data sets, prompts beyond p1 state shape, colour, size, number "
                "or position as read from the ground-truth mask, which a user of the model does not have. "
                "This data set does not say which of its prompts do (field " code { "oracle" }
                " of its annotations)."
            }
        }
    })
}
