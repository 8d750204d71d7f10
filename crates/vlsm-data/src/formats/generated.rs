//! Generated data sets: samples that are drawn when they are asked for.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rayon::prelude::*;

use crate::config::{DataConfig, GenerateConfig};
use crate::dataset::{Sample, Split, Target};
use crate::error::{DataError, Result};
use crate::synth::{Domain, DrawingId};

/// The same words, owned.
fn owned(oracle: &BTreeMap<&'static str, Vec<&'static str>>) -> BTreeMap<String, Vec<String>> {
    let words = |list: &Vec<&'static str>| list.iter().map(ToString::to_string).collect();
    let entry = |(prompt, list): (&&str, _)| (prompt.to_string(), words(list));
    oracle.iter().map(entry).collect()
}

/// A generated data set: what is drawn and how much of it.
#[derive(Clone, Debug)]
pub(crate) struct Generated {
    domain: Domain,
    config: GenerateConfig,
}

impl Generated {
    /// The generated data set that a configuration asks for, if it does.
    ///
    /// # Errors
    /// If there is none of that name, or its images would be too small or too large to draw.
    pub(crate) fn of(config: &DataConfig) -> Result<Option<Self>> {
        let Some(name) = config.builtin() else {
            return Ok(None);
        };
        let fault = |field, reason| Err(DataError::Config { field, reason });
        let Some(domain) = Domain::ALL.into_iter().find(|domain| domain.name() == name) else {
            let names = Domain::ALL.map(|domain| format!("builtin:{}", domain.name()));
            let reason = format!(
                "there is no `builtin:{name}`; choose one of {}",
                names.join(", ")
            );
            return fault("data.root", reason);
        };
        config.generate.validate()?;
        let mut config = config.clone();
        if let Some(limit) = config.limit {
            config.generate.train = config.generate.train.min(limit);
        }
        Ok(Some(Self {
            domain,
            config: config.generate,
        }))
    }

    /// The samples of a split: all that is to be found in a drawing, then the next drawing's. Those of an epoch follow
    /// on those of the one before.
    pub(crate) fn samples(&self, split: Split, epoch: usize) -> Vec<Sample> {
        let count = match split {
            Split::Train => self.config.train,
            Split::Val => self.config.val,
            Split::Test => self.config.test,
        };
        let epoch = if self.draws_anew() { epoch } else { 0 };
        (epoch * count..(epoch + 1) * count)
            .into_par_iter()
            .flat_map_iter(|index| self.drawing(split, index))
            .collect()
    }

    /// Whether no epoch has the samples of another. Only scenes are without end: a phantom stands for a data set of so
    /// many patients.
    pub(crate) fn draws_anew(&self) -> bool {
        self.domain == Domain::Scenes
    }

    fn drawing(&self, split: Split, index: usize) -> impl Iterator<Item = Sample> {
        let id = DrawingId {
            domain: self.domain,
            seed: self.config.seed,
            split,
            index: index as u64,
            side: self.config.side,
        };
        let image = id.name();
        let referents = id.referents();
        let count = referents.len();
        referents
            .into_iter()
            .enumerate()
            .map(move |(number, referent)| {
                let name = referent.name(&image, number, count);
                Sample {
                    mask: PathBuf::from(&name),
                    name,
                    image: PathBuf::from(&image),
                    target: Target::Drawn(id, number),
                    group: referent.group,
                    prompts: referent.prompts,
                    oracle: Some(owned(&referent.oracle)),
                }
            })
    }
}
