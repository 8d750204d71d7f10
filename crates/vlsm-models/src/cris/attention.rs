//! Multi-head attention between any two sequences.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor, activation};

use super::Mode;

/// Queries, keys and values, each `[batch, tokens, width]`, keys and values of as many tokens, to mixed values
/// `[batch, query tokens, width]`. `mask`, `[batch, tokens]`, is added to each key's scores; `dropout` is of the shares.
pub(super) fn mix(
    [query, key, value]: [Tensor<3>; 3],
    heads: usize,
    mask: Option<Tensor<2>>,
    mode: Mode<'_>,
    dropout: f64,
) -> Tensor<3> {
    let [batch, queries, width] = query.dims();
    let [_, keys, _] = key.dims();
    let by_head = |x: Tensor<3>, tokens| {
        x.reshape([batch, tokens, heads, width / heads])
            .swap_dims(1, 2)
    };
    // The smaller factor is scaled, as in PyTorch.
    let query = by_head(query, queries) * ((width / heads) as f64).powf(-0.5);
    let mut scores = query.matmul(by_head(key, keys).swap_dims(2, 3));
    if let Some(mask) = mask {
        scores = scores + mask.reshape([batch, 1, 1, keys]);
    }
    let shares = mode.dropout(activation::softmax(scores, 3), dropout);
    shares
        .matmul(by_head(value, keys))
        .swap_dims(1, 2)
        .reshape([batch, queries, width])
}

/// PyTorch's `MultiheadAttention`, with a layer for each projection.
#[derive(Module, Debug)]
pub struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    dropout: f64,
}

impl Attention {
    /// Makes the layer; parameters are initialised when first used.
    pub(super) fn new(width: usize, heads: usize, dropout: f64, device: &Device) -> Self {
        let linear = || LinearConfig::new(width, width).init(device);
        Self {
            q_proj: linear(),
            k_proj: linear(),
            v_proj: linear(),
            out_proj: linear(),
            heads,
            dropout,
        }
    }

    /// Queries, keys and values `[batch, tokens, width]` to `[batch, query tokens, width]`; see [`mix`].
    pub(super) fn forward(
        &self,
        [query, key, value]: [Tensor<3>; 3],
        mask: Option<Tensor<2>>,
        mode: Mode<'_>,
    ) -> Tensor<3> {
        let projected = [
            self.q_proj.forward(query),
            self.k_proj.forward(key),
            self.v_proj.forward(value),
        ];
        let mixed = mix(projected, self.heads, mask, mode, self.dropout);
        self.out_proj.forward(mixed)
    }
}
