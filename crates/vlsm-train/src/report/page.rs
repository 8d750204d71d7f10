//! The page around the sections.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Report, gallery, guide, labels, pictures, prompts, sections, subjects};
use crate::error::Result;

/// The whole page.
pub(super) fn page(report: &Report) -> Result<Markup> {
    let distribution = sections::distribution(report)?;
    let cases = pictures::cases(report)?;
    let prompts = prompts::prompts(report)?;
    let training = sections::training(report)?;
    Ok(shell(
        &report.title,
        &report.lead,
        html! {
            (sections::results(report))
            (sections::groups(report))
            (subjects::subjects(report))
            (labels::labels(report))
            (distribution)
            (gallery::gallery(report))
            (cases)
            (prompts)
            (training)
            (sections::cost(report))
            (sections::facts(report))
            (guide::guide(report))
            (sections::notes(report))
        },
        gallery::script(report)?,
    ))
}

/// A page that needs no other file, around its sections; `script` is at its end.
pub(crate) fn shell(title: &str, lead: &str, sections: Markup, script: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                main {
                    header {
                        h1 { (title) }
                        @if !lead.is_empty() { p.lead { (lead) } }
                    }
                    (sections)
                    footer { (guide::intended_use()) " Made by vlsm " (env!("CARGO_PKG_VERSION")) "." }
                }
                (script)
            }
        }
    }
}
