//! Encoded images of an engine.

use std::sync::Arc;

use vlsm_image::{RgbImage, resize_image};
use xxhash_rust::xxh3::xxh3_128;

use crate::contract::HiddenStates;
use crate::error::Result;
use crate::files::BaseIdentity;
use crate::preprocess::check_image;

/// An image that an [`Engine`](super::Engine) has encoded for one of its adapters. It can be used with all adapters on the
/// same base. Clones share the data.
#[derive(Debug, Clone)]
pub struct EncodedImage {
    pub(super) input: InputImage,
    /// Id of the adapter that `features` belong to.
    pub(super) adapter: u64,
    /// That adapter's decoder input for the image.
    pub(super) features: HiddenStates,
    pub(super) base: Arc<BaseIdentity>,
}

impl EncodedImage {
    /// Width and height of the image itself, in pixels.
    pub fn size(&self) -> (usize, usize) {
        self.input.size
    }

    /// Side of the square that it was resized to for the model, in pixels.
    pub fn image_size(&self) -> usize {
        self.input.pixels.width
    }
}

/// An image at a model's input size. It is kept with its features, because its vision states may be dropped from the cache
/// before another adapter needs them.
#[derive(Debug, Clone)]
pub(super) struct InputImage {
    pub(super) pixels: Arc<RgbImage>,
    pub(super) digest: u128,
    /// Width and height of the image itself.
    pub(super) size: (usize, usize),
}

impl InputImage {
    /// An image, resized to a square of `side` pixels.
    pub(super) fn new(image: &RgbImage, side: usize) -> Result<Self> {
        check_image(image)?;
        let pixels = resize_image(image, side);
        Ok(Self {
            digest: xxh3_128(&pixels.data),
            pixels: Arc::new(pixels),
            size: (image.width, image.height),
        })
    }
}
