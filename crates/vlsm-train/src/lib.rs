//! Recipes, training, checkpoints and evaluation for vision-language segmentation models.
//!
//! [`train`] turns a [`Recipe`] into a run's folder; [`evaluate()`] measures a model on samples, [`evaluate_semantic`] on
//! labels of whole images; a [`Study`] is a grid of runs and its tables.
//! The loop knows models by [`SegmentationModel`](vlsm_models::SegmentationModel) alone.

pub mod checkpoint;
pub mod demo;
mod error;
pub mod evaluate;
pub mod feature_cache;
pub mod loss;
mod measure;
mod memory;
mod observer;
pub mod optimizer;
pub mod recipe;
pub mod report;
mod run;
mod run_folder;
mod run_report;
pub mod schedule;
mod scores;
pub mod semantic;
mod setup;
pub mod study;
mod summary;
pub mod targets;
pub mod text;
pub mod trainer;
mod zero_shot;

pub use error::{Result, TrainError};
pub use evaluate::{EvalConfig, Evaluation, Metrics, PromptSet, Row, evaluate};
pub use feature_cache::FeatureCache;
pub use memory::peak_memory;
pub use observer::{EpochMetrics, Observer, StepMetrics, StepReport};
pub use recipe::Recipe;
pub use report::{Report, ReportRun};
pub use run::{train, train_on};
pub use run_folder::RunFolder;
pub use scores::{read_scores, write_scores};
pub use semantic::{SemanticEvaluation, SemanticMetrics, evaluate_semantic};
pub use setup::Setup;
pub use study::Study;
pub use summary::RunSummary;
