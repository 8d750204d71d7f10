//! The text tower: a causal transformer, pooled at the end-of-text token.

use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig};
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::config::TextConfig;
use super::{BertTower, Encoder, EncoderConfig, LayerNorm};
use crate::adapter::LayerAdapters;
use crate::error::{ModelError, Result};

/// Tokenized prompts, cut behind the end-of-text token and padded to the longest.
///
/// Attention is causal, so nothing behind a prompt's end can change its embedding.
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
            // Any id will do behind the end; the last one is surely in the vocabulary.
            ids.extend(std::iter::repeat_n(
                i64::from(prompt[*end]),
                length - end - 1,
            ));
        }
        Ok(Self { ids, ends, length })
    }

    /// The same prompts, each of `length` tokens with `pad` behind its end, as a tokenizer pads; of as many as the longest
    /// has if that is more.
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

    /// The place of each prompt's end-of-text token.
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

    /// Each prompt's token ids, without padding.
    pub fn prompts(&self) -> impl Iterator<Item = &[i64]> {
        let rows = self.ends.iter().enumerate();
        rows.map(|(row, end)| &self.ids[row * self.length..][..=*end])
    }
}

/// Where a prompt ends, as Transformers finds it: the first end-of-text token (else the first
/// token), or the first largest id where the configuration still says 2.
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

/// The last place that is no padding.
fn last_token(ids: &[u32], padding: u32) -> usize {
    ids.iter()
        .rposition(|id| *id != padding)
        .unwrap_or_default()
}

/// Token and position embeddings.
#[derive(Module, Debug)]
pub(super) struct TextEmbeddings {
    token_embedding: Embedding,
    position_embedding: Embedding,
}

/// CLIP's text transformer.
#[derive(Module, Debug)]
pub struct TextTower {
    embeddings: TextEmbeddings,
    encoder: Encoder,
    final_layer_norm: LayerNorm,
}

impl TextConfig {
    /// Makes the tower; parameters are initialised when first used.
    pub fn init(&self, device: &Device) -> TextTower {
        let width = self.hidden_size;
        TextTower {
            embeddings: TextEmbeddings {
                token_embedding: EmbeddingConfig::new(self.vocab_size, width).init(device),
                position_embedding: EmbeddingConfig::new(self.max_position_embeddings, width)
                    .init(device),
            },
            encoder: EncoderConfig::from(self).init(device),
            final_layer_norm: LayerNorm::new(width, self.layer_norm_eps, device),
        }
    }
}

/// The text tower of a model.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)]
pub enum TextModel {
    /// CLIP's.
    Clip(TextTower),
    /// BiomedCLIP's.
    Bert(BertTower),
}

impl TextModel {
    /// See [`EncoderLayer::set_recompute`](crate::clip::EncoderLayer::set_recompute).
    pub fn set_recompute(&mut self, recompute: bool) {
        match self {
            Self::Clip(tower) => tower.set_recompute(recompute),
            Self::Bert(tower) => tower.set_recompute(recompute),
        }
    }

    /// Makes the tower; parameters are initialised when first used.
    pub fn new(config: &TextConfig, device: &Device) -> Self {
        match &config.bert {
            Some(bert) => Self::Bert(BertTower::new(config, bert, device)),
            None => Self::Clip(config.init(device)),
        }
    }

    /// See [`TextTower::forward`] and [`BertTower::forward`].
    pub fn forward<'a>(
        &self,
        tokens: &TokenBatch,
        taps: &[usize],
        adapters: impl Fn(usize) -> LayerAdapters<'a>,
    ) -> TextStates {
        match self {
            Self::Clip(tower) => tower.forward(tokens, taps, adapters),
            Self::Bert(tower) => tower.forward(tokens, taps, adapters),
        }
    }
}

/// What the text tower gives for a batch of prompts.
#[derive(Debug, Clone)]
pub struct TextStates {
    /// The normalised last state at the end-of-text token, `[prompts, width]`; of BERT see [`BertTower::forward`].
    pub pooled: Tensor<2>,
    /// The states at the end-of-text token (of BERT: the first) after each tapped layer, `[prompts, width]`, neither
    /// normalised nor projected.
    pub tapped: Vec<Tensor<2>>,
}

impl TextTower {
    /// See [`EncoderLayer::set_recompute`](crate::clip::EncoderLayer::set_recompute).
    pub fn set_recompute(&mut self, recompute: bool) {
        self.encoder.set_recompute(recompute);
    }

    /// Encodes prompts; `taps` are the layers whose states are wanted too, `adapters` gives a
    /// layer's adapters.
    pub fn forward<'a>(
        &self,
        tokens: &TokenBatch,
        taps: &[usize],
        adapters: impl Fn(usize) -> LayerAdapters<'a>,
    ) -> TextStates {
        let (last, tapped) = self.layers(tokens, taps, adapters);
        TextStates {
            pooled: self.final_layer_norm.forward(at_end(last, tokens)),
            tapped,
        }
    }

    /// The normalised last states of all tokens, `[prompts, tokens, width]`, and those at the end-of-text token,
    /// `[prompts, width]`.
    pub fn words(&self, tokens: &TokenBatch) -> (Tensor<3>, Tensor<2>) {
        let (last, _) = self.layers(tokens, &[], |_| LayerAdapters::default());
        let words = self.final_layer_norm.forward(last);
        (words.clone(), at_end(words, tokens))
    }

    /// The last layer's states `[prompts, tokens, width]`, and those at the end-of-text token after each tapped layer.
    fn layers<'a>(
        &self,
        tokens: &TokenBatch,
        taps: &[usize],
        adapters: impl Fn(usize) -> LayerAdapters<'a>,
    ) -> (Tensor<3>, Vec<Tensor<2>>) {
        let (prompts, length) = (tokens.len(), tokens.length);
        let positions = self.embeddings.position_embedding.weight.val();
        let device = positions.device();
        let [_, width] = positions.dims();
        let ids = Tensor::<2, Int>::from_data(
            TensorData::new(tokens.ids.clone(), [prompts, length]),
            &device,
        );
        let mut x = self.embeddings.token_embedding.forward(ids)
            + positions.slice([0..length, 0..width]).unsqueeze::<3>();
        let mut tapped = vec![None; taps.len()];
        for (index, layer) in self.encoder.layers.iter().enumerate() {
            x = layer.forward(x, true, adapters(index));
            for (slot, tap) in tapped.iter_mut().zip(taps) {
                if *tap == index {
                    *slot = Some(at_end(x.clone(), tokens));
                }
            }
        }
        (x, tapped.into_iter().flatten().collect())
    }
}

/// States `[prompts, tokens, width]` at the end-of-text token, `[prompts, width]`.
fn at_end(x: Tensor<3>, tokens: &TokenBatch) -> Tensor<2> {
    let [prompts, length, width] = x.dims();
    let ends = tokens.ends.iter().enumerate();
    let ends: Vec<i64> = ends.map(|(row, end)| (row * length + end) as i64).collect();
    let ends = Tensor::<1, Int>::from_data(TensorData::new(ends, [prompts]), &x.device());
    x.reshape([prompts * length, width]).select(0, ends)
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
