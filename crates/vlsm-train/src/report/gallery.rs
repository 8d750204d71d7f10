//! The gallery: every case with its pictures, sortable, with overlays that can be switched off. It needs its script; the rest
//! of the page does not.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, PreEscaped, html};
use serde::Serialize;

use super::sections::section;
use super::{Report, ReportRun};
use crate::error::{Result, TrainError};
use crate::evaluate::CasePictures;

/// A case for the page's script.
#[derive(Serialize)]
struct Case<'a> {
    name: &'a str,
    group: &'a str,
    subject: &'a str,
    set: &'a str,
    prompt: &'a str,
    dice: f64,
    iou: f64,
    hd95: f64,
    truth: f64,
    predicted: f64,
    width: usize,
    height: usize,
}

/// The run whose cases are shown: the first that has their pictures.
fn shown(report: &Report) -> Option<&ReportRun> {
    let mut runs = report.runs.iter();
    runs.find(|run| !run.pictures.is_empty() && run.headline().count() == run.pictures.len())
}

/// The section, if a run has pictures of its cases.
pub(super) fn gallery(report: &Report) -> Markup {
    let Some(run) = shown(report) else {
        return html! {};
    };
    let title = match report.runs.len() {
        1 => "All cases".to_owned(),
        _ => format!("All cases of {}", run.name),
    };
    section(
        &title,
        html! {
            noscript { p.note { "The gallery needs JavaScript. The numbers and charts of this page do not." } }
            div.controls {
                label {
                    "Order "
                    select #order autocomplete="off" {
                        option value="worst" selected { "lowest Dice first" }
                        option value="best" { "highest Dice first" }
                        option value="name" { "name" }
                        option value="large" { "largest object first" }
                        option value="small" { "smallest object first" }
                    }
                }
                (switch("prediction", "prediction", "#40ff60"))
                (switch("truth", "outline of the true mask", "#ff40ff"))
            }
            div #gallery {}
            p.note {
                "Click a picture to enlarge it, and a dot of the chart to see its case. The number is the Dice under prompt "
                (run.headline().next().map_or("", |row| &row.set)) "."
            }
            dialog #viewer aria-label="a case" {
                div.head {
                    h3 {}
                    form method="dialog" { button aria-label="close" { "✕" } }
                }
                p.prompt {}
                div.frame {}
                dl {}
                div.arrows {
                    button #previous type="button" { "← previous" }
                    button #next type="button" { "next →" }
                }
            }
        },
    )
}

fn switch(name: &str, label: &str, colour: &str) -> Markup {
    html! {
        span.switch {
            label { input type="checkbox" id={ "show-" (name) } checked autocomplete="off"; " " (label) }
            input type="color" id={ "colour-" (name) } value=(colour) aria-label={ "colour of the " (label) } autocomplete="off";
        }
    }
}

/// The gallery's data and its script, for the end of the page.
///
/// # Errors
/// If a number cannot be written as JSON.
pub(super) fn script(report: &Report) -> Result<Markup> {
    let Some(run) = shown(report) else {
        return Ok(html! {});
    };
    let cases: Vec<Case<'_>> = run
        .headline()
        .zip(&run.pictures)
        .map(|(row, pictures)| Case {
            name: &row.sample,
            group: &row.group,
            subject: &row.subject,
            set: &row.set,
            prompt: &row.prompt,
            dice: row.dice,
            iou: row.iou,
            hd95: row.hd95,
            truth: pictures.truth_share,
            predicted: pictures.predicted_share,
            width: pictures.width,
            height: pictures.height,
        })
        .collect();
    let cases = serde_json::to_string(&cases).map_err(|error| TrainError::Report {
        message: format!("the cases cannot be written as JSON: {error}"),
    })?;
    // A name with `</script>` would end the element.
    let cases = cases.replace('<', "\\u003c");
    Ok(html! {
        script #cases type="application/json" { (PreEscaped(cases)) }
        // Elements of their own, so that opening the page neither parses nor decodes them.
        @for (number, pictures) in run.pictures.iter().enumerate() {
            script id={ "pictures-" (number) } type="text/plain" { (PreEscaped(lines(pictures))) }
        }
        script { (PreEscaped(include_str!("gallery.js"))) }
    })
}

/// The image, the outline of the true mask and the prediction, a line each.
fn lines(
    CasePictures {
        image,
        truth,
        prediction,
        ..
    }: &CasePictures,
) -> String {
    [image, truth, prediction]
        .map(|bytes| STANDARD.encode(bytes))
        .join("\n")
}
