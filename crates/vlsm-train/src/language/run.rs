//! From a recipe and examples to a run's folder.

use std::path::Path;

use serde::Serialize;
use vlsm_language::{Exchange, LanguageModel, TrainableModel, is_builtin};
use vlsm_models::device;
use xxhash_rust::xxh3::Xxh3;

use super::recipe::{LanguageRecipe, Tuning};
use super::train::train;
use crate::claim::Claim;
use crate::error::Result;
use crate::identity::Identity;
use crate::memory::peak_memory;
use crate::observer::Observer;
use crate::run_folder::RunFolder;

/// A prompt with the right answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LanguageExample {
    /// The prompt, with what surrounds it.
    pub prompt: String,
    /// The answer.
    pub answer: String,
}

/// The result of a training, as `summary.json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LanguageSummary {
    /// Optimiser steps.
    pub steps: usize,
    /// Examples.
    pub examples: usize,
    /// Examples that were left out, since they have more than `max_tokens`.
    pub too_long: usize,
    /// Trained parameters.
    pub trained_parameters: usize,
    /// Seconds that training took, in all processes up to their last checkpoint.
    pub seconds: f64,
    /// Peak resident memory of this process in bytes, where the system reports it (Linux).
    pub peak_memory_bytes: Option<u64>,
}

/// Trains a language model on examples and writes the run to the folder `path`: the recipe, `metrics.jsonl`, `checkpoint/`,
/// `summary.json`, and what was trained: a LoRA as peft writes it, or a whole model as Transformers does. With `resume`, continues an
/// existing run from its last checkpoint.
///
/// # Errors
/// If the folder holds another run, a file cannot be read or written, the loss is no longer a number, or the observer stops the
/// training ([`crate::TrainError::Stopped`]).
pub fn train_language(
    recipe: &LanguageRecipe,
    examples: &[LanguageExample],
    path: &Path,
    resume: bool,
    observer: &mut dyn Observer,
) -> Result<LanguageSummary> {
    let mut recipe = recipe.clone();
    // So that a run's recipe means the same in any working folder.
    if !is_builtin(&recipe.llm) {
        recipe.llm = std::path::absolute(&recipe.llm).unwrap_or(recipe.llm);
    }
    let folder = RunFolder { path: path.into() };
    let claim = Claim::for_training(&folder, |folder| {
        folder.expect_resumable(resume, |path| {
            recipe.changes_since(&LanguageRecipe::read(path, &[])?)
        })
    })?;
    let folder = claim.folder();

    let device = device(&recipe.device)?;
    let model = match recipe.method {
        Tuning::Scratch => LanguageModel::random(&recipe.llm, recipe.seed, &device)?,
        Tuning::Lora | Tuning::Full => LanguageModel::load(&recipe.llm, None, &device)?,
    };
    let (exchanges, too_long) = encoded(examples, &model, &recipe)?;
    if exchanges.is_empty() {
        return Err(folder.error(format!(
            "there is no example of at most {} tokens (`max_tokens`, or what the model takes) to train on; raise `max_tokens`, or see \
             which queries `vlsm refer chats` leaves out",
            recipe.max_tokens.min(model.config().context)
        )));
    }
    if too_long > 0 {
        tracing::warn!(
            "{too_long} of {} examples are left out, as they have more than {} tokens (`max_tokens`, or what the model takes)",
            examples.len(),
            recipe.max_tokens.min(model.config().context)
        );
    }
    let identity = Identity {
        base: recipe.llm.display().to_string(),
        base_fingerprint: model.fingerprint().to_owned(),
        image_size: 0,
        samples: [exchanges.len(), 0, 0],
        samples_digest: digest(&exchanges),
    };
    folder.write_recipe(&recipe.to_toml()?)?;
    let lora = (recipe.method == Tuning::Lora).then_some(&recipe.lora);
    let trainable = TrainableModel::new(&model, lora, recipe.seed)?;
    let trained_parameters = trainable.trained_parameters();
    let (trained, steps, seconds) =
        train(&recipe, folder, &identity, trainable, &exchanges, observer)?;
    trained.write(&folder.path, &recipe.llm, &recipe.lora)?;
    let summary = LanguageSummary {
        steps,
        examples: exchanges.len(),
        too_long,
        trained_parameters,
        seconds,
        peak_memory_bytes: peak_memory(),
    };
    folder.write_summary(&summary)?;
    Ok(summary)
}

/// The tokens of examples, and the number of examples with too many.
fn encoded(
    examples: &[LanguageExample],
    model: &LanguageModel,
    recipe: &LanguageRecipe,
) -> Result<(Vec<Exchange>, usize)> {
    let most = recipe.max_tokens.min(model.config().context);
    let end = model.config().end.first().filter(|_| recipe.train_end);
    let mut all = Vec::with_capacity(examples.len());
    let mut too_long = 0;
    for LanguageExample { prompt, answer } in examples {
        let prompt = model.encode(prompt)?;
        let mut answer = model.encode(answer)?;
        answer.extend(end);
        match prompt.len() + answer.len() <= most {
            true => all.push(Exchange { prompt, answer }),
            false => too_long += 1,
        }
    }
    Ok((all, too_long))
}

fn digest(exchanges: &[Exchange]) -> String {
    let mut hash = Xxh3::new();
    for Exchange { prompt, answer } in exchanges {
        hash.update(format!("{prompt:?} {answer:?}\n").as_bytes());
    }
    format!("{:032x}", hash.digest128())
}
