//! Attention as an autodiff node.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, TensorMetadata};

use crate::compose;
use crate::kernels::Kernels;

#[derive(Debug)]
struct Attention;

impl<B: Kernels> Backward<B, 3> for Attention {
    /// Query, key and value, and whether the attention is causal.
    type State = ([NodeId; 3], bool);

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let grad = grads.consume::<B>(&ops.node);
        let (inputs, causal) = ops.state;
        let [query, key, value] =
            inputs.map(|id| checkpointer.retrieve_node_output::<B::FloatTensorPrimitive>(id));
        let gradients = backward::<B>(query, key, value, grad, causal);
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(parent) = parent {
                grads.register::<B>(parent.id, gradient);
            }
        }
    }
}

/// Gradients at query, key and value, in blocks of images. With `P` the attention weights, `O` the output and
/// `dP = dO V^T`: `dV = P^T dO` and `dS = P (dP - rowsum(P dP))`. The sum equals
/// `rowsum(dO O)`, but computed so it would not cancel exactly where the weights are all on one
/// token.
fn backward<B: Kernels>(
    query: FloatTensor<B>,
    key: FloatTensor<B>,
    value: FloatTensor<B>,
    grad: FloatTensor<B>,
    causal: bool,
) -> [FloatTensor<B>; 3] {
    let scale = compose::attention_scale(&query.shape()) as f32;
    compose::in_blocks::<B, 4, 3>([query, key, value, grad], |[query, key, value, grad]| {
        let weights = compose::attention_weights::<B>(query.clone(), key.clone(), causal);
        let value_grad = B::float_matmul(B::float_transpose(weights.clone()), grad.clone());
        let weights_grad = B::float_matmul(grad, B::float_transpose(value));
        let scores_grad = B::softmax_backward(weights, weights_grad, scale);
        let query_grad = B::float_matmul(scores_grad.clone(), key);
        let key_grad = B::float_matmul(B::float_transpose(scores_grad), query);
        [query_grad, key_grad, value_grad]
    })
}

pub(crate) fn forward<B: Kernels, C: CheckpointStrategy>(
    query: FloatTensor<Autodiff<B, C>>,
    key: FloatTensor<Autodiff<B, C>>,
    value: FloatTensor<Autodiff<B, C>>,
    causal: bool,
) -> FloatTensor<Autodiff<B, C>> {
    let nodes = [query.node(), key.node(), value.node()];
    match Attention.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(mut prepared) => {
            let inputs = [
                prepared.checkpoint(&query),
                prepared.checkpoint(&key),
                prepared.checkpoint(&value),
            ];
            let output = B::softmax_attention(
                query.into_primitive(),
                key.into_primitive(),
                value.into_primitive(),
                causal,
            );
            prepared.finish((inputs, causal), output)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(B::softmax_attention(
            query.into_primitive(),
            key.into_primitive(),
            value.into_primitive(),
            causal,
        )),
    }
}
