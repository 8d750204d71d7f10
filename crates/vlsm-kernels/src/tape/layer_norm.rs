//! Layer normalisation as an autodiff node.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, TensorMetadata};
use burn::tensor::Shape;

use crate::kernels::Kernels;

#[derive(Debug)]
struct LayerNorm;

impl<B: Kernels> Backward<B, 3> for LayerNorm {
    type State = (NodeId, NodeId, f64);

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let [x_node, gamma_node, beta_node] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        let (x, gamma, epsilon) = ops.state;
        let x = checkpointer.retrieve_node_output::<B::FloatTensorPrimitive>(x);
        let gamma = checkpointer.retrieve_node_output::<B::FloatTensorPrimitive>(gamma);
        let width = gamma.shape()[0];
        let rows = x.shape().num_elements() / width;
        let over_rows = |tensor| {
            let tensor = B::float_reshape(tensor, Shape::from(vec![rows, width]));
            B::float_reshape(B::float_sum_dim(tensor, 0), Shape::from(vec![width]))
        };
        if let Some(node) = beta_node {
            grads.register::<B>(node.id, over_rows(grad.clone()));
        }
        if let Some(node) = gamma_node {
            let ones =
                B::float_add_scalar(B::float_mul_scalar(gamma.clone(), 0f32.into()), 1f32.into());
            let normal = B::layer_norm(x.clone(), ones, None, epsilon);
            grads.register::<B>(node.id, over_rows(B::float_mul(grad.clone(), normal)));
        }
        if let Some(node) = x_node {
            grads.register::<B>(node.id, B::layer_norm_backward(x, gamma, grad, epsilon));
        }
    }
}

pub(crate) fn forward<B: Kernels, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    gamma: FloatTensor<Autodiff<B, C>>,
    beta: FloatTensor<Autodiff<B, C>>,
    epsilon: f64,
) -> FloatTensor<Autodiff<B, C>> {
    let nodes = [x.node(), gamma.node(), beta.node()];
    match LayerNorm.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(mut prepared) => {
            let state = (
                prepared.checkpoint(&x),
                prepared.checkpoint(&gamma),
                epsilon,
            );
            let output = B::layer_norm_affine(
                x.into_primitive(),
                gamma.into_primitive(),
                beta.into_primitive(),
                epsilon,
            );
            prepared.finish(state, output)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(B::layer_norm_affine(
            x.into_primitive(),
            gamma.into_primitive(),
            beta.into_primitive(),
            epsilon,
        )),
    }
}
