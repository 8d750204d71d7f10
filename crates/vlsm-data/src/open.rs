//! Opens the data set that a recipe's `[data]` section describes.

use std::sync::Arc;

use rayon::prelude::*;

use crate::config::DataConfig;
use crate::dataset::Dataset;
use crate::error::{DataError, Result};
use crate::formats::{self, Listing};
use crate::mask_prompts::describe;
use crate::pooled;
use crate::prompt::NO_PROMPTS_FIX;
use crate::split::Split;

impl Dataset {
    /// Finds the samples of the data set that a recipe's `[data]` section describes. This lists the files, but reads only
    /// class-id masks. For roots `builtin:...` use `vlsm_synth::open`.
    ///
    /// A split may be empty; [`Dataset::require`] returns an error if it is.
    ///
    /// # Errors
    /// The first fault; [`check`](crate::check()) finds all of them. A sample without prompts is a fault unless
    /// `data.prompt` or `data.eval_prompt` is a text for all samples.
    pub fn open(config: &DataConfig) -> Result<Self> {
        Self::open_with(config, |name, _| {
            Err(DataError::Config {
                field: "data.root",
                reason: format!(
                    "`builtin:{name}` is drawn and has no files; open it with `vlsm_synth::open`"
                ),
            })
        })
    }

    /// As [`open`](Self::open), with `builtin` to open roots `builtin:NAME` by their name.
    ///
    /// # Errors
    /// As [`open`](Self::open), and those of `builtin`.
    pub fn open_with(
        config: &DataConfig,
        builtin: impl Fn(&str, &DataConfig) -> Result<Self>,
    ) -> Result<Self> {
        config.validate()?;
        let open = |config: &DataConfig| match config.builtin() {
            Some(name) => builtin(name, config),
            None => open_files(config),
        };
        if config.pool.is_empty() {
            return open(config);
        }
        let names = pooled::pool_names(&config.pool)?;
        let members = config.pool.iter().map(|root| {
            open(&DataConfig {
                root: root.clone(),
                pool: Vec::new(),
                ..config.clone()
            })
        });
        pooled::pool(&config.pool, &names, &members.collect::<Result<Vec<_>>>()?)
    }
}

fn open_files(config: &DataConfig) -> Result<Dataset> {
    let mut faults = Vec::new();
    let listing = formats::list(config, &mut faults);
    let class = config.described_class(listing.format)?;
    let set = Arc::new(listing.files(config));
    let Listing {
        format,
        splits,
        classes,
    } = first_fault(listing, &mut faults)?;
    let mut dataset = match classes {
        None => {
            let samples = splits.map(|pairs| formats::binary_samples(pairs, &set));
            Dataset::from_splits(&config.root, samples)?
        }
        Some(classes) => {
            let labelled = splits
                .each_ref()
                .map(|pairs| formats::classes::whole_images(pairs, &set));
            let splits = formats::classes::samples(splits, &classes, &set, &mut faults);
            let splits = first_fault(splits, &mut faults)?;
            Dataset::from_splits(&config.root, splits)?.with_classes(
                classes.texts(),
                classes.ignore,
                labelled,
            )
        }
    };
    dataset.format = Some(format);
    dataset.files = vec![set];
    if let Some(limit) = config.limit {
        dataset.train.truncate(limit);
    }
    if let Some(class) = class {
        dataset.describe(class)?;
    }
    let without_prompts = Split::ALL
        .into_iter()
        .flat_map(|split| dataset.split(split))
        .find(|sample| sample.prompts.is_empty());
    match without_prompts {
        Some(sample) if !config.has_text() => Err(DataError::NoPrompts {
            sample: sample.name.clone(),
            origin: String::new(),
            fix: NO_PROMPTS_FIX,
        }),
        _ => Ok(dataset),
    }
}

impl Dataset {
    /// Replaces the prompts of every sample by those of its mask's description.
    fn describe(&mut self, class: &str) -> Result<()> {
        for samples in [&mut self.train, &mut self.val, &mut self.test] {
            let prompts = samples.par_iter().map(|sample| {
                let (image, mask) = sample.read(None)?;
                let description = describe(class.trim(), &image, &mask);
                Ok((description.prompts(), description.owned_oracle()))
            });
            // The first error in the split's order is reported, whichever thread failed first.
            let prompts: Vec<Result<_>> = prompts.collect();
            for (sample, prompts) in samples.iter_mut().zip(prompts) {
                let (prompts, oracle) = prompts?;
                sample.prompts = prompts;
                sample.oracle = Some(oracle);
            }
        }
        Ok(())
    }
}

fn first_fault<T>(value: T, faults: &mut Vec<DataError>) -> Result<T> {
    if faults.is_empty() {
        Ok(value)
    } else {
        Err(faults.swap_remove(0))
    }
}

#[cfg(test)]
#[path = "open_tests/mod.rs"]
mod tests;
