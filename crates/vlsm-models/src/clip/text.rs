//! The text tower: a causal transformer, pooled at the end-of-text token.

use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig};
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::config::TextConfig;
use super::tokens::TokenBatch;
use super::{BertTower, Encoder, EncoderConfig, LayerNorm};
use crate::error::{ModelError, Result};
use crate::kernel_weights::{embedded, halve_embedding};
use crate::methods::{Adaptation, Tower, Unadapted};
use crate::precision::Precision;

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

    /// See [`EncoderLayer::set_precision`](crate::clip::EncoderLayer::set_precision).
    pub(crate) fn set_precision(&mut self, precision: Precision) {
        match self {
            Self::Clip(tower) => {
                tower.encoder.set_precision(precision);
                halve_embedding(&mut tower.embeddings.token_embedding, precision);
            }
            Self::Bert(tower) => tower.set_precision(precision),
        }
    }

    /// Makes the tower; parameters are initialised when first used.
    pub fn new(config: &TextConfig, device: &Device) -> Self {
        match &config.bert {
            Some(bert) => Self::Bert(BertTower::new(config, bert, device)),
            None => Self::Clip(config.init(device)),
        }
    }

    /// Number of layers.
    pub(crate) fn depth(&self) -> usize {
        match self {
            Self::Clip(tower) => tower.encoder.layers.len(),
            Self::Bert(tower) => tower.depth(),
        }
    }

    /// The states `[prompts, tokens, width]` that enter the first layer. For BERT, the prompts have an equal number of tokens.
    pub(crate) fn input(&self, tokens: &TokenBatch) -> Tensor<3> {
        match self {
            Self::Clip(tower) => tower.input(tokens, &Unadapted).0,
            Self::Bert(tower) => tower.input(tokens.ids().to_vec(), tokens.len(), None).0,
        }
    }

    /// One layer, of any states.
    pub(crate) fn layer(&self, index: usize, x: Tensor<3>, method: &dyn Adaptation) -> Tensor<3> {
        let adapters = method.layer(Tower::Text, index);
        match self {
            Self::Clip(tower) => tower.encoder.layers[index].forward(x, true, adapters),
            Self::Bert(tower) => tower.layer(index, x, adapters),
        }
    }

    /// The pooled state `[prompts, width]` of the last layer's states, see [`TextStates::pooled`].
    pub(crate) fn pooled(&self, x: Tensor<3>, tokens: &TokenBatch) -> Tensor<2> {
        match self {
            Self::Clip(tower) => tower.final_layer_norm.forward(at_end(x, tokens, 0)),
            Self::Bert(tower) => tower.pooled(x.narrow(1, 0, 1).squeeze_dim::<2>(1)),
        }
    }

    /// See [`TextTower::forward`] and [`BertTower::forward`].
    pub fn forward(&self, tokens: &TokenBatch, method: &dyn Adaptation) -> TextStates {
        match self {
            Self::Clip(tower) => tower.forward(tokens, method),
            Self::Bert(tower) => tower.forward(tokens, method),
        }
    }
}

/// The text tower's output for a batch of prompts.
#[derive(Debug, Clone)]
pub struct TextStates {
    /// The normalised last state at the end-of-text token, `[prompts, width]`; for BERT see [`BertTower::forward`].
    pub pooled: Tensor<2>,
    /// The states at the end-of-text token (for BERT: the first) after each of the method's [text
    /// taps](Adaptation::text_taps), `[prompts, width]`, neither normalised nor projected.
    pub tapped: Vec<Tensor<2>>,
}

/// A text embedding `[prompts, projection]` and the tapped states `[prompts, width]` as states, each of one token.
pub(crate) fn embedding_states(embedding: Tensor<2>, tapped: Vec<Tensor<2>>) -> Vec<Tensor<3>> {
    let states = std::iter::once(embedding).chain(tapped);
    states.map(|state| state.unsqueeze_dim(1)).collect()
}

/// The text embedding `[prompts, projection]` after a method's change, from [`embedding_states`].
///
/// # Errors
/// If the number of states is not that of the method's taps; the message calls them `what`.
pub(crate) fn adapted_embedding(
    states: Vec<Tensor<3>>,
    method: &dyn Adaptation,
    what: &str,
) -> Result<Tensor<2>> {
    let (expected, found) = (1 + method.text_taps().len(), states.len());
    let mut states = states.into_iter().map(|state| state.squeeze_dim::<2>(1));
    match (found == expected, states.next()) {
        (true, Some(embedding)) => Ok(method.text_embedding(embedding, states.collect())),
        _ => Err(ModelError::States {
            what: what.to_owned(),
            expected,
            found,
        }),
    }
}

impl TextTower {
    /// See [`EncoderLayer::set_recompute`](crate::clip::EncoderLayer::set_recompute).
    pub fn set_recompute(&mut self, recompute: bool) {
        self.encoder.set_recompute(recompute);
    }

    /// Encodes prompts.
    pub fn forward(&self, tokens: &TokenBatch, method: &dyn Adaptation) -> TextStates {
        let LastStates { x, extra, tapped } = self.layers(tokens, method);
        TextStates {
            pooled: self.final_layer_norm.forward(at_end(x, tokens, extra)),
            tapped,
        }
    }

    /// The normalised last states of all tokens, `[prompts, tokens, width]`, and those at the end-of-text token,
    /// `[prompts, width]`. Extra tokens of a method are not among them.
    pub fn words(&self, tokens: &TokenBatch, method: &dyn Adaptation) -> (Tensor<3>, TextStates) {
        let LastStates { x, extra, tapped } = self.layers(tokens, method);
        let words = self.final_layer_norm.forward(x);
        let pooled = at_end(words.clone(), tokens, extra);
        (without_extra(words, extra), TextStates { pooled, tapped })
    }

    /// What enters the first layer, `[prompts, extra + tokens, width]`, and the number of extra tokens.
    fn input(&self, tokens: &TokenBatch, method: &dyn Adaptation) -> (Tensor<3>, usize) {
        let (prompts, length) = (tokens.len(), tokens.length());
        let positions = self.embeddings.position_embedding.weight.val();
        let device = positions.device();
        let [_, width] = positions.dims();
        let ids = Tensor::<2, Int>::from_data(
            TensorData::new(tokens.ids().to_vec(), [prompts, length]),
            &device,
        );
        let x = embedded(&self.embeddings.token_embedding, ids);
        let (x, extra) = with_extra(x, 0, method.tokens(Tower::Text, 0));
        let positions = positions.slice([0..length + extra, 0..width]);
        (x + positions.unsqueeze::<3>(), extra)
    }

    fn layers(&self, tokens: &TokenBatch, method: &dyn Adaptation) -> LastStates {
        let (mut x, mut extra) = self.input(tokens, method);
        let taps = method.text_taps();
        let mut tapped = vec![None; taps.len()];
        for (index, layer) in self.encoder.layers.iter().enumerate() {
            if index > 0 {
                (x, extra) = with_extra(x, extra, method.tokens(Tower::Text, index));
            }
            x = layer.forward(x, true, method.layer(Tower::Text, index));
            for (slot, tap) in tapped.iter_mut().zip(taps) {
                if *tap == index {
                    *slot = Some(at_end(x.clone(), tokens, extra));
                }
            }
        }
        LastStates {
            x,
            extra,
            tapped: tapped.into_iter().flatten().collect(),
        }
    }
}

/// Output of a tower's layers.
struct LastStates {
    /// The last layer's states, `[prompts, extra + tokens, width]`.
    x: Tensor<3>,
    /// Number of extra tokens, which are after the first token.
    extra: usize,
    /// The states at the end-of-text token after each tapped layer, `[prompts, width]`.
    tapped: Vec<Tensor<2>>,
}

/// Replaces the `present` extra tokens after the first of `[prompts, present + tokens, width]` by `extra`, `[1, count, width]` or
/// `[prompts, count, width]`, if given. Also returns the number of extra tokens in the result.
pub(super) fn with_extra(
    x: Tensor<3>,
    present: usize,
    extra: Option<Tensor<3>>,
) -> (Tensor<3>, usize) {
    let Some(extra) = extra else {
        return (x, present);
    };
    let ([prompts, tokens, width], [_, count, _]) = (x.dims(), extra.dims());
    let extra = extra.expand([prompts, count, width]);
    let start = x.clone().narrow(1, 0, 1);
    let rest = x.narrow(1, 1 + present, tokens - 1 - present);
    (Tensor::cat(vec![start, extra, rest], 1), count)
}

/// Tokens `[prompts, extra + tokens, width]` without the `extra` ones after the first.
fn without_extra(x: Tensor<3>, extra: usize) -> Tensor<3> {
    if extra == 0 {
        return x;
    }
    let tokens = x.dims()[1];
    let start = x.clone().narrow(1, 0, 1);
    Tensor::cat(vec![start, x.narrow(1, 1 + extra, tokens - 1 - extra)], 1)
}

/// States `[prompts, extra + tokens, width]` at the end-of-text token, `[prompts, width]`. At the first token, `extra` does
/// not count.
fn at_end(x: Tensor<3>, tokens: &TokenBatch, extra: usize) -> Tensor<2> {
    let [prompts, length, width] = x.dims();
    let ends = tokens.ends().iter().enumerate();
    let after_extra = |end: usize| if end == 0 { 0 } else { end + extra };
    let ends = ends.map(|(row, end)| (row * length + after_extra(*end)) as i64);
    let ends: Vec<i64> = ends.collect();
    let ends = Tensor::<1, Int>::from_data(TensorData::new(ends, [prompts]), &x.device());
    x.reshape([prompts * length, width]).select(0, ends)
}
