//! Batch normalisation, alone and after a convolution.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Initializer, PaddingConfig2d};
use burn::tensor::module::{batch_norm_train, conv2d};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, activation};

use super::Mode;

/// PyTorch's default.
const EPSILON: f64 = 1e-5;

/// Batch normalisation over all dimensions but the second (Ioffe and Szegedy 2015), with the parameter names of PyTorch.
///
/// Running statistics are parameters that are never trained, so that they travel with the weights; Burn's own layer
/// changes them in place, for every clone of a network at once, and takes the biased variance where PyTorch takes the
/// unbiased one.
#[derive(Module, Debug)]
pub struct BatchNorm {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
    running_mean: Param<Tensor<1>>,
    running_var: Param<Tensor<1>>,
}

impl BatchNorm {
    /// Normalisation of `channels` to mean 0 and variance 1.
    pub fn new(channels: usize, device: &Device) -> Self {
        let constant = |value| Initializer::Constant { value }.init([channels], device);
        Self {
            weight: constant(1.0),
            bias: constant(0.0),
            running_mean: constant(0.0),
            running_var: constant(1.0),
        }
    }

    /// `[batch, channels, ...]` to the same shape.
    ///
    /// A batch with one value a channel has no variance. PyTorch refuses it in training; here it is normalised by the running
    /// statistics, and does not update them.
    pub fn forward<const D: usize>(&self, x: Tensor<D>, mode: Mode<'_>) -> Tensor<D> {
        let mut per_channel = [1; D];
        per_channel[1] = x.dims()[1];
        let count = x.shape().num_elements() / per_channel[1].max(1);
        match mode {
            Mode::Training(training) if count > 1 => {
                let (weight, bias) = (self.weight.val(), self.bias.val());
                let result = batch_norm_train(x, weight, bias, EPSILON);
                let unbiased = result.variance * (count as f64 / (count - 1) as f64);
                training.note(self.running_mean.id, result.mean);
                training.note(self.running_var.id, unbiased);
                result.output
            }
            _ => {
                let (scale, shift) = self.affine();
                x * scale.reshape(per_channel) + shift.reshape(per_channel)
            }
        }
    }

    /// Scale and shift `[channels]` that normalise by the running statistics.
    fn affine(&self) -> (Tensor<1>, Tensor<1>) {
        let scale = self.weight.val() / (self.running_var.val() + EPSILON).sqrt();
        let shift = self.bias.val() - self.running_mean.val() * scale.clone();
        (scale, shift)
    }
}

/// A convolution without bias that keeps the size of a map at stride 1.
pub(super) fn convolution(
    input: usize,
    output: usize,
    kernel: usize,
    stride: usize,
    device: &Device,
) -> Conv2d {
    let pad = kernel / 2;
    Conv2dConfig::new([input, output], [kernel; 2])
        .with_stride([stride; 2])
        .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
        .with_bias(false)
        .init(device)
}

/// A [`convolution`] and the normalisation of its output, `[batch, in, height, width]` to `[batch, out, height, width]`.
///
/// Running statistics are folded into the weights, which saves passes over maps and gives the same gradients.
pub(super) fn normalised(
    conv: &Conv2d,
    norm: &BatchNorm,
    x: Tensor<4>,
    mode: Mode<'_>,
) -> Tensor<4> {
    let weight = conv.weight.val();
    let [output, _, kernel, _] = weight.dims();
    let options = ConvOptions::new(conv.stride, [kernel / 2; 2], [1; 2], 1);
    match mode {
        Mode::Training(_) => norm.forward(conv2d(x, weight, None, options), mode),
        Mode::Evaluation => {
            let (scale, shift) = norm.affine();
            let weight = weight * scale.reshape([output, 1, 1, 1]);
            conv2d(x, weight, Some(shift), options)
        }
    }
}

/// The published `conv_layer`: convolution, normalisation, and (without parameters) ReLU; a tuple, since its parameters are
/// named by their positions in a sequence.
pub(super) type ConvLayer = (Conv2d, BatchNorm);

/// Makes a [`ConvLayer`] of stride 1; parameters are initialised when first used.
pub(super) fn conv_layer(input: usize, output: usize, kernel: usize, device: &Device) -> ConvLayer {
    (
        convolution(input, output, kernel, 1, device),
        BatchNorm::new(output, device),
    )
}

/// `[batch, in, height, width]` to `[batch, out, height, width]`.
pub(super) fn forward_layer(layer: &ConvLayer, x: Tensor<4>, mode: Mode<'_>) -> Tensor<4> {
    activation::relu(normalised(&layer.0, &layer.1, x, mode))
}
