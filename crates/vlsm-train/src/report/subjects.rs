//! Dice by patient, or by another subject that several samples share.

use maud::{Markup, html};

use super::sections::section;
use super::{Report, ReportRun};
use crate::evaluate::SampleScores;

/// Maximum number of subjects in the table: those with the lowest means.
const MOST: usize = 20;

/// Mean Dice by subject of the first run, if some subject has several samples.
pub(super) fn subjects(report: &Report) -> Markup {
    let mut runs = report.runs.iter().rev();
    let Some(run) = runs.find(|run| !run.rows.is_empty()) else {
        return html! {};
    };
    let subjects = by_subject(run);
    let samples = run.headline().count();
    if subjects.len() == samples {
        return html! {};
    }
    let means = subjects.iter().map(|(_, scores)| mean(scores));
    let overall = means.sum::<f64>() / subjects.len().max(1) as f64;
    section(
        "Dice by patient or image",
        html! {
            p.note {
                (samples) " samples of " (subjects.len()) " patients or images. Samples of one are not independent; the mean over them, each "
                "counting once, is " (format!("{overall:.3}"))
                @if report.runs.len() > 1 { " for " (run.name) }
                ". "
                @if subjects.len() > MOST { "The " (MOST) " with the lowest means:" } @else { "The lowest first:" }
            }
            div.scroll {
                table {
                    thead { tr { th { "patient or image" } th { "n" } th { "Dice" } th { "lowest" } th { "highest" } } }
                    tbody {
                        @for (subject, scores) in subjects.iter().take(MOST) {
                            tr {
                                th scope="row" { (subject) }
                                td { (scores.len()) }
                                td { (format!("{:.3}", mean(scores))) }
                                td { (format!("{:.3}", scores.iter().copied().fold(f64::INFINITY, f64::min))) }
                                td { (format!("{:.3}", scores.iter().copied().fold(0.0, f64::max))) }
                            }
                        }
                    }
                }
            }
        },
    )
}

/// The subjects with the Dice of their samples under the first prompt set, the lowest mean first.
fn by_subject(run: &ReportRun) -> Vec<(&str, Vec<f64>)> {
    let mut rows: Vec<&SampleScores> = run.headline().collect();
    rows.sort_by(|a, b| a.subject.cmp(&b.subject));
    let groups = rows.chunk_by(|a, b| a.subject == b.subject);
    let mut subjects: Vec<(&str, Vec<f64>)> = groups
        .map(|rows| {
            (
                rows[0].subject.as_str(),
                rows.iter().map(|row| row.dice).collect(),
            )
        })
        .collect();
    subjects.sort_by(|a, b| mean(&a.1).total_cmp(&mean(&b.1)));
    subjects
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}
