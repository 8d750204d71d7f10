//! What the engine's caches find states by.

use super::adapter::Tower;
use super::image::InputImage;

/// An image's states in a tower, or its features for an adapter.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct VisionKey {
    image: u128,
    side: usize,
    pub(super) of: VisionStage,
}

/// How far an image is encoded.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum VisionStage {
    States(Tower),
    Features { adapter: u64 },
}

/// A prompt's states in a tower.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct TextKey {
    pub(super) tower: Tower,
    pub(super) prompt: String,
}

/// The keys of images at a stage.
pub(super) fn vision_keys(images: &[&InputImage], stage: &VisionStage) -> Vec<VisionKey> {
    let key = |image: &&InputImage| VisionKey {
        image: image.digest,
        side: image.pixels.width,
        of: stage.clone(),
    };
    images.iter().map(key).collect()
}
