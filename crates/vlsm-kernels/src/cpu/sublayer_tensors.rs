//! A sublayer with its parameters as tensors of the CPU backend.

use std::fmt::Debug;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Flex, TensorMetadata};
use burn::tensor::{DType, Shape};
use burn_flex::FlexTensor;

use super::adapter::Adapter as AdapterKernel;
use super::attention::Attention;
use super::mlp::Mlp;
use super::norm::Norm;
use super::panels::Rows;
use super::sublayer::{SavedTensors, Sublayer, SublayerGrads};
use super::sublayer_core::{Core, NeededGrads, Save};
use super::tensors::{from_values, linear, values};
use crate::ops::{
    Adapter, AdapterConfig, AttentionConfig, LinearWeights, MlpConfig, Normalisation,
};

/// Whether the kernels can run a sublayer: its input is not empty, and all operands are f32. Elsewhere it is composed.
pub(crate) fn fits<B: Backend>(
    x: &FloatTensor<B>,
    norm: &Normalisation<B>,
    layers: &[&LinearWeights<B>],
    adapter: &Adapter<B>,
) -> bool {
    let is_f32 = |tensor: &FloatTensor<B>| tensor.dtype() == DType::F32;
    let layer_is_f32 = |layer: &LinearWeights<B>| is_f32(&layer.weight) && is_f32(&layer.bias);
    let norm_is_f32 = match norm {
        Normalisation::None => true,
        Normalisation::Layer { gamma, beta, .. } => is_f32(gamma) && is_f32(beta),
    };
    let adapter_is_f32 = match adapter {
        Adapter::None => true,
        Adapter::Block { weights, .. } => weights.layers().into_iter().all(layer_is_f32),
    };
    x.shape().num_elements() > 0
        && is_f32(x)
        && norm_is_f32
        && layers.iter().all(|layer| layer_is_f32(layer))
        && adapter_is_f32
}

/// The configuration of a sublayer, which says which [`Core`] it has.
pub(crate) trait SublayerKind: Debug + Send + Sync + 'static {
    /// [`Core::Saved`], whatever the core borrows.
    type Saved: Debug + Send + Sync + 'static;
    type Core<'a>: Core<Saved = Self::Saved>;

    /// Whether the sublayer adds its input to the result.
    const RESIDUAL: bool;

    /// The core with its layers in order.
    fn core<'a>(&self, layers: &'a [LinearWeights<Flex>]) -> Self::Core<'a>;
}

impl SublayerKind for AttentionConfig {
    type Saved = <Attention<'static> as Core>::Saved;
    type Core<'a> = Attention<'a>;

    const RESIDUAL: bool = true;

    fn core<'a>(&self, layers: &'a [LinearWeights<Flex>]) -> Attention<'a> {
        Attention {
            project: [0, 1, 2].map(|index| linear(&layers[index])),
            output: linear(&layers[3]),
            heads: self.heads,
            causal: self.causal,
        }
    }
}

impl SublayerKind for MlpConfig {
    type Saved = <Mlp<'static> as Core>::Saved;
    type Core<'a> = Mlp<'a>;

    const RESIDUAL: bool = true;

    fn core<'a>(&self, layers: &'a [LinearWeights<Flex>]) -> Mlp<'a> {
        Mlp {
            expand: linear(&layers[0]),
            contract: linear(&layers[1]),
            activation: self.activation,
        }
    }
}

impl SublayerKind for AdapterConfig {
    type Saved = <AdapterKernel<'static> as Core>::Saved;
    type Core<'a> = AdapterKernel<'a>;

    // The block adds its input by itself where its connection is sequential.
    const RESIDUAL: bool = false;

    fn core<'a>(&self, layers: &'a [LinearWeights<Flex>]) -> AdapterKernel<'a> {
        AdapterKernel {
            expand: linear(&layers[0]),
            contract: linear(&layers[1]),
            config: *self,
        }
    }
}

/// A sublayer whose operands are all f32, as [`fits`] says. Its vectors are contiguous.
#[derive(Debug)]
pub(crate) struct SublayerTensors<K> {
    kind: K,
    /// Scale, shift and epsilon.
    norm: Option<(FlexTensor, FlexTensor, f64)>,
    /// Those of the core, in order.
    pub(crate) layers: Vec<LinearWeights<Flex>>,
    adapter: Option<([LinearWeights<Flex>; 2], AdapterConfig)>,
}

impl<K: SublayerKind> SublayerTensors<K> {
    pub(crate) fn new(
        kind: K,
        norm: Normalisation<Flex>,
        layers: impl IntoIterator<Item = LinearWeights<Flex>>,
        adapter: Adapter<Flex>,
    ) -> Self {
        let contiguous = |layer: LinearWeights<Flex>| LinearWeights {
            bias: layer.bias.to_contiguous(),
            ..layer
        };
        Self {
            kind,
            norm: match norm {
                Normalisation::None => None,
                Normalisation::Layer {
                    gamma,
                    beta,
                    epsilon,
                } => Some((gamma.to_contiguous(), beta.to_contiguous(), epsilon)),
            },
            layers: layers.into_iter().map(contiguous).collect(),
            adapter: match adapter {
                Adapter::None => None,
                Adapter::Block { weights, config } => {
                    Some((weights.into_layers().map(contiguous), config))
                }
            },
        }
    }

    /// Expansion and contraction of the adapter, if there is one.
    pub(crate) fn adapter_layers(&self) -> &[LinearWeights<Flex>] {
        match &self.adapter {
            Some((layers, _)) => layers,
            None => &[],
        }
    }

    /// The result for `x`, `[batch, tokens, width]`.
    pub(crate) fn forward(&self, x: FlexTensor) -> FlexTensor {
        self.forward_saving(&x.to_contiguous(), Save::Nothing).0
    }

    /// The result for a contiguous `x`, and what the backward pass needs, as `save` says.
    pub(crate) fn forward_saving(
        &self,
        x: &FlexTensor,
        save: Save,
    ) -> (FlexTensor, Vec<SavedTensors<K::Saved>>) {
        let (output, saved) = self.kernel().forward(values(x), rows(&x.shape()), save);
        (from_values(output, x.shape()), saved)
    }

    /// Whether what is kept for the backward pass is in half precision.
    pub(crate) fn keeps_half(&self) -> bool {
        self.layers.iter().any(|layer| layer.frozen.is_some())
    }

    /// The gradients that are needed, given the gradient at the output; both tensors are contiguous.
    pub(crate) fn backward(
        &self,
        x: &FlexTensor,
        saved: &[SavedTensors<K::Saved>],
        grad: &FlexTensor,
        needed: NeededGrads,
    ) -> SublayerGrads {
        let shape = rows(&x.shape());
        (self.kernel()).backward(values(x), saved, values(grad), shape, needed)
    }

    fn kernel(&self) -> Sublayer<'_, K::Core<'_>> {
        Sublayer {
            norm: self.norm.as_ref().map(|(gamma, beta, epsilon)| Norm {
                gamma: values(gamma),
                beta: values(beta),
                epsilon: *epsilon,
            }),
            core: self.kind.core(&self.layers),
            adapter: self
                .adapter
                .as_ref()
                .map(|([expand, contract], config)| AdapterKernel {
                    expand: linear(expand),
                    contract: linear(contract),
                    config: *config,
                }),
            residual: K::RESIDUAL,
        }
    }
}

fn rows(x: &Shape) -> Rows {
    let [images, tokens, width] = x.dims::<3>();
    Rows {
        images,
        tokens,
        width,
    }
}
