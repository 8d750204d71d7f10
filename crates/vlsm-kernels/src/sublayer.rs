//! The sublayers of a transformer, each one node on the tape.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, ExtensionType, Flex, TensorMetadata};
use burn::tensor::{DType, Shape};
use burn_flex::FlexTensor;

use crate::cpu::{self, AttentionKept, MlpKept, Norm, Rows, SublayerGrads, Wanted, Weights};
use crate::flex::tensor;
use crate::{Kernels, compose};

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

/// How an MLP sublayer is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MlpConfig {
    /// Between expansion and contraction.
    pub activation: Activation,
    /// Whether the result is `max(x, 0)`.
    pub rectified: bool,
}

/// What a backend does with sublayers on the tape. The default is to put each of the operations there that they are composed of.
pub trait Tape: Kernels {
    /// [`Kernels::attention_sublayer`] on the tape.
    fn attention_on_tape<C: CheckpointStrategy>(
        x: FloatTensor<Autodiff<Self, C>>,
        norm: Normalisation<Autodiff<Self, C>>,
        weights: AttentionWeights<Autodiff<Self, C>>,
        config: AttentionConfig,
    ) -> FloatTensor<Autodiff<Self, C>> {
        compose::attention_sublayer::<Autodiff<Self, C>>(x, norm, weights, config)
    }

    /// [`Kernels::mlp_sublayer`] on the tape.
    fn mlp_on_tape<C: CheckpointStrategy>(
        x: FloatTensor<Autodiff<Self, C>>,
        norm: Normalisation<Autodiff<Self, C>>,
        weights: MlpWeights<Autodiff<Self, C>>,
        config: MlpConfig,
    ) -> FloatTensor<Autodiff<Self, C>> {
        compose::mlp_sublayer::<Autodiff<Self, C>>(x, norm, weights, config)
    }
}

/// A sublayer for the kernels on slices: what is the same for both kinds.
trait Sublayer: std::fmt::Debug + Send + Sync + 'static {
    /// What the backward pass needs besides the input.
    type Kept: std::fmt::Debug + Send + Sync + 'static;

    fn forward(&self, x: &[f32], shape: Rows) -> Vec<f32>;

    fn forward_kept(&self, x: &[f32], shape: Rows) -> (Vec<f32>, Self::Kept);

    fn backward(
        &self,
        x: &[f32],
        kept: &Self::Kept,
        grad: &[f32],
        shape: Rows,
        wanted: Wanted,
    ) -> SublayerGrads;

    fn parameters(&self) -> &Parameters;
}

/// Tensors of a sublayer, lying in order where they must.
#[derive(Debug)]
struct Parameters {
    /// Scale, shift and epsilon.
    norm: Option<(FlexTensor, FlexTensor, f64)>,
    layers: Vec<LinearWeights<Flex>>,
}

impl Parameters {
    fn new(
        norm: Normalisation<Flex>,
        layers: impl IntoIterator<Item = LinearWeights<Flex>>,
    ) -> Self {
        Self {
            norm: match norm {
                Normalisation::None => None,
                Normalisation::Layer {
                    gamma,
                    beta,
                    epsilon,
                } => Some((gamma.to_contiguous(), beta.to_contiguous(), epsilon)),
            },
            layers: layers
                .into_iter()
                .map(|LinearWeights { weight, bias }| LinearWeights {
                    weight,
                    bias: bias.to_contiguous(),
                })
                .collect(),
        }
    }

    fn norm(&self) -> Option<Norm<'_>> {
        self.norm.as_ref().map(|(gamma, beta, epsilon)| Norm {
            gamma: values(gamma),
            beta: values(beta),
            epsilon: *epsilon,
        })
    }

    fn matrices<const N: usize>(&self) -> [Weights<'_>; N] {
        std::array::from_fn(|index| matrix(&self.layers[index].weight))
    }

    fn biases<const N: usize>(&self) -> [&[f32]; N] {
        std::array::from_fn(|index| values(&self.layers[index].bias))
    }

    /// Shapes of weights and biases in turn.
    fn shapes(&self) -> impl Iterator<Item = Shape> {
        let layers = self.layers.iter();
        layers.flat_map(|layer| [layer.weight.shape(), layer.bias.shape()])
    }
}

/// Whether the kernels on slices take an input.
fn fits(x: &impl TensorMetadata) -> bool {
    x.dtype() == DType::F32 && x.shape().num_elements() > 0
}

fn values(x: &FlexTensor) -> &[f32] {
    x.as_slice::<f32>().unwrap_or_default()
}

/// A matrix `[input, output]` in whatever order it lies.
fn matrix(x: &FlexTensor) -> Weights<'_> {
    let layout = x.layout();
    let [inputs, outputs] = layout.shape().dims::<2>();
    let [input_stride, output_stride] = [0, 1].map(|axis| layout.strides()[axis].unsigned_abs());
    Weights {
        data: &x.storage::<f32>()[layout.start_offset()..],
        inputs,
        outputs,
        input_stride,
        output_stride,
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

#[derive(Debug)]
struct Attention {
    parameters: Parameters,
    config: AttentionConfig,
}

impl Attention {
    fn kernel(&self) -> cpu::Attention<'_> {
        cpu::Attention {
            norm: self.parameters.norm(),
            weights: self.parameters.matrices(),
            biases: self.parameters.biases(),
            heads: self.config.heads,
            causal: self.config.causal,
        }
    }
}

impl Sublayer for Attention {
    type Kept = AttentionKept;

    fn forward(&self, x: &[f32], shape: Rows) -> Vec<f32> {
        self.kernel().forward(x, shape).0
    }

    fn forward_kept(&self, x: &[f32], shape: Rows) -> (Vec<f32>, AttentionKept) {
        self.kernel().forward(x, shape)
    }

    fn backward(
        &self,
        x: &[f32],
        kept: &AttentionKept,
        grad: &[f32],
        shape: Rows,
        wanted: Wanted,
    ) -> SublayerGrads {
        self.kernel().backward(x, kept, grad, shape, wanted)
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }
}

#[derive(Debug)]
struct Mlp {
    parameters: Parameters,
    activation: cpu::Activation,
    rectified: bool,
}

impl Mlp {
    fn kernel(&self) -> cpu::Mlp<'_> {
        cpu::Mlp {
            norm: self.parameters.norm(),
            weights: self.parameters.matrices(),
            biases: self.parameters.biases(),
            activation: self.activation,
            rectified: self.rectified,
        }
    }
}

impl Sublayer for Mlp {
    type Kept = MlpKept;

    fn forward(&self, x: &[f32], shape: Rows) -> Vec<f32> {
        self.kernel().forward(x, shape.together())
    }

    fn forward_kept(&self, x: &[f32], shape: Rows) -> (Vec<f32>, MlpKept) {
        self.kernel().forward_kept(x, shape.together())
    }

    fn backward(
        &self,
        x: &[f32],
        kept: &MlpKept,
        grad: &[f32],
        shape: Rows,
        wanted: Wanted,
    ) -> SublayerGrads {
        self.kernel()
            .backward(x, kept, grad, shape.together(), wanted)
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }
}

fn run(sublayer: &impl Sublayer, x: FlexTensor) -> FlexTensor {
    let x = x.to_contiguous();
    let output = sublayer.forward(values(&x), rows(&x.shape()));
    tensor(output, x.shape())
}

pub(crate) fn attention(
    x: FlexTensor,
    norm: Normalisation<Flex>,
    weights: AttentionWeights<Flex>,
    config: AttentionConfig,
) -> FlexTensor {
    if fits(&x) {
        let attention = Attention {
            parameters: Parameters::new(norm, weights.list()),
            config,
        };
        run(&attention, x)
    } else {
        compose::attention_sublayer::<Flex>(x, norm, weights, config)
    }
}

pub(crate) fn mlp(
    x: FlexTensor,
    norm: Normalisation<Flex>,
    weights: MlpWeights<Flex>,
    config: MlpConfig,
) -> FlexTensor {
    match cpu_activation(config.activation) {
        Some(activation) if fits(&x) => {
            let mlp = Mlp {
                parameters: Parameters::new(norm, weights.list()),
                activation,
                rectified: config.rectified,
            };
            run(&mlp, x)
        }
        _ => compose::mlp_sublayer::<Flex>(x, norm, weights, config),
    }
}

/// The activation's body on slices, if there is one.
fn cpu_activation(activation: Activation) -> Option<cpu::Activation> {
    match activation {
        Activation::QuickGelu => Some(cpu::Activation::QuickGelu),
        Activation::Relu => Some(cpu::Activation::Relu),
        Activation::Gelu | Activation::GeluTanh => None,
    }
}

/// A sublayer's step back, with `N` parents: the input, the parameters, and scale and shift if there is a normalisation.
#[derive(Debug)]
struct SublayerStep<S>(std::marker::PhantomData<S>);

impl<S: Sublayer, const N: usize> Backward<Flex, N> for SublayerStep<S> {
    type State = (FlexTensor, Arc<S>, Arc<S::Kept>);

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let grad = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (x, sublayer, kept) = ops.state;
        let shapes: Vec<Shape> = sublayer.parameters().shapes().collect();
        let (inputs, at_norm) = ops.parents.split_at(1 + shapes.len());
        let (at_rows, at_parameters) = inputs.split_at(1);
        let wanted = |parents: &[Option<_>]| parents.iter().any(Option::is_some);
        let result = sublayer.backward(
            values(&x),
            &kept,
            values(&grad),
            rows(&x.shape()),
            Wanted {
                rows: wanted(at_rows),
                parameters: wanted(at_parameters),
                norm: wanted(at_norm),
            },
        );
        let width = Shape::from(vec![x.shape()[2]]);
        let at_rows = at_rows
            .iter()
            .zip(result.rows.map(|grad| (grad, x.shape())));
        let at_parameters = at_parameters
            .iter()
            .zip(result.parameters.into_iter().zip(shapes));
        let norm = result.norm.into_iter().flatten();
        let at_norm = at_norm.iter().zip(norm.map(|grad| (grad, width.clone())));
        for (parent, (grad, shape)) in at_rows.chain(at_parameters).chain(at_norm) {
            if let Some(parent) = parent {
                grads.register::<Flex>(parent.id, tensor(grad, shape));
            }
        }
    }
}

/// Runs a sublayer and puts it on the tape, if anything that goes into it is there.
fn on_tape<S: Sublayer, C: CheckpointStrategy, const N: usize>(
    sublayer: S,
    x: FlexTensor,
    nodes: [NodeGuard; N],
) -> FloatTensor<Autodiff<Flex, C>> {
    let step = SublayerStep::<S>(std::marker::PhantomData);
    match step.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let x = x.to_contiguous();
            let (output, kept) = sublayer.forward_kept(values(&x), rows(&x.shape()));
            let output = tensor(output, x.shape());
            prepared.finish((x, Arc::new(sublayer), Arc::new(kept)), output)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(run(&sublayer, x)),
    }
}

impl Tape for Flex {
    fn attention_on_tape<C: CheckpointStrategy>(
        x: FloatTensor<Autodiff<Self, C>>,
        norm: Normalisation<Autodiff<Self, C>>,
        weights: AttentionWeights<Autodiff<Self, C>>,
        config: AttentionConfig,
    ) -> FloatTensor<Autodiff<Self, C>> {
        if !fits(&x) {
            return compose::attention_sublayer::<Autodiff<Self, C>>(x, norm, weights, config);
        }
        let (x, x_node) = x.into_parts();
        let (layers, nodes) = apart(weights.list());
        let [[q, qb], [k, kb], [v, vb], [o, ob]] = nodes;
        let (norm, norm_nodes) = norm.into_parts();
        let attention = Attention {
            parameters: Parameters::new(norm, layers),
            config,
        };
        match norm_nodes {
            None => on_tape::<_, C, 9>(attention, x, [x_node, q, qb, k, kb, v, vb, o, ob]),
            Some([gamma, beta]) => {
                let nodes = [x_node, q, qb, k, kb, v, vb, o, ob, gamma, beta];
                on_tape::<_, C, 11>(attention, x, nodes)
            }
        }
    }

    fn mlp_on_tape<C: CheckpointStrategy>(
        x: FloatTensor<Autodiff<Self, C>>,
        norm: Normalisation<Autodiff<Self, C>>,
        weights: MlpWeights<Autodiff<Self, C>>,
        config: MlpConfig,
    ) -> FloatTensor<Autodiff<Self, C>> {
        let (Some(activation), true) = (cpu_activation(config.activation), fits(&x)) else {
            return compose::mlp_sublayer::<Autodiff<Self, C>>(x, norm, weights, config);
        };
        let (x, x_node) = x.into_parts();
        let (layers, [[e, eb], [c, cb]]) = apart(weights.list());
        let (norm, norm_nodes) = norm.into_parts();
        let mlp = Mlp {
            parameters: Parameters::new(norm, layers),
            activation,
            rectified: config.rectified,
        };
        match norm_nodes {
            None => on_tape::<_, C, 5>(mlp, x, [x_node, e, eb, c, cb]),
            Some([gamma, beta]) => on_tape::<_, C, 7>(mlp, x, [x_node, e, eb, c, cb, gamma, beta]),
        }
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

/// Layers without the tape, and their places on it: weight and bias.
fn apart<B: Backend, C: CheckpointStrategy, const N: usize>(
    layers: [LinearWeights<Autodiff<B, C>>; N],
) -> ([LinearWeights<B>; N], [[NodeGuard; 2]; N]) {
    let nodes = layers
        .each_ref()
        .map(|layer| [layer.weight.node(), layer.bias.node()]);
    let layers = layers.map(|layer| LinearWeights {
        weight: layer.weight.into_primitive(),
        bias: layer.bias.into_primitive(),
    });
    (layers, nodes)
}

impl<B: Backend, C: CheckpointStrategy> Normalisation<Autodiff<B, C>> {
    fn into_parts(self) -> (Normalisation<B>, Option<[NodeGuard; 2]>) {
        match self {
            Self::None => (Normalisation::None, None),
            Self::Layer {
                gamma,
                beta,
                epsilon,
            } => {
                let nodes = [gamma.node(), beta.node()];
                let norm = Normalisation::Layer {
                    gamma: gamma.into_primitive(),
                    beta: beta.into_primitive(),
                    epsilon,
                };
                (norm, Some(nodes))
            }
        }
    }
}
