//! The adapter block.

use burn::backend::Dispatch;
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use vlsm_kernels::{Adapter, AdapterConfig, Connection};

use crate::kernel_weights;
use crate::method::{self, MethodConfig, Profile};

/// A residual bottleneck. Profile `paper`: `x + relu(fc2(relu(fc1(x))))`, not the identity at
/// the start; profile `default`: `x + scale * fc2(activation(fc1(x)))`, by default with `fc2` zero at the start.
#[derive(Module, Debug)]
pub struct AdapterBlock {
    fc1: Linear,
    fc2: Linear,
    #[module(skip)]
    config: AdapterConfig,
}

impl AdapterBlock {
    /// A method's block for tokens of `width` through `bottleneck` hidden units; parameters are initialised when first used.
    pub fn new(width: usize, bottleneck: usize, method: &MethodConfig, device: &Device) -> Self {
        Self {
            fc1: LinearConfig::new(width, bottleneck).init(device),
            fc2: LinearConfig::new(bottleneck, width).init(device),
            config: AdapterConfig {
                activation: method.activation.into(),
                rectified: method.profile == Profile::Paper,
                scale: method.scale as f32,
                connection: Connection::Sequential,
            },
        }
    }

    /// The block with another connection, for its place in a sublayer.
    pub(super) fn connected(mut self, connection: method::Connection) -> Self {
        self.config.connection = match connection {
            method::Connection::Sequential => Connection::Sequential,
            method::Connection::Parallel => Connection::Parallel,
        };
        self
    }

    /// `[..., width]` to the same shape.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        self.run(x, self.config)
    }

    /// What a shallow block on a text state adds to the conditional embedding: its whole output, own
    /// residual included, as published; in the `default` profile its change alone, so that it starts
    /// as the identity there too.
    pub(super) fn contribution(&self, x: Tensor<2>) -> Tensor<2> {
        let mut config = self.config;
        if !config.rectified {
            config.connection = Connection::Parallel;
        }
        self.run(x, config)
    }

    fn run<const D: usize>(&self, x: Tensor<D>, config: AdapterConfig) -> Tensor<D> {
        let shape = x.dims();
        let x = x.reshape([1, -1, shape[D - 1] as i32]);
        let weights = kernel_weights::mlp_weights(&self.fc1, &self.fc2);
        vlsm_kernels::adapter_block(x, weights, config).reshape(shape)
    }

    /// The block as a part of a sublayer.
    pub(crate) fn kernel(&self) -> Adapter<Dispatch> {
        Adapter::Block {
            weights: kernel_weights::mlp_weights(&self.fc1, &self.fc2),
            config: self.config,
        }
    }
}
