//! Prompts to what the decoder takes of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::Tensor;

use crate::contract::{HiddenStates, SegmentationModel, concatenate, select};
use crate::error::Result;
use crate::tokenizer::Tokenizer;

/// The text tower's states of the prompts seen so far, a row each: kept for a whole training if nothing in the tower
/// is trained, and shared by all that encode prompts in it.
#[derive(Debug, Clone, Default)]
pub struct PromptStates(Arc<Mutex<HashMap<String, HiddenStates>>>);

impl PromptStates {
    /// For a training of a model; `None` if the states change in it.
    pub fn of<M: SegmentationModel>(model: &M) -> Option<Self> {
        model.frozen_text().then(Self::default)
    }
}

/// Encodes prompts, each distinct one once.
pub struct PromptEncoder<'a> {
    tokenizer: &'a Tokenizer,
    states: Option<PromptStates>,
    /// What the decoder takes of prompts seen, a row each, while nothing that it depends on is trained.
    embeddings: Option<HashMap<String, HiddenStates>>,
}

impl<'a> PromptEncoder<'a> {
    /// For a model that does not change while this is in use.
    pub fn frozen(tokenizer: &'a Tokenizer) -> Self {
        Self {
            tokenizer,
            states: None,
            embeddings: Some(HashMap::new()),
        }
    }

    /// For a model in training.
    pub fn training(tokenizer: &'a Tokenizer) -> Self {
        Self {
            tokenizer,
            states: None,
            embeddings: None,
        }
    }

    /// The same, with states of the same base's text tower.
    pub fn with_states(self, states: Option<PromptStates>) -> Self {
        Self { states, ..self }
    }

    /// What the decoder takes of prompts, a row for each.
    ///
    /// # Errors
    /// If the tokenizer does not belong to the model.
    pub fn encode<M: SegmentationModel>(
        &mut self,
        model: &M,
        prompts: &[&str],
    ) -> Result<HiddenStates> {
        if self.states.is_none() {
            self.states = PromptStates::of(model);
        }
        let states = |prompts: &[&str]| match &self.states {
            Some(kept) => kept_states(kept, model, self.tokenizer, prompts),
            None => text_states(model, self.tokenizer, prompts),
        };
        let Some(known) = &mut self.embeddings else {
            let mut distinct: Vec<&str> = Vec::new();
            let mut places = Vec::with_capacity(prompts.len());
            for prompt in prompts {
                let place = distinct.iter().position(|one| one == prompt);
                places.push(place.unwrap_or(distinct.len()));
                if place.is_none() {
                    distinct.push(prompt);
                }
            }
            return Ok(select(&model.condition_text(states(&distinct)?)?, &places));
        };
        if self.states.is_some() {
            let new = prompts
                .iter()
                .filter(|prompt| !known.contains_key(**prompt));
            states(&new.copied().collect::<Vec<_>>())?;
        }
        let mut embeddings = Vec::with_capacity(prompts.len());
        for prompt in prompts {
            if !known.contains_key(*prompt) {
                // Alone, so that the last bits do not depend on which prompts came together.
                let embedding = model.condition_text(states(&[prompt])?)?.into_iter();
                known.insert((*prompt).to_owned(), embedding.map(Tensor::inner).collect());
            }
            embeddings.extend(known.get(*prompt).cloned());
        }
        Ok(concatenate(embeddings))
    }
}

/// Text states of prompts, a row for each.
fn text_states<M: SegmentationModel>(
    model: &M,
    tokenizer: &Tokenizer,
    prompts: &[&str],
) -> Result<HiddenStates> {
    let ids = prompts
        .iter()
        .map(|prompt| tokenizer.encode(prompt, model.context_length()));
    let ids: Vec<Vec<u32>> = ids.collect::<std::result::Result<_, _>>()?;
    Ok(model.text_states(&model.tokens(&ids)?))
}

/// As [`text_states`], those of prompts seen before taken from `kept`.
fn kept_states<M: SegmentationModel>(
    kept: &PromptStates,
    model: &M,
    tokenizer: &Tokenizer,
    prompts: &[&str],
) -> Result<HiddenStates> {
    // Nothing panics while it holds the lock.
    let lock = || kept.0.lock().unwrap_or_else(PoisonError::into_inner);
    let mut new: Vec<&str> = Vec::new();
    for prompt in prompts {
        if !new.contains(prompt) && !lock().contains_key(*prompt) {
            new.push(prompt);
        }
    }
    if !new.is_empty() {
        // What a frozen tower makes of a prompt does not depend on the prompts beside it.
        let states = text_states(model, tokenizer, &new)?;
        for (place, prompt) in new.into_iter().enumerate() {
            let own = states.iter().map(|state| state.clone().narrow(0, place, 1));
            lock().insert(prompt.to_owned(), own.collect());
        }
    }
    let known = prompts
        .iter()
        .filter_map(|prompt| lock().get(*prompt).cloned());
    Ok(concatenate(known))
}
