//! Labels of an image by an engine, and what the model says about each class before a label is chosen.

use burn::tensor::{Tensor, TensorData};
use vlsm_image::{ClassList, ClassMap, Fit, Mask, resize_map};

use super::adapter::Adapter;
use super::engine::{Engine, bug};
use super::image::EncodedImage;
use super::labels::{label_images, label_prompts, most_likely, uses_vocabulary};
use super::masks::{finite, logits};
use crate::contract::{SegmentationModel, VocabularyMasks};
use crate::error::Result;
use crate::weights::to_host;

/// What a model says about the classes of an image, at its own resolution.
#[derive(Debug, Clone)]
pub struct ClassMaps {
    answer: Answer,
    /// Width and height of the image.
    size: (usize, usize),
    fit: Fit,
}

#[derive(Debug, Clone)]
enum Answer {
    /// Logits of each class, which was the prompt, `[classes, height, width]`.
    Prompts { logits: Vec<f32>, grid: [usize; 2] },
    /// SAN's masks, for a batch of one image.
    Vocabulary(Box<VocabularyMasks>),
}

impl ClassMaps {
    /// Logits `[classes, height, width]` of an image of a size that became a square by `fit`.
    ///
    /// # Errors
    /// If a logit is infinite or not a number.
    pub(super) fn of_prompts(logits: Tensor<3>, size: (usize, usize), fit: Fit) -> Result<Self> {
        let [_, height, width] = logits.dims();
        let answer = Answer::Prompts {
            logits: finite(logits)?,
            grid: [height, width],
        };
        Ok(Self { answer, size, fit })
    }

    /// The masks of a batch of one image.
    pub fn of_vocabulary(masks: VocabularyMasks, size: (usize, usize), fit: Fit) -> Self {
        let answer = Answer::Vocabulary(Box::new(masks));
        Self { answer, size, fit }
    }

    /// The most likely class of each pixel, as [`label_images`](super::label_images) has it.
    ///
    /// # Errors
    /// If a number is infinite or not one.
    pub fn labels(&self, classes: &ClassList) -> Result<ClassMap> {
        match &self.answer {
            Answer::Prompts { logits, grid } => Ok(self.most_likely(logits, *grid, classes)),
            Answer::Vocabulary(masks) => self.labels_of(masks, classes),
        }
    }

    /// The labels that a SAN's masks give with other scores of the classes, `[masks, classes]`; `None` for a model that was asked
    /// class by class.
    ///
    /// # Errors
    /// If a number is infinite or not one.
    pub fn labels_by(&self, scores: &[Vec<f32>], classes: &ClassList) -> Result<Option<ClassMap>> {
        let Answer::Vocabulary(masks) = &self.answer else {
            return Ok(None);
        };
        let shape = masks.classes.dims();
        let data = TensorData::new(scores.concat(), shape);
        let masks = VocabularyMasks {
            classes: Tensor::from_data(data, &masks.classes.device()),
            ..*masks.clone()
        };
        Ok(Some(self.labels_of(&masks, classes)?))
    }

    /// The probability of a class, by its index, at each pixel of the image, `[height, width]`; `None` for a SAN's masks, which have
    /// no probability of a class alone.
    pub fn probability(&self, class: usize) -> Option<Vec<f32>> {
        let Answer::Prompts { logits, grid } = &self.answer else {
            return None;
        };
        let pixels = grid[0] * grid[1];
        let mut map = self.at_image(logits.get(class * pixels..(class + 1) * pixels)?, *grid);
        for logit in &mut map {
            *logit = 1.0 / (1.0 + (-*logit).exp());
        }
        Some(map)
    }

    /// A SAN's masks at the image's size, each with the probability of each class; `None` for a model that was asked class by class.
    /// A pixel is of a mask if its probability is above `threshold`, so that a mask can be empty.
    pub fn masks(&self, threshold: f32) -> Option<Vec<(Mask, Vec<f32>)>> {
        let Answer::Vocabulary(masks) = &self.answer else {
            return None;
        };
        let [_, _, classes] = masks.classes.dims();
        let [height, width] = masks.grid;
        let (probabilities, maps) = (to_host(masks.classes.clone()), to_host(masks.masks.clone()));
        let maps = maps.chunks((height * width).max(1));
        let (width, height) = self.size;
        let masks = maps
            .zip(probabilities.chunks(classes.max(1)))
            .map(|(map, classes)| {
                let map = self.at_image(map, masks.grid);
                let above = |x: usize, y: usize| u8::from(map[y * width + x] > threshold);
                (Mask::from_fn(width, height, above), classes.to_vec())
            });
        Some(masks.collect())
    }

    fn labels_of(&self, masks: &VocabularyMasks, classes: &ClassList) -> Result<ClassMap> {
        let scores = finite(masks.scores().squeeze_dim(0))?;
        Ok(self.most_likely(&scores, masks.grid, classes))
    }

    /// The class with the largest score at each pixel.
    fn most_likely(&self, scores: &[f32], grid: [usize; 2], classes: &ClassList) -> ClassMap {
        most_likely(scores, grid, self.size, self.fit, classes)
    }

    /// A map of the model at the image's size.
    fn at_image(&self, map: &[f32], [height, width]: [usize; 2]) -> Vec<f32> {
        let (new_width, new_height) = self.fit.padded_size(self.size);
        let map = resize_map(map, width, height, new_width, new_height);
        self.fit.unpadded(map, self.size)
    }
}

impl Engine {
    /// A label for each pixel of an image, at its own size: the id of the most likely class, or [`ClassList::none`] where
    /// no class's probability is above the background threshold.
    ///
    /// Logits are resized bilinearly and then compared, so along edges the labels can differ from the masks of
    /// [`predict`](Self::predict). A SAN can do without prompts, see [`uses_vocabulary`](super::uses_vocabulary).
    ///
    /// # Errors
    /// As a request's.
    pub fn segment(
        &self,
        adapter: &Adapter,
        image: &EncodedImage,
        classes: &ClassList,
    ) -> Result<ClassMap> {
        let features = self.features_of(adapter, image)?;
        let text = self.text(adapter, &label_prompts(adapter.model(), classes))?;
        let (model, size) = (adapter.model(), image.size());
        let labels = label_images(model, &features, &[size], adapter.fit(), classes, &text)?;
        labels.into_iter().next().ok_or_else(bug)
    }

    /// What the labels of [`segment`](Self::segment) are chosen from.
    ///
    /// # Errors
    /// As a request's.
    pub fn class_maps(
        &self,
        adapter: &Adapter,
        image: &EncodedImage,
        classes: &ClassList,
    ) -> Result<ClassMaps> {
        let features = self.features_of(adapter, image)?;
        let prompts = label_prompts(adapter.model(), classes);
        let (model, size, fit) = (adapter.model(), image.size(), adapter.fit());
        if uses_vocabulary(model, classes) {
            let text = self.text(adapter, &prompts)?;
            let masks = model.vocabulary_masks(&features, text)?;
            return Ok(ClassMaps::of_vocabulary(masks, size, fit));
        }
        let parts = prompts.chunks(self.config.decoder_batch);
        let parts = parts.map(|prompts| {
            let text = self.text(adapter, prompts)?;
            logits(model, &features, &vec![0; prompts.len()], text)
        });
        let logits = Tensor::cat(parts.collect::<Result<Vec<_>>>()?, 0);
        ClassMaps::of_prompts(logits, size, fit)
    }
}
