//! From prompts to the decoder's input.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use burn::tensor::Tensor;

use super::cache::StatesCache;
use crate::contract::{HiddenStates, SegmentationModel, concatenate, select};
use crate::error::Result;
use crate::tokenizer::Tokenizer;

/// Maximum size of a cache of prompt states, in bytes: over 20,000 prompts of ten words with CRIS, over 60,000 with CLIPSeg.
const KEPT_BYTES: u64 = 512 << 20;

/// The text tower's states of recent prompts, for models that leave the text tower unchanged. Clones share them.
#[derive(Clone)]
pub struct PromptStates(Arc<StatesCache<String>>);

impl fmt::Debug for PromptStates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PromptStates({} bytes)", self.0.bytes())
    }
}

impl PromptStates {
    /// An empty store for a model; `None` if training changes the states.
    ///
    /// # Errors
    /// If the store cannot be created.
    pub fn for_model<M: SegmentationModel>(model: &M) -> Result<Option<Self>> {
        let new = || Ok(Self(Arc::new(StatesCache::new(KEPT_BYTES)?)));
        model.frozen_text().then(new).transpose()
    }
}

/// Encodes prompts, each distinct one once as far as memory allows.
pub struct PromptEncoder<'a> {
    tokenizer: &'a Tokenizer,
    states: Option<PromptStates>,
    /// The decoder's input for recent prompts, one row each, if the model does not change.
    embeddings: Option<StatesCache<String>>,
}

impl<'a> PromptEncoder<'a> {
    /// An encoder for a model that does not change while the encoder is in use.
    ///
    /// # Errors
    /// If the store for prompts cannot be created.
    pub fn frozen(tokenizer: &'a Tokenizer) -> Result<Self> {
        Ok(Self {
            tokenizer,
            states: None,
            embeddings: Some(StatesCache::new(KEPT_BYTES)?),
        })
    }

    /// An encoder for a model in training.
    pub fn training(tokenizer: &'a Tokenizer) -> Self {
        Self {
            tokenizer,
            states: None,
            embeddings: None,
        }
    }

    /// The same encoder with states of the same base's text tower, if there are any.
    pub fn with_states(self, states: Option<PromptStates>) -> Self {
        Self { states, ..self }
    }

    /// The decoder's input for prompts, one row each.
    ///
    /// # Errors
    /// If the tokenizer does not belong to the model.
    pub fn encode<M: SegmentationModel>(
        &self,
        model: &M,
        prompts: &[&str],
    ) -> Result<HiddenStates> {
        let mut distinct: Vec<&str> = Vec::new();
        let mut rows = Vec::with_capacity(prompts.len());
        for prompt in prompts {
            let known = distinct.iter().position(|other| other == prompt);
            rows.push(known.unwrap_or(distinct.len()));
            if known.is_none() {
                distinct.push(prompt);
            }
        }
        let Some(kept) = &self.embeddings else {
            let states = self.states(model, &distinct)?;
            return Ok(select(&model.condition_text(states)?, &rows));
        };
        let mut embeddings: HashMap<&str, HiddenStates> = HashMap::new();
        for prompt in distinct {
            let embedding = match kept.get(&prompt.to_owned()) {
                Some(embedding) => embedding,
                None => {
                    let embedding = model.condition_text(self.states(model, &[prompt])?)?;
                    let embedding: HiddenStates =
                        embedding.into_iter().map(Tensor::inner).collect();
                    kept.insert(prompt.to_owned(), embedding.clone());
                    embedding
                }
            };
            embeddings.insert(prompt, embedding);
        }
        let all = prompts.iter().filter_map(|prompt| embeddings.get(prompt));
        Ok(concatenate(all.cloned()))
    }

    /// Text states of distinct prompts, a row for each; those of recent prompts are reused where there is a store.
    fn states<M: SegmentationModel>(&self, model: &M, prompts: &[&str]) -> Result<HiddenStates> {
        let Some(PromptStates(kept)) = &self.states else {
            return text_states(model, self.tokenizer, prompts);
        };
        let states = prompts.iter().map(|prompt| {
            // One prompt per pass. Matrix products of many rows sum in another order than those of one row where rows are
            // long, so the last bits would depend on which prompts are new, which differs after a resume.
            kept.get_or_compute(&(*prompt).to_owned(), || {
                text_states(model, self.tokenizer, &[prompt])
            })
        });
        Ok(concatenate(states.collect::<Result<Vec<_>>>()?))
    }
}

/// Text states of prompts, a row for each.
pub(super) fn text_states<M: SegmentationModel>(
    model: &M,
    tokenizer: &Tokenizer,
    prompts: &[&str],
) -> Result<HiddenStates> {
    let length = model.context_length();
    let ids = prompts
        .iter()
        .map(|prompt| tokenizer.encode(prompt, length));
    let ids: Vec<Vec<u32>> = ids.collect::<std::result::Result<_, _>>()?;
    Ok(model.text_states(&model.tokens(&ids)?))
}
