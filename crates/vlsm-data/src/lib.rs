//! Samples for prompted segmentation: images, masks and prompts; data set formats; a prefetching loader; mask metrics.
//!
//! - [`Dataset::open`] finds the samples that a recipe's `[data]` section ([`DataConfig`]) describes; [`check()`] finds
//!   all their faults, and [`guard()`] what makes a training wrong without an error. [`Dataset::from_splits`] takes samples of any [`Source`], such as [`Arrays`] in memory.
//! - [`PromptChoice`] picks a prompt for each sample; [`Loader`] serves a pass of [`Request`]s in order. It decodes and
//!   resizes on worker threads.
//! - [`score`] computes Dice, IoU and HD95 of a prediction; [`Confusion`] computes mIoU over a data set.
//! - [`describe`] describes a mask in words and builds prompts from them; [`write_annotations`] writes the prompts in
//!   the published format.
//!
//! `vlsm-image` reads and writes the pixels, `vlsm-synth` draws synthetic data sets, and `vlsm-prepare` converts
//! downloads of public data sets.
//!
//! ```no_run
//! use std::sync::Arc;
//! use vlsm_data::{DataConfig, Dataset, Loader, LoaderConfig, Request, Split};
//!
//! # fn main() -> vlsm_data::Result<()> {
//! let config = DataConfig::new("kvasir_polyp");
//! let dataset = Dataset::open(&config)?;
//! let samples = dataset.require(Split::Val)?;
//! let mut requests = Vec::new();
//! for (index, sample) in samples.iter().enumerate() {
//!     let choice = config.eval_choice(&sample.prompts);
//!     requests.push(Request::new(index, sample.fixed_prompt(&choice)?));
//! }
//! for example in Loader::new(Arc::from(samples), dataset.ignore, requests, LoaderConfig::default()) {
//!     let example = example?;
//!     println!("{}: {} foreground pixels", example.prompt, example.mask.foreground());
//! }
//! # Ok(())
//! # }
//! ```

mod annotate;
mod augment;
pub mod check;
mod cleanup;
mod config;
pub mod confusion;
mod dataset;
mod edt;
mod error;
mod facts;
mod file_set;
mod finding;
mod findings;
mod formats;
mod generate_config;
mod guard;
mod levels;
mod loader;
mod mask_prompts;
pub mod metrics;
mod open;
mod pooled;
mod prompt;
mod sample;
mod source;
mod split;
mod split_config;
pub mod splitting;
mod unique_names;

pub use annotate::{Annotation, annotate, write_annotations};
pub use augment::{AugmentConfig, Transform};
pub use check::{CheckReport, SplitCounts, check};
pub use cleanup::{Cleanup, parts};
pub use config::{DataConfig, Format};
pub use confusion::{ClassPixels, Confusion};
pub use dataset::{Dataset, EpochSampler};
pub use error::{DataError, Result};
pub use finding::{Finding, FindingKind, NotAcceptable, Severity};
pub use generate_config::GenerateConfig;
pub use guard::{GuardReport, guard};
pub use loader::{Example, Loader, LoaderConfig, Request};
pub use mask_prompts::{Description, describe};
pub use metrics::{Scores, Summary, dice, hausdorff, score};
pub use pooled::pool_names;
pub use prompt::{PromptChoice, Prompts, UnclearChoice};
pub use sample::{Sample, Target, pool_sample};
pub use source::{Arrays, FilePair, Masks, Source};
pub use split::{Split, UnknownSplit};
pub use split_config::SplitConfig;
pub use unique_names::UniqueNames;
