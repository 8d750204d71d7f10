//! The section with the samples that are shown.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};
use vlsm_image::{Mask, RgbImage, fit_image, jpeg, overlay, resize_mask};

use super::prompts::mark;
use super::sections::section;
use super::{Case, CasePrediction, Report};
use crate::error::Result;

/// The longer side of a picture, in pixels.
pub(super) const PICTURE: usize = 256;

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
        let of_run = |one: &&CasePrediction| one.run == run.name;
        if let Some(one) = case.predictions.iter().find(of_run) {
            predictions.push((run.name.as_str(), one.dice, picture(&masked(&one.mask))?));
        }
    }
    let alone = predictions.len() == 1;
    Ok(html! {
        article.case {
            p {
                strong { (case.kind) @if report.runs.len() > 1 { " of " (case.of) } }
                " “" (case.prompt) "” "
                span.source { (case.set) (mark(report, &case.set)) " · " (case.sample) }
            }
            div.pictures style={ "--n:" (2 + predictions.len()) } {
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

pub(super) fn shown(data: &str, alt: &str, caption: Markup) -> Markup {
    html! { figure { img src=(data) alt=(alt); figcaption { (caption) } } }
}

/// A picture as the address of itself.
pub(super) fn picture(image: &RgbImage) -> Result<String> {
    Ok(format!(
        "data:image/jpeg;base64,{}",
        STANDARD.encode(jpeg(image)?)
    ))
}
