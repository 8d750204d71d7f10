//! Evaluation of whole-image labels: each pixel gets the most likely of all classes, and IoU is computed over the data set.

use std::ops::ControlFlow;

use rayon::prelude::*;
use serde::Serialize;
use vlsm_data::{ClassPixels, Confusion, Example, Sample};
use vlsm_image::{ClassList, ClassMap, write_png_gray};
use vlsm_models::SegmentationModel;
use vlsm_models::predict::{PromptEncoder, label_images, label_prompts};

use super::EvalConfig;
use super::batches::examples;
use super::files::{file_names, make_parent};
use crate::error::{Result, TrainError};
use crate::feature_cache::encode_images;

/// A model's labels for the images of a split, compared with the true ones.
#[derive(Debug, Clone)]
pub struct SemanticEvaluation {
    /// The classes that were prompted.
    pub classes: ClassList,
    /// Pixel counts of all images, by true and predicted id. Ids without a name count as background.
    pub confusion: Confusion,
    /// Pixel counts of each image.
    pub images: Vec<ImagePixels>,
}

/// Pixel counts of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePixels {
    /// The image's name.
    pub sample: String,
    /// Pixel counts by id, [`ClassList::ids`] of them.
    pub classes: Vec<ClassPixels>,
}

/// The metrics of whole-image labels over a data set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SemanticMetrics {
    /// Number of images.
    pub images: usize,
    /// See [`Confusion::mean_iou`].
    pub miou: f64,
    /// See [`Confusion::mean_accuracy`].
    pub mean_accuracy: f64,
    /// See [`Confusion::pixel_accuracy`].
    pub pixel_accuracy: f64,
    /// Number of pixels that are not ignored.
    pub pixels: u64,
    /// The background threshold, a probability; 0 if there was none.
    pub background: f32,
    /// The classes, and the background if there is one, in the order of their ids.
    pub classes: Vec<ClassMetrics>,
}

/// The metrics of a class over a data set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassMetrics {
    /// The id.
    pub id: u8,
    /// The name, which was the prompt; `background` for the ids without one.
    pub name: String,
    /// See [`ClassPixels::iou`].
    pub iou: Option<f64>,
    /// See [`ClassPixels::accuracy`].
    pub accuracy: Option<f64>,
    /// Pixel counts.
    #[serde(flatten)]
    pub pixels: ClassPixels,
}

impl SemanticEvaluation {
    /// Without images.
    pub(crate) fn new(classes: &ClassList) -> Self {
        Self {
            classes: classes.clone(),
            confusion: Confusion::new(classes.ids()),
            images: Vec::new(),
        }
    }

    /// Adds the pixels of an image, counted by [`count`].
    pub(crate) fn add(&mut self, sample: &Sample, counted: &Confusion) -> Result<()> {
        self.confusion.merge(counted)?;
        let ids = 0..self.classes.ids();
        self.images.push(ImagePixels {
            sample: sample.name.clone(),
            classes: ids.map(|id| counted.class(id)).collect(),
        });
        Ok(())
    }

    /// The metrics of the confusion matrix.
    pub fn metrics(&self) -> SemanticMetrics {
        let confusion = &self.confusion;
        let background = self.classes.background_id().map(|id| (id, "background"));
        let mut ids: Vec<(u8, &str)> = self.classes.targets().chain(background).collect();
        ids.sort_by_key(|(id, _)| *id);
        let class = |(id, name): (u8, &str)| {
            let pixels = confusion.class(usize::from(id));
            ClassMetrics {
                id,
                name: name.to_owned(),
                iou: pixels.iou(),
                accuracy: pixels.accuracy(),
                pixels,
            }
        };
        SemanticMetrics {
            images: self.images.len(),
            miou: confusion.mean_iou(),
            mean_accuracy: confusion.mean_accuracy(),
            pixel_accuracy: confusion.pixel_accuracy(),
            pixels: confusion.pixels(),
            background: self.classes.background(),
            classes: ids.into_iter().map(class).collect(),
        }
    }
}

/// Labels the images of samples and compares the labels with the true ones at their own size. The samples are those of
/// [`Dataset::labelled`](vlsm_data::Dataset::labelled). Each image goes through the vision tower once, each class name through the
/// text tower once. Predicted ids are written to the folder `masks`, if set, as `SAMPLE.png`. `progress` is called
/// with the number of images done, and may stop the evaluation.
///
/// # Errors
/// If a file cannot be read or written, a sample has no class ids, or `progress` stops the evaluation
/// ([`TrainError::Stopped`]).
pub fn evaluate_semantic<M: SegmentationModel>(
    model: &M,
    samples: &[Sample],
    classes: &ClassList,
    config: &EvalConfig<'_>,
    mut progress: impl FnMut(usize) -> ControlFlow<()>,
) -> Result<SemanticEvaluation> {
    let mask_size = model.output_size(config.preprocessing.image_size)?;
    let names = file_names(samples);
    let encoder =
        PromptEncoder::frozen(config.tokenizer)?.with_states(config.prompt_states.cloned());
    let prompts = label_prompts(model, classes);
    let prompts: Vec<&str> = prompts.iter().map(String::as_str).collect();
    let mut evaluation = SemanticEvaluation::new(classes);
    let mut loader = examples(samples, mask_size, config);
    loop {
        let batch = loader.by_ref().take(config.batch_size);
        let batch: Vec<Example> = batch.collect::<vlsm_data::Result<_>>()?;
        if batch.is_empty() {
            return Ok(evaluation);
        }
        let truths: Vec<&ClassMap> = batch
            .iter()
            .map(|example| labels_of(example, samples))
            .collect::<Result<_>>()?;
        let images: Vec<&Example> = batch.iter().collect();
        let features = encode_images(
            model,
            &images,
            samples,
            config.preprocessing,
            config.features,
        )?;
        let sizes: Vec<(usize, usize)> = truths.iter().map(|map| (map.width, map.height)).collect();
        let text = encoder.encode(model, &prompts)?;
        let labels = label_images(
            model,
            &features,
            &sizes,
            config.preprocessing.fit,
            classes,
            &text,
        )?;
        let counted: Vec<Result<Confusion>> = labels
            .par_iter()
            .zip(&truths)
            .zip(&batch)
            .map(|((labels, truth), example)| {
                if let Some(folder) = config.masks {
                    let path = folder.join(&names[example.sample]);
                    make_parent(&path)?;
                    write_png_gray(&path, labels.width, labels.height, &labels.data)?;
                }
                count(labels, truth, classes)
            })
            .collect();
        for (counted, example) in counted.into_iter().zip(&batch) {
            evaluation.add(&samples[example.sample], &counted?)?;
        }
        if progress(evaluation.images.len()).is_break() {
            return Err(TrainError::Stopped);
        }
    }
}

/// The pixels of an image by true and predicted class; ids without a name count as background.
pub(crate) fn count(
    predicted: &ClassMap,
    truth: &ClassMap,
    classes: &ClassList,
) -> Result<Confusion> {
    let mut confusion = Confusion::new(classes.ids());
    confusion.add(predicted, &classes.fold(truth), classes.ignore())?;
    Ok(confusion)
}

fn labels_of<'a>(example: &'a Example, samples: &[Sample]) -> Result<&'a ClassMap> {
    let sample = &samples[example.sample];
    example.labels.as_deref().ok_or_else(|| no_labels(sample))
}

/// The error for a sample without class ids.
pub(crate) fn no_labels(sample: &Sample) -> TrainError {
    TrainError::Run {
        path: sample.source.mask_id().as_ref().into(),
        message:
            "is not a mask of class ids; whole-image labels need a data set of format `classes`"
                .into(),
    }
}
