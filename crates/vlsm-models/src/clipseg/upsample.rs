//! From the decoder's tokens to pixels.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Initializer, PaddingConfig2d};
use burn::tensor::{Device, Tensor, activation};

use crate::clipseg::ClipSegConfig;

/// A transposed convolution whose stride equals its kernel, so that no two outputs overlap: every
/// pixel becomes a `kernel x kernel` block, by one matrix product.
#[derive(Module, Debug)]
pub struct StridedConvTranspose {
    /// `[in, out, kernel, kernel]`, as PyTorch's `ConvTranspose2d`.
    weight: Param<Tensor<4>>,
    /// `[out]`.
    bias: Param<Tensor<1>>,
}

impl StridedConvTranspose {
    /// Makes the layer; parameters are initialised when first used.
    pub fn new(input: usize, output: usize, kernel: usize, device: &Device) -> Self {
        let initializer = Initializer::KaimingUniform {
            gain: 1.0 / 3f64.sqrt(),
            fan_out_only: false,
        };
        let fan_in = output * kernel * kernel;
        Self {
            weight: initializer.init_with(
                [input, output, kernel, kernel],
                Some(fan_in),
                None,
                device,
            ),
            bias: Initializer::Zeros.init([output], device),
        }
    }

    /// `[batch, height, width, in]` to `[batch, height * kernel, width * kernel, out]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let weight = self.weight.val();
        let [input, output, kernel, _] = weight.dims();
        let [batch, height, width, _] = x.dims();
        let weight = weight
            .permute([0, 2, 3, 1])
            .reshape([input, kernel * kernel * output]);
        let bias = self.bias.val().unsqueeze::<4>();
        x.reshape([batch * height * width, input])
            .matmul(weight)
            .reshape([batch * height, width, kernel, kernel * output])
            .swap_dims(1, 2)
            .reshape([batch, height * kernel, width * kernel, output])
            + bias
    }
}

/// The convolutions of the "refined" models.
#[derive(Module, Debug)]
pub struct ComplexUpsample {
    conv: Conv2d,
    up1: StridedConvTranspose,
    up2: StridedConvTranspose,
}

/// `transposed_convolution` of the decoder.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)]
pub enum Upsample {
    /// One transposed convolution with the patch as kernel.
    Plain(StridedConvTranspose),
    /// A 3x3 convolution and two transposed convolutions with a quarter of the patch as kernel.
    Complex(ComplexUpsample),
}

impl Upsample {
    pub(super) fn new(config: &ClipSegConfig, device: &Device) -> Self {
        let width = config.reduce_dim;
        let patch = config.vision_config.patch_size;
        if config.use_complex_transposed_convolution {
            Self::Complex(ComplexUpsample {
                conv: Conv2dConfig::new([width, width], [3, 3])
                    .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                    .init(device),
                up1: StridedConvTranspose::new(width, width / 2, patch / 4, device),
                up2: StridedConvTranspose::new(width / 2, 1, patch / 4, device),
            })
        } else {
            Self::Plain(StridedConvTranspose::new(width, 1, patch, device))
        }
    }

    /// `[batch, grid, grid, width]` to `[batch, side, side, 1]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Plain(up) => up.forward(x),
            Self::Complex(layers) => {
                let x = layers.conv.forward(x.permute([0, 3, 1, 2]));
                let x = activation::relu(x).permute([0, 2, 3, 1]);
                layers.up2.forward(activation::relu(layers.up1.forward(x)))
            }
        }
    }
}
