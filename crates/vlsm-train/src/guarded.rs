//! Looks at the masks and images of a data set before anything is trained.

use vlsm_data::{Dataset, Severity, guard};
use vlsm_image::Window;

use crate::error::Result;
use crate::observer::Observer;
use crate::recipe::Recipe;

/// Opens the recipe's data set. Returns the recipe with the window of 16-bit images.
///
/// # Errors
/// If the data set cannot be opened, or masks or images would make the training wrong.
pub(crate) fn open_guarded(
    recipe: &Recipe,
    observer: &mut dyn Observer,
) -> Result<(Recipe, Dataset)> {
    let mut recipe = recipe.clone();
    let dataset = vlsm_synth::open(&recipe.data.config)?;
    let window = look(&dataset, &recipe, observer)?;
    let Some(window) = window else {
        return Ok((recipe, dataset));
    };
    recipe.data.config.window = Some(window);
    let dataset = vlsm_synth::open(&recipe.data.config)?;
    Ok((recipe, dataset))
}

/// Looks at the masks and images of a data set that is already open. Returns the window of 16-bit images.
///
/// # Errors
/// If masks or images would make the training wrong.
pub(crate) fn look(
    dataset: &Dataset,
    recipe: &Recipe,
    observer: &mut dyn Observer,
) -> Result<Option<Window>> {
    let accept = &recipe.data.config.accept;
    let report = guard(dataset).accept(accept).into_result()?;
    for finding in &report.findings {
        match finding.severity {
            Severity::Notice => observer.message(&finding.message),
            _ => tracing::warn!("{}", finding.message),
        }
    }
    Ok(report.window)
}
