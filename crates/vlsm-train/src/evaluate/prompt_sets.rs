//! The prompts of an evaluation.

use vlsm_data::{DataConfig, PromptChoice, Sample};

use super::files::file_name;
use super::scores::Oracle;
use crate::error::Result;
use crate::recipe::Recipe;

/// A prompt for every sample, under a name.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptSet {
    /// The name in the results: a prompt name such as `p1`, or the text itself.
    pub name: String,
    /// The prompt of each sample, in their order.
    pub prompts: Vec<String>,
    /// Whether each of them was read from the sample's true mask.
    pub oracle: Vec<Oracle>,
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
            oracle: samples
                .iter()
                .map(|sample| Oracle::of(sample, choice))
                .collect(),
        })
    }

    /// The evaluation prompts of a recipe, followed by a set for each of the recipe's further test prompts. Without these, for each
    /// other prompt name that all samples have.
    ///
    /// # Errors
    /// If a sample has no prompt for one of the recipe's choices.
    pub fn every(recipe: &Recipe, samples: &[Sample]) -> Result<Vec<Self>> {
        let mut sets = vec![Self::of_recipe(&recipe.data.config, samples)?];
        let further = match &recipe.trainer.test_prompts {
            Some(choices) => choices.clone(),
            None => common_names(samples),
        };
        for choice in further {
            if sets.iter().all(|set| set.name != choice.to_string()) {
                sets.push(Self::new(&choice, samples)?);
            }
        }
        Ok(sets)
    }

    /// The folder for masks predicted under the set.
    pub(super) fn folder(&self) -> String {
        file_name(&self.name)
    }

    /// The evaluation prompts of a recipe: `data.eval_prompt`, or [`DataConfig::eval_choice`].
    ///
    /// # Errors
    /// If a sample has no such prompt.
    pub fn of_recipe(data: &DataConfig, samples: &[Sample]) -> Result<Self> {
        let mut names: Vec<String> = Vec::new();
        let mut prompts = Vec::with_capacity(samples.len());
        let mut oracle = Vec::with_capacity(samples.len());
        for sample in samples {
            let choice = data.eval_choice(&sample.prompts);
            prompts.push(sample.fixed_prompt(&choice)?);
            oracle.push(Oracle::of(sample, &choice));
            let name = choice.to_string();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(Self {
            name: names.join(","),
            prompts,
            oracle,
        })
    }
}

/// The prompt names that all samples have, in the order of the first.
fn common_names(samples: &[Sample]) -> Vec<PromptChoice> {
    let first = samples.first().into_iter();
    let names = first.flat_map(|sample| sample.prompts.names());
    let common = names.filter(|name| {
        let has = |sample: &Sample| sample.prompts.get(name).is_some();
        samples.iter().all(has)
    });
    common
        .map(|name| PromptChoice::Named(name.to_owned()))
        .collect()
}
