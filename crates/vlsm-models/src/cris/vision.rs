//! The vision tower: CLIP's ResNet, with an attention pool that keeps the map.

use burn::module::{Module, Param};
use burn::nn::conv::Conv2d;
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::tensor::module::avg_pool2d;
use burn::tensor::ops::AvgPoolOptions;
use burn::tensor::{Device, Tensor, activation};

use super::attention::mix;
use super::config::ResNetConfig;
use super::norm::{BatchNorm, ConvLayer, conv_layer, convolution, normalised};
use super::{EXPANSION, Mode};
use crate::resize::{Corners, Filter, resize};

/// Halves a map's sides, by the mean of each 2x2 block.
pub(super) fn halve(x: Tensor<4>) -> Tensor<4> {
    avg_pool2d(x, AvgPoolOptions::new([2; 2]))
}

/// A residual block of three convolutions. Sides are halved by averaging, after the 3x3 convolution and before the one on
/// the shortcut, never by strides.
#[derive(Module, Debug)]
pub struct Bottleneck {
    conv1: Conv2d,
    bn1: BatchNorm,
    conv2: Conv2d,
    bn2: BatchNorm,
    conv3: Conv2d,
    bn3: BatchNorm,
    downsample: Option<ConvLayer>,
    #[module(skip)]
    halves: bool,
}

impl Bottleneck {
    fn new(input: usize, planes: usize, halves: bool, device: &Device) -> Self {
        let output = planes * EXPANSION;
        let downsample = halves || input != output;
        Self {
            conv1: convolution(input, planes, 1, 1, device),
            bn1: BatchNorm::new(planes, device),
            conv2: convolution(planes, planes, 3, 1, device),
            bn2: BatchNorm::new(planes, device),
            conv3: convolution(planes, output, 1, 1, device),
            bn3: BatchNorm::new(output, device),
            downsample: downsample.then(|| conv_layer(input, output, 1, device)),
            halves,
        }
    }

    /// `[batch, in, height, width]` to `[batch, 4 planes, height, width]` or half of these sides.
    fn forward(&self, x: Tensor<4>, mode: Mode<'_>) -> Tensor<4> {
        let pool = |x| if self.halves { halve(x) } else { x };
        let y = activation::relu(normalised(&self.conv1, &self.bn1, x.clone(), mode));
        let y = activation::relu(normalised(&self.conv2, &self.bn2, y, mode));
        let y = normalised(&self.conv3, &self.bn3, pool(y), mode);
        let shortcut = match &self.downsample {
            Some((conv, norm)) => normalised(conv, norm, pool(x), mode),
            None => x,
        };
        activation::relu(y + shortcut)
    }
}

/// CLIP's attention pool as CRIS uses it: every pixel is a query, so that the map stays one, and there is no mean token;
/// `connect`, which CLIP does not have, is a residual around it.
#[derive(Module, Debug)]
pub struct AttentionPool {
    /// `[1 + grid * grid, width]`; the first is the mean token's, and not used.
    positional_embedding: Param<Tensor<2>>,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    c_proj: Linear,
    connect: ConvLayer,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    native_grid: usize,
}

impl AttentionPool {
    fn new(config: &ResNetConfig, output: usize, device: &Device) -> Self {
        let (width, grid) = (config.channels()[3], config.native_grid());
        let linear = |output| LinearConfig::new(width, output).init(device);
        Self {
            positional_embedding: Initializer::Zeros.init([1 + grid * grid, width], device),
            q_proj: linear(width),
            k_proj: linear(width),
            v_proj: linear(width),
            c_proj: linear(output),
            connect: conv_layer(width, output, 1, device),
            heads: config.heads,
            native_grid: grid,
        }
    }

    /// `[batch, width, height, width]` to `[batch, output, height, width]`.
    fn forward(&self, x: Tensor<4>, mode: Mode<'_>) -> Tensor<4> {
        let [batch, width, rows, columns] = x.dims();
        let grid = self.native_grid;
        let positions = self
            .positional_embedding
            .val()
            .slice([1..1 + grid * grid, 0..width])
            .transpose()
            .reshape([1, width, grid, grid]);
        let positions = resize(positions, [rows, columns], Filter::Bicubic, Corners::Edges);
        let tokens = (x.clone() + positions)
            .reshape([batch, width, rows * columns])
            .swap_dims(1, 2);
        let projected = [
            self.q_proj.forward(tokens.clone()),
            self.k_proj.forward(tokens.clone()),
            self.v_proj.forward(tokens),
        ];
        let mixed = mix(projected, self.heads, None, mode, 0.0);
        let mixed = self.c_proj.forward(mixed).swap_dims(1, 2);
        let residual = normalised(&self.connect.0, &self.connect.1, x, mode);
        activation::relu(mixed.reshape(residual.dims()) + residual)
    }
}

/// CLIP's modified ResNet (Radford et al. 2021, section 2.4): a stem of three convolutions, averages in place of strides
/// and of the first pool, and an attention pool at the end.
#[derive(Module, Debug)]
pub struct ResNet {
    conv1: Conv2d,
    bn1: BatchNorm,
    conv2: Conv2d,
    bn2: BatchNorm,
    conv3: Conv2d,
    bn3: BatchNorm,
    layer1: Vec<Bottleneck>,
    layer2: Vec<Bottleneck>,
    layer3: Vec<Bottleneck>,
    layer4: Vec<Bottleneck>,
    attnpool: AttentionPool,
}

impl ResNetConfig {
    /// Makes the tower, whose last map has `output` channels; parameters are initialised when first used.
    pub fn init(&self, output: usize, device: &Device) -> ResNet {
        let (width, stem) = (self.width, self.width / 2);
        let stage = |index: usize| -> Vec<Bottleneck> {
            let planes = width << index;
            let output = planes * EXPANSION;
            // The first stage follows the stem, which halves twice itself.
            let (input, halves) = match index {
                0 => (width, false),
                _ => (output / 2, true),
            };
            (0..self.layers[index])
                .map(|block| match block {
                    0 => Bottleneck::new(input, planes, halves, device),
                    _ => Bottleneck::new(output, planes, false, device),
                })
                .collect()
        };
        ResNet {
            conv1: convolution(3, stem, 3, 2, device),
            bn1: BatchNorm::new(stem, device),
            conv2: convolution(stem, stem, 3, 1, device),
            bn2: BatchNorm::new(stem, device),
            conv3: convolution(stem, width, 3, 1, device),
            bn3: BatchNorm::new(width, device),
            layer1: stage(0),
            layer2: stage(1),
            layer3: stage(2),
            layer4: stage(3),
            attnpool: AttentionPool::new(self, output, device),
        }
    }
}

impl ResNet {
    /// Pixels `[batch, 3, side, side]` to the maps C3, C4 and C5: `[batch, 8 width, side / 8, side / 8]`,
    /// `[batch, 16 width, side / 16, side / 16]` and `[batch, output, side / 32, side / 32]`.
    pub fn forward(&self, pixels: Tensor<4>, mode: Mode<'_>) -> [Tensor<4>; 3] {
        let stem = [
            (&self.conv1, &self.bn1),
            (&self.conv2, &self.bn2),
            (&self.conv3, &self.bn3),
        ];
        let x = stem.into_iter().fold(pixels, |x, (conv, norm)| {
            activation::relu(normalised(conv, norm, x, mode))
        });
        let through = |stage: &[Bottleneck], x| {
            let blocks = stage.iter();
            blocks.fold(x, |x, block| block.forward(x, mode))
        };
        let c3 = through(&self.layer2, through(&self.layer1, halve(x)));
        let c4 = through(&self.layer3, c3.clone());
        let c5 = through(&self.layer4, c4.clone());
        [c3, c4, self.attnpool.forward(c5, mode)]
    }
}
