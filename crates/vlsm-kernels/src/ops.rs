//! Parameters and configurations of the operations.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, ExtensionType};

use crate::frozen::FrozenWeights;

/// The layer normalisation before a sublayer.
#[derive(Debug, Clone, ExtensionType)]
pub enum Normalisation<B: Backend> {
    /// No normalisation.
    None,
    /// Layer normalisation (Ba et al. 2016) over the last dimension.
    Layer {
        /// Scale, `[width]`.
        gamma: FloatTensor<B>,
        /// Shift, `[width]`.
        beta: FloatTensor<B>,
        /// Added to the variance.
        epsilon: f64,
    },
}

/// The parameters of a linear layer, `x weight + bias`.
#[derive(Debug, Clone, ExtensionType)]
pub struct LinearWeights<B: Backend> {
    /// `[input, output]`.
    pub weight: FloatTensor<B>,
    /// `[output]`.
    pub bias: FloatTensor<B>,
    /// The matrix in 8 bits, which the sublayers of the CPU backend use instead of `weight` if it is there; `weight` may then be
    /// empty.
    pub frozen: Option<FrozenWeights>,
}

/// The parameters of an attention sublayer, four layers from width to width.
#[derive(Debug, Clone, ExtensionType)]
pub struct AttentionWeights<B: Backend> {
    /// Projection to queries.
    #[extension_type]
    pub query: LinearWeights<B>,
    /// Projection to keys.
    #[extension_type]
    pub key: LinearWeights<B>,
    /// Projection to values.
    #[extension_type]
    pub value: LinearWeights<B>,
    /// Projection of the mixed values.
    #[extension_type]
    pub output: LinearWeights<B>,
}

impl<B: Backend> AttentionWeights<B> {
    /// Query, key, value, output.
    pub(crate) fn layers(&self) -> [&LinearWeights<B>; 4] {
        [&self.query, &self.key, &self.value, &self.output]
    }

    /// As [`layers`](Self::layers), owned.
    pub(crate) fn into_layers(self) -> [LinearWeights<B>; 4] {
        [self.query, self.key, self.value, self.output]
    }
}

/// The parameters of an MLP sublayer or of an adapter block.
#[derive(Debug, Clone, ExtensionType)]
pub struct MlpWeights<B: Backend> {
    /// From the width to the hidden units.
    #[extension_type]
    pub expand: LinearWeights<B>,
    /// From the hidden units to the width.
    #[extension_type]
    pub contract: LinearWeights<B>,
}

impl<B: Backend> MlpWeights<B> {
    /// Expansion, contraction.
    pub(crate) fn layers(&self) -> [&LinearWeights<B>; 2] {
        [&self.expand, &self.contract]
    }

    /// As [`layers`](Self::layers), owned.
    pub(crate) fn into_layers(self) -> [LinearWeights<B>; 2] {
        [self.expand, self.contract]
    }
}

/// The adapter block of a sublayer (Houlsby et al. 2019).
#[derive(Debug, Clone, ExtensionType)]
pub enum Adapter<B: Backend> {
    /// No adapter.
    None,
    /// A block.
    Block {
        /// Its parameters.
        #[extension_type]
        weights: MlpWeights<B>,
        /// How it runs.
        config: AdapterConfig,
    },
}

/// An activation function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(1.702 x)`, used by OpenAI's CLIP.
    QuickGelu,
    /// Gaussian error linear unit.
    Gelu,
    /// The tanh approximation of GELU.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
}

/// The slope of the sigmoid in quick-GELU.
pub(crate) const QUICK_GELU_SLOPE: f32 = 1.702;

/// How an attention sublayer runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionConfig {
    /// Number of heads; divides the width.
    pub heads: usize,
    /// Whether later tokens are hidden from earlier ones.
    pub causal: bool,
    /// Activation checkpointing (Chen et al. 2016): whether the CPU backend saves only the input for the backward pass and
    /// computes the rest again there. Slower, with less memory, and the same bits.
    pub recompute: bool,
}

/// How an MLP sublayer runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MlpConfig {
    /// Activation between expansion and contraction.
    pub activation: Activation,
    /// See [`AttentionConfig::recompute`].
    pub recompute: bool,
}

/// How an adapter block runs: it computes `scale * contract(activation(expand(y)))`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdapterConfig {
    /// Activation between expansion and contraction.
    pub activation: Activation,
    /// Whether a ReLU follows the contraction.
    pub rectified: bool,
    /// Factor of the block's output.
    pub scale: f32,
    /// What the block reads and adds to.
    pub connection: Connection,
}

/// What an adapter block reads and adds to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// After a sublayer: reads the sublayer's output and adds to it. A block without a sublayer adds to its input.
    Sequential,
    /// Parallel to a sublayer (He et al. 2022): reads the sublayer's input, after the normalisation if there is one, and adds
    /// to its output. A block without a sublayer returns its output alone.
    Parallel,
}

/// A step of AdamW (Loshchilov and Hutter 2019), in PyTorch's order of operations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// Learning rate.
    pub lr: f64,
    /// Decay rates of the first and the second moment.
    pub betas: [f64; 2],
    /// Added to the square root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Number of this step, from 1.
    pub step: usize,
}

/// The factors of an AdamW step in f32, each computed in f64 as PyTorch does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AdamWFactors {
    /// Multiplies the parameter.
    pub(crate) decay: f32,
    /// `1 - beta_1`.
    pub(crate) rate_1: f32,
    pub(crate) beta_2: f32,
    /// `1 - beta_2`.
    pub(crate) rate_2: f32,
    /// Square root of the second moment's bias correction.
    pub(crate) root: f32,
    pub(crate) epsilon: f32,
    /// Learning rate over the first moment's bias correction.
    pub(crate) step_size: f32,
}

impl AdamW {
    pub(crate) fn factors(self) -> AdamWFactors {
        let [beta_1, beta_2] = self.betas;
        let correction = |beta: f64| 1.0 - beta.powf(self.step as f64);
        AdamWFactors {
            decay: (1.0 - self.lr * self.weight_decay) as f32,
            rate_1: (1.0 - beta_1) as f32,
            beta_2: beta_2 as f32,
            rate_2: (1.0 - beta_2) as f32,
            root: correction(beta_2).sqrt() as f32,
            epsilon: self.epsilon as f32,
            step_size: (self.lr / correction(beta_1)) as f32,
        }
    }
}
