//! Frozen sublayers: one node on the tape, whose backward pass computes the gradient at the input alone.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, ExtensionType, Flex, TensorMetadata};
use burn::tensor::{DType, Shape};
use burn_flex::FlexTensor;

use crate::cpu::{Attention, Kept, Mlp, Norm, Panels, Rows, Weights};
use crate::flex::tensor;
use crate::{Kernels, compose};

/// The parameters of an attention sublayer: matrices `[input, output]`, all of one width.
#[derive(Debug, Clone, ExtensionType)]
pub struct AttentionWeights<B: Backend> {
    /// Scale of the layer normalisation.
    pub gamma: FloatTensor<B>,
    /// Shift of the layer normalisation.
    pub beta: FloatTensor<B>,
    /// Projection to queries.
    pub query: FloatTensor<B>,
    /// Bias of the queries.
    pub query_bias: FloatTensor<B>,
    /// Projection to keys.
    pub key: FloatTensor<B>,
    /// Bias of the keys.
    pub key_bias: FloatTensor<B>,
    /// Projection to values.
    pub value: FloatTensor<B>,
    /// Bias of the values.
    pub value_bias: FloatTensor<B>,
    /// Projection of the mixed values.
    pub output: FloatTensor<B>,
    /// Bias of the output.
    pub output_bias: FloatTensor<B>,
}

/// The parameters of an MLP sublayer: matrices `[input, output]`.
#[derive(Debug, Clone, ExtensionType)]
pub struct MlpWeights<B: Backend> {
    /// Scale of the layer normalisation.
    pub gamma: FloatTensor<B>,
    /// Shift of the layer normalisation.
    pub beta: FloatTensor<B>,
    /// Expansion.
    pub expand: FloatTensor<B>,
    /// Bias of the expansion.
    pub expand_bias: FloatTensor<B>,
    /// Contraction.
    pub contract: FloatTensor<B>,
    /// Bias of the contraction.
    pub contract_bias: FloatTensor<B>,
}

/// What a backend does with frozen sublayers on the tape. The default is to put each of the operations that they are
/// composed of there.
pub trait Tape: Kernels {
    /// [`Kernels::frozen_attention`] on the tape.
    fn attention_on_tape<C: CheckpointStrategy>(
        x: FloatTensor<Autodiff<Self, C>>,
        weights: AttentionWeights<Autodiff<Self, C>>,
        heads: usize,
        causal: bool,
        epsilon: f64,
    ) -> FloatTensor<Autodiff<Self, C>> {
        compose::frozen_attention::<Autodiff<Self, C>>(x, weights, heads, causal, epsilon)
    }

    /// [`Kernels::frozen_mlp`] on the tape.
    fn mlp_on_tape<C: CheckpointStrategy>(
        x: FloatTensor<Autodiff<Self, C>>,
        weights: MlpWeights<Autodiff<Self, C>>,
        epsilon: f64,
    ) -> FloatTensor<Autodiff<Self, C>> {
        compose::frozen_mlp::<Autodiff<Self, C>>(x, weights, epsilon)
    }
}

/// An attention sublayer and how it is run.
#[derive(Debug, Clone)]
struct AttentionLayer {
    weights: Arc<AttentionWeights<Flex>>,
    heads: usize,
    causal: bool,
    epsilon: f64,
}

impl AttentionLayer {
    fn with<T>(&self, run: impl FnOnce(Attention<'_>) -> T) -> T {
        let w = &*self.weights;
        let [gamma, beta, query, key, value, output] = [
            &w.gamma,
            &w.beta,
            &w.query_bias,
            &w.key_bias,
            &w.value_bias,
            &w.output_bias,
        ]
        .map(FlexTensor::to_contiguous);
        run(Attention {
            norm: Norm {
                gamma: values(&gamma),
                beta: values(&beta),
                epsilon: self.epsilon,
            },
            weights: [&w.query, &w.key, &w.value, &w.output].map(matrix),
            biases: [&query, &key, &value, &output].map(values),
            heads: self.heads,
            causal: self.causal,
        })
    }
}

/// An MLP sublayer and how it is run.
#[derive(Debug, Clone)]
struct MlpLayer {
    weights: Arc<MlpWeights<Flex>>,
    epsilon: f64,
}

impl MlpLayer {
    fn with<T>(&self, run: impl FnOnce(Mlp<'_>) -> T) -> T {
        let w = &*self.weights;
        let [gamma, beta, expand, contract] =
            [&w.gamma, &w.beta, &w.expand_bias, &w.contract_bias].map(FlexTensor::to_contiguous);
        run(Mlp {
            norm: Norm {
                gamma: values(&gamma),
                beta: values(&beta),
                epsilon: self.epsilon,
            },
            weights: [&w.expand, &w.contract].map(matrix),
            biases: [&expand, &contract].map(values),
        })
    }
}

/// Whether the kernels on slices take it.
fn is_f32(x: &FlexTensor) -> bool {
    x.dtype() == DType::F32
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

pub(crate) fn attention(
    x: FlexTensor,
    weights: AttentionWeights<Flex>,
    heads: usize,
    causal: bool,
    epsilon: f64,
) -> FlexTensor {
    if !is_f32(&x) {
        return compose::frozen_attention::<Flex>(x, weights, heads, causal, epsilon);
    }
    let layer = AttentionLayer {
        weights: Arc::new(weights),
        heads,
        causal,
        epsilon,
    };
    let x = x.to_contiguous();
    let (output, _) = layer.with(|layer| layer.forward(values(&x), rows(&x.shape())));
    tensor(output, x.shape())
}

pub(crate) fn mlp(x: FlexTensor, weights: MlpWeights<Flex>, epsilon: f64) -> FlexTensor {
    if !is_f32(&x) {
        return compose::frozen_mlp::<Flex>(x, weights, epsilon);
    }
    let layer = MlpLayer {
        weights: Arc::new(weights),
        epsilon,
    };
    let x = x.to_contiguous();
    let output = layer.with(|layer| layer.forward(values(&x), rows(&x.shape())));
    tensor(output, x.shape())
}

#[derive(Debug)]
struct FrozenAttention;

impl Backward<Flex, 1> for FrozenAttention {
    type State = (FlexTensor, AttentionLayer, Arc<Kept>);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let grad = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (x, layer, kept) = ops.state;
        if let [Some(parent)] = ops.parents {
            let shape = rows(&x.shape());
            let grad = layer.with(|layer| layer.backward(values(&x), &kept, values(&grad), shape));
            grads.register::<Flex>(parent.id, tensor(grad, x.shape()));
        }
    }
}

#[derive(Debug)]
struct FrozenMlp;

impl Backward<Flex, 1> for FrozenMlp {
    type State = (FlexTensor, MlpLayer, Arc<Panels>);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let grad = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (x, layer, kept) = ops.state;
        if let [Some(parent)] = ops.parents {
            let shape = rows(&x.shape());
            let grad = layer.with(|layer| layer.backward(values(&x), &kept, values(&grad), shape));
            grads.register::<Flex>(parent.id, tensor(grad, x.shape()));
        }
    }
}

impl Tape for Flex {
    fn attention_on_tape<C: CheckpointStrategy>(
        x: FloatTensor<Autodiff<Self, C>>,
        weights: AttentionWeights<Autodiff<Self, C>>,
        heads: usize,
        causal: bool,
        epsilon: f64,
    ) -> FloatTensor<Autodiff<Self, C>> {
        let node = x.node();
        match FrozenAttention
            .prepare::<C>([node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prepared) if x.dtype() == DType::F32 => {
                let x = x.into_primitive().to_contiguous();
                let layer = AttentionLayer {
                    weights: Arc::new(weights.off_tape()),
                    heads,
                    causal,
                    epsilon,
                };
                let (output, kept) =
                    layer.with(|layer| layer.forward(values(&x), rows(&x.shape())));
                let output = tensor(output, x.shape());
                prepared.finish((x, layer, Arc::new(kept)), output)
            }
            OpsKind::Tracked(_) => {
                compose::frozen_attention::<Autodiff<Self, C>>(x, weights, heads, causal, epsilon)
            }
            OpsKind::UnTracked(prepared) => {
                let x = x.into_primitive();
                prepared.finish(attention(x, weights.off_tape(), heads, causal, epsilon))
            }
        }
    }

    fn mlp_on_tape<C: CheckpointStrategy>(
        x: FloatTensor<Autodiff<Self, C>>,
        weights: MlpWeights<Autodiff<Self, C>>,
        epsilon: f64,
    ) -> FloatTensor<Autodiff<Self, C>> {
        let node = x.node();
        match FrozenMlp.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) if x.dtype() == DType::F32 => {
                let x = x.into_primitive().to_contiguous();
                let layer = MlpLayer {
                    weights: Arc::new(weights.off_tape()),
                    epsilon,
                };
                let (output, kept) =
                    layer.with(|layer| layer.forward_kept(values(&x), rows(&x.shape())));
                let output = tensor(output, x.shape());
                prepared.finish((x, layer, Arc::new(kept)), output)
            }
            OpsKind::Tracked(_) => compose::frozen_mlp::<Autodiff<Self, C>>(x, weights, epsilon),
            OpsKind::UnTracked(prepared) => {
                let x = x.into_primitive();
                prepared.finish(mlp(x, weights.off_tape(), epsilon))
            }
        }
    }
}

impl<B: Backend, C: CheckpointStrategy> AttentionWeights<Autodiff<B, C>> {
    fn off_tape(self) -> AttentionWeights<B> {
        AttentionWeights {
            gamma: self.gamma.into_primitive(),
            beta: self.beta.into_primitive(),
            query: self.query.into_primitive(),
            query_bias: self.query_bias.into_primitive(),
            key: self.key.into_primitive(),
            key_bias: self.key_bias.into_primitive(),
            value: self.value.into_primitive(),
            value_bias: self.value_bias.into_primitive(),
            output: self.output.into_primitive(),
            output_bias: self.output_bias.into_primitive(),
        }
    }
}

impl<B: Backend, C: CheckpointStrategy> MlpWeights<Autodiff<B, C>> {
    fn off_tape(self) -> MlpWeights<B> {
        MlpWeights {
            gamma: self.gamma.into_primitive(),
            beta: self.beta.into_primitive(),
            expand: self.expand.into_primitive(),
            expand_bias: self.expand_bias.into_primitive(),
            contract: self.contract.into_primitive(),
            contract_bias: self.contract_bias.into_primitive(),
        }
    }
}
