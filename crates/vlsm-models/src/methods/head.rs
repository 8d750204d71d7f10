//! TuneVLSeg's output head: a second last layer for CLIPSeg's decoder, mixed with the pretrained one (Adhikari et al. 2024).

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor, TensorData};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{MethodConfig, error};
use crate::error::Result;
use crate::init::torch_default;
use crate::weights;

/// Side of the convolution's kernel.
const KERNEL: usize = 5;

impl MethodConfig {
    /// Refuses the output head, for a base whose decoder it does not fit.
    ///
    /// # Errors
    /// If the method has it.
    pub(crate) fn without_head(&self, base: &str) -> Result<()> {
        match self.has_head() {
            false => Ok(()),
            true => error(format!(
                "`head` is true, but it is a layer for CLIPSeg's decoder, which {base} does not have; leave out `head`, or \
                 train the decoder with `train_decoder = true`"
            )),
        }
    }

    /// Whether the base's decoder is trained.
    pub fn trains_decoder(&self) -> bool {
        self.section().trains_decoder()
    }
}

/// `(1 - a) * pretrained + a * convolution(bilinear upsampling)`, with the names of TuneVLSeg.
#[derive(Module, Debug)]
pub struct OutputHead {
    additive_decoder_layer: Upsampled,
    /// The share `a` of the new layer, `[1]`.
    residual_ratio: Param<Tensor<1>>,
}

/// Bilinear upsampling and a convolution, which is number 1 of a sequence.
#[derive(Module, Debug)]
struct Upsampled {
    numbered_1: Convolution,
}

#[derive(Module, Debug)]
struct Convolution {
    /// `[1, width, 5, 5]`.
    weight: Param<Tensor<4>>,
    /// `[1]`.
    bias: Param<Tensor<1>>,
}

impl OutputHead {
    /// For a decoder of that width: the convolution as PyTorch initialises it, a share of one half.
    pub(crate) fn new(width: usize, seed: u64, device: &Device) -> Self {
        let half = Initializer::Constant { value: 0.5 };
        let head = Self {
            additive_decoder_layer: Upsampled {
                numbered_1: Convolution {
                    weight: Initializer::Zeros.init([1, width, KERNEL, KERNEL], device),
                    bias: Initializer::Zeros.init([1], device),
                },
            },
            residual_ratio: half.init([1], device),
        };
        // Not the numbers that the adapters start from.
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(1);
        weights::fill(head, |name, shape| {
            let count = shape.iter().product();
            let inputs = width * KERNEL * KERNEL;
            (!name.ends_with("residual_ratio")).then(|| torch_default(count, inputs, &mut rng))
        })
    }

    /// The decoder's last map `[batch, grid, grid, width]` and the pretrained layer's logits `[batch, side, side]` to logits.
    ///
    /// Upsampling and convolution are linear, so the convolution's sum over the width is taken on the small map: 25 maps
    /// `g[i, j]`, and the logits are the sum of `u[i] g[i, j] u[j]^T`, where `u[i]` upsamples and shifts by i. This equals the
    /// convolution of the upsampled map up to rounding and needs a hundredth of its operations and memory.
    pub(crate) fn forward(&self, map: Tensor<4>, logits: Tensor<3>) -> Tensor<3> {
        let [batch, grid, _, width] = map.dims();
        let [_, side, _] = logits.dims();
        let Convolution { weight, bias } = &self.additive_decoder_layer.numbered_1;
        let kernel = weight.val().reshape([width, KERNEL * KERNEL]);
        let maps = map
            .reshape([batch * grid * grid, width])
            .matmul(kernel)
            .reshape([batch, grid, grid, KERNEL, KERNEL])
            .permute([0, 3, 1, 4, 2])
            .reshape([batch, KERNEL * grid, KERNEL * grid]);
        let upsampling = shifted_upsampling(grid, side, &logits.device());
        let transposed = upsampling.clone().transpose();
        let rows = Tensor::cat(vec![upsampling.unsqueeze::<3>(); batch], 0);
        let columns = Tensor::cat(vec![transposed.unsqueeze::<3>(); batch], 0);
        let new = rows.matmul(maps).matmul(columns) + bias.val().reshape([1, 1, 1]);
        let share = self.residual_ratio.val().reshape([1, 1, 1]);
        logits.clone() + (new - logits) * share
    }
}

/// Bilinear upsampling as PyTorch's without aligned corners, with its edges repeated for a centred kernel: `[side, 5 * grid]`, one
/// block for each row of the kernel.
fn shifted_upsampling(grid: usize, side: usize, device: &Device) -> Tensor<2> {
    let mut values = vec![0.0f32; side * KERNEL * grid];
    let scale = grid as f64 / side as f64;
    for (row, values) in values.chunks_mut(KERNEL * grid).enumerate() {
        for (shift, values) in values.chunks_mut(grid).enumerate() {
            let padding = KERNEL / 2;
            let row = (row + shift).clamp(padding, side - 1 + padding) - padding;
            let at = ((row as f64 + 0.5) * scale - 0.5).max(0.0);
            let first = (at.floor() as usize).min(grid - 1);
            let second = (first + 1).min(grid - 1);
            let share = (at - first as f64) as f32;
            values[first] += 1.0 - share;
            values[second] += share;
        }
    }
    Tensor::from_data(TensorData::new(values, [side, KERNEL * grid]), device)
}
