//! The sections of the page; one without content is empty.

use maud::{Markup, html};

use super::chart::{self, Curve, SERIES_COLOURS};
use super::prompts::{self, mark};
use super::{Curves, Report, ReportRun};
use crate::error::Result;
use crate::evaluate::{MeanStd, Metrics};
use crate::text::thousands;

type Points = Vec<(f64, f64)>;

/// A section under a heading.
pub(crate) fn section(title: &str, content: Markup) -> Markup {
    html! { section { h2 { (title) } (content) } }
}

/// The colours of the runs, if there are several.
pub(super) fn legend(report: &Report) -> Markup {
    let names = report.runs.iter().map(|run| run.name.as_str());
    html! { @if report.runs.len() > 1 { (key(names.enumerate())) } }
}

/// Names with the numbers of their colours.
fn key<'a>(names: impl IntoIterator<Item = (usize, &'a str)>) -> Markup {
    html! {
        ul.key {
            @for (number, name) in names {
                li { span class={ "chip c" (number % SERIES_COLOURS) } {} (name) }
            }
        }
    }
}

/// The metrics of every run under its first prompt set.
pub(super) fn results(report: &Report) -> Markup {
    let runs: Vec<(&ReportRun, Metrics)> = report
        .runs
        .iter()
        .filter(|run| !run.rows.is_empty())
        .map(|run| (run, Metrics::of(run.headline())))
        .collect();
    if runs.is_empty() {
        return html! {};
    }
    let best = |value: fn(&Metrics) -> f64, better: fn(f64, f64) -> f64| {
        let best = runs.iter().map(|(_, metrics)| value(metrics));
        best.reduce(better).filter(|_| runs.len() > 1)
    };
    let dice = best(|metrics| metrics.dice.mean, f64::max);
    let iou = best(|metrics| metrics.iou.mean, f64::max);
    let hd95 = best(|metrics| metrics.hd95.mean, f64::min);
    let cell = |metric: MeanStd, digits: usize, best: Option<f64>| {
        html! {
            td.best[best == Some(metric.mean)] {
                (format!("{:.digits$}", metric.mean))
                span.spread { " ± " (format!("{:.digits$}", metric.std)) }
                @if let Some([low, high]) = metric.ci95 {
                    br;
                    span.spread { (format!("{low:.digits$} – {high:.digits$}")) }
                }
            }
        }
    };
    let sets: Vec<&str> = report
        .runs
        .iter()
        .filter_map(|run| run.sets().first().copied())
        .collect();
    let same_set = sets.windows(2).all(|pair| pair[0] == pair[1]);
    section(
        "Results",
        html! {
            div.scroll {
                table {
                    thead {
                        tr {
                            th { "run" }
                            @if !same_set { th { "prompt" } }
                            th { "n" }
                            th { "Dice" }
                            th { "IoU" }
                            th { "HD95 (pixels)" }
                            th { "one empty" }
                        }
                    }
                    tbody {
                        @for ((run, metrics), set) in runs.iter().zip(&sets) {
                            tr {
                                th scope="row" { (run.name) }
                                @if !same_set { td.text { (set) (mark(report, set)) } }
                                td { (metrics.samples) }
                                (cell(metrics.dice, 3, dice))
                                (cell(metrics.iou, 3, iou))
                                (cell(metrics.hd95, 1, hd95))
                                td { (metrics.one_empty) }
                            }
                        }
                    }
                }
            }
            p.note {
                "Mean ± standard deviation over the n samples, each at its mask’s own size"
                @if same_set {
                    @if let Some(set) = sets.first() {
                        ", under prompt " span.nowrap { (set) (mark(report, set)) }
                    }
                }
                "; below it the 95 % interval of the mean, by bootstrap over images or patients. HD95: the 95th percentile of the Hausdorff distance. One empty: samples where "
                "prediction or truth, but not both, has no foreground; their HD95 is the image’s "
                "diagonal."
                @if runs.len() > 1 { " The best of each column is bold." }
            }
        },
    )
}

/// A cell with the mean Dice, and with its standard deviation if there are fewer than three runs.
pub(super) fn dice(report: &Report, metrics: Option<&Metrics>) -> Markup {
    html! {
        td {
            @match metrics {
                Some(metrics) => {
                    (format!("{:.3}", metrics.dice.mean))
                    @if report.runs.len() < 3 {
                        span.spread { " ± " (format!("{:.3}", metrics.dice.std)) }
                        @if let Some([low, high]) = metrics.dice.ci95 {
                            br;
                            span.spread { (format!("{low:.3} – {high:.3}")) }
                        }
                    }
                }
                None => "–",
            }
        }
    }
}

/// Dice by group of samples (classes or kinds of prompts), if there are several.
pub(super) fn groups(report: &Report) -> Markup {
    let mut groups: Vec<&str> = Vec::new();
    for row in report.runs.iter().flat_map(ReportRun::headline) {
        if !groups.contains(&row.group.as_str()) {
            groups.push(&row.group);
        }
    }
    if groups.len() < 2 {
        return html! {};
    }
    let metrics =
        |run: &ReportRun, group: &str| Metrics::of(run.headline().filter(|row| row.group == group));
    section(
        "Dice by group",
        html! {
            div.scroll {
                table {
                    thead {
                        tr {
                            th { "group" }
                            th { "n" }
                            @for run in &report.runs {
                                th { @if report.runs.len() > 1 { (run.name) } @else { "Dice" } }
                            }
                        }
                    }
                    tbody {
                        @for group in groups {
                            tr {
                                th scope="row" { @if group.is_empty() { "–" } @else { (group) } }
                                td { (metrics(&report.runs[0], group).samples) }
                                @for metrics in report.runs.iter().map(|run| metrics(run, group)) {
                                    (dice(report, Some(&metrics).filter(|metrics| metrics.samples > 0)))
                                }
                            }
                        }
                    }
                }
            }
        },
    )
}

/// The Dice of every image.
pub(super) fn distribution(report: &Report) -> Result<Markup> {
    let rows: Vec<(String, Vec<(f64, &str)>)> = report
        .runs
        .iter()
        .map(|run| {
            let dice = run.headline().map(|row| (row.dice, row.sample.as_str()));
            (run.name.clone(), dice.collect())
        })
        .collect();
    if rows.iter().all(|(_, values)| values.is_empty()) {
        return Ok(html! {});
    }
    let chart = chart::strips("Dice of each sample, by run", &rows)?;
    Ok(section(
        "Dice of each sample",
        html! {
            figure.wide {
                div.scroll { (chart) }
                figcaption {
                    "Each dot is a sample; rest the pointer on it for its name. The band covers the middle half of the samples; the line in it "
                    "is the median."
                }
            }
        },
    ))
}

/// The curves of the trainings.
pub(super) fn training(report: &Report) -> Result<Markup> {
    let trained: Vec<(usize, &Curves)> = report
        .runs
        .iter()
        .enumerate()
        .filter_map(|(number, run)| Some((number, run.curves.as_ref()?)))
        .collect();
    let panels: Vec<(&str, Vec<Curve<'_>>)> = match trained.as_slice() {
        [] => return Ok(html! {}),
        [(_, only)] => vec![
            (
                "Loss",
                vec![
                    curve(0, true, &only.step_loss),
                    curve(0, false, &only.train_loss),
                    curve(1, false, &only.val_loss),
                ],
            ),
            ("Validation Dice", vec![curve(1, false, &only.val_dice)]),
            ("Learning rate", vec![curve(0, false, &only.lr)]),
        ],
        several => {
            let each = |pick: fn(&Curves) -> &Points| {
                several
                    .iter()
                    .map(|(number, curves)| curve(*number, false, pick(curves)))
                    .collect()
            };
            vec![
                ("Training loss", each(|curves| &curves.train_loss)),
                ("Validation loss", each(|curves| &curves.val_loss)),
                ("Validation Dice", each(|curves| &curves.val_dice)),
                ("Learning rate", each(|curves| &curves.lr)),
            ]
        }
    };
    let mut charts = Vec::new();
    for (title, curves) in panels {
        if curves.iter().any(|curve| !curve.points.is_empty()) {
            let label = format!("{title} by optimiser step");
            charts.push((title, chart::curves(&label, &curves)?));
        }
    }
    Ok(section(
        "Training",
        html! {
            @if trained.len() == 1 { (key([(0, "training"), (1, "validation")])) } @else {
                (key(trained.iter().map(|(number, _)| (*number, report.runs[*number].name.as_str()))))
            }
            div.panels style={ "--n:" (if charts.len() == 4 { 2 } else { 3 }) } {
                @for (title, chart) in &charts {
                    figure { figcaption { (title) } (chart) }
                }
            }
            p.note { "By optimiser step." }
        },
    ))
}

fn curve(colour: usize, faint: bool, points: &[(f64, f64)]) -> Curve<'_> {
    Curve {
        colour,
        faint,
        points,
    }
}

/// What each run cost.
pub(super) fn cost(report: &Report) -> Markup {
    section(
        "Parameters, time and memory",
        html! {
            div.scroll {
                table {
                    thead {
                        tr {
                            th { "run" }
                            th { "trained" }
                            th { "of all" }
                            th { "share" }
                            th { "training time" }
                            th { "peak memory" }
                        }
                    }
                    tbody {
                        @for run in &report.runs {
                            tr {
                                th scope="row" { (run.name) }
                                td { (thousands(run.trained)) }
                                td { (thousands(run.total)) }
                                td {
                                    (format!("{:.2} %", 100.0 * run.trained as f64 / run.total.max(1) as f64))
                                }
                                td { (run.seconds.map_or("–".to_owned(), duration)) }
                                td {
                                    (run.peak_memory.map_or("–".to_owned(), |bytes| {
                                        format!("{:.2} GB", bytes as f64 / 1e9)
                                    }))
                                }
                            }
                        }
                    }
                }
            }
        },
    )
}

/// A duration in seconds, minutes or hours.
fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..100 => format!("{seconds:.1} s"),
        100..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
    }
}

/// What was run.
pub(super) fn facts(report: &Report) -> Markup {
    if report.facts.is_empty() {
        return html! {};
    }
    section(
        "Setting",
        html! {
            dl { @for (name, value) in &report.facts { div { dt { (name) } dd { (value) } } } }
        },
    )
}

/// Notes that a reader must know.
pub(super) fn notes(report: &Report) -> Markup {
    let footnote = prompts::footnote(report);
    html! {
        @if footnote.is_some() || !report.notes.is_empty() {
            section.notes {
                @if let Some(footnote) = footnote { (footnote) }
                @for note in &report.notes { p { (note) } }
            }
        }
    }
}
