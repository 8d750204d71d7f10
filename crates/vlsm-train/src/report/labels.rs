//! The section on labels of whole images.

use maud::{Markup, html};

use super::sections::section;
use super::{Report, ReportRun};
use crate::evaluate::SemanticMetrics;
use crate::text::thousands;

/// IoU of every class and its mean, of the runs that have labelled whole images.
pub(super) fn labels(report: &Report) -> Markup {
    let runs: Vec<(&ReportRun, &SemanticMetrics)> = report
        .runs
        .iter()
        .filter_map(|run| Some((run, run.semantic.as_ref()?)))
        .collect();
    let Some((_, first)) = runs.first() else {
        return html! {};
    };
    let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.3}"));
    let mean = |name: &str, value: fn(&SemanticMetrics) -> f64| {
        html! {
            tr {
                th scope="row" { (name) }
                td {}
                @for (_, metrics) in &runs { td { (number(Some(value(metrics)))) } }
            }
        }
    };
    section(
        "Labels of whole images",
        html! {
            div.scroll {
                table {
                    thead {
                        tr {
                            th { "IoU of class" }
                            th { "pixels" }
                            @for (run, _) in &runs { th { (run.name) } }
                        }
                    }
                    tbody {
                        @for class in &first.classes {
                            tr {
                                th scope="row" { (class.name) }
                                td { (thousands(class.pixels.truth as usize)) }
                                @for (_, metrics) in &runs {
                                    @let same = metrics.classes.iter().find(|one| one.id == class.id);
                                    td { (number(same.and_then(|one| one.iou))) }
                                }
                            }
                        }
                        (mean("mIoU", |metrics| metrics.miou))
                        (mean("mean class accuracy", |metrics| metrics.mean_accuracy))
                        (mean("pixel accuracy", |metrics| metrics.pixel_accuracy))
                    }
                }
            }
            p.note {
                "Over " (first.images) " images: all classes are asked of an image and each pixel gets the likeliest; "
                "IoU is taken from the pixels of all images together. Ignored pixels count nowhere."
                @if first.background > 0.0 {
                    " A pixel where no class is above a probability of " (first.background) " is none of them."
                }
            }
        },
    )
}
