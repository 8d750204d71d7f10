//! The sublayers of a transformer, each one node on the tape.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, ExtensionType, Flex, TensorMetadata};
use burn::tensor::{DType, Shape};
use burn_flex::FlexTensor;

use crate::cpu::{self, Core, Keep, Kept, Linear, Norm, ParameterGrads, Rows, Wanted, Weights};
use crate::flex::tensor;
use crate::{Kernels, compose};

static RECOMPUTE: AtomicBool = AtomicBool::new(false);

/// Whether, from now on and in the whole process, a sublayer on the CPU keeps its input alone and computes the rest again in
/// the backward pass (activation checkpointing, Chen et al. 2016): slower, with less memory, and the same bits.
pub fn recompute_activations(recompute: bool) {
    RECOMPUTE.store(recompute, Ordering::Relaxed);
}

/// The layer normalisation before a sublayer.
#[derive(Debug, Clone, ExtensionType)]
pub enum Normalisation<B: Backend> {
    /// There is none.
    None,
    /// Layer normalisation.
    Layer {
        /// Scale, `[width]`.
        gamma: FloatTensor<B>,
        /// Shift, `[width]`.
        beta: FloatTensor<B>,
        /// What is added to the variance.
        epsilon: f64,
    },
}

/// The parameters of a linear layer.
#[derive(Debug, Clone, ExtensionType)]
pub struct LinearWeights<B: Backend> {
    /// `[input, output]`.
    pub weight: FloatTensor<B>,
    /// `[output]`.
    pub bias: FloatTensor<B>,
}

/// The parameters of an attention sublayer, all of one width.
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

/// The parameters of an MLP sublayer.
#[derive(Debug, Clone, ExtensionType)]
pub struct MlpWeights<B: Backend> {
    /// From the width to the hidden units.
    #[extension_type]
    pub expand: LinearWeights<B>,
    /// From the hidden units to the width.
    #[extension_type]
    pub contract: LinearWeights<B>,
}

/// The adapter block of a sublayer (Houlsby et al. 2019).
#[derive(Debug, Clone, ExtensionType)]
pub enum Adapter<B: Backend> {
    /// There is none.
    None,
    /// A block.
    Block {
        /// Its parameters.
        #[extension_type]
        weights: MlpWeights<B>,
        /// How it is run.
        config: AdapterConfig,
    },
}

/// The activation between expansion and contraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(1.702 x)`, OpenAI's CLIP's.
    QuickGelu,
    /// Gaussian error linear unit.
    Gelu,
    /// Its approximation by tanh.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
}

/// How an attention sublayer is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionConfig {
    /// Number of heads; divides the width.
    pub heads: usize,
    /// Whether later tokens are hidden from earlier ones.
    pub causal: bool,
}

/// How an adapter block is run: its change is `scale * contract(activation(expand(y)))`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdapterConfig {
    /// Between expansion and contraction.
    pub activation: Activation,
    /// Whether what the contraction gives is `max(.., 0)`.
    pub rectified: bool,
    /// What the change is multiplied by.
    pub scale: f32,
    /// What the block reads and adds to.
    pub connection: Connection,
}

/// What an adapter block reads and adds to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// It stands behind: reads the output of a sublayer and adds its change to that. Alone, it adds to its input.
    Sequential,
    /// It stands beside (He et al. 2022): reads what the sublayer reads, normalised where that is. Alone, its result is the change.
    Parallel,
}

/// What a backend does with sublayers on the tape. The default is to put each of the operations there that they are composed of.
pub trait Tape: Kernels {
    /// [`Kernels::attention_sublayer`] on the tape.
    fn attention_on_tape<C: CheckpointStrategy>(
        x: FloatTensor<Autodiff<Self, C>>,
        norm: Normalisation<Autodiff<Self, C>>,
        weights: AttentionWeights<Autodiff<Self, C>>,
        adapter: Adapter<Autodiff<Self, C>>,
        config: AttentionConfig,
    ) -> FloatTensor<Autodiff<Self, C>> {
        compose::attention_sublayer::<Autodiff<Self, C>>(x, norm, weights, adapter, config)
    }

    /// [`Kernels::mlp_sublayer`] on the tape.
    fn mlp_on_tape<C: CheckpointStrategy>(
        x: FloatTensor<Autodiff<Self, C>>,
        norm: Normalisation<Autodiff<Self, C>>,
        weights: MlpWeights<Autodiff<Self, C>>,
        adapter: Adapter<Autodiff<Self, C>>,
        activation: Activation,
    ) -> FloatTensor<Autodiff<Self, C>> {
        compose::mlp_sublayer::<Autodiff<Self, C>>(x, norm, weights, adapter, activation)
    }

    /// [`Kernels::adapter_block`] on the tape.
    fn adapter_on_tape<C: CheckpointStrategy>(
        x: FloatTensor<Autodiff<Self, C>>,
        weights: MlpWeights<Autodiff<Self, C>>,
        config: AdapterConfig,
    ) -> FloatTensor<Autodiff<Self, C>> {
        compose::adapter_block::<Autodiff<Self, C>>(x, weights, config)
    }
}

/// What a sublayer is named after, without its parameters.
trait Kind: std::fmt::Debug + Send + Sync + 'static {
    type Kept: std::fmt::Debug + Send + Sync + 'static;
    type Core<'a>: Core<Kept = Self::Kept>;

    /// Whether the input is added to the result.
    const RESIDUAL: bool;

    fn core<'a>(&self, layers: &'a [LinearWeights<Flex>]) -> Self::Core<'a>;
}

impl Kind for AttentionConfig {
    type Kept = <cpu::Attention<'static> as Core>::Kept;
    type Core<'a> = cpu::Attention<'a>;

    const RESIDUAL: bool = true;

    fn core<'a>(&self, layers: &'a [LinearWeights<Flex>]) -> cpu::Attention<'a> {
        cpu::Attention {
            project: [0, 1, 2].map(|index| linear(&layers[index])),
            output: linear(&layers[3]),
            heads: self.heads,
            causal: self.causal,
        }
    }
}

impl Kind for Activation {
    type Kept = <cpu::Mlp<'static> as Core>::Kept;
    type Core<'a> = cpu::Mlp<'a>;

    const RESIDUAL: bool = true;

    fn core<'a>(&self, layers: &'a [LinearWeights<Flex>]) -> cpu::Mlp<'a> {
        cpu::Mlp {
            expand: linear(&layers[0]),
            contract: linear(&layers[1]),
            activation: *self,
        }
    }
}

impl Kind for AdapterConfig {
    type Kept = <cpu::Adapter<'static> as Core>::Kept;
    type Core<'a> = cpu::Adapter<'a>;

    // The block adds it itself.
    const RESIDUAL: bool = false;

    fn core<'a>(&self, layers: &'a [LinearWeights<Flex>]) -> cpu::Adapter<'a> {
        cpu::Adapter {
            expand: linear(&layers[0]),
            contract: linear(&layers[1]),
            config: *self,
        }
    }
}

/// A sublayer for the kernels on slices.
#[derive(Debug)]
struct Sublayer<K> {
    kind: K,
    /// Scale, shift and epsilon.
    norm: Option<(FlexTensor, FlexTensor, f64)>,
    /// Of the core, in order.
    layers: Vec<LinearWeights<Flex>>,
    /// Expansion and contraction, and how they are run.
    adapter: Option<([LinearWeights<Flex>; 2], AdapterConfig)>,
}

impl<K: Kind> Sublayer<K> {
    fn new(
        kind: K,
        norm: Normalisation<Flex>,
        layers: impl IntoIterator<Item = LinearWeights<Flex>>,
        adapter: Adapter<Flex>,
    ) -> Self {
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
            layers: layers.into_iter().map(in_order).collect(),
            adapter: match adapter {
                Adapter::None => None,
                Adapter::Block { weights, config } => Some((weights.list().map(in_order), config)),
            },
        }
    }

    fn kernel(&self) -> cpu::Sublayer<'_, K::Core<'_>> {
        cpu::Sublayer {
            norm: self.norm.as_ref().map(|(gamma, beta, epsilon)| Norm {
                gamma: values(gamma),
                beta: values(beta),
                epsilon: *epsilon,
            }),
            core: self.kind.core(&self.layers),
            adapter: self
                .adapter
                .as_ref()
                .map(|([expand, contract], config)| cpu::Adapter {
                    expand: linear(expand),
                    contract: linear(contract),
                    config: *config,
                }),
            residual: K::RESIDUAL,
        }
    }

    fn run(&self, x: FlexTensor) -> FlexTensor {
        let x = x.to_contiguous();
        let (output, _) = self
            .kernel()
            .forward(values(&x), rows(&x.shape()), Keep::Nothing);
        tensor(output, x.shape())
    }

    /// Runs it and puts it on the tape, if anything that goes into it is there. `nodes` are those of the input, of weights and
    /// biases in turn, the adapter's last, and of scale and shift.
    fn on_tape<C: CheckpointStrategy>(
        self,
        x: FlexTensor,
        nodes: Nodes,
    ) -> FloatTensor<Autodiff<Flex, C>> {
        // Two to six layers, with normalisation or without.
        match nodes.all.len() {
            5 => self.step::<C, 5>(x, nodes),
            7 => self.step::<C, 7>(x, nodes),
            9 => self.step::<C, 9>(x, nodes),
            11 => self.step::<C, 11>(x, nodes),
            13 => self.step::<C, 13>(x, nodes),
            _ => self.step::<C, 15>(x, nodes),
        }
    }

    fn step<C: CheckpointStrategy, const N: usize>(
        self,
        x: FlexTensor,
        Nodes { all, trained }: Nodes,
    ) -> FloatTensor<Autodiff<Flex, C>> {
        let Ok(nodes) = <[NodeGuard; N]>::try_from(all) else {
            unreachable!("a sublayer has two to six layers");
        };
        let step = SublayerStep::<K>(std::marker::PhantomData);
        match step.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let x = x.to_contiguous();
                let keep = match RECOMPUTE.load(Ordering::Relaxed) {
                    true => Keep::Nothing,
                    false => Keep::All { trained },
                };
                let (output, kept) = self.kernel().forward(values(&x), rows(&x.shape()), keep);
                let output = tensor(output, x.shape());
                prepared.finish((x, Arc::new(self), Arc::new(kept)), output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(self.run(x)),
        }
    }
}

/// Whether the kernels on slices take an input.
fn fits(x: &impl TensorMetadata) -> bool {
    x.dtype() == DType::F32 && x.shape().num_elements() > 0
}

fn values(x: &FlexTensor) -> &[f32] {
    x.as_slice::<f32>().unwrap_or_default()
}

fn in_order(LinearWeights { weight, bias }: LinearWeights<Flex>) -> LinearWeights<Flex> {
    LinearWeights {
        weight,
        bias: bias.to_contiguous(),
    }
}

/// A layer, its matrix `[input, output]` in whatever order it lies.
fn linear(layer: &LinearWeights<Flex>) -> Linear<'_> {
    let layout = layer.weight.layout();
    let [inputs, outputs] = layout.shape().dims::<2>();
    let [input_stride, output_stride] = [0, 1].map(|axis| layout.strides()[axis].unsigned_abs());
    Linear {
        weights: Weights {
            data: &layer.weight.storage::<f32>()[layout.start_offset()..],
            inputs,
            outputs,
            input_stride,
            output_stride,
        },
        bias: values(&layer.bias),
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

pub(crate) fn attention(
    x: FlexTensor,
    norm: Normalisation<Flex>,
    weights: AttentionWeights<Flex>,
    adapter: Adapter<Flex>,
    config: AttentionConfig,
) -> FlexTensor {
    if fits(&x) {
        Sublayer::new(config, norm, weights.list(), adapter).run(x)
    } else {
        compose::attention_sublayer::<Flex>(x, norm, weights, adapter, config)
    }
}

pub(crate) fn mlp(
    x: FlexTensor,
    norm: Normalisation<Flex>,
    weights: MlpWeights<Flex>,
    adapter: Adapter<Flex>,
    activation: Activation,
) -> FlexTensor {
    if fits(&x) {
        Sublayer::new(activation, norm, weights.list(), adapter).run(x)
    } else {
        compose::mlp_sublayer::<Flex>(x, norm, weights, adapter, activation)
    }
}

pub(crate) fn adapter(
    x: FlexTensor,
    weights: MlpWeights<Flex>,
    config: AdapterConfig,
) -> FlexTensor {
    if fits(&x) {
        Sublayer::new(config, Normalisation::None, weights.list(), Adapter::None).run(x)
    } else {
        compose::adapter_block::<Flex>(x, weights, config)
    }
}

/// A sublayer's step back. Its parents stand as in [`Sublayer::on_tape`].
#[derive(Debug)]
struct SublayerStep<K>(std::marker::PhantomData<K>);

impl<K: Kind, const N: usize> Backward<Flex, N> for SublayerStep<K> {
    type State = (FlexTensor, Arc<Sublayer<K>>, Arc<Vec<Kept<K::Kept>>>);

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let grad = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (x, sublayer, kept) = ops.state;
        let (at_rows, rest) = ops.parents.split_at(1);
        let (at_core, rest) = rest.split_at(2 * sublayer.layers.len());
        let adapter = sublayer.adapter.iter().flat_map(|(layers, _)| layers);
        let (at_adapter, at_norm) = rest.split_at(2 * adapter.clone().count());
        let any = |parents: &[Option<_>]| parents.iter().any(Option::is_some);
        let wanted = Wanted {
            rows: any(at_rows),
            layers: std::array::from_fn(|layer| at_core.chunks(2).nth(layer).is_some_and(any)),
            adapter: any(at_adapter),
            norm: any(at_norm),
        };
        let shape = rows(&x.shape());
        let result = (sublayer.kernel()).backward(values(&x), &kept, values(&grad), shape, wanted);
        let ParameterGrads {
            core,
            adapter: of_adapter,
            norm,
        } = result.parameters;
        let at_rows = at_rows
            .iter()
            .zip(result.rows.map(|grad| (grad, x.shape())));
        let at_core = at_core
            .iter()
            .zip(core.into_iter().zip(shapes(&sublayer.layers)));
        let at_adapter = at_adapter
            .iter()
            .zip(of_adapter.into_iter().zip(shapes(adapter)));
        let at_norm = at_norm.iter().zip(
            norm.into_iter()
                .map(|grad| (grad, Shape::from(vec![shape.width]))),
        );
        for (parent, (grad, shape)) in at_rows.chain(at_core).chain(at_adapter).chain(at_norm) {
            if let Some(parent) = parent {
                grads.register::<Flex>(parent.id, tensor(grad, shape));
            }
        }
    }
}

/// Shapes of weights and biases in turn.
fn shapes<'a>(
    layers: impl IntoIterator<Item = &'a LinearWeights<Flex>>,
) -> impl Iterator<Item = Shape> {
    let layers = layers.into_iter();
    layers.flat_map(|layer| [layer.weight.shape(), layer.bias.shape()])
}

impl Tape for Flex {
    fn attention_on_tape<C: CheckpointStrategy>(
        x: FloatTensor<Autodiff<Self, C>>,
        norm: Normalisation<Autodiff<Self, C>>,
        weights: AttentionWeights<Autodiff<Self, C>>,
        adapter: Adapter<Autodiff<Self, C>>,
        config: AttentionConfig,
    ) -> FloatTensor<Autodiff<Self, C>> {
        if !fits(&x) {
            let x =
                compose::attention_sublayer::<Autodiff<Self, C>>(x, norm, weights, adapter, config);
            return x;
        }
        let (x, norm, layers, adapter, nodes) = apart(x, norm, weights.list(), adapter);
        Sublayer::new(config, norm, layers, adapter).on_tape::<C>(x, nodes)
    }

    fn mlp_on_tape<C: CheckpointStrategy>(
        x: FloatTensor<Autodiff<Self, C>>,
        norm: Normalisation<Autodiff<Self, C>>,
        weights: MlpWeights<Autodiff<Self, C>>,
        adapter: Adapter<Autodiff<Self, C>>,
        activation: Activation,
    ) -> FloatTensor<Autodiff<Self, C>> {
        if !fits(&x) {
            return compose::mlp_sublayer::<Autodiff<Self, C>>(
                x, norm, weights, adapter, activation,
            );
        }
        let (x, norm, layers, adapter, nodes) = apart(x, norm, weights.list(), adapter);
        Sublayer::new(activation, norm, layers, adapter).on_tape::<C>(x, nodes)
    }

    fn adapter_on_tape<C: CheckpointStrategy>(
        x: FloatTensor<Autodiff<Self, C>>,
        weights: MlpWeights<Autodiff<Self, C>>,
        config: AdapterConfig,
    ) -> FloatTensor<Autodiff<Self, C>> {
        if !fits(&x) {
            return compose::adapter_block::<Autodiff<Self, C>>(x, weights, config);
        }
        let (x, norm, layers, adapter, nodes) =
            apart(x, Normalisation::None, weights.list(), Adapter::None);
        Sublayer::new(config, norm, layers, adapter).on_tape::<C>(x, nodes)
    }
}

impl<B: Backend> AttentionWeights<B> {
    fn list(self) -> [LinearWeights<B>; 4] {
        [self.query, self.key, self.value, self.output]
    }
}

impl<B: Backend> MlpWeights<B> {
    fn list(self) -> [LinearWeights<B>; 2] {
        [self.expand, self.contract]
    }
}

/// Whether a tensor is a parameter with a gradient.
fn is_trained<B: Backend>(tensor: &FloatTensor<B>) -> bool {
    B::float_is_require_grad(tensor)
}

/// What goes into a sublayer, by its places on the tape.
struct Nodes {
    /// In the order of [`Sublayer::on_tape`].
    all: Vec<NodeGuard>,
    /// The layers of the core whose matrices are trained.
    trained: [bool; 4],
}

/// What goes into a sublayer, without the tape, and its places there in the order of [`Sublayer::on_tape`].
#[allow(clippy::type_complexity)]
fn apart<C: CheckpointStrategy, const N: usize>(
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
        *trained = is_trained::<Autodiff<Flex, C>>(&layer.weight);
    }
    let mut nodes = vec![x.node()];
    let mut off = |tensor: FloatTensor<Autodiff<Flex, C>>| {
        nodes.push(tensor.node());
        tensor.into_primitive()
    };
    let mut layer = |LinearWeights { weight, bias }| LinearWeights {
        weight: off(weight),
        bias: off(bias),
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
            gamma: off(gamma),
            beta: off(beta),
            epsilon,
        },
    };
    let nodes = Nodes {
        all: nodes,
        trained,
    };
    (x.into_primitive(), norm, layers, adapter, nodes)
}
