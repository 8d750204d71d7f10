//! Prediction in a few calls: one base, one adapter, one input size.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use vlsm_image::{ClassList, ClassMap, RgbImage};
use vlsm_models::predict::{
    Adapter, EncodedImage, Engine, EngineConfig, Prediction, Request, Tiles,
};
use vlsm_models::{Base, Model, Preprocessing, SegmentationModel, Tokenizer, device};

use crate::error::{Error, Result};

/// A model, with or without an adapter, that answers prompts about images.
///
/// The vision tower, which is nearly all of the work, runs in [`set_image`](Self::set_image);
/// [`predict`](Self::predict) then costs little per prompt. Segmenters made from each other, by
/// cloning or by [`with_adapter`](Self::with_adapter), share one [`Engine`], with its base and its
/// cached states of images and prompts. For more control, use the engine directly.
#[derive(Debug, Clone)]
pub struct Segmenter {
    engine: Arc<Engine>,
    adapter: Adapter,
    preprocessing: Preprocessing,
}

impl Segmenter {
    /// A base without an adapter (zero-shot), on the CPU: a model's folder in Hugging Face format,
    /// or a name on the hub such as `CIDAS/clipseg-rd64-refined`, with a revision after `@`.
    ///
    /// # Errors
    /// If the base cannot be found, a file is malformed, or a tensor is missing, unexpected or of the
    /// wrong shape.
    pub fn from_pretrained(name: &str) -> Result<Self> {
        Self::from_pretrained_on(name, &device("cpu")?)
    }

    /// Like [`from_pretrained`](Self::from_pretrained), on a device made by
    /// [`device`](vlsm_models::device()).
    ///
    /// # Errors
    /// Like [`from_pretrained`](Self::from_pretrained).
    pub fn from_pretrained_on(name: &str, device: &Device) -> Result<Self> {
        Self::from_base(Base::load(name, device)?)
    }

    /// Like [`from_pretrained`](Self::from_pretrained), for a base that is already loaded, in any precision that
    /// [`Base::with_precision`] gives it.
    ///
    /// # Errors
    /// If the base's own weights cannot be used.
    pub fn from_base(base: Base) -> Result<Self> {
        let engine = Arc::new(Engine::new(base, EngineConfig::default())?);
        let adapter = engine.zero_shot().clone();
        Ok(Self::new(engine, adapter))
    }

    /// A segmenter for one adapter of an engine, at the input size of its training.
    pub fn new(engine: Arc<Engine>, adapter: Adapter) -> Self {
        let preprocessing = Preprocessing {
            image_size: adapter.image_size(),
            fit: adapter.fit(),
            ..engine.base().preprocessing.clone()
        };
        Self {
            engine,
            adapter,
            preprocessing,
        }
    }

    /// The same base with the trained parameters of a file: a run's `adapter.safetensors`, a bare
    /// safetensors with the published names, or a checkpoint of the published code. It replaces an
    /// earlier adapter. The input size becomes the one that the adapter was trained at, or the
    /// base's if the file does not say.
    ///
    /// # Errors
    /// If the file is malformed, was trained on another base, or does not fit this one.
    pub fn with_adapter(self, path: impl AsRef<Path>) -> Result<Self> {
        let adapter = self.engine.add_file(path)?;
        Ok(Self::new(self.engine, adapter))
    }

    /// The same model for square inputs of `size` pixels a side.
    ///
    /// # Errors
    /// If the model does not support that size; the error names the nearest supported size.
    pub fn with_image_size(self, size: usize) -> Result<Self> {
        self.model().output_size(size)?;
        let preprocessing = Preprocessing {
            image_size: size,
            ..self.preprocessing
        };
        Ok(Self {
            preprocessing,
            ..self
        })
    }

    /// Encodes an image of any size, once for all prompts. All segmenters with the same engine and
    /// input size can use the result.
    ///
    /// # Errors
    /// If the model does not support the input size, the image has no pixels, or the length of its
    /// data does not match its width and height.
    pub fn set_image(&self, image: &RgbImage) -> Result<EncodedImage> {
        let size = self.preprocessing.image_size;
        Ok(self.engine.encode_one(&self.adapter, image, size)?)
    }

    /// Reads an image file and encodes it.
    ///
    /// # Errors
    /// If the file cannot be read, is not an image, or has several pages.
    pub fn set_image_file(&self, path: impl AsRef<Path>) -> Result<EncodedImage> {
        self.set_image(&self.read_image(path, false)?)
    }

    /// Reads an image file in the orientation in which viewers show it. A 16-bit image has the window of the images that the
    /// adapter was trained on, or its own, with a warning, if it would be dark. `first_page` reads the first page of a file
    /// with several, which is otherwise an error.
    ///
    /// # Errors
    /// If the file cannot be read or is not an image.
    pub fn read_image(&self, path: impl AsRef<Path>, first_page: bool) -> Result<RgbImage> {
        Ok(self.adapter.read_image(path.as_ref(), first_page)?)
    }

    /// The model's answer to a prompt about an image.
    ///
    /// # Errors
    /// If the image was encoded for another base or input size, or the prompt cannot be encoded.
    pub fn predict(&self, image: &EncodedImage, prompt: &str) -> Result<Prediction> {
        let mut predictions = self.predict_all(image, &[prompt])?;
        // One prompt, one prediction.
        Ok(predictions.swap_remove(0))
    }

    /// The model's answers to prompts about an image, in the order of the prompts.
    ///
    /// # Errors
    /// Like [`predict`](Self::predict).
    pub fn predict_all<P: AsRef<str>>(
        &self,
        image: &EncodedImage,
        prompts: &[P],
    ) -> Result<Vec<Prediction>> {
        self.check(image)?;
        let prompts: Vec<&str> = prompts.iter().map(AsRef::as_ref).collect();
        let request = Request {
            image,
            adapter: &self.adapter,
            prompts: &prompts,
        };
        Ok(self.engine.predict_one(&request)?)
    }

    /// The model's answers to prompts about a large image, in tiles that are blended where they overlap, see
    /// [`Engine::predict_tiled`].
    ///
    /// # Errors
    /// Like [`set_image`](Self::set_image) and [`predict`](Self::predict).
    pub fn predict_tiled<P: AsRef<str>>(
        &self,
        image: &RgbImage,
        tiles: Tiles,
        prompts: &[P],
    ) -> Result<Vec<Prediction>> {
        let prompts: Vec<&str> = prompts.iter().map(AsRef::as_ref).collect();
        let size = self.preprocessing.image_size;
        Ok(self
            .engine
            .predict_tiled(&self.adapter, image, size, tiles, &prompts)?)
    }

    /// A label for each pixel of an image, at its own size: the id of the most likely class, or
    /// [`ClassList::none`] where no class's probability is above the background threshold.
    ///
    /// Logits are resized bilinearly and then compared, so along edges the labels can differ from
    /// the masks of [`predict`](Self::predict).
    ///
    /// # Errors
    /// Like [`predict`](Self::predict).
    pub fn segment(&self, image: &EncodedImage, classes: &ClassList) -> Result<ClassMap> {
        self.check(image)?;
        Ok(self.engine.segment(&self.adapter, image, classes)?)
    }

    /// Refuses an image of another input size; the engine refuses one of another base.
    fn check(&self, image: &EncodedImage) -> Result<()> {
        let (encoded, wanted) = (image.image_size(), self.preprocessing.image_size);
        if encoded == wanted {
            Ok(())
        } else {
            Err(Error::ImageSize { encoded, wanted })
        }
    }

    /// The engine that answers.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The engine's adapter that answers.
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    /// The base.
    pub fn base(&self) -> &Base {
        self.engine.base()
    }

    /// The base with its adapter.
    pub fn model(&self) -> &Model {
        self.adapter.model()
    }

    /// The part of the model that has random weights, such as the decoder of a base without one and without an adapter, so
    /// that its masks mean nothing; `None` if all weights are trained.
    pub fn random_part(&self) -> Option<&'static str> {
        let is_trained = self.model().method().trains_decoder();
        let part = self.base().network.random_part();
        part.filter(|_| !is_trained)
    }

    /// Warns if a part of the model has random weights. Predicting warns by itself.
    pub fn warn_of_random_part(&self) {
        if self.random_part().is_some() {
            self.base().warn_of_random_part();
        }
    }

    /// The base's vocabulary.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.base().tokenizer
    }

    /// How images are resized and normalised for the model.
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }
}
