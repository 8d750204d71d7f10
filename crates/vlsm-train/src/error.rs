//! What can go wrong with a run.

use std::path::PathBuf;

/// An error of this crate; its message names the file, the field and the fix.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A recipe that cannot be run.
    #[error("recipe `{}`: {message}", path.display())]
    Recipe {
        /// The recipe, or what else was read.
        path: PathBuf,
        /// The key and the fix.
        message: String,
    },
    /// A file could not be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error("cannot write `{}`: {source}; free disk space or choose another folder", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A run's folder that cannot be used.
    #[error("run `{}`: {message}", path.display())]
    Run {
        /// The folder.
        path: PathBuf,
        /// What is wrong and the fix.
        message: String,
    },
    /// A study that cannot be run.
    #[error("study `{}`: {message}", path.display())]
    Study {
        /// Its file or folder.
        path: PathBuf,
        /// What is wrong and the fix.
        message: String,
    },
    /// A report that cannot be made.
    #[error("report: {message}")]
    Report {
        /// What is wrong and the fix.
        message: String,
    },
    /// A loss that is not a number.
    #[error(
        "loss is {loss} at step {step} (epoch {epoch}); the last good checkpoint is kept. Lower `optim.lr` (now {lr}) \
         or `optim.clip`, and look for faults in the data with `vlsm data check`"
    )]
    Diverged {
        /// The loss.
        loss: f64,
        /// The step it came up in, from 1.
        step: usize,
        /// Its epoch, from 1.
        epoch: usize,
        /// The learning rate of the step.
        lr: f64,
    },
    /// An observer stopped the training.
    #[error("stopped; resume to continue from the last checkpoint")]
    Stopped,
    /// A recipe that TOML cannot hold.
    #[error("cannot write the recipe as TOML: {0}")]
    RecipeText(String),
    /// Features that cannot be kept as asked for.
    #[error("feature cache: {0}")]
    Cache(String),
    /// The system gives no threads.
    #[error("cannot start the threads of `trainer.data_parallel`: {0}; set it to 1")]
    Threads(String),
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

impl From<vlsm_models::tensor_file::TensorFileError> for TrainError {
    fn from(error: vlsm_models::tensor_file::TensorFileError) -> Self {
        Self::Model(error.into())
    }
}

/// The result of this crate.
pub type Result<T> = std::result::Result<T, TrainError>;
