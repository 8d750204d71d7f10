//! Looks at the masks and images of a data set before anything is trained.

use vlsm_data::{DataConfig, Dataset, FindingKind, Severity, guard};
use vlsm_image::Window;

use crate::error::Result;
use crate::observer::Observer;

/// Opens a recipe's data set. Returns the section with the window of 16-bit images.
///
/// # Errors
/// If the data set cannot be opened, or masks or images would make the training wrong.
pub(crate) fn open_guarded(
    data: &DataConfig,
    observer: &mut dyn Observer,
) -> Result<(DataConfig, Dataset)> {
    let mut data = data.clone();
    let dataset = vlsm_synth::open(&data)?;
    let Some(window) = look(&dataset, &data.accept, observer)? else {
        return Ok((data, dataset));
    };
    data.window = Some(window);
    let dataset = vlsm_synth::open(&data)?;
    Ok((data, dataset))
}

/// Looks at the masks and images of a data set that is already open, except for what findings of the kinds in `accept` are about.
/// Returns the window of 16-bit images.
///
/// # Errors
/// If masks or images would make the training wrong.
pub(crate) fn look(
    dataset: &Dataset,
    accept: &[FindingKind],
    observer: &mut dyn Observer,
) -> Result<Option<Window>> {
    let report = guard(dataset).accept(accept).into_result()?;
    for finding in &report.findings {
        match finding.severity {
            Severity::Notice => observer.message(&finding.message),
            _ => tracing::warn!("{}", finding.message),
        }
    }
    Ok(report.window)
}
