//! Samples for prompted segmentation: images, masks and prompts; data set formats; loading ahead of the step; metrics
//! on masks.
//!
//! - [`Dataset::open`] finds the samples that a recipe's `[data]` section ([`DataConfig`]) describes; [`check()`] finds
//!   all that is wrong with them.
//! - [`PromptChoice`] picks a prompt for each sample; [`Loader`] answers a pass of [`Request`]s in order, decoded and
//!   resized on worker threads.
//! - [`preprocess`] holds the arithmetic of torchvision on PIL; [`score`] gives Dice, IoU and HD95 of a prediction.
//! - [`ClassList`] names the classes that whole images are labelled with, [`ArgMax`] makes labels of their logits, and
//!   [`Confusion`] gives mIoU over a data set.
//! - [`describe`](fn@describe) puts what a mask shows into words and makes prompts of them; [`write_annotations`] writes
//!   these in the published format.
//! - [`prepare`](prepare::prepare()) brings the public data sets of the literature into these formats.
//! - [`write_atomic`] writes files that are either whole or not there.
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
//!     requests.push(Request { sample: index, prompt: sample.fixed_prompt(&choice)? });
//! }
//! for example in Loader::new(Arc::from(samples), dataset.ignore, requests, LoaderConfig::default()) {
//!     let example = example?;
//!     println!("{}: {} foreground pixels", example.prompt, example.mask.foreground());
//! }
//! # Ok(())
//! # }
//! ```

pub mod check;
mod config;
pub mod confusion;
mod dataset;
mod describe;
mod edt;
mod error;
mod formats;
mod loader;
pub mod metrics;
mod pool;
pub mod prepare;
mod prompt;
pub mod synth;

pub use check::{CheckReport, Finding, FindingKind, Severity, SplitCounts, check};
pub use config::{DataConfig, Format, GenerateConfig, SplitConfig};
pub use confusion::{ClassPixels, Confusion};
pub use dataset::{Dataset, ImageSource, Sample, Split, Target};
pub use describe::{Annotation, Description, annotate, describe, write_annotations};
pub use error::{DataError, Result};
pub use loader::{Example, Loader, LoaderConfig, Request};
pub use metrics::{Scores, Summary, dice, hausdorff, score};
pub use pool::{pool_names, pool_sample};
pub use prompt::{PromptChoice, Prompts};
pub use vlsm_image::*;
