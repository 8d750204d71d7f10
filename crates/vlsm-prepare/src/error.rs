//! What can be wrong with a download.

use std::path::PathBuf;

use vlsm_data::DataError;
use vlsm_image::ImageError;

/// Result of everything in this crate that can fail.
pub type Result<T, E = PrepareError> = std::result::Result<T, E>;

/// A fault of a download, of one of its files, or of the folder that is written.
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum PrepareError {
    /// The download does not hold what it should.
    #[error(
        "{set} cannot be prepared from `{root}`: {reason}; download it from {download}. Unpacked it looks like this:\n\
         {layout}"
    )]
    Download {
        /// Name of the data set.
        set: &'static str,
        /// The folder that was searched.
        root: PathBuf,
        /// What is missing.
        reason: String,
        /// Where it can be downloaded.
        download: &'static str,
        /// Its files and folders.
        layout: &'static str,
    },
    /// A fault of a list, or of an image and its mask.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A fault of a single file.
    #[error(transparent)]
    Image(#[from] ImageError),
}
