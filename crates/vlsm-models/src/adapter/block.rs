//! The adapter block.

use burn::module::Module;
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::tensor::{Device, Tensor, activation};

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
        let hidden = activation::relu(self.fc1.forward(x.clone()));
        let change = self.fc2.forward(hidden);
        x + match self.profile {
            Profile::Paper => activation::relu(change),
            Profile::Default => change,
        }
    }
}
