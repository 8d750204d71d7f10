//! Errors of a segmenter.

/// An error of this crate; its message names the file, the field and the fix.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An image was encoded at another input size.
    #[error(
        "the image was encoded at {encoded} pixels, but the segmenter's input size is {wanted}; call `set_image` on this segmenter"
    )]
    ImageSize {
        /// Input side at which the image was encoded, in pixels.
        encoded: usize,
        /// Side of the segmenter's input, in pixels.
        wanted: usize,
    },
    /// A class list or data that is not valid.
    #[error(transparent)]
    Data(#[from] vlsm_data::DataError),
    /// An image or file that cannot be read, decoded or written.
    #[error(transparent)]
    Image(#[from] vlsm_image::ImageError),
    /// A base, an adapter or a prompt that the model cannot use.
    #[error(transparent)]
    Model(#[from] vlsm_models::ModelError),
}

/// The result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
