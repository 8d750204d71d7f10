//! A request to the engine.

use super::adapter::Adapter;
use super::image::EncodedImage;

/// A request: prompts about an image, for an adapter.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The image.
    pub image: &'a EncodedImage,
    /// The adapter, or [`Engine::zero_shot`](super::Engine::zero_shot).
    pub adapter: &'a Adapter,
    /// The prompts.
    pub prompts: &'a [&'a str],
}
