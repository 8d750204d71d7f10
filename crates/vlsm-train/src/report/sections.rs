//! The sections of the page; one without content is empty.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};
use vlsm_data::{Mask, RgbImage, fit_image, jpeg, overlay, resize_mask};

use super::chart::{self, Curve, SERIES_COLOURS};
use super::facts::thousands;
use super::{Case, Curves, Report, ReportRun};
use crate::error::Result;
use crate::evaluate::{MeanStd, Metrics};

/// The longer side of a picture, in pixels.
const PICTURE: usize = 256;

type Points = Vec<(f64, f64)>;

fn section(title: &str, content: Markup) -> Markup {
    html! { section { h2 { (title) } (content) } }
}

/// Which colour is whose, where there is more than one run.
fn legend(report: &Report) -> Markup {
    let names: Vec<&str> = report.runs.iter().map(|run| run.name.as_str()).collect();
    html! { @if names.len() > 1 { (key(&names)) } }
}

fn key(names: &[&str]) -> Markup {
    html! {
        ul.key {
            @for (number, name) in names.iter().enumerate() {
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
                ". HD95: the 95th percentile of the Hausdorff distance. One empty: samples where "
                "prediction or truth, but not both, has no foreground; their HD95 is the image’s "
                "diagonal."
                @if runs.len() > 1 { " The best of each column is bold." }
            }
        },
    )
}

/// The Dice of every image.
pub(super) fn distribution(report: &Report) -> Result<Markup> {
    let rows: Vec<(String, Vec<f64>)> = report
        .runs
        .iter()
        .map(|run| {
            let dice = run.headline().map(|row| row.dice);
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
                    "A dot is a sample. The band spans the middle half of them, the line in it is "
                    "the median."
                }
            }
        },
    ))
}

/// The best, the median and the worst sample.
pub(super) fn cases(report: &Report) -> Result<Markup> {
    if report.cases.is_empty() {
        return Ok(html! {});
    }
    let cases: Vec<Markup> = report
        .cases
        .iter()
        .map(|case| one_case(report, case))
        .collect::<Result<_>>()?;
    Ok(section(
        "Best, median and worst",
        html! { @for case in &cases { (case) } },
    ))
}

fn one_case(report: &Report, case: &Case) -> Result<Markup> {
    let image = fit_image(&case.image, PICTURE);
    let masked = |mask: &Mask| overlay(&image, &resize_mask(mask, image.width, image.height));
    let plain = picture(&image)?;
    let truth = picture(&masked(&case.truth))?;
    let mut predictions = Vec::with_capacity(report.runs.len());
    for run in &report.runs {
        let of_run = |one: &&super::CasePrediction| one.run == run.name;
        if let Some(one) = case.predictions.iter().find(of_run) {
            predictions.push((run.name.as_str(), one.dice, picture(&masked(&one.mask))?));
        }
    }
    let alone = predictions.len() == 1;
    Ok(html! {
        article.case {
            p {
                strong { (case.kind) }
                " “" (case.prompt) "” "
                span.source { (case.set) (mark(report, &case.set)) " · " (case.sample) }
            }
            div.pictures {
                (shown(&plain, "the image", html! { "image" }))
                (shown(&truth, "the true mask on it", html! { "truth" }))
                @for (name, dice, data) in &predictions {
                    (shown(data, &format!("the mask that {name} predicts"), html! {
                        @if alone { "prediction" } @else { (name) }
                        " " b { (format!("{dice:.3}")) }
                    }))
                }
            }
        }
    })
}

fn shown(data: &str, alt: &str, caption: Markup) -> Markup {
    html! { figure { img src=(data) alt=(alt); figcaption { (caption) } } }
}

/// A picture as the address of itself.
fn picture(image: &RgbImage) -> Result<String> {
    Ok(format!(
        "data:image/jpeg;base64,{}",
        STANDARD.encode(jpeg(image)?)
    ))
}

/// Dice under every prompt set, where some run has several.
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
            let dice = metrics.iter().map(|one| Some(one.as_ref()?.dice.mean));
            ((*set).to_owned(), dice.collect())
        })
        .collect();
    let chart = chart::dots("Mean Dice by prompt", &rows)?;
    Ok(section(
        "Dice by prompt",
        html! {
            figure.wide {
                (legend(report))
                div.scroll { (chart) }
                figcaption { "Mean Dice of the same model under other prompts for the same samples." }
            }
            div.scroll {
                table {
                    thead {
                        tr {
                            th { "prompt" }
                            th.text { "as in the first sample" }
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
                                    td.text { (parts(report, set).join(", ")) }
                                }
                                @for metrics in metrics {
                                    td {
                                        @match metrics {
                                            Some(metrics) => {
                                                (format!("{:.3}", metrics.dice.mean))
                                                span.spread {
                                                    " ± " (format!("{:.3}", metrics.dice.std))
                                                }
                                            }
                                            None => "–",
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        },
    ))
}

/// The number of a prompt's name: 6 for `p6`.
fn number_of(set: &str) -> Option<u32> {
    set.strip_prefix('p')?.parse().ok()
}

/// The prompt of the first sample, where the set's name is not the prompt itself.
fn example<'a>(report: &'a Report, set: &'a str) -> &'a str {
    let mut runs = report.runs.iter();
    match runs.find_map(|run| run.of_set(set).next()) {
        Some(row) if row.prompt.is_empty() => "(empty)",
        Some(row) if row.prompt != set => &row.prompt,
        _ => "",
    }
}

/// What of a set's prompts was read from the mask, as far as the data set says. A set of several
/// names, `p6,p5`, owes what each of them does.
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

/// Whether a set's prompts are likely to owe something to the mask where the data set says nothing:
/// those beyond p1 do in the published data sets.
fn suspect(report: &Report, set: &str) -> bool {
    let beyond = |name: &str| number_of(name).is_some_and(|number| number > 1);
    report.oracle.is_none() && set.split(',').any(beyond)
}

/// The mark behind the name of a prompt set that was read from the mask, or may have been.
fn mark(report: &Report, set: &str) -> Markup {
    html! {
        @if !parts(report, set).is_empty() {
            " " a.oracle href="#oracle" { "oracle" }
        } @else if suspect(report, set) {
            sup { a href="#oracle" { "†" } }
        }
    }
}

/// How the trainings went.
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
            @if trained.len() == 1 { (key(&["training", "validation"])) } @else { (legend(report)) }
            div.panels {
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

/// Seconds as a clock that a reader takes in at a glance.
fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..100 => format!("{seconds:.1} s"),
        100..6000 => format!("{} min {:02} s", whole / 60, whole % 60),
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

/// What a reader must know.
pub(super) fn notes(report: &Report) -> Markup {
    let sets = || report.runs.iter().flat_map(ReportRun::sets);
    let oracle = sets().any(|set| !parts(report, set).is_empty());
    let suspects = sets().any(|set| suspect(report, set));
    html! {
        @if oracle || suspects || !report.notes.is_empty() {
            section.notes {
                @if oracle {
                    p #oracle {
                        span.oracle { "oracle" }
                        " Words of these prompts were read from the true mask. Who does not know "
                        "the mask cannot write them, so that the numbers are too good for use."
                    }
                } @else if suspects {
                    p #oracle {
                        "† In the published data sets, prompts beyond p1 state shape, colour, size, "
                        "number or place as read from the true mask, which who uses the model does "
                        "not know. This data set does not say which of its prompts do (field "
                        code { "oracle" } " of its annotations)."
                    }
                }
                @for note in &report.notes { p { (note) } }
            }
        }
    }
}
