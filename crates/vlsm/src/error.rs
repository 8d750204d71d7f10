//! What can go wrong with a segmenter.

/// An error of the facade; its message names the file, the field and the mend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An image was encoded by another segmenter, or before this one got its adapter or input
    /// size.
    #[error("the image was set on another segmenter; call `set_image` on the one that is asked")]
    ForeignImage,
    /// Data.
    #[error(transparent)]
    Data(#[from] vlsm_data::DataError),
    /// A fault of a file or an image.
    #[error(transparent)]
    Image(#[from] vlsm_image::ImageError),
    /// Models.
    #[error(transparent)]
    Model(#[from] vlsm_models::ModelError),
    /// Training and evaluation.
    #[error(transparent)]
    Train(#[from] vlsm_train::TrainError),
}

/// The result of the facade.
pub type Result<T> = std::result::Result<T, Error>;
