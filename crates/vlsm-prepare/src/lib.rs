//! Public data sets, from the form in which they are downloaded to the one in which they are trained on.
//!
//! Each data set has a module that knows its layout and lists what is there; one writer makes all of them.
//! Sets whose masks show one thing each become annotations (`images/`, `masks/`, `anns/*.json`, and `splits/*.txt` with
//! the image names of each split), street scenes become class-id masks (`train/`, `val/`, `test/`, `classes.json`).
//! Images are taken as they are, never encoded again; masks are PNGs of the image's size.

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
mod kvasir_seg;
mod metaimage;
mod nifti;
mod plan;
mod prepare;
mod raw;
mod registry;
mod rle;
mod scan;
#[cfg(test)]
mod tests;
mod write;

pub use download::PublicSet;
pub use error::{PrepareError, Result};
pub use prepare::{SplitBy, prepare};
pub use write::Prepared;
