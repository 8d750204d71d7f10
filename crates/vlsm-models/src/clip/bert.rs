//! BERT (Devlin et al. 2019) as a text tower: post-norm, attention in both directions, pooled at the first token.

use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::config::{BertConfig, TextConfig};
use super::text::with_extra;
use super::{Encoder, EncoderConfig, LayerNorm, TextStates, TokenBatch};
use crate::kernel_weights::{embedded, halve_embedding};
use crate::methods::{Adaptation, LayerAdapters, Tower};
use crate::precision::Precision;

/// Token, position and token-type embeddings, normalised. All tokens are of the first type.
#[derive(Module, Debug)]
struct BertEmbeddings {
    token_embedding: Embedding,
    position_embedding: Embedding,
    token_type_embedding: Embedding,
    layer_norm: LayerNorm,
}

/// A BERT and the first half of the projection that open_clip adds to it: a linear layer without bias, then a GELU.
#[derive(Module, Debug)]
pub struct BertTower {
    embeddings: BertEmbeddings,
    encoder: Encoder,
    projection: Linear,
}

impl BertTower {
    /// See [`EncoderLayer::set_recompute`](crate::clip::EncoderLayer::set_recompute).
    pub fn set_recompute(&mut self, recompute: bool) {
        self.encoder.set_recompute(recompute);
    }

    /// See [`EncoderLayer::set_precision`](crate::clip::EncoderLayer::set_precision).
    pub(super) fn set_precision(&mut self, precision: Precision) {
        self.encoder.set_precision(precision);
        halve_embedding(&mut self.embeddings.token_embedding, precision);
    }

    /// Makes the tower; parameters are initialised when first used.
    pub fn new(config: &TextConfig, bert: &BertConfig, device: &Device) -> Self {
        let width = config.hidden_size;
        let embedding = |count| EmbeddingConfig::new(count, width).init(device);
        Self {
            embeddings: BertEmbeddings {
                token_embedding: embedding(config.vocab_size),
                position_embedding: embedding(bert.positions),
                token_type_embedding: embedding(bert.token_types),
                layer_norm: LayerNorm::new(width, config.layer_norm_eps, device),
            },
            encoder: EncoderConfig::from(config).init(device),
            projection: LinearConfig::new(width, bert.projection_hidden)
                .with_bias(false)
                .init(device),
        }
    }

    /// Encodes prompts. The pooled state is the output of the projection's hidden units.
    ///
    /// Padding would have to be masked for every token. Instead, each group of prompts of the same length is encoded in a
    /// pass of its own: nothing is computed for padding, and a prompt's states do not depend on the other prompts.
    pub fn forward(&self, tokens: &TokenBatch, method: &dyn Adaptation) -> TextStates {
        let mut lengths: Vec<usize> = tokens.prompts().map(<[i64]>::len).collect();
        lengths.sort_unstable();
        lengths.dedup();
        let mut columns: Vec<Vec<Tensor<2>>> = vec![Vec::new(); 1 + method.text_taps().len()];
        let mut order = vec![0; tokens.len()];
        let mut done = 0;
        for length in lengths {
            let (mut ids, mut rows) = (Vec::new(), Vec::new());
            for (place, prompt) in tokens.prompts().enumerate() {
                if prompt.len() == length {
                    order[place] = done;
                    done += 1;
                    ids.extend_from_slice(prompt);
                    rows.push(place);
                }
            }
            let states = self.of_one_length(ids, &rows, method);
            for (column, state) in columns.iter_mut().zip(states) {
                column.push(state);
            }
        }
        let device = self.embeddings.position_embedding.weight.val().device();
        let order = TensorData::new(order, [tokens.len()]);
        let order = Tensor::<1, Int>::from_data(order, &device);
        let columns = columns
            .into_iter()
            .map(|column| Tensor::cat(column, 0).select(0, order.clone()));
        let mut columns: Vec<Tensor<2>> = columns.collect();
        let first = columns.remove(0);
        TextStates {
            pooled: self.pooled(first),
            tapped: columns,
        }
    }

    /// Number of layers.
    pub(super) fn depth(&self) -> usize {
        self.encoder.layers.len()
    }

    /// One layer, of any states `[prompts, tokens, width]`.
    pub(super) fn layer(
        &self,
        index: usize,
        x: Tensor<3>,
        adapters: LayerAdapters<'_>,
    ) -> Tensor<3> {
        self.encoder.layers[index].forward_post_norm(x, adapters)
    }

    /// The output of the projection's hidden units, of the last layer's states at the first token, `[prompts, width]`.
    pub(super) fn pooled(&self, first: Tensor<2>) -> Tensor<2> {
        vlsm_kernels::gelu(self.projection.forward(first))
    }

    /// The states `[prompts, extra + tokens, width]` that enter the first layer, of prompts with an equal number of tokens, and the
    /// number of extra tokens.
    pub(super) fn input(
        &self,
        ids: Vec<i64>,
        prompts: usize,
        extra: Option<Tensor<3>>,
    ) -> (Tensor<3>, usize) {
        let positions = self.embeddings.position_embedding.weight.val();
        let types = self.embeddings.token_type_embedding.weight.val();
        let [_, width] = positions.dims();
        let length = ids.len() / prompts.max(1);
        let ids = TensorData::new(ids, [prompts, length]);
        let ids = Tensor::<2, Int>::from_data(ids, &positions.device());
        let x = embedded(&self.embeddings.token_embedding, ids);
        let (x, extra) = with_extra(x, 0, extra);
        let added = positions.slice([0..length + extra, 0..width]) + types.slice([0..1, 0..width]);
        let x = x + added.unsqueeze::<3>();
        (self.embeddings.layer_norm.forward(x), extra)
    }

    /// The states at the first token, each `[prompts, width]`, of prompts with an equal number of tokens, which are `rows` of a batch:
    /// the last, and those after the tapped layers.
    fn of_one_length(
        &self,
        ids: Vec<i64>,
        rows: &[usize],
        method: &dyn Adaptation,
    ) -> Vec<Tensor<2>> {
        let tokens = of_rows(method.tokens(Tower::Text, 0), rows);
        let (mut x, mut extra) = self.input(ids, rows.len(), tokens);
        let taps = method.text_taps();
        let first = |x: Tensor<3>| x.narrow(1, 0, 1).squeeze_dim::<2>(1);
        let mut tapped = vec![None; taps.len()];
        for (index, layer) in self.encoder.layers.iter().enumerate() {
            if index > 0 {
                let tokens = of_rows(method.tokens(Tower::Text, index), rows);
                (x, extra) = with_extra(x, extra, tokens);
            }
            x = layer.forward_post_norm(x, method.layer(Tower::Text, index));
            for (slot, tap) in tapped.iter_mut().zip(taps) {
                if *tap == index {
                    *slot = Some(first(x.clone()));
                }
            }
        }
        let states = std::iter::once(first(x));
        states.chain(tapped.into_iter().flatten()).collect()
    }
}

/// The extra tokens of some rows of a batch.
fn of_rows(extra: Option<Tensor<3>>, rows: &[usize]) -> Option<Tensor<3>> {
    let extra = extra?;
    match extra.dims()[0] {
        1 => Some(extra),
        _ => {
            let (count, rows) = (rows.len(), rows.iter().map(|row| *row as i64));
            let rows = TensorData::new(rows.collect::<Vec<i64>>(), [count]);
            let rows = Tensor::<1, Int>::from_data(rows, &extra.device());
            Some(extra.select(0, rows))
        }
    }
}
