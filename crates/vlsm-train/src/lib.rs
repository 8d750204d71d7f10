//! Recipes, training, checkpoints and evaluation for vision-language segmentation models.
//!
//! [`train`] turns a [`Recipe`] into a run's folder; [`evaluate()`] measures a model on samples, [`evaluate_semantic`] on
//! labels of whole images; a [`Study`] is a grid of runs and its tables.
//!
//! ```
//! use vlsm_train::{Recipe, train};
//!
//! # fn main() -> vlsm_train::Result<()> {
//! // A base and a data set that are built in, one epoch of two steps.
//! let recipe = r#"
//!     model.base = "builtin:tiny"
//!     method.kind = "decoder"
//!     data.root = "builtin:endoscopy"
//!     data.generate = { train = 4, val = 1, test = 1 }
//!     trainer = { epochs = 1, batch_size = 2 }
//!     cache.features = "off"
//! "#;
//! let recipe = Recipe::parse(recipe, &[]).expect("the recipe is valid");
//! # let folder = tempfile::tempdir().expect("a folder for the test");
//! # let path = folder.path();
//! let summary = train(&recipe, path, false, &mut ())?;
//! assert_eq!(summary.steps, 2);
//! assert!(path.join("adapter.safetensors").is_file());
//! # Ok(())
//! # }
//! ```
//!
//! Pass an [`Observer`] instead of `&mut ()` to follow the training and to stop it. The loop only uses the trait
//! [`SegmentationModel`](vlsm_models::SegmentationModel), so it works with every architecture.

pub mod checkpoint;
mod claim;
pub mod demo;
mod error;
pub mod evaluate;
pub mod feature_cache;
mod guarded;
mod identity;
mod inference;
pub mod language;
pub mod loss;
mod loss_scale;
mod measure;
mod memory;
mod metrics_file;
mod observer;
pub mod optimizer;
pub mod recipe;
pub mod report;
mod run;
mod run_checks;
mod run_folder;
mod run_report;
pub mod schedule;
pub mod segments;
mod setup;
mod steps;
pub mod study;
mod summary;
pub mod targets;
pub mod text;
pub mod trainer;
mod zero_shot;

pub use error::{Result, TrainError};
pub use evaluate::{
    EvalConfig, Evaluation, Metrics, PromptSet, SampleScores, SemanticEvaluation, SemanticMetrics,
    Threshold, evaluate, evaluate_semantic, read_scores, write_scores,
};
pub use feature_cache::FeatureCache;
pub use identity::Identity;
pub use memory::peak_memory;
pub use observer::{EpochMetrics, Observer, StepMetrics, StepReport};
pub use recipe::Recipe;
pub use report::{Report, ReportRun};
pub use run::{train, train_on};
pub use run_folder::{Existing, RunFolder};
pub use setup::Setup;
pub use study::Study;
pub use summary::RunSummary;
