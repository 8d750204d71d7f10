//! From examples and prompts to tensors.

use std::collections::HashMap;
use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};
use vlsm_data::{Example, Mask, RgbImage, normalize};
use vlsm_models::{ClipTokenizer, ModelError, Preprocessing, SegmentationModel};

use crate::error::Result;

/// A batch as the loss takes it.
pub struct Batch {
    /// The distinct images, `[images, 3, side, side]`, normalised.
    pub pixels: Tensor<4>,
    /// For each example the place of its image among them; `None` if every example has its own.
    pub places: Option<Vec<usize>>,
    /// What the masks say.
    pub truth: Truth,
}

/// Masks as the loss takes them.
pub struct Truth {
    /// `[batch, side, side]`, 0 or 1.
    pub target: Tensor<3>,
    /// `[batch, side, side]`, 0 where a pixel does not count; `None` if all do.
    pub valid: Option<Tensor<3>>,
}

impl Batch {
    /// Puts examples of one size together.
    pub fn new(examples: &[Example], preprocessing: &Preprocessing, device: &Device) -> Self {
        let mut images: Vec<&Arc<RgbImage>> = Vec::with_capacity(examples.len());
        let mut places = Vec::with_capacity(examples.len());
        for example in examples {
            let same = |image: &&Arc<RgbImage>| Arc::ptr_eq(image, &example.image);
            places.push(images.iter().position(same).unwrap_or(images.len()));
            if places.last() == Some(&images.len()) {
                images.push(&example.image);
            }
        }
        let shared = images.len() < examples.len();
        let images: Vec<&RgbImage> = images.into_iter().map(Arc::as_ref).collect();
        Self {
            pixels: pixels(&images, preprocessing, device),
            places: shared.then_some(places),
            truth: Truth::new(examples, device),
        }
    }
}

impl Truth {
    /// Puts the masks of examples of one size together.
    pub fn new(examples: &[Example], device: &Device) -> Self {
        let masks: Vec<&Mask> = examples.iter().map(|one| one.mask.as_ref()).collect();
        let (height, width) = masks
            .first()
            .map_or((0, 0), |mask| (mask.height, mask.width));
        let tensor = |value: fn(u8) -> f32| {
            let data: Vec<f32> = masks
                .iter()
                .flat_map(|mask| mask.data.iter().map(|pixel| value(*pixel)))
                .collect();
            Tensor::from_data(TensorData::new(data, [masks.len(), height, width]), device)
        };
        let ignores = masks.iter().any(|mask| mask.data.contains(&Mask::IGNORE));
        Self {
            target: tensor(|pixel| f32::from(u8::from(pixel == 1))),
            valid: ignores.then(|| tensor(|pixel| f32::from(u8::from(pixel != Mask::IGNORE)))),
        }
    }
}

/// Images of one size, normalised, `[batch, 3, height, width]`.
pub fn pixels(images: &[&RgbImage], preprocessing: &Preprocessing, device: &Device) -> Tensor<4> {
    let (height, width) = images
        .first()
        .map_or((0, 0), |image| (image.height, image.width));
    let one = 3 * height * width;
    let mut data = vec![0.0; images.len() * one];
    for (image, out) in images.iter().zip(data.chunks_mut(one.max(1))) {
        normalize(image, preprocessing.mean, preprocessing.std, out);
    }
    Tensor::from_data(
        TensorData::new(data, [images.len(), 3, height, width]),
        device,
    )
}

/// Encodes prompts, each distinct one once.
pub struct PromptEncoder<'a> {
    tokenizer: &'a ClipTokenizer,
    /// Embeddings `[1, projection]` of prompts seen, while nothing that they depend on is trained.
    cache: Option<HashMap<String, Tensor<2>>>,
}

impl<'a> PromptEncoder<'a> {
    /// For a model whose text side does not change while this is in use: a prompt is encoded once.
    pub fn frozen(tokenizer: &'a ClipTokenizer) -> Self {
        Self {
            tokenizer,
            cache: Some(HashMap::new()),
        }
    }

    /// For a model in training.
    pub fn training<M: SegmentationModel>(tokenizer: &'a ClipTokenizer, model: &M) -> Self {
        Self {
            tokenizer,
            cache: (!model.trains_text()).then(HashMap::new),
        }
    }

    /// Conditional embeddings `[prompts, projection]`.
    ///
    /// # Errors
    /// If the tokenizer does not belong to the model.
    pub fn encode<M: SegmentationModel>(
        &mut self,
        model: &M,
        prompts: &[&str],
    ) -> Result<Tensor<2>> {
        let ids = |prompt: &str| -> Result<Vec<u32>> {
            let ids = self.tokenizer.encode(prompt, model.context_length());
            Ok(ids.map_err(ModelError::from)?)
        };
        let Some(cache) = &mut self.cache else {
            let mut distinct: Vec<&str> = Vec::new();
            let mut places = Vec::with_capacity(prompts.len());
            for prompt in prompts {
                let place = distinct.iter().position(|one| one == prompt);
                places.push(place.unwrap_or(distinct.len()) as i64);
                if place.is_none() {
                    distinct.push(prompt);
                }
            }
            let ids: Vec<Vec<u32>> = distinct
                .iter()
                .map(|prompt| ids(prompt))
                .collect::<Result<_>>()?;
            let embeddings = model.encode_text(&model.tokens(&ids)?);
            let places = TensorData::new(places, [prompts.len()]);
            let places = Tensor::<1, Int>::from_data(places, &embeddings.device());
            return Ok(embeddings.select(0, places));
        };
        let mut embeddings = Vec::with_capacity(prompts.len());
        for prompt in prompts {
            if !cache.contains_key(*prompt) {
                // Alone, so that the last bits do not depend on which prompts came together.
                let embedding = model.encode_text(&model.tokens(&[ids(prompt)?])?);
                cache.insert((*prompt).to_owned(), embedding.inner());
            }
            embeddings.extend(cache.get(*prompt).cloned());
        }
        Ok(Tensor::cat(embeddings, 0))
    }
}
