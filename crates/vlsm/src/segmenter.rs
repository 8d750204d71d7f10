//! The small door: a model that answers prompts about images.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, activation::sigmoid};
use vlsm_data::{ClassList, ClassMap, Mask, RgbImage, read_image, resize_map, resize_mask};
use vlsm_models::predict::{PromptEncoder, label_images, threshold};
use vlsm_models::weights::to_host;
use vlsm_models::{
    AdapterFile, Base, HiddenStates, MethodConfig, Model, Preprocessing, SegmentationModel,
    Tokenizer, contract::select, device,
};

use crate::error::{Error, Result};

/// Prompts of one pass of the decoder.
const DECODER_BATCH: usize = 8;

/// A model, with or without an adapter, that answers prompts about images.
///
/// The vision tower, which is nearly all of the work, runs in [`set_image`](Self::set_image);
/// [`predict`](Self::predict) then costs little per prompt.
#[derive(Debug, Clone)]
pub struct Segmenter {
    base: Base,
    model: Model,
    preprocessing: Preprocessing,
    /// Tells this model and input size from others: features of one mean nothing to another.
    key: Arc<()>,
}

/// An image as a [`Segmenter`] keeps it: what the decoder takes of it.
#[derive(Debug, Clone)]
pub struct EncodedImage {
    features: HiddenStates,
    width: usize,
    height: usize,
    key: Arc<()>,
}

impl EncodedImage {
    /// Width and height of the image itself, in pixels.
    pub fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }
}

/// What a model says to a prompt about an image.
///
/// `mask` and `probability` are made apart, each as it is best. The mask is what `vlsm eval`
/// scores: thresholded at the model's output size, then resized by nearest neighbour, as published.
/// The probabilities are resized bilinearly. So along the rim the mask is not everywhere where
/// `probability` is above half; for a smoother mask than the published one, threshold
/// `probability` yourself.
#[derive(Debug, Clone)]
pub struct Prediction {
    /// The prompt.
    pub prompt: String,
    /// Foreground where the probability is above half, at the image's own size.
    pub mask: Mask,
    /// The probability of foreground, from 0 to 1, `[height, width]` at the image's own size.
    pub probability: Vec<f32>,
}

impl Prediction {
    /// The mask's share of the image, from 0 to 1.
    pub fn share(&self) -> f64 {
        self.mask.foreground() as f64 / self.mask.data.len().max(1) as f64
    }

    /// The probabilities as 8-bit levels, `[height, width]`: 255 is certain.
    pub fn levels(&self) -> Vec<u8> {
        let level = |p: &f32| (p * 255.0).round().clamp(0.0, 255.0) as u8;
        self.probability.iter().map(level).collect()
    }
}

impl Segmenter {
    /// A base without adapter (zero-shot), on the CPU: the folder of a model in Hugging Face
    /// format, or a name on the hub such as `CIDAS/clipseg-rd64-refined`, with a revision behind
    /// `@`.
    ///
    /// # Errors
    /// If it cannot be found, a file is malformed, or a tensor is missing, extra or mis-shaped.
    pub fn from_pretrained(name: &str) -> Result<Self> {
        Self::from_pretrained_on(name, &device("cpu")?)
    }

    /// As [`from_pretrained`](Self::from_pretrained), on a device; [`vlsm_models::device`] gives
    /// one by its name.
    ///
    /// # Errors
    /// As there.
    pub fn from_pretrained_on(name: &str, device: &Device) -> Result<Self> {
        let base = Base::load(name, device)?;
        let model = Model::new(&base, MethodConfig::zero_shot(), 0)?.for_inference();
        Ok(Self {
            preprocessing: base.preprocessing.clone(),
            base,
            model,
            key: Arc::new(()),
        })
    }

    /// The same base with the trained parameters of a file: a run's `adapter.safetensors`, a bare
    /// safetensors with the published names, or a checkpoint of the published code. It takes the
    /// place of an adapter that was there; the input size becomes that which it was trained at,
    /// where the file says.
    ///
    /// # Errors
    /// If the file is malformed, was trained on another base, or does not fit this one.
    pub fn with_adapter(self, path: impl AsRef<Path>) -> Result<Self> {
        let adapter = AdapterFile::read(path.as_ref())?;
        let image_size = adapter.image_size;
        let segmenter = Self {
            model: Model::with_adapter(&self.base, adapter)?.for_inference(),
            key: Arc::new(()),
            ..self
        };
        match image_size {
            Some(size) => segmenter.with_image_size(size),
            None => Ok(segmenter),
        }
    }

    /// The same model for square inputs of `size` pixels a side.
    ///
    /// # Errors
    /// If the model cannot take that size; the nearest that it can is named.
    pub fn with_image_size(self, size: usize) -> Result<Self> {
        self.model.output_size(size)?;
        let preprocessing = Preprocessing {
            image_size: size,
            ..self.preprocessing
        };
        Ok(Self {
            preprocessing,
            key: Arc::new(()),
            ..self
        })
    }

    /// Encodes an image of any size, once for all prompts.
    ///
    /// # Errors
    /// If the model cannot take inputs of the size that its base asks for.
    pub fn set_image(&self, image: &RgbImage) -> Result<EncodedImage> {
        self.model.output_size(self.preprocessing.image_size)?;
        let input = self.preprocessing.tensor(&[image], &self.model.device())?;
        Ok(EncodedImage {
            features: self.model.encode_image(input)?,
            width: image.width,
            height: image.height,
            key: self.key.clone(),
        })
    }

    /// Reads an image file and encodes it.
    ///
    /// # Errors
    /// If the file cannot be read or is not an image.
    pub fn set_image_file(&self, path: impl AsRef<Path>) -> Result<EncodedImage> {
        self.set_image(&read_image(path.as_ref())?)
    }

    /// What the model says to a prompt about an image.
    ///
    /// # Errors
    /// If the image was set on another segmenter, or the prompt cannot be encoded.
    pub fn predict(&self, image: &EncodedImage, prompt: &str) -> Result<Prediction> {
        let mut predictions = self.predict_all(image, &[prompt])?;
        // One prompt, one prediction.
        Ok(predictions.swap_remove(0))
    }

    /// What the model says to each of some prompts about an image, in their order.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub fn predict_all<P: AsRef<str>>(
        &self,
        image: &EncodedImage,
        prompts: &[P],
    ) -> Result<Vec<Prediction>> {
        self.check(image)?;
        let mut encoder = PromptEncoder::frozen(&self.base.tokenizer);
        let mut predictions = Vec::with_capacity(prompts.len());
        for prompts in prompts.chunks(DECODER_BATCH) {
            let prompts: Vec<&str> = prompts.iter().map(AsRef::as_ref).collect();
            let text = encoder.encode(&self.model, &prompts)?;
            let features = select(&image.features, &vec![0; prompts.len()]);
            let logits = self.model.decode(&features, text)?;
            predictions.extend(answers(logits, &prompts, image));
        }
        Ok(predictions)
    }

    /// A label for each pixel of an image, at its own size: the id of the likeliest class, or
    /// [`ClassList::none`] where no class's probability is above the background threshold.
    ///
    /// Logits are resized bilinearly and then compared, so that along the rims the labels are not
    /// everywhere what the masks of [`predict`](Self::predict) say.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub fn segment(&self, image: &EncodedImage, classes: &ClassList) -> Result<ClassMap> {
        self.check(image)?;
        let mut encoder = PromptEncoder::frozen(&self.base.tokenizer);
        let sizes = [image.size()];
        let (model, features) = (&self.model, &image.features);
        let mut labels = label_images(model, features, &sizes, classes, &mut encoder)?;
        // One image, one map of labels.
        Ok(labels.swap_remove(0))
    }

    /// Refuses an image of another segmenter.
    fn check(&self, image: &EncodedImage) -> Result<()> {
        if Arc::ptr_eq(&self.key, &image.key) {
            Ok(())
        } else {
            Err(Error::ForeignImage)
        }
    }

    /// The base.
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// The base with its adapter.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The base's vocabulary.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.base.tokenizer
    }

    /// How images become the model's input.
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }
}

/// Logits `[prompts, side, side]` as predictions at the image's own size.
fn answers(logits: Tensor<3>, prompts: &[&str], image: &EncodedImage) -> Vec<Prediction> {
    let [_, rows, columns] = logits.dims();
    let (width, height) = image.size();
    let masks = threshold(logits.clone());
    let probabilities = to_host(sigmoid(logits));
    let maps = probabilities.chunks((rows * columns).max(1));
    masks
        .iter()
        .zip(maps)
        .zip(prompts)
        .map(|((mask, map), prompt)| Prediction {
            prompt: (*prompt).to_owned(),
            mask: resize_mask(mask, width, height),
            probability: resize_map(map, columns, rows, width, height),
        })
        .collect()
}
