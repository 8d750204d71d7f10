//! Converts public data sets from their downloads to the layouts used for training.
//!
//! Each data set has a module that knows its layout and lists its images and masks; one writer is shared by all.
//! Data sets with one object per mask become annotations (`images/`, `masks/`, `anns/*.json`, and `splits/*.txt` with the
//! image names of each split). Street scenes become class-id masks (`train/`, `val/`, `test/`, `classes.json`).
//! Images are copied unchanged, never re-encoded; masks are PNGs of the image's size.

mod ade20k;
mod bkai;
mod busi;
mod camus;
mod camvid;
mod chexlocalize;
mod cityscapes;
mod clinicdb;
mod colondb;
mod cvc_300;
mod dfu_2022;
mod download;
mod error;
mod etis;
mod isic_2016;
mod kitti_360;
mod kvasir_seg;
mod metaimage;
mod nifti;
mod plan;
mod prepare;
mod raw;
mod refcoco;
mod registry;
mod rle;
mod scan;
#[cfg(test)]
mod tests;
mod write;

pub use download::PublicSet;
pub use error::{PrepareError, Result};
pub use metaimage::decode_metaimage;
pub use nifti::decode_nifti;
pub use prepare::{SplitBy, prepare};
pub use refcoco::{ReferringSet, prepare_queries};
pub use rle::Rle;
pub use write::Prepared;
