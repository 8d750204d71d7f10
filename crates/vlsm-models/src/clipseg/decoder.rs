//! The decoder: tapped vision states, deepest first, through one transformer layer each.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};

use super::Upsample;
use crate::activation::Activation;
use crate::clip::{EncoderLayer, EncoderLayerConfig};
use crate::clipseg::ClipSegConfig;
use crate::error::{ModelError, Result};
use crate::methods::{LayerAdapters, OutputHead};

/// CLIPSeg's decoder.
#[derive(Module, Debug)]
pub struct Decoder {
    film_mul: Linear,
    film_add: Linear,
    reduces: Vec<Linear>,
    layers: Vec<EncoderLayer>,
    transposed_convolution: Upsample,
    #[module(skip)]
    conditional_layer: usize,
}

impl Decoder {
    /// See [`EncoderLayer::set_recompute`](crate::clip::EncoderLayer::set_recompute).
    pub fn set_recompute(&mut self, recompute: bool) {
        for layer in &mut self.layers {
            layer.set_recompute(recompute);
        }
    }

    pub(super) fn new(config: &ClipSegConfig, device: &Device) -> Self {
        let width = config.reduce_dim;
        let film = || LinearConfig::new(config.projection_dim, width).init(device);
        let layer = EncoderLayerConfig {
            width,
            heads: config.decoder_num_attention_heads,
            hidden: config.decoder_intermediate_size,
            // Transformers overwrites the configured activation with ReLU.
            activation: Activation::Relu,
            epsilon: config
                .decoder_layer_norm_eps
                .unwrap_or(config.vision_config.layer_norm_eps),
        };
        let taps = config.extract_layers.len();
        Self {
            film_mul: film(),
            film_add: film(),
            reduces: (0..taps)
                .map(|_| LinearConfig::new(config.vision_config.hidden_size, width).init(device))
                .collect(),
            layers: (0..taps).map(|_| layer.init(device)).collect(),
            transposed_convolution: Upsample::new(config, device),
            conditional_layer: config.conditional_layer,
        }
    }

    /// Tapped states, shallowest first, each `[batch, 1 + grid * grid, vision width]`, reduced to the decoder's width. This
    /// part of the decoder does not depend on the prompt.
    pub fn reduce(&self, tapped: Vec<Tensor<3>>) -> Vec<Tensor<3>> {
        // `reduces` is ordered from deepest to shallowest.
        let pairs = tapped.into_iter().zip(self.reduces.iter().rev());
        pairs.map(|(state, reduce)| reduce.forward(state)).collect()
    }

    /// [Reduced](Self::reduce) states, shallowest first, and conditional embeddings `[batch, projection]`, to logits
    /// `[batch, side, side]`, with an output head if there is one.
    ///
    /// # Errors
    /// If there are not as many states as decoder layers.
    pub fn forward(
        &self,
        reduced: &[Tensor<3>],
        conditional: Tensor<2>,
        head: Option<&OutputHead>,
    ) -> Result<Tensor<3>> {
        let wrong_number = || ModelError::States {
            what: "CLIPSeg's decoder".into(),
            expected: self.layers.len(),
            found: reduced.len(),
        };
        if reduced.len() != self.layers.len() {
            return Err(wrong_number());
        }
        let mut x: Option<Tensor<3>> = None;
        for (index, (state, layer)) in reduced.iter().rev().zip(&self.layers).enumerate() {
            let state = state.clone();
            let mut y = match x {
                Some(x) => state + x,
                None => state,
            };
            if index == self.conditional_layer {
                // FiLM (Perez et al. 2018), the same for every token.
                let scale = self.film_mul.forward(conditional.clone()).unsqueeze_dim(1);
                let shift = self
                    .film_add
                    .forward(conditional.clone())
                    .unsqueeze_dim::<3>(1);
                y = y * scale + shift;
            }
            x = Some(layer.forward_post_norm(y, LayerAdapters::default()));
        }
        let x = x.ok_or_else(wrong_number)?;
        let [batch, tokens, width] = x.dims();
        let grid = (tokens - 1).isqrt();
        let map = x
            .slice([0..batch, 1..tokens, 0..width])
            .reshape([batch, grid, grid, width]);
        let logits = self
            .transposed_convolution
            .forward(map.clone())
            .squeeze_dim(3);
        Ok(match head {
            Some(head) => head.forward(map, logits),
            None => logits,
        })
    }
}
