//! Errors of recipes, runs, evaluations and studies.

use std::path::PathBuf;

/// An error of this crate; its message names the file, the field and the fix.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A recipe that cannot be run.
    #[error("recipe `{}`: {message}", path.display())]
    Recipe {
        /// The recipe's file.
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
        "loss is {loss} at step {step} (epoch {epoch}); the last good checkpoint is kept; lower `optim.lr` (now {lr}) \
         or `optim.clip`, and look for problems in the data with `vlsm data check`"
    )]
    Diverged {
        /// The loss.
        loss: f64,
        /// The step in which it occurred, from 1.
        step: usize,
        /// Its epoch, from 1.
        epoch: usize,
        /// The learning rate of the step.
        lr: f64,
    },
    /// An error of the evaluation after the training.
    #[error(
        "the training is complete, but its evaluation failed: {0}; resume the run to evaluate it again"
    )]
    Measure(Box<TrainError>),
    /// An observer stopped the training.
    #[error("stopped; resume to continue from the last checkpoint")]
    Stopped,
    /// A recipe that TOML cannot hold.
    #[error("cannot write the recipe as TOML: {0}")]
    RecipeText(String),
    /// The feature cache cannot do what the recipe asks for.
    #[error("feature cache: {0}")]
    Cache(String),
    /// The system refused to start threads.
    #[error("cannot start the threads of `trainer.data_parallel`: {0}; set it to 1")]
    Threads(String),
    /// An error in the data set.
    #[error(transparent)]
    Data(#[from] vlsm_data::DataError),
    /// An image or file that cannot be read, decoded or written.
    #[error(transparent)]
    Image(#[from] vlsm_image::ImageError),
    /// An error of a language model.
    #[error(transparent)]
    Language(#[from] vlsm_language::LanguageError),
    /// An error of the base, the method or an adapter file.
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
