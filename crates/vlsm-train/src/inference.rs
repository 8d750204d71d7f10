//! How a run's adapter is meant to be used: the prompt, and the prompts that it knows.

use std::collections::HashSet;

use vlsm_data::{Dataset, PromptChoice, Sample};
use vlsm_models::{Base, Inference, MethodConfig, Model, SegmentationModel};

use crate::error::Result;
use crate::recipe::Recipe;

/// What is known before the training.
pub(crate) fn inference(recipe: &Recipe, dataset: &Dataset, base: &Base) -> Result<Inference> {
    let config = &recipe.data.config;
    let prompt = |sample: &Sample| {
        sample
            .fixed_prompt(&config.eval_choice(&sample.prompts))
            .ok()
    };
    let mut evaluated = dataset.train.iter().map(prompt);
    let first = evaluated.next().flatten();
    let known = Inference {
        prompt: first.filter(|first| evaluated.all(|other| other.as_ref() == Some(first))),
        ..Inference::default()
    };
    let model = Model::of_network(&base.network, MethodConfig::zero_shot(), 0)?.for_inference();
    let prompts = training_prompts(&config.prompt, &dataset.train, known.prompt.as_deref());
    Ok(known.with_prompts(&model, &base.tokenizer, &prompts)?)
}

/// The distinct prompts that a training may draw, the evaluation prompt first if it is among them.
fn training_prompts(
    choice: &PromptChoice,
    samples: &[Sample],
    evaluated: Option<&str>,
) -> Vec<String> {
    let of_sample = |sample: &Sample| -> Vec<String> {
        match choice {
            PromptChoice::Text(text) => vec![text.clone()],
            PromptChoice::Named(name) => sample.prompts.get(name).unwrap_or_default().to_vec(),
            PromptChoice::Random => {
                let named = sample.prompts.iter().filter(|(name, _)| *name != "p0");
                named.flat_map(|(_, texts)| texts.to_vec()).collect()
            }
        }
    };
    let mut seen = HashSet::new();
    let mut prompts: Vec<String> = samples.iter().flat_map(of_sample).collect();
    prompts.retain(|prompt| seen.insert(prompt.clone()));
    if let Some(index) = prompts
        .iter()
        .position(|prompt| Some(&**prompt) == evaluated)
    {
        prompts[..=index].rotate_right(1);
    }
    prompts
}
