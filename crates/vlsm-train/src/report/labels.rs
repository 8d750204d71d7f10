//! The section on labels of whole images.

use maud::{Markup, html};

use super::sections::section;
use super::{Report, ReportRun};
use crate::evaluate::SemanticMetrics;
use crate::text::thousands;

/// IoU of each class and the mean IoU, for the runs that labelled whole images.
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
                                    @let same = metrics.classes.iter().find(|other| other.id == class.id);
                                    td { (number(same.and_then(|class| class.iou))) }
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
                "Over " (first.images) " images. All class names are prompted for each image, and each pixel gets the most likely "
                "class. IoU is computed from the pixels of all images together, without ignored pixels."
                @if first.background > 0.0 {
                    " Pixels where no class has a probability above " (first.background) " get no class."
                }
            }
        },
    )
}
