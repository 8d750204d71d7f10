//! Settings and statistics of an engine.

/// Sizes of an [`Engine`](super::Engine)'s caches and passes.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Maximum size of the cache of vision states and features, in bytes. An image takes about 5 MB with CLIPSeg at 352
    /// pixels, 12 MB with SAN at 640.
    pub vision_cache: u64,
    /// Maximum size of the cache of text states, in bytes. A prompt takes 2 kB with CLIPSeg, 160 kB with CRIS.
    pub text_cache: u64,
    /// Images per pass of the vision tower. With 1, an image's states do not depend on the other images of a request, not
    /// even in their last bits. An accelerator needs more for its full speed.
    pub vision_batch: usize,
    /// Prompts per pass of the decoder.
    pub decoder_batch: usize,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            vision_cache: 256 << 20,
            text_cache: 64 << 20,
            vision_batch: 1,
            decoder_batch: 8,
        }
    }
}

/// What an engine has computed and cached so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineStats {
    /// Images that went through a vision tower.
    pub vision_passes: u64,
    /// Prompts that went through a text tower.
    pub text_passes: u64,
    /// Bytes of vision states and features in the cache.
    pub vision_bytes: u64,
    /// Bytes of text states in the cache.
    pub text_bytes: u64,
}
