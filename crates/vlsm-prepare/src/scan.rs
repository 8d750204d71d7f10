//! Single images of grey levels or labels in medical formats: NIfTI-1 and MetaImage.
//!
//! Pixels are taken in the order of the file, the first axis from left to right and the second from top to bottom.
//! Anatomical orientation is ignored.

use std::path::Path;

use vlsm_image::{ClassMap, Result};

use crate::metaimage::read_metaimage;
use crate::nifti::read_nifti;

/// Reads an image with levels or labels from 0 to 255; fractions are rounded.
///
/// # Errors
/// If the file does not exist, has another format, holds more than one image, or has levels out of range.
pub(crate) fn read_scan(path: &Path) -> Result<ClassMap> {
    let is_meta = path.extension().is_some_and(|ext| ext == "mhd");
    let read = if is_meta { read_metaimage } else { read_nifti };
    read(path)
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
