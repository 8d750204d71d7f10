//! The adapter block.

use burn::backend::Dispatch;
use burn::module::Module;
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use vlsm_kernels::{Adapter, AdapterConfig};

use crate::linear;
use crate::method::Profile;

/// Configuration of an [`AdapterBlock`].
#[derive(Debug, Clone)]
pub struct AdapterBlockConfig {
    width: usize,
    bottleneck: usize,
    profile: Profile,
}

/// A residual bottleneck. Profile `paper`: `x + relu(fc2(relu(fc1(x))))`, not the identity at
/// the start; profile `default`: `x + fc2(relu(fc1(x)))` with `fc2` zero at the start.
#[derive(Module, Debug)]
pub struct AdapterBlock {
    fc1: Linear,
    fc2: Linear,
    #[module(skip)]
    profile: Profile,
}

impl AdapterBlockConfig {
    /// A block for tokens of `width` through `bottleneck` hidden units.
    pub fn new(width: usize, bottleneck: usize, profile: Profile) -> Self {
        Self {
            width,
            bottleneck,
            profile,
        }
    }

    /// Makes the block; parameters are initialised when first used.
    pub fn init(&self, device: &Device) -> AdapterBlock {
        let fc2 = LinearConfig::new(self.bottleneck, self.width);
        AdapterBlock {
            fc1: LinearConfig::new(self.width, self.bottleneck).init(device),
            fc2: match self.profile {
                Profile::Paper => fc2,
                Profile::Default => fc2.with_initializer(Initializer::Zeros),
            }
            .init(device),
            profile: self.profile,
        }
    }
}

impl AdapterBlock {
    /// `[..., width]` to the same shape.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        self.run(x, true)
    }

    /// What a shallow block on a text state adds to the conditional embedding: its whole output, own
    /// residual included, as published; in the `default` profile its change alone, so that it starts
    /// as the identity there too.
    pub(super) fn contribution(&self, x: Tensor<2>) -> Tensor<2> {
        self.run(x, self.profile == Profile::Paper)
    }

    fn run<const D: usize>(&self, x: Tensor<D>, residual: bool) -> Tensor<D> {
        let shape = x.dims();
        let config = AdapterConfig {
            rectified: self.rectified(),
            residual,
        };
        let x = x.reshape([1, -1, shape[D - 1] as i32]);
        let weights = linear::mlp_weights(&self.fc1, &self.fc2);
        vlsm_kernels::adapter_block(x, weights, config).reshape(shape)
    }

    /// The block as a part of a sublayer.
    pub(crate) fn kernel(&self) -> Adapter<Dispatch> {
        Adapter::Block {
            weights: linear::mlp_weights(&self.fc1, &self.fc2),
            rectified: self.rectified(),
        }
    }

    fn rectified(&self) -> bool {
        self.profile == Profile::Paper
    }
}
