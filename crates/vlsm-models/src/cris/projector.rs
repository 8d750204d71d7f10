//! The projector: a map's convolution with a kernel that the text predicts.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};

use super::Mode;
use super::config::CrisConfig;
use super::decoder::Place;
use super::neck::double;
use super::norm::{ConvLayer, conv_layer, forward_layer};

/// Side of the predicted kernel.
const KERNEL: usize = 3;

/// CRIS's projector, which the paper uses for its contrast of text and pixels.
#[derive(Module, Debug)]
pub struct Projector {
    /// Doubling, convolution, doubling, convolution, convolution.
    vis: (Place, ConvLayer, Place, ConvLayer, Conv2d),
    txt: Linear,
}

impl Projector {
    pub(super) fn new(config: &CrisConfig, device: &Device) -> Self {
        let width = config.width();
        let half = width / 2;
        Self {
            vis: (
                Place,
                conv_layer(width, width, 3, device),
                Place,
                conv_layer(width, half, 3, device),
                Conv2dConfig::new([half, half], [1; 2]).init(device),
            ),
            txt: LinearConfig::new(config.projection_dim, half * KERNEL * KERNEL + 1).init(device),
        }
    }

    /// A map `[batch, width, height, width]` and pooled text states `[batch, projection]` to logits
    /// `[batch, 1, 4 height, 4 width]`.
    pub(super) fn forward(&self, x: Tensor<4>, state: Tensor<2>, mode: Mode<'_>) -> Tensor<4> {
        let (_, first, _, second, last) = &self.vis;
        let x = forward_layer(first, double(x), mode);
        let x = last.forward(forward_layer(second, double(x), mode));
        let [batch, channels, rows, columns] = x.dims();
        let taps = KERNEL * KERNEL;
        let predicted = self.txt.forward(state);
        let kernel = predicted
            .clone()
            .slice([0..batch, 0..channels * taps])
            .reshape([batch, channels, taps])
            .swap_dims(1, 2);
        let bias = predicted
            .slice([0..batch, channels * taps..channels * taps + 1])
            .reshape([batch, 1, 1, 1]);

        // A convolution to one channel, with another kernel for each image: what each of the kernel's taps makes of every
        // pixel is one product, and the convolution is their sum, each shifted to its position.
        let pad = KERNEL / 2;
        let products = kernel
            .matmul(x.reshape([batch, channels, rows * columns]))
            .reshape([batch, taps, rows, columns])
            .pad((pad, pad, pad, pad), 0.0);
        (0..taps).fold(bias.expand([batch, 1, rows, columns]), |sum, tap| {
            let (top, left) = (tap / KERNEL, tap % KERNEL);
            let shifted = [
                0..batch,
                tap..tap + 1,
                top..top + rows,
                left..left + columns,
            ];
            sum + products.clone().slice(shifted)
        })
    }
}
