//! Adapters on an engine's base.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vlsm_image::{
    Fit, ImageOptions, RgbImage, Window, decode_16_bit_histogram, decode_image, read_bytes,
    window_of,
};

use crate::contract::SegmentationModel;
use crate::files::BaseIdentity;
use crate::registry::Model;

/// A handle to an adapter of an [`Engine`](super::Engine), or to its base without an adapter. Clones share the model.
#[derive(Debug, Clone)]
pub struct Adapter(Arc<Loaded>);

#[derive(Debug)]
struct Loaded {
    id: u64,
    model: Model,
    base: Arc<BaseIdentity>,
    image_size: usize,
    window: Option<Window>,
    fit: Fit,
    vision: Tower,
    text: Tower,
}

/// Where a tower's states come from: adapters with equal towers have equal states.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Tower {
    /// The base's tower; adapters may need different states of it.
    Base { wanted: String },
    /// A tower that the adapter of this id changes.
    Adapter(u64),
}

impl Adapter {
    /// A model on a base. `image_size` is the side of its input, in pixels, unless a caller names another; `window` is that
    /// of [`read_image`](Self::read_image).
    pub(super) fn new(
        model: Model,
        base: Arc<BaseIdentity>,
        image_size: usize,
        window: Option<Window>,
        fit: Fit,
    ) -> Self {
        // Unique in the process, so that a handle given to another engine never meets another adapter's states.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let tower = |frozen: bool, wanted: String| match frozen {
            true => Tower::Base { wanted },
            false => Tower::Adapter(id),
        };
        let vision = tower(
            model.frozen_vision(image_size).is_some(),
            model.wanted_vision_states(),
        );
        let text = tower(model.frozen_text(), model.wanted_text_states());
        Self(Arc::new(Loaded {
            id,
            model,
            base,
            image_size,
            window,
            fit,
            vision,
            text,
        }))
    }

    /// The model: the base with the adapter.
    pub fn model(&self) -> &Model {
        &self.0.model
    }

    /// Side of the square input that the adapter was trained at, in pixels; the base's if its file does not name one.
    pub fn image_size(&self) -> usize {
        self.0.image_size
    }

    /// How images become the square input.
    pub fn fit(&self) -> Fit {
        self.0.fit
    }

    /// Reads an image as those that the adapter was trained on: 16-bit images have the levels of its window. Without one,
    /// an image that uses a small part of the range has its own window, with a warning. `first_page` reads the first page of
    /// a file with several.
    ///
    /// # Errors
    /// As [`vlsm_image::read_image`].
    pub fn read_image(&self, path: &Path, first_page: bool) -> vlsm_image::Result<RgbImage> {
        let bytes = read_bytes(path)?;
        let mut options = ImageOptions {
            window: self.0.window,
            first_page,
        };
        if options.window.is_none()
            && let Some(counts) = decode_16_bit_histogram(path, &bytes, options)?
            && let Some(window) = window_of(&counts)
        {
            let [low, high] = window;
            tracing::warn!(
                "`{}` uses a small part of the 16-bit range, so that it would be dark: levels from {low} (black) to {high} \
                 (white) are used, its own; a model trained on such images has their window",
                path.display()
            );
            options.window = Some(window);
        }
        decode_image(path, &bytes, options)
    }

    /// Whether the vision tower is the base's own, so that the adapter shares its states with the others of this kind.
    pub fn shares_vision(&self) -> bool {
        matches!(self.0.vision, Tower::Base { .. })
    }

    pub(super) fn id(&self) -> u64 {
        self.0.id
    }

    pub(super) fn base(&self) -> &BaseIdentity {
        &self.0.base
    }

    pub(super) fn vision(&self) -> &Tower {
        &self.0.vision
    }

    pub(super) fn text(&self) -> &Tower {
        &self.0.text
    }
}
