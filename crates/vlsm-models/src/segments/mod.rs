//! Names for segments of an image: a CLIP compares a masked crop with the names of classes.
//!
//! - [`ClipBase`] is a CLIP with its vocabulary, from the files of OpenAI, open_clip or Transformers.
//! - [`crop`] cuts a segment out by OVSeg's rule (Liang et al. 2023, "Open-vocabulary semantic segmentation with mask-adapted
//!   CLIP").
//! - [`SegmentModel`] is a CLIP with methods that were trained one after the other, as in OpenDAS (Yilmaz et al. 2024): visual
//!   prompts first, then text prompts.

mod base;
mod config;
mod crop;
mod file;
mod merge;
mod model;
mod open_clip;

pub use base::ClipBase;
pub use config::ClipConfig;
pub use crop::{crop, crops};
pub use file::SegmentFile;
pub use model::{ONE_TEMPLATE, SegmentModel};
