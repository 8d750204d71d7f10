//! The adapter block.

use burn::backend::Dispatch;
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};
use vlsm_kernels::{Adapter, AdapterConfig, Connection as KernelConnection};

use super::{AdapterInit, BaseShape, COND_BOTTLENECK, Placement, Profile, check_scale, error};
use crate::activation::Activation;
use crate::error::Result;
use crate::kernel_weights;

/// What a dense block reads and adds to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Connection {
    /// It reads the sublayer's output and adds to it.
    Sequential,
    /// It reads what the sublayer reads, normalised, and adds to the sublayer's output (He et al. 2022).
    Parallel,
}

/// The keys that set the form and the initialisation of blocks.
pub(super) struct BlockForm {
    pub(super) profile: Profile,
    pub(super) connection: Connection,
    pub(super) activation: Activation,
    pub(super) init: Option<AdapterInit>,
    pub(super) scale: f64,
}

impl BlockForm {
    /// How blocks start: by default at random in profile `paper`, else as the identity.
    pub(super) fn init(&self) -> AdapterInit {
        self.init.unwrap_or(match self.profile {
            Profile::Paper => AdapterInit::Random,
            Profile::Default => AdapterInit::Zero,
        })
    }

    /// How blocks are run.
    ///
    /// # Errors
    /// If the profile is `paper` and the published code has no such block, or if the scale is 0 or not finite.
    pub(super) fn config(&self) -> Result<AdapterConfig> {
        let departures = [
            ("connection", self.connection != Connection::Sequential),
            ("activation", self.activation != Activation::Relu),
            ("init", self.init() != AdapterInit::Random),
            ("scale", self.scale != 1.0),
        ];
        if self.profile == Profile::Paper
            && let Some((key, _)) = departures.iter().find(|(_, departs)| *departs)
        {
            return error(format!(
                "`{key}` is not as published; leave it out, or use `profile = \"default\"`"
            ));
        }
        check_scale(self.scale)?;
        Ok(AdapterConfig {
            activation: self.activation.into(),
            rectified: self.profile == Profile::Paper,
            scale: self.scale as f32,
            connection: match self.connection {
                Connection::Sequential => KernelConnection::Sequential,
                Connection::Parallel => KernelConnection::Parallel,
            },
        })
    }
}

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
    /// A block for tokens of `width` through `bottleneck` hidden units; parameters are initialised when first used.
    pub fn new(width: usize, bottleneck: usize, config: AdapterConfig, device: &Device) -> Self {
        Self {
            fc1: LinearConfig::new(width, bottleneck).init(device),
            fc2: LinearConfig::new(bottleneck, width).init(device),
            config,
        }
    }

    /// The block on the conditional embedding, if the placement includes it. It reads the embedding and adds to it.
    pub(super) fn conditional(
        placement: &Placement<'_>,
        base: &BaseShape,
        config: AdapterConfig,
        device: &Device,
    ) -> Option<Self> {
        let hidden = placement.cond_bottleneck.unwrap_or(COND_BOTTLENECK);
        let config = AdapterConfig {
            connection: KernelConnection::Sequential,
            ..config
        };
        let wanted = placement.towers.conditional();
        wanted.then(|| Self::new(base.projection, hidden, config, device))
    }

    /// `[..., width]` to the same shape.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        self.run(x, self.config)
    }

    /// The output of a sublayer, `[batch, tokens, width]`, with the block's change; `input` is what the sublayer read,
    /// normalised.
    pub(crate) fn after_sublayer(&self, input: Tensor<3>, output: Tensor<3>) -> Tensor<3> {
        match self.config.connection {
            KernelConnection::Sequential => self.forward(output),
            KernelConnection::Parallel => output + self.forward(input),
        }
    }

    /// What a shallow block on a text state adds to the conditional embedding. In profile `paper` this is the block's
    /// whole output with its residual, as published. In `default` it is the change alone, so that the block starts as
    /// the identity here too.
    pub(super) fn contribution(&self, x: Tensor<2>) -> Tensor<2> {
        let mut config = self.config;
        if !config.rectified {
            config.connection = KernelConnection::Parallel;
        }
        self.run(x, config)
    }

    fn run<const D: usize>(&self, x: Tensor<D>, config: AdapterConfig) -> Tensor<D> {
        let shape = x.dims();
        let x = x.reshape([1, -1, shape[D - 1] as i32]);
        let weights = kernel_weights::mlp_weights(&self.fc1, &self.fc2);
        vlsm_kernels::adapter_block(x, weights, config).reshape(shape)
    }

    /// The block as the sublayer kernels take it.
    pub(crate) fn kernel(&self) -> Adapter<Dispatch> {
        Adapter::Block {
            weights: kernel_weights::mlp_weights(&self.fc1, &self.fc2),
            config: self.config,
        }
    }
}

/// The text embedding, `[prompts, projection]`, after the block on it, if there is one.
pub(super) fn conditioned(block: &Option<AdapterBlock>, embedding: Tensor<2>) -> Tensor<2> {
    match block {
        Some(block) => block.forward(embedding),
        None => embedding,
    }
}
