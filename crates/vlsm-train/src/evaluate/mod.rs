//! Evaluation: metrics per image at the masks' own size ([`evaluate`]), and metrics of whole-image labels
//! ([`evaluate_semantic`]).
//!
//! A pass over a data set needs each image once. It therefore does not use the caches of
//! [`Engine`](vlsm_models::predict::Engine), but the functions that the engine is built on.

mod batches;
mod bootstrap;
mod config;
mod csv;
mod files;
mod labels;
mod pictures;
mod prompt_sets;
mod scores;
mod threshold;

use std::ops::ControlFlow;

use rayon::prelude::*;
use vlsm_data::{Example, Sample, Scores, score};
use vlsm_image::{Mask, write_png_mask};
use vlsm_models::predict::{PromptEncoder, logits, masks};
use vlsm_models::{SegmentationModel, on_device};

pub(crate) use bootstrap::intervals;
pub use config::EvalConfig;
pub(crate) use csv::{COLUMNS, record, write_table};
pub use csv::{read_scores, write_scores};
pub use files::file_name;
pub use labels::{
    ClassMetrics, ImagePixels, SemanticEvaluation, SemanticMetrics, evaluate_semantic,
};
pub(crate) use labels::{count, no_labels};
pub use pictures::CasePictures;
pub use prompt_sets::PromptSet;
pub(crate) use scores::number_of;
pub use scores::{Evaluation, MeanStd, Metrics, Oracle, SampleScores};
pub use threshold::Threshold;
pub(crate) use threshold::best_threshold;

use self::batches::{ImageBatch, ImageBatches};
use self::files::{file_names, make_parent};
use crate::error::{Result, TrainError};
use crate::feature_cache::encode_images;
use crate::loss::dice_ce;
use crate::targets::Targets;

/// Evaluates a model on samples under prompt sets. Each image is decoded and encoded once, however many samples and prompts it
/// has. `progress` is called with the number of samples done, and may stop the evaluation.
///
/// # Errors
/// If a file cannot be read or written, or `progress` stops the evaluation ([`TrainError::Stopped`]).
pub fn evaluate<M: SegmentationModel>(
    model: &M,
    samples: &[Sample],
    sets: &[PromptSet],
    config: &EvalConfig<'_>,
    mut progress: impl FnMut(usize) -> ControlFlow<()>,
) -> Result<Evaluation> {
    let mask_size = model.output_size(config.preprocessing.image_size)?;
    let encoder =
        PromptEncoder::frozen(config.tokenizer)?.with_states(config.prompt_states.cloned());
    let pass = Pass {
        model,
        samples,
        sets,
        config,
        encoder,
        names: file_names(samples),
    };
    let mut evaluation = Evaluation {
        rows: Vec::with_capacity(samples.len() * sets.len()),
        loss: 0.0,
        pictures: Vec::new(),
    };
    let smaller = format!(
        "use smaller batches (`trainer.eval_batch_size` or `--batch-size`, now {})",
        config.batch_size
    );
    let mut done = 0;
    for batch in ImageBatches::new(samples, mask_size, config) {
        let batch = batch?;
        let work = || pass.evaluate(&batch, &mut evaluation);
        on_device(&model.device(), &smaller, work)??;
        done += batch.examples.len();
        if progress(done).is_break() {
            return Err(TrainError::Stopped);
        }
    }
    evaluation.loss /= evaluation.rows.len().max(1) as f64;
    Ok(evaluation)
}

/// An evaluation under way.
struct Pass<'a, M> {
    model: &'a M,
    samples: &'a [Sample],
    sets: &'a [PromptSet],
    config: &'a EvalConfig<'a>,
    encoder: PromptEncoder<'a>,
    /// File names of the samples' masks.
    names: Vec<String>,
}

impl<M: SegmentationModel> Pass<'_, M> {
    /// Adds the scores of a batch's samples under all prompt sets, and the sum of their losses.
    fn evaluate(&self, batch: &ImageBatch, evaluation: &mut Evaluation) -> Result<()> {
        let (model, config) = (self.model, self.config);
        let (sets, names) = (self.sets, &self.names);
        let images = batch.distinct();
        let (preprocessing, cache) = (config.preprocessing, config.features);
        let features = encode_images(model, &images, self.samples, preprocessing, cache)?;
        let pairs: Vec<(usize, usize)> = (0..batch.examples.len())
            .flat_map(|example| (0..sets.len()).map(move |set| (example, set)))
            .collect();
        for pairs in pairs.chunks(config.batch_size) {
            let examples: Vec<Example> = pairs
                .iter()
                .map(|(example, _)| batch.examples[*example].clone())
                .collect();
            let prompts: Vec<&str> = pairs
                .iter()
                .zip(&examples)
                .map(|((_, set), example)| sets[*set].prompts[example.sample].as_str())
                .collect();
            let images: Vec<usize> = pairs
                .iter()
                .map(|(index, _)| batch.images[*index])
                .collect();
            let text = self.encoder.encode(model, &prompts)?;
            let logits = logits(model, &features, &images, text)?;
            let Targets { target, valid } = Targets::new(&examples, &model.device());
            let profile = model.method().profile();
            let loss = dice_ce(logits.clone(), target, valid, profile, config.loss);
            evaluation.loss += f64::from(loss.into_scalar::<f32>()) * pairs.len() as f64;
            let truths: Vec<&Mask> = examples
                .iter()
                .map(|example| self.truth(example))
                .collect::<Result<_>>()?;
            let sizes: Vec<_> = truths
                .iter()
                .map(|mask| (mask.width, mask.height))
                .collect();
            let side = CasePictures::side(self.samples.len());
            let scores: Vec<(Scores, Option<CasePictures>)> =
                masks(logits, &sizes, preprocessing.fit)?
                    .par_iter()
                    .zip(truths)
                    .zip(pairs.par_iter().zip(&examples))
                    .map(|((mask, truth), ((_, set), example))| {
                        if let Some(folder) = config.masks {
                            let path = folder
                                .join(sets[*set].folder())
                                .join(&names[example.sample]);
                            make_parent(&path)?;
                            write_png_mask(&path, mask)?;
                        }
                        let pictures = match config.pictures && *set == 0 {
                            true => {
                                let sample = &self.samples[example.sample];
                                let made =
                                    CasePictures::new(sample, config.ignore, truth, mask, side);
                                Some(made?)
                            }
                            false => None,
                        };
                        Ok((score(mask, truth)?, pictures))
                    })
                    .collect::<Result<_>>()?;
            let rows = scores.into_iter().zip(pairs).zip(&examples).zip(prompts);
            for ((((scores, pictures), (_, set)), example), prompt) in rows {
                evaluation.pictures.extend(pictures);
                let sample = &self.samples[example.sample];
                evaluation.rows.push(SampleScores {
                    sample: sample.name.clone(),
                    group: sample.group.clone(),
                    subject: config.subject(sample),
                    set: sets[*set].name.clone(),
                    oracle: sets[*set].oracle[example.sample],
                    prompt: prompt.to_owned(),
                    dice: scores.dice,
                    iou: scores.iou,
                    hd95: scores.hd95,
                    one_empty: scores.one_empty,
                });
            }
        }
        Ok(())
    }

    /// An example's true mask, at its own size.
    fn truth<'e>(&self, example: &'e Example) -> Result<&'e Mask> {
        example.original.as_deref().ok_or_else(|| TrainError::Run {
            path: self.samples[example.sample]
                .source
                .mask_id()
                .as_ref()
                .into(),
            message: "the loader did not keep the mask at its own size; report this as a bug"
                .into(),
        })
    }
}
