//! Prediction with any number of adapters over one base.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};

use burn::tensor::Device;
use rayon::prelude::*;
use vlsm_image::{Fit, RgbImage};

use super::adapter::{Adapter, Tower};
use super::cache::StatesCache;
use super::engine_config::{EngineConfig, EngineStats};
use super::image::{EncodedImage, InputImage};
use super::keys::{TextKey, VisionKey, VisionStage, vision_keys};
use super::masks::predictions;
use super::prompts::text_states;
use super::request::Request;
use super::{Prediction, logits};
use crate::adapter_file::AdapterFile;
use crate::base::Base;
use crate::contract::{HiddenStates, SegmentationModel, concatenate, select};
use crate::error::{ModelError, Result};
use crate::files::BaseIdentity;
use crate::methods::MethodConfig;
use crate::preprocess::Preprocessing;
use crate::registry::Model;

/// A base with any number of adapters, for use from many threads.
///
/// States of images and prompts are kept in caches of bounded size and shared as far as they are equal: all adapters that
/// leave the vision tower as it is cost one vision pass per image, and threads that ask for the same states at once wait for
/// one computation. With one image per vision pass, the default, a request's answer is the same to the bit whatever else
/// the engine computes.
///
/// ```
/// use vlsm_models::predict::{Engine, Request};
///
/// # fn main() -> vlsm_models::Result<()> {
/// let engine = Engine::load("builtin:tiny", &vlsm_models::device("cpu")?)?;
/// let adapter = engine.zero_shot();
/// let picture = vlsm_image::RgbImage::filled(100, 80, [127; 3]);
/// let image = engine.encode_one(adapter, &picture, adapter.image_size())?;
/// let request = Request { image: &image, adapter, prompts: &["a red disc", "a blue square"] };
/// let answers = engine.predict_one(&request)?;
/// assert_eq!((answers[1].mask.width, answers[1].mask.height), (100, 80));
/// assert_eq!(engine.stats().vision_passes, 1);
/// # Ok(())
/// # }
/// ```
pub struct Engine {
    base: Base,
    identity: Arc<BaseIdentity>,
    zero_shot: Adapter,
    pub(super) config: EngineConfig,
    vision: StatesCache<VisionKey>,
    text: StatesCache<TextKey>,
    vision_passes: AtomicU64,
    text_passes: AtomicU64,
    warned: Once,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("base", &self.identity)
            .field("config", &self.config)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Loads a base by its name, see [`Base::load`].
    ///
    /// # Errors
    /// As there.
    pub fn load(name: &str, device: &Device) -> Result<Self> {
        Self::new(Base::load(name, device)?, EngineConfig::default())
    }

    /// An engine over a base.
    ///
    /// # Errors
    /// If a batch of `config` is 0.
    pub fn new(base: Base, config: EngineConfig) -> Result<Self> {
        for (key, batch) in [
            ("vision_batch", config.vision_batch),
            ("decoder_batch", config.decoder_batch),
        ] {
            if batch == 0 {
                return Err(ModelError::Engine(format!(
                    "`{key}` is 0; it must be at least 1"
                )));
            }
        }
        let identity = Arc::new(base.identity.clone());
        let model = Model::of_network(&base.network, MethodConfig::zero_shot(), 0)?.for_inference();
        let side = base.preprocessing.image_size;
        Ok(Self {
            zero_shot: Adapter::new(model, identity.clone(), side, None, Fit::Stretch),
            vision: StatesCache::new(config.vision_cache)?,
            text: StatesCache::new(config.text_cache)?,
            vision_passes: AtomicU64::new(0),
            text_passes: AtomicU64::new(0),
            warned: Once::new(),
            base,
            identity,
            config,
        })
    }

    /// The base.
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// The base without an adapter.
    pub fn zero_shot(&self) -> &Adapter {
        &self.zero_shot
    }

    /// Adds an adapter. Its input size is the one of the file, or else the base's.
    ///
    /// # Errors
    /// If it was trained on another base, does not fit this one, or names an input size that the model cannot take.
    pub fn add(&self, file: AdapterFile) -> Result<Adapter> {
        let own = self.base.preprocessing.image_size;
        let (side, window) = (file.image_size.unwrap_or(own), file.window);
        let fit = file.fit;
        let model = Model::with_adapter(&self.base, file)?
            .for_inference()
            .merged();
        model.output_size(side)?;
        Ok(Adapter::new(
            model,
            self.identity.clone(),
            side,
            window,
            fit,
        ))
    }

    /// Adds the adapter of a file, see [`AdapterFile::read`].
    ///
    /// # Errors
    /// If the file is malformed, or as [`add`](Self::add).
    pub fn add_file(&self, path: impl AsRef<Path>) -> Result<Adapter> {
        self.add(AdapterFile::read(path.as_ref())?)
    }

    /// Drops what is kept for an adapter. Its model is freed with the last clone of the handle; until then the adapter can
    /// still be used, and what it needs is computed again.
    pub fn remove(&self, adapter: Adapter) {
        let id = adapter.id();
        self.vision.retain(|key| match &key.of {
            VisionStage::States(tower) => *tower != Tower::Adapter(id),
            VisionStage::Features { adapter } => *adapter != id,
        });
        self.text.retain(|key| key.tower != Tower::Adapter(id));
    }

    /// Encodes images of any size for an adapter, each resized to a square of `image_size` pixels, usually
    /// [`Adapter::image_size`].
    ///
    /// # Errors
    /// If the adapter is another base's, the model cannot take that input size, or an image has no pixels or not as much
    /// data as its width and height say.
    pub fn encode(
        &self,
        adapter: &Adapter,
        images: &[&RgbImage],
        image_size: usize,
    ) -> Result<Vec<EncodedImage>> {
        self.check_adapter(adapter)?;
        adapter.model().output_size(image_size)?;
        let inputs = images.par_iter();
        let inputs = inputs.map(|image| InputImage::new(image, image_size, adapter.fit()));
        let inputs: Vec<InputImage> = inputs.collect::<Result<_>>()?;
        let features = self.features(adapter, &inputs.iter().collect::<Vec<_>>())?;
        let images = inputs.into_iter().zip(features);
        let images = images.map(|(input, features)| EncodedImage {
            input,
            features,
            adapter: adapter.id(),
            base: self.identity.clone(),
        });
        Ok(images.collect())
    }

    /// Encodes one image, as [`encode`](Self::encode).
    ///
    /// # Errors
    /// As there.
    pub fn encode_one(
        &self,
        adapter: &Adapter,
        image: &RgbImage,
        image_size: usize,
    ) -> Result<EncodedImage> {
        let images = self.encode(adapter, &[image], image_size)?;
        images.into_iter().next().ok_or_else(bug)
    }

    /// Answers requests, each by itself: an error of one does not affect the others. An answer has a prediction for each
    /// prompt, in their order.
    ///
    /// # Errors
    /// Of a request: if the image or the adapter is another base's, the adapter cannot take the image's input size, or a
    /// prompt cannot be encoded.
    pub fn predict(&self, requests: &[Request<'_>]) -> Vec<Result<Vec<Prediction>>> {
        self.encode_ahead(requests);
        requests
            .iter()
            .map(|request| self.predict_one(request))
            .collect()
    }

    /// Answers one request.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub fn predict_one(&self, request: &Request<'_>) -> Result<Vec<Prediction>> {
        let Request {
            image,
            adapter,
            prompts,
        } = *request;
        let features = self.features_of(adapter, image)?;
        let mut answers = Vec::with_capacity(prompts.len());
        for prompts in prompts.chunks(self.config.decoder_batch) {
            let text = self.text(adapter, prompts)?;
            let logits = logits(adapter.model(), &features, &vec![0; prompts.len()], text)?;
            answers.extend(predictions(logits, prompts, image.size(), adapter.fit())?);
        }
        Ok(answers)
    }

    /// What the engine has computed so far, and what it keeps.
    pub fn stats(&self) -> EngineStats {
        EngineStats {
            vision_passes: self.vision_passes.load(Ordering::Relaxed),
            text_passes: self.text_passes.load(Ordering::Relaxed),
            vision_bytes: self.vision.bytes(),
            text_bytes: self.text.bytes(),
        }
    }

    /// Fills the vision cache for requests, in batches of images. What fails here fails again in its request, which reports
    /// it.
    fn encode_ahead(&self, requests: &[Request<'_>]) {
        if self.config.vision_batch == 1 {
            return;
        }
        let mut rest: Vec<&Request<'_>> = requests.iter().collect();
        while let Some(Request { adapter, image, .. }) = rest.first().copied() {
            let (together, later): (Vec<_>, Vec<&Request<'_>>) =
                rest.into_iter().partition(|request| {
                    let same_size = request.image.image_size() == image.image_size();
                    request.adapter.id() == adapter.id() && same_size
                });
            let inputs: Vec<&InputImage> = together
                .into_iter()
                .map(|request: &Request<'_>| request.image)
                .filter(|image| image.adapter != adapter.id())
                .filter(|image| self.check(adapter, image).is_ok())
                .map(|image| &image.input)
                .collect();
            self.vision_states(adapter, &inputs).ok();
            rest = later;
        }
    }

    /// Features of an image for an adapter.
    pub(super) fn features_of(
        &self,
        adapter: &Adapter,
        image: &EncodedImage,
    ) -> Result<HiddenStates> {
        self.check(adapter, image)?;
        if image.adapter == adapter.id() {
            return Ok(image.features.clone());
        }
        let features = self.features(adapter, &[&image.input])?;
        features.into_iter().next().ok_or_else(bug)
    }

    /// Features of images of one size for an adapter.
    fn features(&self, adapter: &Adapter, images: &[&InputImage]) -> Result<Vec<HiddenStates>> {
        let stage = VisionStage::Features {
            adapter: adapter.id(),
        };
        let keys = vision_keys(images, &stage);
        self.vision
            .get_or_compute_all(&keys, images.len(), |missing| {
                let images: Vec<&InputImage> = missing.iter().map(|index| images[*index]).collect();
                let states = self.vision_states(adapter, &images)?;
                // One by one, so that a row's last bits do not depend on the others.
                let features = states
                    .into_iter()
                    .map(|states| adapter.model().features(states));
                features.collect()
            })
    }

    /// Vision states of images of one size in an adapter's tower.
    fn vision_states(
        &self,
        adapter: &Adapter,
        images: &[&InputImage],
    ) -> Result<Vec<HiddenStates>> {
        let keys = vision_keys(images, &VisionStage::States(adapter.vision().clone()));
        let (model, batch) = (adapter.model(), self.config.vision_batch);
        self.vision.get_or_compute_all(&keys, batch, |missing| {
            let pixels: Vec<&RgbImage> = missing
                .iter()
                .map(|index| &*images[*index].pixels)
                .collect();
            let side = pixels.first().map_or(0, |image| image.width);
            let preprocessing = Preprocessing {
                image_size: side,
                ..self.base.preprocessing.clone()
            };
            let states = model.vision_states(preprocessing.tensor(&pixels, &model.device())?);
            self.vision_passes
                .fetch_add(pixels.len() as u64, Ordering::Relaxed);
            tracing::debug!(images = pixels.len(), side, "vision pass");
            if pixels.len() == 1 {
                return Ok(vec![states]);
            }
            // Copies, so that no row keeps the whole batch in memory.
            Ok((0..pixels.len())
                .map(|row| select(&states, &[row]))
                .collect())
        })
    }

    /// What an adapter's decoder takes of prompts, a row for each.
    pub(super) fn text<P: AsRef<str>>(
        &self,
        adapter: &Adapter,
        prompts: &[P],
    ) -> Result<HiddenStates> {
        let model = adapter.model();
        // Prompt by prompt, so that a row's last bits do not depend on the other prompts.
        let encoded = prompts.iter().map(|prompt| {
            let key = TextKey {
                tower: adapter.text().clone(),
                prompt: prompt.as_ref().to_owned(),
            };
            let states = self.text.get_or_compute(&key, || {
                let states = text_states(model, &self.base.tokenizer, &[prompt.as_ref()])?;
                self.text_passes.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(prompt = prompt.as_ref(), "text pass");
                Ok(states)
            })?;
            model.condition_text(states)
        });
        Ok(concatenate(encoded.collect::<Result<Vec<_>>>()?))
    }

    /// Checks that an adapter can be asked about an image here.
    fn check(&self, adapter: &Adapter, image: &EncodedImage) -> Result<()> {
        self.check_adapter(adapter)?;
        image.check(adapter, &self.identity)
    }

    /// Checks that an adapter is of this base. Warns once if it leaves a random decoder as it is.
    fn check_adapter(&self, adapter: &Adapter) -> Result<()> {
        if adapter.id() == self.zero_shot.id() {
            self.warned.call_once(|| self.base.warn_of_random_part());
        }
        if adapter.base().fingerprint == self.identity.fingerprint {
            return Ok(());
        }
        Err(ModelError::Engine(format!(
            "the adapter was added to an engine over base `{}`, but this one is over `{}`; add it here",
            adapter.base().name,
            self.identity.name
        )))
    }
}

pub(super) fn bug() -> ModelError {
    ModelError::Engine("one input gave no output; this is a bug".into())
}
