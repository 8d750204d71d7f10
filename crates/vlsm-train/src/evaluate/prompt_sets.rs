//! The prompts of an evaluation.

use vlsm_data::{DataConfig, PromptChoice, Sample};

use super::files::file_name;
use crate::error::Result;

/// A prompt for every sample, under a name.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptSet {
    /// The name in the results: a prompt name such as `p1`, or the text itself.
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

    /// The evaluation prompts of a recipe, followed by a set for each other prompt name that all
    /// samples have.
    ///
    /// # Errors
    /// If a sample has no prompt for the recipe's choice.
    pub fn every(data: &DataConfig, samples: &[Sample]) -> Result<Vec<Self>> {
        let mut sets = vec![Self::of_recipe(data, samples)?];
        let first = samples
            .iter()
            .take(1)
            .flat_map(|sample| sample.prompts.names());
        for name in first {
            let everywhere = samples
                .iter()
                .all(|sample| sample.prompts.get(name).is_some());
            if everywhere && name != sets[0].name {
                sets.push(Self::new(&PromptChoice::Named(name.to_owned()), samples)?);
            }
        }
        Ok(sets)
    }

    /// The folder for masks predicted under the set.
    pub(super) fn folder(&self) -> String {
        file_name(&self.name)
    }

    /// The evaluation prompts of a recipe: `data.eval_prompt`, or each sample's most detailed prompt.
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
