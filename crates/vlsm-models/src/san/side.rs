//! The side network: a small vision transformer with queries, into which CLIP's states are fused.

use burn::module::{Module, Param};
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};

use super::config::{Fusion, SanConfig, SideConfig};
use super::mask_decoder::MaskDecoder;
use super::resize::bilinear;
use crate::activation::Activation;
use crate::clip::{Encoder, EncoderConfig, EncoderLayerConfig, LayerNorm, resize_positions};
use crate::methods::LayerAdapters;

/// timm's epsilon of a vision transformer's layer norms, and SAN's in the fusion.
const EPSILON: f64 = 1e-6;

/// Takes a state of CLIP to the side network: normalised and projected.
#[derive(Module, Debug)]
pub struct FusionLayer {
    norm: LayerNorm,
    projection: Linear,
}

impl FusionLayer {
    fn new(config: &SanConfig, device: &Device) -> Self {
        let width = config.vision_config.hidden_size;
        Self {
            norm: LayerNorm::new(width, EPSILON, device),
            projection: LinearConfig::new(width, config.side_config.hidden_size).init(device),
        }
    }

    /// A state of CLIP, `[batch, 1 + small * small, CLIP's width]`, to `[batch, grid * grid, width]`; the class token is
    /// left out.
    fn forward(&self, state: Tensor<3>, grid: usize) -> Tensor<3> {
        let [_, tokens, _] = state.dims();
        let small = (tokens - 1).isqrt();
        let state = self.norm.forward(state.narrow(1, 1, tokens - 1));
        bilinear(self.projection.forward(state), small, grid)
    }
}

/// The side network.
#[derive(Module, Debug)]
pub struct SideNetwork {
    patch_embed: Linear,
    /// `[grid * grid, width]`, of the grid for which it was trained.
    pos_embed: Param<Tensor<2>>,
    /// `[queries, width]`.
    query_embed: Param<Tensor<2>>,
    /// `[queries, width]`.
    query_pos_embed: Param<Tensor<2>>,
    blocks: Encoder,
    fusion_layers: Vec<FusionLayer>,
    /// What masks and biases are made with.
    pub mask_decoder: MaskDecoder,
}

impl SideNetwork {
    /// See [`EncoderLayer::set_recompute`](crate::clip::EncoderLayer::set_recompute).
    pub fn set_recompute(&mut self, recompute: bool) {
        self.blocks.set_recompute(recompute);
    }

    pub(super) fn new(config: &SanConfig, device: &Device) -> Self {
        let side = &config.side_config;
        let SideConfig {
            hidden_size: width,
            patch_size: patch,
            num_queries: queries,
            ..
        } = *side;
        let grid = side.image_size / patch;
        let table = |rows| {
            Initializer::Normal {
                mean: 0.0,
                std: 0.02,
            }
            .init([rows, width], device)
        };
        let layer = EncoderLayerConfig {
            width,
            heads: side.num_attention_heads,
            hidden: side.intermediate_size,
            activation: Activation::Gelu,
            epsilon: EPSILON,
        };
        Self {
            patch_embed: LinearConfig::new(3 * patch * patch, width).init(device),
            pos_embed: table(grid * grid),
            query_embed: table(queries),
            query_pos_embed: table(queries),
            blocks: EncoderConfig {
                layer,
                layers: side.num_hidden_layers,
            }
            .init(device),
            fusion_layers: (0..config.fusion.len())
                .map(|_| FusionLayer::new(config, device))
                .collect(),
            mask_decoder: MaskDecoder::new(config, device),
        }
    }

    /// Patches `[batch, grid * grid, 3 * patch * patch]` to the states of queries `[batch, queries, width]` and of patches
    /// `[batch, grid * grid, width]`. `clip` gives CLIP's state `[batch, 1 + small * small, CLIP's width]` after so many
    /// layers.
    pub(super) fn forward(
        &self,
        patches: Tensor<3>,
        fusions: &[Fusion],
        clip: impl Fn(usize) -> Option<Tensor<3>>,
    ) -> [Tensor<3>; 2] {
        let [batch, places, _] = patches.dims();
        let grid = places.isqrt();
        let [queries, width] = self.query_embed.dims();
        let native = self.pos_embed.dims()[0].isqrt();
        let positions = resize_positions(self.pos_embed.val(), native, grid);
        let positions =
            Tensor::cat(vec![self.query_pos_embed.val(), positions], 0).unsqueeze::<3>();
        let fuse = |x: Tensor<3>, block: usize| {
            let here = fusions.iter().filter(|fusion| fusion.block == block);
            here.fold(x, |x, fusion| {
                let Some(state) = clip(fusion.clip) else {
                    return x;
                };
                let added = self.fusion_layers[fusion.layer].forward(state, grid);
                let patches = x.clone().narrow(1, queries, places) + added;
                Tensor::cat(vec![x.narrow(1, 0, queries), patches], 1)
            })
        };

        let tokens = self
            .query_embed
            .val()
            .unsqueeze::<3>()
            .expand([batch, queries, width]);
        let mut x = Tensor::cat(vec![tokens, self.patch_embed.forward(patches)], 1);
        for (block, layer) in self.blocks.layers.iter().enumerate() {
            // Positions are added again before each block.
            x = x + positions.clone();
            if block == 0 {
                x = fuse(x, 0);
            }
            x = fuse(layer.forward(x, false, LayerAdapters::default()), block + 1);
        }
        [
            x.clone().narrow(1, 0, queries),
            x.narrow(1, queries, places),
        ]
    }
}
