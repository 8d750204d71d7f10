//! The vision tower: a ViT that returns its tapped hidden states.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Embedding, EmbeddingConfig, Initializer};
use burn::tensor::{Device, Tensor, TensorData};

use super::config::VisionConfig;
use super::{Encoder, EncoderConfig, EncoderLayer, LayerNorm};
use crate::methods::{Adaptation, Tower};
use crate::precision::Precision;
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

/// CLIP's vision transformer, or timm's, which has a bias in the patch embedding and no norm before the first layer.
#[derive(Module, Debug)]
pub struct VisionTower {
    embeddings: VisionEmbeddings,
    // None in timm's ViT.
    pre_layrnorm: Option<LayerNorm>,
    encoder: Encoder,
    // CLIP's norm of the class token.
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

    /// See [`EncoderLayer::set_precision`].
    pub(crate) fn set_precision(&mut self, precision: Precision) {
        self.encoder.set_precision(precision);
    }

    /// The layers, first to last.
    pub fn layers(&self) -> &[EncoderLayer] {
        &self.encoder.layers
    }

    /// Applies CLIP's norm of the class token, which comes before its projection, to any tokens `[batch, tokens, width]`.
    pub fn normalise_class(&self, x: Tensor<3>) -> Tensor<3> {
        self.post_layernorm.forward(x)
    }

    /// Drops the layers after `last`, from 0.
    pub(crate) fn truncate(&mut self, last: usize) {
        self.encoder.layers.truncate(last + 1);
    }

    /// Pixels `[batch, 3, side, side]` to the states after some numbers of layers, in the order of `after`, each `[batch, 1 +
    /// grid * grid, width]`, class token first. State 0 is the input of the first layer. Layers after the last wanted state
    /// are not run. No state contains a method's extra tokens.
    pub fn forward(
        &self,
        pixels: Tensor<4>,
        after: &[usize],
        method: &dyn Adaptation,
    ) -> Vec<Tensor<3>> {
        let x = self.embeddings.forward(pixels);
        let count = x.dims()[1];
        let mut x = with_extra(x, count, method.tokens(Tower::Vision, 0));
        if let Some(norm) = &self.pre_layrnorm {
            x = norm.forward(x);
        }
        self.run(x, 0, count, after, method)
    }

    /// As [`forward`](Self::forward), from the state after the first `done` layers, at least one.
    pub fn resume(
        &self,
        state: Tensor<3>,
        done: usize,
        after: &[usize],
        method: &dyn Adaptation,
    ) -> Vec<Tensor<3>> {
        let count = state.dims()[1];
        self.run(state, done, count, after, method)
    }

    /// The layers from `done` on. The first `count` tokens of `x` are those of the image.
    fn run(
        &self,
        mut x: Tensor<3>,
        done: usize,
        count: usize,
        after: &[usize],
        method: &dyn Adaptation,
    ) -> Vec<Tensor<3>> {
        let mut states = vec![None; after.len()];
        let mut keep = |layers: usize, x: &Tensor<3>| {
            for (state, after) in states.iter_mut().zip(after) {
                if *after == layers {
                    *state = Some(first(x.clone(), count));
                }
            }
        };
        keep(done, &x);
        let last = after.iter().copied().max().unwrap_or(0);
        let layers = self.encoder.layers.iter().enumerate();
        for (index, layer) in layers.take(last).skip(done) {
            if index > 0 {
                x = with_extra(x, count, method.tokens(Tower::Vision, index));
            }
            x = layer.forward(x, false, method.layer(Tower::Vision, index));
            keep(index + 1, &x);
        }
        states.into_iter().flatten().collect()
    }
}

/// The first `count` tokens of `[batch, tokens, width]`.
fn first(x: Tensor<3>, count: usize) -> Tensor<3> {
    match x.dims()[1] == count {
        true => x,
        false => x.narrow(1, 0, count),
    }
}

/// Tokens `[batch, tokens, width]` with `extra`, `[1, extra tokens, width]` or `[batch, extra tokens, width]`, if there are any, after
/// the first `count`.
fn with_extra(x: Tensor<3>, count: usize, extra: Option<Tensor<3>>) -> Tensor<3> {
    let Some(extra) = extra else {
        return x;
    };
    let [batch, _, width] = x.dims();
    let extra = extra.expand([batch as i64, -1, width as i64]);
    Tensor::cat(vec![first(x, count), extra], 1)
}

/// Position embeddings of a map, `[from * from, width]`, resized bicubically to `[to * to, width]`.
pub(crate) fn resize_positions(positions: Tensor<2>, from: usize, to: usize) -> Tensor<2> {
    if from == to {
        return positions;
    }
    // Resizing is linear, so it is one product with a constant matrix. Autodiff can follow that when the tower is trained.
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
