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

mod arg_max;
mod binarise;
pub mod check;
mod class_list;
mod config;
pub mod confusion;
mod dataset;
mod decode;
mod describe;
mod edt;
mod encode;
mod error;
mod formats;
pub mod fs;
mod label_overlay;
mod loader;
pub mod metrics;
mod overlay;
mod picture;
mod pool;
pub mod prepare;
pub mod preprocess;
mod prompt;
mod raw_png;
mod resample;
pub mod synth;

pub use arg_max::ArgMax;
pub use check::{CheckReport, Finding, FindingKind, Severity, SplitCounts, check};
pub use class_list::ClassList;
pub use config::{DataConfig, Format, GenerateConfig, SplitConfig};
pub use confusion::{ClassPixels, Confusion};
pub use dataset::{Dataset, ImageSource, Sample, Split, Target};
pub use decode::{read_class_map, read_image, read_mask, read_size};
pub use describe::{Annotation, Description, annotate, describe, write_annotations};
pub use encode::{jpeg, write_png_gray, write_png_mask, write_png_rgb};
pub use error::{DataError, Result};
pub use fs::{write_atomic, write_atomic_bytes};
pub use label_overlay::{class_colour, overlay_labels};
pub use loader::{Example, Loader, LoaderConfig, Request};
pub use metrics::{Scores, Summary, dice, hausdorff, score};
pub use overlay::overlay;
pub use picture::{ClassMap, Mask, RgbImage};
pub use pool::{pool_names, pool_sample};
pub use preprocess::{
    IMAGENET_MEAN, IMAGENET_STD, fit_image, normalize, resize_class_map, resize_image, resize_map,
    resize_mask,
};
pub use prompt::{PromptChoice, Prompts};
