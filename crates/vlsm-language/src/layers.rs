//! RMS normalisation, and the MLPs.

use burn::module::{Initializer, Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::silu;
use burn::tensor::{Device, Tensor};

use crate::lora::LayerPass;

/// RMS normalisation (Zhang and Sennrich 2019) over the last dimension.
#[derive(Module, Debug)]
pub(crate) struct RmsNorm {
    weight: Param<Tensor<1>>,
    epsilon: f64,
}

impl RmsNorm {
    pub(crate) fn new(width: usize, epsilon: f64, device: &Device) -> Self {
        Self {
            weight: Initializer::Ones.init([width], device),
            epsilon,
        }
    }

    pub(crate) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let mean = x.clone().square().mean_dim(2);
        let normal = x / (mean + self.epsilon).sqrt();
        normal * self.weight.val().unsqueeze()
    }
}

/// Llama's MLP: `down(silu(gate(x)) * up(x))`.
#[derive(Module, Debug)]
pub(crate) struct GatedMlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
}

impl GatedMlp {
    pub(crate) fn new(width: usize, hidden: usize, bias: bool, device: &Device) -> Self {
        let linear = |inputs, outputs| {
            LinearConfig::new(inputs, outputs)
                .with_bias(bias)
                .init(device)
        };
        Self {
            gate_proj: linear(width, hidden),
            up_proj: linear(width, hidden),
            down_proj: linear(hidden, width),
        }
    }

    pub(crate) fn forward(&self, x: Tensor<3>, pass: &LayerPass<'_>) -> Tensor<3> {
        let gate = silu(pass.linear("mlp.gate_proj", &self.gate_proj, x.clone()));
        let up = pass.linear("mlp.up_proj", &self.up_proj, x);
        pass.linear("mlp.down_proj", &self.down_proj, gate * up)
    }
}

/// GPT-Neo's MLP: `c_proj(gelu(c_fc(x)))`, with GELU approximated by tanh.
#[derive(Module, Debug)]
pub(crate) struct Mlp {
    c_fc: Linear,
    c_proj: Linear,
}

impl Mlp {
    pub(crate) fn new(width: usize, hidden: usize, device: &Device) -> Self {
        Self {
            c_fc: LinearConfig::new(width, hidden).init(device),
            c_proj: LinearConfig::new(hidden, width).init(device),
        }
    }

    pub(crate) fn forward(&self, x: Tensor<3>, pass: &LayerPass<'_>) -> Tensor<3> {
        let x = pass.linear("mlp.c_fc", &self.c_fc, x);
        let cube = x.clone().powi_scalar(3);
        let inner = (x.clone() + cube * 0.044_715) * (2.0 / std::f64::consts::PI).sqrt();
        pass.linear("mlp.c_proj", &self.c_proj, x * (inner.tanh() + 1.0) * 0.5)
    }
}
