//! Errors of preparing a data set.

use std::path::PathBuf;

use vlsm_data::DataError;
use vlsm_image::ImageError;

/// Result with this crate's error.
pub type Result<T, E = PrepareError> = std::result::Result<T, E>;

/// Error in a download, in one of its files, or in the output folder.
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum PrepareError {
    /// The download is incomplete or has an unknown layout.
    #[error(
        "{set} cannot be prepared from `{root}`: {reason}; download it from {download}. Unpacked, it has this layout:\n\
         {layout}"
    )]
    Download {
        /// Name of the data set.
        set: &'static str,
        /// The folder that was searched.
        root: PathBuf,
        /// What is missing.
        reason: String,
        /// Where to download it.
        download: &'static str,
        /// Its expected files and folders.
        layout: &'static str,
    },
    /// Error in a list, or in an image and its mask.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Error in a single file.
    #[error(transparent)]
    Image(#[from] ImageError),
}
