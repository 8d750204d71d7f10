//! Encoded images of an engine.

use std::sync::Arc;

use vlsm_image::{Fit, RgbImage, resize_image};
use xxhash_rust::xxh3::xxh3_128;

use super::adapter::Adapter;
use crate::contract::{HiddenStates, SegmentationModel};
use crate::error::{ModelError, Result};
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

impl EncodedImage {
    /// Checks that an adapter on a base can be asked about the image.
    pub(super) fn check(&self, adapter: &Adapter, base: &BaseIdentity) -> Result<()> {
        if self.base.fingerprint != base.fingerprint {
            return Err(ModelError::ForeignImage {
                image: self.base.name.clone(),
                base: base.name.clone(),
            });
        }
        if self.input.fit != adapter.fit() {
            return Err(ModelError::Engine(format!(
                "the image was encoded for adapters with `model.resize = \"{}\"`, but this one was trained with \"{}\"; encode the \
                 image for this adapter",
                self.input.fit.name(),
                adapter.fit().name()
            )));
        }
        adapter.model().output_size(self.image_size())?;
        Ok(())
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
    /// How it became a square.
    pub(super) fit: Fit,
}

impl InputImage {
    /// An image, resized to a square of `side` pixels.
    pub(super) fn new(image: &RgbImage, side: usize, fit: Fit) -> Result<Self> {
        check_image(image)?;
        let pixels = resize_image(&fit.image(image), side);
        Ok(Self {
            digest: xxh3_128(&pixels.data),
            pixels: Arc::new(pixels),
            size: (image.width, image.height),
            fit,
        })
    }
}
