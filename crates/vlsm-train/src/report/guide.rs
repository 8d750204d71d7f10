//! What the page's numbers mean, in plain words, and what they are for.

use maud::{Markup, html};

use super::Report;
use super::sections::section;

/// How to read the page; empty if nothing was scored.
pub(super) fn guide(report: &Report) -> Markup {
    if report.runs.iter().all(|run| run.rows.is_empty()) {
        return html! {};
    }
    section(
        "How to read this",
        html! {
            dl.guide {
                (entry("Dice", "How well the predicted mask covers the true one: 1 is a perfect match, 0 no overlap at all. 0.9 looks right to the \
                    eye; at 0.5 about half of the object is missed or as much is added."))
                (entry("IoU", "The same question, counted more strictly: shared pixels divided by all pixels of either mask. It is always below Dice \
                    unless both are 0 or 1."))
                (entry("HD95", "How far the two outlines are apart, in pixels, leaving out the worst 5 %. Lower is better. An image with only one of the \
                    masks counts with its whole diagonal."))
                (entry("±", "How much single images differ from the mean. A large value means that some images go wrong: look at the lowest scores \
                    of the gallery."))
                (entry("95 % interval", "How far the mean itself may be off because these are only some of all possible images. Two runs whose intervals \
                    overlap widely have not been shown to differ."))
                (entry("Prompt", "The text that the model was given. A prompt marked oracle says things that only the true mask shows, such as size \
                    and position; in use no one can write it."))
                (entry("Image or patient", "Images of one patient resemble each other, so they count as one for the intervals."))
            }
            p.note {
                "These numbers are of this data set alone. Images of another hospital, camera or town can give much lower ones: measure there too."
            }
        },
    )
}

fn entry(term: &str, meaning: &str) -> Markup {
    html! { div { dt { (term) } dd { (meaning) } } }
}

/// What the page and its model are for.
pub(super) fn intended_use() -> Markup {
    html! { "For research. Neither the model nor this page is a medical device: do not base a diagnosis or a treatment on them." }
}
