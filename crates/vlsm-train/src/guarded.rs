//! Opens a recipe's data set and looks at its masks and images before anything is trained.

use vlsm_data::{Dataset, Severity, guard};

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
    let report = guard(&dataset).into_result()?;
    for finding in &report.findings {
        match finding.severity {
            Severity::Notice => observer.message(&finding.message),
            _ => tracing::warn!("{}", finding.message),
        }
    }
    let Some(window) = report.window else {
        return Ok((recipe, dataset));
    };
    recipe.data.config.window = Some(window);
    let dataset = vlsm_synth::open(&recipe.data.config)?;
    Ok((recipe, dataset))
}
