//! The sublayers of a transformer on the CPU, each one autodiff node.

use std::marker::PhantomData;
use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex, TensorMetadata};
use burn::tensor::Shape;
use burn_flex::FlexTensor;

use super::Tape;
use crate::compose;
use crate::cpu::{
    HalfLane, NeededGrads, ParameterGrads, Save, SavedTensors, SublayerKind, SublayerTensors, fits,
    from_half, from_values, to_half, values,
};
use crate::ops::{
    Adapter, AdapterConfig, AttentionConfig, AttentionWeights, LinearWeights, MlpConfig,
    MlpWeights, Normalisation,
};

impl Tape for Flex {
    fn attention_on_tape<C: CheckpointStrategy>(
        x: FloatTensor<Autodiff<Self, C>>,
        norm: Normalisation<Autodiff<Self, C>>,
        weights: AttentionWeights<Autodiff<Self, C>>,
        adapter: Adapter<Autodiff<Self, C>>,
        config: AttentionConfig,
    ) -> FloatTensor<Autodiff<Self, C>> {
        if !fits(&x, &norm, &weights.layers(), &adapter) {
            return compose::attention_sublayer::<Autodiff<Self, C>>(
                x, norm, weights, adapter, config,
            );
        }
        let (x, norm, layers, adapter, nodes) = detach_all(x, norm, weights.into_layers(), adapter);
        let sublayer = SublayerTensors::new(config, norm, layers, adapter);
        forward::<C, _>(sublayer, x, nodes, config.recompute)
    }

    fn mlp_on_tape<C: CheckpointStrategy>(
        x: FloatTensor<Autodiff<Self, C>>,
        norm: Normalisation<Autodiff<Self, C>>,
        weights: MlpWeights<Autodiff<Self, C>>,
        adapter: Adapter<Autodiff<Self, C>>,
        config: MlpConfig,
    ) -> FloatTensor<Autodiff<Self, C>> {
        if !fits(&x, &norm, &weights.layers(), &adapter) {
            return compose::mlp_sublayer::<Autodiff<Self, C>>(x, norm, weights, adapter, config);
        }
        let (x, norm, layers, adapter, nodes) = detach_all(x, norm, weights.into_layers(), adapter);
        let sublayer = SublayerTensors::new(config, norm, layers, adapter);
        forward::<C, _>(sublayer, x, nodes, config.recompute)
    }

    fn adapter_on_tape<C: CheckpointStrategy>(
        x: FloatTensor<Autodiff<Self, C>>,
        weights: MlpWeights<Autodiff<Self, C>>,
        config: AdapterConfig,
    ) -> FloatTensor<Autodiff<Self, C>> {
        let (norm, adapter) = (Normalisation::None, Adapter::None);
        if !fits(&x, &norm, &weights.layers(), &adapter) {
            return compose::adapter_block::<Autodiff<Self, C>>(x, weights, config);
        }
        let (x, norm, layers, adapter, nodes) = detach_all(x, norm, weights.into_layers(), adapter);
        let sublayer = SublayerTensors::new(config, norm, layers, adapter);
        forward::<C, _>(sublayer, x, nodes, false)
    }
}

/// The autodiff nodes of a sublayer's operands.
struct Nodes {
    /// Those of the input, of the core's weights and biases in turn, of the adapter's, and of scale and shift.
    all: Vec<NodeGuard>,
    /// The layers of the core whose matrices are trained.
    trained: [bool; 4],
}

/// A sublayer's operands without autodiff, and their nodes.
#[allow(clippy::type_complexity)]
fn detach_all<C: CheckpointStrategy, const N: usize>(
    x: FloatTensor<Autodiff<Flex, C>>,
    norm: Normalisation<Autodiff<Flex, C>>,
    layers: [LinearWeights<Autodiff<Flex, C>>; N],
    adapter: Adapter<Autodiff<Flex, C>>,
) -> (
    FlexTensor,
    Normalisation<Flex>,
    [LinearWeights<Flex>; N],
    Adapter<Flex>,
    Nodes,
) {
    let mut trained = [false; 4];
    for (trained, layer) in trained.iter_mut().zip(&layers) {
        *trained = Autodiff::<Flex, C>::float_is_require_grad(&layer.weight);
    }
    let mut nodes = vec![x.node()];
    let mut untrack = |tensor: FloatTensor<Autodiff<Flex, C>>| {
        nodes.push(tensor.node());
        tensor.into_primitive()
    };
    let mut layer = |LinearWeights {
                         weight,
                         bias,
                         frozen,
                     }| LinearWeights {
        weight: untrack(weight),
        bias: untrack(bias),
        frozen,
    };
    let layers = layers.map(&mut layer);
    let adapter = match adapter {
        Adapter::None => Adapter::None,
        Adapter::Block { weights, config } => Adapter::Block {
            weights: MlpWeights {
                expand: layer(weights.expand),
                contract: layer(weights.contract),
            },
            config,
        },
    };
    let norm = match norm {
        Normalisation::None => Normalisation::None,
        Normalisation::Layer {
            gamma,
            beta,
            epsilon,
        } => Normalisation::Layer {
            gamma: untrack(gamma),
            beta: untrack(beta),
            epsilon,
        },
    };
    let nodes = Nodes {
        all: nodes,
        trained,
    };
    (x.into_primitive(), norm, layers, adapter, nodes)
}

/// Runs a sublayer; the result has an autodiff node if an operand has one.
fn forward<C: CheckpointStrategy, K: SublayerKind>(
    sublayer: SublayerTensors<K>,
    x: FlexTensor,
    nodes: Nodes,
    recompute: bool,
) -> FloatTensor<Autodiff<Flex, C>> {
    // The number of parents is part of a node's type: two to six layers, with a normalisation or without.
    match nodes.all.len() {
        5 => forward_node::<C, K, 5>(sublayer, x, nodes, recompute),
        7 => forward_node::<C, K, 7>(sublayer, x, nodes, recompute),
        9 => forward_node::<C, K, 9>(sublayer, x, nodes, recompute),
        11 => forward_node::<C, K, 11>(sublayer, x, nodes, recompute),
        13 => forward_node::<C, K, 13>(sublayer, x, nodes, recompute),
        _ => forward_node::<C, K, 15>(sublayer, x, nodes, recompute),
    }
}

fn forward_node<C: CheckpointStrategy, K: SublayerKind, const N: usize>(
    sublayer: SublayerTensors<K>,
    x: FlexTensor,
    Nodes { all, trained }: Nodes,
    recompute: bool,
) -> FloatTensor<Autodiff<Flex, C>> {
    let Ok(nodes) = <[NodeGuard; N]>::try_from(all) else {
        unreachable!("a sublayer has two to six layers");
    };
    let node = SublayerNode::<K>(PhantomData);
    match node.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let x = x.to_contiguous();
            let save = match recompute {
                true => Save::Nothing,
                false => Save::ForBackward {
                    trained,
                    half: sublayer.keeps_half(),
                },
            };
            let (output, saved) = sublayer.forward_saving(&x, save);
            // Where the input is all that is saved, the backward pass must start from the same bits.
            let x = Input::new(x, !recompute && sublayer.keeps_half());
            prepared.finish((x, Arc::new(sublayer), Arc::new(saved)), output)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(sublayer.forward(x)),
    }
}

/// The input of a sublayer, kept for the backward pass.
#[derive(Debug, Clone)]
enum Input {
    F32(FlexTensor),
    /// In half precision.
    F16(Arc<Vec<HalfLane>>, Shape),
}

impl Input {
    fn new(x: FlexTensor, half: bool) -> Self {
        match half {
            true => Self::F16(Arc::new(to_half(values(&x))), x.shape()),
            false => Self::F32(x),
        }
    }

    fn into_tensor(self) -> FlexTensor {
        match self {
            Self::F32(x) => x,
            Self::F16(lanes, shape) => {
                let values = from_half(&lanes, shape.num_elements());
                from_values(values, shape)
            }
        }
    }
}

/// The autodiff node of a sublayer. Its parents are in the order of [`Nodes`].
#[derive(Debug)]
struct SublayerNode<K>(PhantomData<K>);

impl<K: SublayerKind, const N: usize> Backward<Flex, N> for SublayerNode<K> {
    /// The input, the parameters, and what the forward pass saved, which is nothing if it is to be recomputed.
    type State = (
        Input,
        Arc<SublayerTensors<K>>,
        Arc<Vec<SavedTensors<K::Saved>>>,
    );

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let grad = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (x, sublayer, saved) = ops.state;
        let x = x.into_tensor();
        let adapter_layers = sublayer.adapter_layers();
        let (input, rest) = ops.parents.split_at(1);
        let (core, rest) = rest.split_at(2 * sublayer.layers.len());
        let (adapter, norm) = rest.split_at(2 * adapter_layers.len());
        let any = |parents: &[Option<_>]| parents.iter().any(Option::is_some);
        let needed = NeededGrads {
            input: any(input),
            layers: std::array::from_fn(|layer| core.chunks(2).nth(layer).is_some_and(any)),
            adapter: any(adapter),
            norm: any(norm),
        };
        let result = sublayer.backward(&x, &saved, &grad, needed);
        let ParameterGrads {
            core: core_grads,
            adapter: adapter_grads,
            norm: norm_grads,
        } = result.parameters;
        let width = x.shape()[2];
        let input_grads = result.input.map(|grad| (grad, x.shape()));
        let core_grads = core_grads.into_iter().zip(shapes(&sublayer.layers));
        let adapter_grads = adapter_grads.into_iter().zip(shapes(adapter_layers));
        let norm_grads = norm_grads
            .into_iter()
            .map(|grad| (grad, Shape::from(vec![width])));
        let input = input.iter().zip(input_grads);
        let core = core.iter().zip(core_grads);
        let adapter = adapter.iter().zip(adapter_grads);
        let norm = norm.iter().zip(norm_grads);
        for (parent, (grad, shape)) in input.chain(core).chain(adapter).chain(norm) {
            if let Some(parent) = parent {
                grads.register::<Flex>(parent.id, from_values(grad, shape));
            }
        }
    }
}

/// Shapes of weights and biases, alternating.
fn shapes(layers: &[LinearWeights<Flex>]) -> impl Iterator<Item = Shape> {
    let layers = layers.iter();
    layers.flat_map(|layer| [layer.weight.shape(), layer.bias.shape()])
}
