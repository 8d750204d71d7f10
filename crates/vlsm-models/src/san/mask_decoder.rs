//! The side network's end: masks, and the attention biases that lead CLIP's recognition to them.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor, activation};

use super::config::SanConfig;

/// Three linear layers with ReLU between them.
#[derive(Module, Debug)]
pub struct MaskMlp {
    layers: Vec<Linear>,
}

impl MaskMlp {
    fn new(input: usize, hidden: usize, output: usize, device: &Device) -> Self {
        let widths = [input, hidden, hidden, output];
        let layers = widths.windows(2);
        Self {
            layers: layers
                .map(|pair| LinearConfig::new(pair[0], pair[1]).init(device))
                .collect(),
        }
    }

    /// `[batch, tokens, input]` to the last layer's input, `[batch, tokens, hidden]`.
    fn hidden(&self, x: Tensor<3>) -> Tensor<3> {
        let last = self.layers.len() - 1;
        self.layers[..last]
            .iter()
            .fold(x, |x, layer| activation::relu(layer.forward(x)))
    }

    /// The last layer.
    fn last(&self) -> &Linear {
        &self.layers[self.layers.len() - 1]
    }

    /// `[batch, tokens, input]` to `[batch, tokens, output]`.
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.last().forward(self.hidden(x))
    }
}

/// The mask decoder.
#[derive(Module, Debug)]
pub struct MaskDecoder {
    query_mlp: MaskMlp,
    pix_mlp: MaskMlp,
    attn_mlp: MaskMlp,
    /// A factor and a summand of all biases.
    bias_scaling: Linear,
    #[module(skip)]
    heads: usize,
}

/// What the mask decoder makes of the side network's states.
#[derive(Debug, Clone)]
pub struct Masks {
    /// `[batch, queries, embedding]`.
    pub queries: Tensor<3>,
    /// `[batch, grid * grid, embedding]`; the products with a query are the logits of its mask.
    pub pixels: Tensor<3>,
    /// What is added to the attention scores of each of CLIP's heads, `[batch, heads, queries, grid * grid]`.
    pub biases: Tensor<4>,
}

impl MaskDecoder {
    pub(super) fn new(config: &SanConfig, device: &Device) -> Self {
        let side = &config.side_config;
        let heads = config.vision_config.num_attention_heads;
        let mlp = |output| MaskMlp::new(side.hidden_size, side.mlp_dim, output, device);
        Self {
            query_mlp: mlp(side.embed_dim),
            pix_mlp: mlp(side.embed_dim),
            attn_mlp: mlp(side.embed_dim * heads),
            bias_scaling: LinearConfig::new(1, 1).init(device),
            heads,
        }
    }

    /// States of queries `[batch, queries, width]` and patches `[batch, grid * grid, width]` to masks and biases.
    pub(super) fn forward(&self, queries: Tensor<3>, patches: Tensor<3>) -> Masks {
        let queries = self.query_mlp.forward(queries);
        let biases = self.biases(queries.clone(), patches.clone());
        Masks {
            queries,
            pixels: self.pix_mlp.forward(patches),
            biases,
        }
    }

    /// The products of queries `[batch, queries, embedding]` with an embedding of each patch for each head, scaled.
    fn biases(&self, queries: Tensor<3>, patches: Tensor<3>) -> Tensor<4> {
        let [batch, count, width] = queries.dims();
        let [_, places, _] = patches.dims();
        let heads = self.heads;
        let hidden = self.attn_mlp.hidden(patches);
        // The last layer is applied to the queries, of which there are fewer than patches: q (W h + b) = (q W) h + q b.
        let last = self.attn_mlp.last();
        let weight = last.weight.val();
        let [units, _] = weight.dims();
        let weight = weight
            .reshape([units, heads, width])
            .permute([2, 1, 0])
            .reshape([width, heads * units]);
        let queries = queries.reshape([batch * count, width]);
        let projected = queries
            .clone()
            .matmul(weight)
            .reshape([batch, count, heads, units])
            .swap_dims(1, 2)
            .reshape([batch, heads * count, units]);
        let mut biases = projected
            .matmul(hidden.swap_dims(1, 2))
            .reshape([batch, heads, count, places]);
        if let Some(bias) = &last.bias {
            let bias = bias.val().reshape([heads, width]).transpose();
            let added = queries.matmul(bias).reshape([batch, count, heads, 1]);
            biases = biases + added.swap_dims(1, 2);
        }
        let scale = self.bias_scaling.weight.val().reshape([1, 1, 1, 1]);
        biases = biases * scale;
        match &self.bias_scaling.bias {
            Some(bias) => biases + bias.val().reshape([1, 1, 1, 1]),
            None => biases,
        }
    }
}
