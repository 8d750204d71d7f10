//! The vision tower: a ViT that returns its tapped hidden states.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Embedding, EmbeddingConfig, Initializer};
use burn::tensor::{Device, Tensor, TensorData};

use super::config::VisionConfig;
use super::{Encoder, EncoderConfig, EncoderLayer, LayerNorm};
use crate::adapter::LayerAdapters;
use crate::resize::{self, Corners, Filter};

/// Patch, class and position embeddings.
#[derive(Module, Debug)]
pub(super) struct VisionEmbeddings {
    class_embedding: Param<Tensor<1>>,
    patch_embedding: Conv2d,
    position_embedding: Embedding,
    #[module(skip)]
    native_grid: usize,
}

/// CLIP's vision transformer, or one of timm, whose patches have a bias and whose first layer gets its input as it is.
#[derive(Module, Debug)]
pub struct VisionTower {
    embeddings: VisionEmbeddings,
    // None in a ViT of timm.
    pre_layrnorm: Option<LayerNorm>,
    encoder: Encoder,
    // Normalises the class token for CLIP's own use; kept so that a base is written back whole.
    post_layernorm: LayerNorm,
}

impl VisionConfig {
    /// Makes the tower; parameters are initialised when first used.
    pub fn init(&self, device: &Device) -> VisionTower {
        let width = self.hidden_size;
        let grid = self.image_size / self.patch_size;
        let norm = || LayerNorm::new(width, self.layer_norm_eps, device);
        VisionTower {
            embeddings: VisionEmbeddings {
                class_embedding: Initializer::Zeros.init([width], device),
                patch_embedding: Conv2dConfig::new([3, width], [self.patch_size; 2])
                    .with_stride([self.patch_size; 2])
                    .with_bias(self.timm)
                    .init(device),
                position_embedding: EmbeddingConfig::new(grid * grid + 1, width).init(device),
                native_grid: grid,
            },
            pre_layrnorm: (!self.timm).then(norm),
            encoder: EncoderConfig::from(self).init(device),
            post_layernorm: norm(),
        }
    }
}

impl VisionEmbeddings {
    /// Pixels `[batch, 3, side, side]` to tokens `[batch, 1 + grid * grid, width]`, class token
    /// first.
    fn forward(&self, pixels: Tensor<4>) -> Tensor<3> {
        let patches = self.patch_embedding.forward(pixels);
        let [batch, width, grid, _] = patches.dims();
        let patches = patches.reshape([batch, width, grid * grid]).swap_dims(1, 2);
        let class = self
            .class_embedding
            .val()
            .reshape([1, 1, width])
            .expand([batch, 1, width]);
        Tensor::cat(vec![class, patches], 1) + self.positions(grid).unsqueeze::<3>()
    }

    /// Position embeddings `[1 + grid * grid, width]`, resized bicubically to the grid.
    fn positions(&self, grid: usize) -> Tensor<2> {
        let native = self.native_grid;
        let positions = self.position_embedding.weight.val();
        if grid == native {
            return positions;
        }
        let class = positions.clone().narrow(0, 0, 1);
        let patches = positions.narrow(0, 1, native * native);
        Tensor::cat(vec![class, resize_positions(patches, native, grid)], 0)
    }
}

impl VisionTower {
    /// See [`EncoderLayer::set_recompute`](crate::clip::EncoderLayer::set_recompute).
    pub fn set_recompute(&mut self, recompute: bool) {
        self.encoder.set_recompute(recompute);
    }

    /// Pixels `[batch, 3, side, side]` to the embedded tokens, normalised by CLIP,
    /// `[batch, 1 + grid * grid, width]` that enter the first layer.
    pub fn embed(&self, pixels: Tensor<4>) -> Tensor<3> {
        let x = self.embeddings.forward(pixels);
        match &self.pre_layrnorm {
            Some(norm) => norm.forward(x),
            None => x,
        }
    }

    /// The layers, first to last.
    pub fn layers(&self) -> &[EncoderLayer] {
        &self.encoder.layers
    }

    /// The normalisation of the class token before its projection, of any tokens `[batch, tokens, width]`.
    pub fn normalise_class(&self, x: Tensor<3>) -> Tensor<3> {
        self.post_layernorm.forward(x)
    }

    /// Forgets the layers behind `last`, from 0.
    pub(crate) fn truncate(&mut self, last: usize) {
        self.encoder.layers.truncate(last + 1);
    }

    /// The outputs of the tapped layers, in the order of `taps`, each
    /// `[batch, 1 + grid * grid, width]`. `adapters` gives a layer's adapters. Layers
    /// behind the last tap are not run.
    pub fn forward<'a>(
        &self,
        pixels: Tensor<4>,
        taps: &[usize],
        adapters: impl Fn(usize) -> LayerAdapters<'a>,
    ) -> Vec<Tensor<3>> {
        let last = taps.iter().copied().max().unwrap_or(0);
        let mut tapped = vec![None; taps.len()];
        let mut x = self.embed(pixels);
        for (index, layer) in self.encoder.layers.iter().enumerate().take(last + 1) {
            x = layer.forward(x, false, adapters(index));
            for (slot, tap) in tapped.iter_mut().zip(taps) {
                if *tap == index {
                    *slot = Some(x.clone());
                }
            }
        }
        tapped.into_iter().flatten().collect()
    }
}

/// Embeddings of a map's places, `[from * from, width]`, resized bicubically to `[to * to, width]`.
pub(crate) fn resize_positions(positions: Tensor<2>, from: usize, to: usize) -> Tensor<2> {
    if from == to {
        return positions;
    }
    // Resizing is linear, so that it is one product with a constant matrix, which autodiff can follow when the tower is
    // trained.
    let matrix = TensorData::new(bicubic_matrix_2d(from, to), [to * to, from * from]);
    let matrix = Tensor::<2>::from_data(matrix, &positions.device()).cast(positions.dtype());
    matrix.matmul(positions)
}

/// The matrix `[to * to, from * from]`, row-major, that resizes a `from x from` map bicubically.
fn bicubic_matrix_2d(from: usize, to: usize) -> Vec<f32> {
    let axis = resize::matrix(from, to, Filter::Bicubic, Corners::Edges);
    let mut matrix = vec![0.0; to * to * from * from];
    for (row, out) in matrix.chunks_mut(from * from).enumerate() {
        let (y, x) = (row / to, row % to);
        for v in 0..from {
            for u in 0..from {
                out[v * from + u] = (axis[y * from + v] * axis[x * from + u]) as f32;
            }
        }
    }
    matrix
}
