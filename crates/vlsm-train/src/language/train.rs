//! The training loop.

use std::time::Instant;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use vlsm_language::{Exchange, TrainableModel};
use vlsm_models::{on_pool, weights};

use super::recipe::LanguageRecipe;
use crate::error::{Result, TrainError};
use crate::identity::Identity;
use crate::observer::Observer;
use crate::run_folder::RunFolder;
use crate::schedule::Schedule;
use crate::steps::{Steps, order};

/// Trains a model, from the checkpoint in the run's folder on if there is one. Returns it, the steps and the seconds that they took.
///
/// # Errors
/// If the checkpoint is of another training, the loss is no longer a number, a file cannot be read or written, or `observer` stops
/// the training.
pub(super) fn train(
    recipe: &LanguageRecipe,
    folder: &RunFolder,
    identity: &Identity,
    mut model: TrainableModel,
    exchanges: &[Exchange],
    observer: &mut dyn Observer,
) -> Result<(TrainableModel, usize, f64)> {
    let (mut steps, restored) = Steps::open(folder, identity, |began| mismatch(began, identity))?;
    steps.start(&recipe.optim);
    if let Some(mut restored) = restored {
        let parameters = std::mem::take(&mut restored.parameters);
        let (resumed, mismatch) = model.import(parameters);
        if !mismatch.is_empty() {
            return Err(folder.error(format!(
                "its checkpoint is of another model: {}; start again in another folder",
                mismatch.describe()
            )));
        }
        model = resumed;
        steps.restore(restored, &model.device());
    }
    let per_epoch = exchanges.len().div_ceil(recipe.batch_size);
    let total = recipe.epochs * per_epoch;
    observer.start(total);
    let rate = |step| Schedule::default().lr(&recipe.optim, step, total);
    while steps.progress.epoch < recipe.epochs {
        let order = order(exchanges.len(), recipe.seed, steps.progress.epoch);
        while steps.progress.position < order.len() {
            let started = Instant::now();
            let rest = &order[steps.progress.position..];
            let batch = &rest[..rest.len().min(recipe.batch_size)];
            let batch: Vec<Exchange> = batch.iter().map(|at| exchanges[*at].clone()).collect();
            let mut random = ChaCha8Rng::seed_from_u64(recipe.seed);
            // The order of epochs takes the first streams.
            random.set_stream((1 << 32) + steps.progress.step as u64);
            let result = on_pool(|| {
                let loss = model.loss(&batch, Some(random));
                let value = f64::from(loss.clone().inner().into_scalar::<f32>());
                (value, weights::take_gradients(&model, &mut loss.backward()))
            });
            let lr = rate(steps.progress.step);
            let (stepped, metrics) =
                steps.step(model, result, batch.len(), recipe.optim.clip, lr)?;
            model = stepped;
            let flow = steps.report(metrics, batch.len(), started, observer);
            let every = recipe.checkpoint_every;
            let due = every > 0 && steps.progress.step.is_multiple_of(every);
            if flow.is_break() || due {
                steps.save(model.export(), observer)?;
            }
            if flow.is_break() {
                return Err(TrainError::Stopped);
            }
        }
        let metrics = steps.end_epoch(rate(steps.progress.step - 1))?;
        steps.save(model.export(), observer)?;
        if observer.epoch(&metrics).is_break() {
            return Err(TrainError::Stopped);
        }
    }
    let (progress, seconds) = steps.end();
    Ok((model, progress.step, seconds))
}

/// The reason why a run that began as `began` cannot be continued as `now`.
fn mismatch(began: &Identity, now: &Identity) -> Option<String> {
    if began.base_fingerprint != now.base_fingerprint {
        return Some(format!(
            "began on other weights than those of `{}`; restore them, or start a new run with `--output`",
            now.base
        ));
    }
    (began.samples_digest != now.samples_digest).then(|| {
        format!(
            "began on other examples ({}, now {}); restore the queries, or start a new run with `--output`",
            began.samples[0], now.samples[0]
        )
    })
}
