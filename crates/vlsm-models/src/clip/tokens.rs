//! Prompts as token ids.

use burn::tensor::{Device, Tensor, TensorData};

use super::config::TextConfig;
use crate::error::{ModelError, Result};
use crate::weights::to_host;

/// Tokenized prompts, cut after the end-of-text token and padded to the longest.
///
/// Attention is causal, so tokens after a prompt's end cannot change its embedding.
#[derive(Debug, Clone)]
pub struct TokenBatch {
    ids: Vec<i64>,
    ends: Vec<usize>,
    length: usize,
}

impl TokenBatch {
    /// Makes a batch of prompts' token ids, padded or not.
    ///
    /// # Errors
    /// If a prompt has no tokens, more than the context length, or an id outside the vocabulary.
    pub fn new<P: AsRef<[u32]>>(prompts: &[P], config: &TextConfig) -> Result<Self> {
        let mut ends = Vec::with_capacity(prompts.len());
        for prompt in prompts {
            let ids = prompt.as_ref();
            if ids.is_empty() {
                return Err(ModelError::Tokens("a prompt has no tokens".into()));
            }
            if let Some(id) = ids.iter().find(|id| **id as usize >= config.vocab_size) {
                return Err(ModelError::Tokens(format!(
                    "token id {id} is outside the base's vocabulary of {}; use the tokenizer \
                     files that belong to this base",
                    config.vocab_size
                )));
            }
            let end = match &config.bert {
                Some(_) => last_token(ids, config.pad_token_id),
                None => end_of_text(ids, config.eos_token_id),
            };
            if end >= config.max_position_embeddings {
                return Err(ModelError::Tokens(format!(
                    "a prompt has {} tokens, but the text tower takes {}",
                    end + 1,
                    config.max_position_embeddings
                )));
            }
            ends.push(end);
        }
        let length = ends.iter().max().map_or(0, |end| end + 1);
        let mut ids = Vec::with_capacity(prompts.len() * length);
        for (prompt, end) in prompts.iter().zip(&ends) {
            let prompt = prompt.as_ref();
            ids.extend(prompt[..=*end].iter().map(|id| i64::from(*id)));
            // Any id works after the end; the last one is known to be in the vocabulary.
            ids.extend(std::iter::repeat_n(
                i64::from(prompt[*end]),
                length - end - 1,
            ));
        }
        Ok(Self { ids, ends, length })
    }

    /// Checks that no prompt has more than `most` tokens, the context length less a method's extra tokens.
    ///
    /// # Errors
    /// If a prompt has more tokens.
    pub fn expect_at_most(self, most: usize) -> Result<Self> {
        if self.length <= most {
            return Ok(self);
        }
        Err(ModelError::Tokens(format!(
            "a prompt has {} tokens, but the model takes {most}",
            self.length
        )))
    }

    /// The same prompts, padded with `pad` to `length` tokens as by a tokenizer, or to the longest prompt if that has more.
    pub fn padded(&self, length: usize, pad: u32) -> Self {
        let length = length.max(self.length);
        let mut ids = vec![i64::from(pad); self.len() * length];
        let rows = ids.chunks_mut(length).zip(self.ids.chunks(self.length));
        for ((padded, row), end) in rows.zip(&self.ends) {
            padded[..=*end].copy_from_slice(&row[..=*end]);
        }
        Self {
            ids,
            ends: self.ends.clone(),
            length,
        }
    }

    /// The tokens, prompt by prompt, [`length`](Self::length) each.
    pub fn ids(&self) -> &[i64] {
        &self.ids
    }

    /// The index of each prompt's end-of-text token.
    pub fn ends(&self) -> &[usize] {
        &self.ends
    }

    /// Tokens of each prompt, padding included.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Number of prompts.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no prompt.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Some of the prompts, by index, without what follows the longest of them.
    pub(crate) fn select(&self, rows: &[usize]) -> Self {
        let ends: Vec<usize> = rows.iter().map(|row| self.ends[*row]).collect();
        let length = ends.iter().max().map_or(0, |end| end + 1);
        let ids = rows
            .iter()
            .flat_map(|row| &self.ids[row * self.length..][..length]);
        Self {
            ids: ids.copied().collect(),
            ends,
            length,
        }
    }

    /// The prompts as a state `[prompts, tokens, 1]`: ids plus one, and 0 after a prompt's end. All ids are exact in f32.
    pub(crate) fn state(&self, device: &Device) -> Tensor<3> {
        let mut values = vec![0.0; self.len() * self.length];
        for (row, ids) in values.chunks_mut(self.length.max(1)).zip(self.prompts()) {
            for (value, id) in row.iter_mut().zip(ids) {
                *value = (*id + 1) as f32;
            }
        }
        let data = TensorData::new(values, [self.len(), self.length, 1]);
        Tensor::from_data(data, device)
    }

    /// The prompts of a [`state`](Self::state), which can have been padded further.
    ///
    /// # Errors
    /// If it is not such a state.
    pub(crate) fn from_state(state: Tensor<3>, config: &TextConfig) -> Result<Self> {
        let [_, length, _] = state.dims();
        let values = to_host(state);
        let rows = values.chunks(length.max(1)).map(|row| {
            let ids = row.iter().take_while(|value| **value > 0.0);
            ids.map(|value| *value as u32 - 1).collect()
        });
        Self::new(&rows.collect::<Vec<Vec<u32>>>(), config)
    }

    /// Each prompt's token ids, without padding.
    pub fn prompts(&self) -> impl Iterator<Item = &[i64]> {
        let rows = self.ends.iter().enumerate();
        rows.map(|(row, end)| &self.ids[row * self.length..][..=*end])
    }
}

/// Where a prompt ends, as Transformers finds it: the first end-of-text token (else the first token), or the first largest id
/// if the configuration has the old value 2.
fn end_of_text(ids: &[u32], eos: u32) -> usize {
    let end = if eos == 2 {
        ids.iter().max().copied()
    } else {
        Some(eos)
    };
    ids.iter()
        .position(|id| Some(*id) == end)
        .unwrap_or_default()
}

/// Index of the last token that is not padding.
fn last_token(ids: &[u32], padding: u32) -> usize {
    ids.iter()
        .rposition(|id| *id != padding)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_end_where_transformers_finds_the_end() {
        assert_eq!(end_of_text(&[10, 3, 11, 11], 11), 2);
        assert_eq!(end_of_text(&[10, 3, 4], 11), 0);
        assert_eq!(end_of_text(&[10, 3, 11, 11], 2), 2);
    }

    #[test]
    fn bad_tokens_are_errors() {
        let config = TextConfig {
            vocab_size: 12,
            max_position_embeddings: 3,
            eos_token_id: 11,
            ..TextConfig::default()
        };
        let batch = |ids: &[u32]| TokenBatch::new(&[ids], &config);
        assert!(batch(&[10, 11, 11, 11]).is_ok());
        assert!(batch(&[]).is_err());
        assert!(batch(&[10, 12]).unwrap_err().to_string().contains("12"));
        assert!(batch(&[10, 1, 1, 11]).is_err());
    }
}
