//! Evaluation: metrics per image, at the masks' own size.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;
use serde::Serialize;
use vlsm_data::{
    DataConfig, Dataset, Example, Loader, LoaderConfig, Mask, PromptChoice, Request, Sample,
    Scores, Summary, resize_mask, score, write_png_mask,
};
use vlsm_models::contract::select;
use vlsm_models::predict::{PromptEncoder, PromptStates, threshold};
use vlsm_models::{Preprocessing, Profile, SegmentationModel, Tokenizer};

use crate::error::{Result, TrainError};
use crate::feature_cache::{FeatureCache, encode_images};
use crate::loss::{LossConfig, dice_ce};
use crate::recipe::Recipe;
use crate::targets::Targets;

/// A prompt for every sample, under a name.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptSet {
    /// The name, as results carry it: `p1`, say, or the text itself.
    pub name: String,
    /// The prompt of each sample, in their order.
    pub prompts: Vec<String>,
}

impl PromptSet {
    /// The prompts that a choice gives for samples.
    ///
    /// # Errors
    /// If the choice is random or a sample has no such prompt.
    pub fn new(choice: &PromptChoice, samples: &[Sample]) -> Result<Self> {
        let prompts = samples.iter().map(|sample| sample.fixed_prompt(choice));
        Ok(Self {
            name: choice.to_string(),
            prompts: prompts.collect::<vlsm_data::Result<_>>()?,
        })
    }

    /// The evaluation prompts of a recipe and, behind them, a set for every other name that all
    /// the samples have a prompt of.
    ///
    /// # Errors
    /// If a sample has no prompt for the recipe's choice.
    pub fn every(data: &DataConfig, samples: &[Sample]) -> Result<Vec<Self>> {
        let mut sets = vec![Self::of_recipe(data, samples)?];
        let first = samples.iter().take(1).flat_map(|one| one.prompts.names());
        for name in first {
            let everywhere = samples.iter().all(|one| one.prompts.get(name).is_some());
            if everywhere && name != sets[0].name {
                sets.push(Self::new(&PromptChoice::Named(name.to_owned()), samples)?);
            }
        }
        Ok(sets)
    }

    /// The name as that of a folder for predicted masks.
    fn name_as_file(&self) -> String {
        file_name(&self.name)
    }

    /// The evaluation prompts of a recipe: `data.eval_prompt`, or each sample's richest.
    ///
    /// # Errors
    /// If a sample has no such prompt.
    pub fn of_recipe(data: &DataConfig, samples: &[Sample]) -> Result<Self> {
        let mut names: Vec<String> = Vec::new();
        let mut prompts = Vec::with_capacity(samples.len());
        for sample in samples {
            let choice = data.eval_choice(&sample.prompts);
            prompts.push(sample.fixed_prompt(&choice)?);
            let name = choice.to_string();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(Self {
            name: names.join(","),
            prompts,
        })
    }
}

/// What is evaluated besides the model.
pub struct EvalConfig<'a> {
    /// The model's vocabulary.
    pub tokenizer: &'a Tokenizer,
    /// How its input is made.
    pub preprocessing: &'a Preprocessing,
    /// Whose loss is reported.
    pub profile: Profile,
    /// Weights of its terms.
    pub loss: LossConfig,
    /// Images of one pass of the vision tower, and prompts of one pass of the decoder.
    pub batch_size: usize,
    /// Decoding threads.
    pub workers: usize,
    /// Class id that does not count.
    pub ignore: Option<u8>,
    /// Folder for the predicted masks, `SET/SAMPLE.png` at the masks' own size.
    pub masks: Option<&'a Path>,
    /// Features of the images, where they are kept.
    pub features: Option<&'a FeatureCache>,
    /// Text states of prompts, where they are kept.
    pub prompt_states: Option<&'a PromptStates>,
}

impl<'a> EvalConfig<'a> {
    /// How a recipe evaluates on its data set, without writing masks.
    pub fn new(
        recipe: &Recipe,
        dataset: &Dataset,
        tokenizer: &'a Tokenizer,
        preprocessing: &'a Preprocessing,
    ) -> Self {
        Self {
            tokenizer,
            preprocessing,
            profile: recipe.method.config.profile(),
            loss: recipe.loss,
            batch_size: recipe.trainer.eval_batch_size,
            workers: recipe.data.config.workers,
            ignore: dataset.ignore,
            masks: None,
            features: None,
            prompt_states: None,
        }
    }
}

/// The metrics of one sample under one prompt.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The sample.
    pub sample: String,
    /// The sample's group ([`Sample::group`]), a class say; empty if there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The prompt set.
    pub set: String,
    /// The prompt.
    pub prompt: String,
    /// Dice.
    pub dice: f64,
    /// Intersection over union.
    pub iou: f64,
    /// 95th percentile of the Hausdorff distance, in pixels.
    pub hd95: f64,
    /// Whether exactly one of prediction and truth is empty, so that `hd95` is the diagonal.
    pub one_empty: bool,
}

/// Mean and standard deviation of the metrics over samples.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metrics {
    /// Number of samples.
    pub samples: usize,
    /// Dice.
    pub dice: MeanStd,
    /// Intersection over union.
    pub iou: MeanStd,
    /// 95th percentile of the Hausdorff distance, in pixels.
    pub hd95: MeanStd,
    /// Samples with exactly one side empty, whose `hd95` is the image's diagonal.
    pub one_empty: usize,
}

/// Mean and sample standard deviation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MeanStd {
    /// Mean.
    pub mean: f64,
    /// Standard deviation, of n - 1; 0 for one value.
    pub std: f64,
}

impl Metrics {
    /// Sums rows up.
    pub fn of<'a>(rows: impl Iterator<Item = &'a Row> + Clone) -> Self {
        let over = |value: fn(&Row) -> f64| {
            let summary = Summary::of(rows.clone().map(value));
            MeanStd {
                mean: summary.mean,
                std: summary.std,
            }
        };
        Self {
            samples: rows.clone().count(),
            dice: over(|row| row.dice),
            iou: over(|row| row.iou),
            hd95: over(|row| row.hd95),
            one_empty: rows.filter(|row| row.one_empty).count(),
        }
    }
}

/// The result of an evaluation.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// Every sample under every prompt set: all sets of a sample, then the next sample's.
    pub rows: Vec<Row>,
    /// The loss, averaged over rows.
    pub loss: f64,
}

impl Evaluation {
    /// The metrics of a prompt set.
    pub fn of_set(&self, set: &str) -> Metrics {
        Metrics::of(self.rows.iter().filter(|row| row.set == set))
    }

    /// The groups that rows are of, in the order they come up.
    pub fn groups(&self) -> Vec<&str> {
        let mut groups: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !row.group.is_empty() && !groups.contains(&row.group.as_str()) {
                groups.push(&row.group);
            }
        }
        groups
    }

    /// The metrics of a group under a prompt set.
    pub fn of_group(&self, set: &str, group: &str) -> Metrics {
        let rows = self.rows.iter();
        Metrics::of(rows.filter(|row| row.set == set && row.group == group))
    }

    /// The metrics over all rows.
    pub fn overall(&self) -> Metrics {
        Metrics::of(self.rows.iter())
    }
}

/// Evaluates a model on samples under prompt sets. An image is decoded and encoded once, whatever
/// the number of its samples and prompts. `progress` is told the samples done.
///
/// # Errors
/// If a file cannot be read.
pub fn evaluate<M: SegmentationModel>(
    model: &M,
    samples: &[Sample],
    sets: &[PromptSet],
    config: &EvalConfig<'_>,
    mut progress: impl FnMut(usize),
) -> Result<Evaluation> {
    let device = model.device();
    let mask_size = model.output_size(config.preprocessing.image_size)?;
    let names = file_names(samples);
    let loader = examples(samples, mask_size, config);
    let mut encoder =
        PromptEncoder::frozen(config.tokenizer).with_states(config.prompt_states.cloned());
    let mut evaluation = Evaluation {
        rows: Vec::with_capacity(samples.len() * sets.len()),
        loss: 0.0,
    };
    let mut loader = loader.peekable();
    let mut done = 0;
    while loader.peek().is_some() {
        // As many samples as share `batch_size` images.
        let mut examples: Vec<Example> = Vec::new();
        let mut images: Vec<usize> = Vec::new();
        let mut distinct: Vec<Example> = Vec::new();
        loop {
            let starts_image = match (loader.peek(), examples.last()) {
                (Some(Ok(next)), Some(last)) => {
                    samples[next.sample].image != samples[last.sample].image
                }
                (Some(_), _) => true,
                (None, _) => break,
            };
            if starts_image && distinct.len() == config.batch_size {
                break;
            }
            let Some(example) = loader.next().transpose()? else {
                break;
            };
            if starts_image {
                distinct.push(example.clone());
            }
            images.push(distinct.len() - 1);
            examples.push(example);
        }
        let distinct: Vec<&Example> = distinct.iter().collect();
        let (preprocessing, cache) = (config.preprocessing, config.features);
        let features = encode_images(model, &distinct, samples, preprocessing, cache)?;
        let pairs: Vec<(usize, usize)> = (0..examples.len())
            .flat_map(|example| (0..sets.len()).map(move |set| (example, set)))
            .collect();
        for pairs in pairs.chunks(config.batch_size) {
            let chunk: Vec<Example> = pairs
                .iter()
                .map(|(example, _)| examples[*example].clone())
                .collect();
            let texts: Vec<&str> = pairs
                .iter()
                .map(|(example, set)| sets[*set].prompts[examples[*example].sample].as_str())
                .collect();
            let places: Vec<usize> = pairs.iter().map(|(example, _)| images[*example]).collect();
            let text = encoder.encode(model, &texts)?;
            let logits = model.decode(&select(&features, &places), text)?;
            let Targets { target, valid } = Targets::new(&chunk, &device);
            let loss = dice_ce(logits.clone(), target, valid, config.profile, config.loss);
            evaluation.loss += f64::from(loss.into_scalar::<f32>()) * pairs.len() as f64;
            let masks = threshold(logits);
            let scores: Vec<Result<Scores>> = masks
                .par_iter()
                .zip(&chunk)
                .zip(pairs)
                .map(|((mask, example), (_, set))| {
                    let place = example.sample;
                    let file = Path::new(&sets[*set].name_as_file()).join(&names[place]);
                    score_sample(mask, example, &samples[place], &file, config)
                })
                .collect();
            for ((scores, (example, set)), prompt) in scores.into_iter().zip(pairs).zip(texts) {
                let scores = scores?;
                evaluation.rows.push(Row {
                    sample: samples[examples[*example].sample].name.clone(),
                    group: samples[examples[*example].sample].group.clone(),
                    set: sets[*set].name.clone(),
                    prompt: prompt.to_owned(),
                    dice: scores.dice,
                    iou: scores.iou,
                    hd95: scores.hd95,
                    one_empty: scores.one_empty,
                });
            }
        }
        done += examples.len();
        progress(done);
    }
    evaluation.loss /= evaluation.rows.len().max(1) as f64;
    Ok(evaluation)
}

/// The samples in their order, decoded ahead, with masks at `mask_size` and at their own size.
pub(crate) fn examples(samples: &[Sample], mask_size: usize, config: &EvalConfig<'_>) -> Loader {
    let requests = (0..samples.len()).map(|sample| Request {
        sample,
        prompt: String::new(),
    });
    Loader::new(
        Arc::from(samples),
        config.ignore,
        requests.collect(),
        LoaderConfig {
            image_size: config.preprocessing.image_size,
            mask_size,
            workers: config.workers,
            ahead: 2 * config.batch_size,
            images: config.features.is_none(),
            keep_original: true,
        },
    )
}

fn score_sample(
    mask: &Mask,
    example: &Example,
    sample: &Sample,
    file: &Path,
    config: &EvalConfig<'_>,
) -> Result<Scores> {
    let Some(truth) = &example.original else {
        return Err(TrainError::Run {
            path: sample.mask.clone(),
            message: "the mask at its own size was not kept".into(),
        });
    };
    let mask = resize_mask(mask, truth.width, truth.height);
    if let Some(folder) = config.masks {
        let path = folder.join(file);
        make_parent(&path)?;
        write_png_mask(&path, &mask)?;
    }
    Ok(score(&mask, truth)?)
}

/// Makes the folder that a predicted mask goes into.
pub(crate) fn make_parent(path: &Path) -> Result<()> {
    let Some(folder) = path.parent() else {
        return Ok(());
    };
    std::fs::create_dir_all(folder).map_err(|source| TrainError::Write {
        path: folder.into(),
        source,
    })
}

/// A name for each sample's predicted mask, with a number where two would be the same.
pub(crate) fn file_names(samples: &[Sample]) -> Vec<String> {
    let mut taken = HashSet::new();
    samples
        .iter()
        .map(|sample| {
            let stem = file_name(&sample.name);
            let mut name = stem.clone();
            let mut number = 1;
            // Some file systems do not tell upper from lower case.
            while !taken.insert(name.to_lowercase()) {
                number += 1;
                name = format!("{stem}-{number}");
            }
            name + ".png"
        })
        .collect()
}

/// A text as the name of a file: everything but letters, digits, `.`, `_` and `-` becomes `-`.
pub fn file_name(text: &str) -> String {
    let name: String = text
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '-'
            }
        })
        .take(80)
        .collect();
    match name.trim_matches(['.', '-']) {
        "" => "empty".into(),
        name => name.into(),
    }
}
