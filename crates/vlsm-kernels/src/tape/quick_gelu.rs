//! Quick-GELU as an autodiff node.

use burn::backend::Autodiff;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;

use crate::kernels::Kernels;

#[derive(Debug)]
struct QuickGelu;

impl<B: Kernels> Backward<B, 1> for QuickGelu {
    type State = NodeId;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let [parent] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        let x = checkpointer.retrieve_node_output::<B::FloatTensorPrimitive>(ops.state);
        if let Some(parent) = parent {
            grads.register::<B>(parent.id, B::quick_gelu_backward(x, grad));
        }
    }
}

pub(crate) fn forward<B: Kernels, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
) -> FloatTensor<Autodiff<B, C>> {
    match QuickGelu
        .prepare::<C>([x.node()])
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(mut prepared) => {
            let state = prepared.checkpoint(&x);
            prepared.finish(state, B::quick_gelu(x.into_primitive()))
        }
        OpsKind::UnTracked(prepared) => prepared.finish(B::quick_gelu(x.into_primitive())),
    }
}
