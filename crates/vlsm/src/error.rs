//! What can go wrong with a segmenter.

/// An error of this crate; its message names the file, the field and the fix.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An image was encoded at another input size.
    #[error(
        "the image was encoded at {encoded} pixels, but the segmenter's input size is {wanted}; call `set_image` on this segmenter"
    )]
    ImageSize {
        /// Side that the image was encoded at, in pixels.
        encoded: usize,
        /// Side of the segmenter's input, in pixels.
        wanted: usize,
    },
    /// Data.
    #[error(transparent)]
    Data(#[from] vlsm_data::DataError),
    /// A fault of a file or an image.
    #[error(transparent)]
    Image(#[from] vlsm_image::ImageError),
    /// Models.
    #[error(transparent)]
    Model(#[from] vlsm_models::ModelError),
}

/// The result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
