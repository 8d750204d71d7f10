//! Checks of a run before it starts.

use std::path::Path;

use vlsm_data::{Dataset, Format};
use vlsm_models::MethodConfig;

use crate::error::{Result, TrainError};
use crate::recipe::{Recipe, ScheduleKind};
use crate::run_folder::RunFolder;

/// Refuses what is wrong before the base and the data set are read.
pub(crate) fn check(recipe: &Recipe, path: &Path) -> Result<()> {
    let folder = RunFolder { path: path.into() };
    recipe.validate().map_err(|message| TrainError::Recipe {
        path: folder.recipe(),
        message,
    })?;
    if matches!(recipe.method.config, MethodConfig::ZeroShot(_)) {
        return Err(TrainError::Run {
            path: path.into(),
            message:
                "`method.kind` is \"zero-shot\", which trains nothing; evaluate the base with \
                      `vlsm eval --base ...`, or choose another method"
                    .into(),
        });
    }
    Ok(())
}

/// Whether a data set should have a validation split, so that an empty one is an error: it has an
/// annotation file, a fraction or a list for it.
pub(crate) fn has_validation(recipe: &Recipe, dataset: &Dataset) -> bool {
    let data = &recipe.data.config;
    match dataset.format {
        Some(Format::Annotations) => {
            let mut roots = data.roots().iter();
            roots.any(|root| root.join("anns/val.json").exists())
        }
        _ => data.split.val > 0.0 || data.split.val_list.is_some(),
    }
}

/// Warns of settings that do not do what they seem to.
pub(crate) fn warn(recipe: &Recipe, dataset: &Dataset) {
    let (trainer, optim) = (&recipe.trainer, &recipe.optim);
    let validates = trainer.validate && !dataset.val.is_empty();
    if !validates {
        let why = match trainer.validate {
            true => "no validation split",
            false => "`trainer.validate` is false",
        };
        let mut without = "the parameters of the last epoch are kept".to_owned();
        if optim.schedule == ScheduleKind::Plateau {
            without += ", the learning rate stays constant (`optim.schedule` is \"plateau\")";
        }
        if trainer.patience > 0 {
            without += ", and there is no early stopping";
        }
        tracing::warn!("{why}: {without}");
    }
    let full = matches!(recipe.method.config, MethodConfig::Full(_));
    if full && optim.lr > 1e-4 && !recipe.model.base.starts_with("builtin:") {
        tracing::warn!(
            "`optim.lr` is {} with `method.kind` \"full\": pretrained towers are overwritten within a few hundred steps at such a \
             rate; try 1e-5",
            optim.lr
        );
    }
    if device_kind(&trainer.device) != "cpu" && (trainer.recompute || trainer.data_parallel > 1) {
        tracing::warn!(
            "`trainer.recompute` and `trainer.data_parallel` are for the CPU; on `{}` they save nothing",
            trainer.device
        );
    }
    let steps = trainer.steps(dataset.train.len());
    if optim.warmup_steps >= steps {
        tracing::warn!(
            "the training has {steps} steps and `optim.warmup_steps` is {}, so the learning rate never reaches `optim.lr`",
            optim.warmup_steps
        );
    }
}

/// The device's name without its number.
fn device_kind(device: &str) -> &str {
    device.split(':').next().unwrap_or(device)
}
