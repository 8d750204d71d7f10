//! The adapter block: expansion, ReLU, contraction, behind a sublayer or alone.

use super::gradient;
use super::mlp::relu;
use super::panels::{LANES, Lane, Panels};
use super::product::{BLOCK, Linear, Product};
use super::sublayer::{Core, Wanted, Work};

/// An adapter block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Adapter<'a> {
    pub(crate) expand: Linear<'a>,
    pub(crate) contract: Linear<'a>,
    /// Whether the change is rectified.
    pub(crate) rectified: bool,
    /// Whether the change is added to the input.
    pub(crate) residual: bool,
}

/// What the backward pass needs of the forward pass.
#[derive(Debug)]
pub(crate) struct AdapterKept {
    input: Panels,
    hidden: Panels,
    /// A bit for each token of a lane whose change is above 0; empty unless it is rectified.
    above: Vec<u16>,
}

impl Adapter<'_> {
    /// Panels to panels of the same blocks, with so many threads.
    pub(crate) fn forward(&self, input: Panels, threads: usize) -> (Panels, AdapterKept) {
        let hidden = Product {
            terms: &[(self.expand.weights, &input)],
            bias: Some(self.expand.bias),
            block: BLOCK,
            threads,
        }
        .run(|_, part| relu(part));
        let mut above = Vec::new();
        let beside = self.rectified.then(|| {
            above.resize(input.data.len() / LANES, 0);
            &mut above[..]
        });
        let output = Product {
            terms: &[(self.contract.weights, &hidden)],
            bias: Some(self.contract.bias),
            block: input.block,
            threads,
        }
        .run_beside(beside, |place, part, above| {
            if let Some(above) = above {
                let (lanes, _) = part.as_chunks();
                for (lane, above) in lanes.iter().zip(above) {
                    *above = signs(lane);
                }
                relu(part);
            }
            if self.residual {
                let input = input.panel(place.block, place.panel);
                for (y, x) in part.iter_mut().zip(input) {
                    *y += x;
                }
            }
        });
        let kept = AdapterKept {
            input,
            hidden,
            above,
        };
        (output, kept)
    }

    /// The gradients at the input and at weights and biases in turn, each if asked for, given that at the output.
    pub(crate) fn backward(
        &self,
        kept: &AdapterKept,
        grad: Panels,
        input: bool,
        parameters: bool,
        threads: usize,
    ) -> (Option<Panels>, Vec<Vec<f32>>) {
        let mut change = grad;
        let grad = self.residual.then(|| change.clone());
        if self.rectified {
            let (lanes, _) = change.data.as_chunks_mut();
            for (lane, above) in lanes.iter_mut().zip(&kept.above) {
                mask(lane, *above);
            }
        }
        let hidden = Product {
            terms: &[(self.contract.weights.transposed(), &change)],
            bias: None,
            block: BLOCK,
            threads,
        }
        .run(|place, part| {
            let hidden = kept.hidden.panel(place.block, place.panel);
            for (grad, x) in part.iter_mut().zip(hidden) {
                *grad = if *x > 0.0 { *grad } else { 0.0 };
            }
        });
        let mut at_parameters = Vec::new();
        if parameters {
            at_parameters.push(gradient::matrix(&kept.input, &hidden));
            at_parameters.push(gradient::bias(&hidden));
            at_parameters.push(gradient::matrix(&kept.hidden, &change));
            at_parameters.push(gradient::bias(&change));
        }
        let block = change.block;
        drop(change);
        let at_input = input.then(|| {
            Product {
                terms: &[(self.expand.weights.transposed(), &hidden)],
                bias: None,
                block,
                threads,
            }
            .run(|place, part| {
                if let Some(grad) = &grad {
                    for (y, grad) in part.iter_mut().zip(grad.panel(place.block, place.panel)) {
                        *y += grad;
                    }
                }
            })
        });
        (at_input, at_parameters)
    }
}

impl Core for Adapter<'_> {
    type Kept = AdapterKept;

    const TOKENS_ALONE: bool = true;

    fn forward(&self, x: Panels, work: Work, _keep: bool) -> (Panels, AdapterKept) {
        self.forward(x, work.threads)
    }

    fn backward(
        &self,
        _x: impl Fn() -> Panels,
        kept: &AdapterKept,
        grad: Panels,
        work: Work,
        wanted: Wanted,
    ) -> (Option<Panels>, Vec<Vec<f32>>) {
        let (input, parameters) = (wanted.core_input(), wanted.parameters);
        self.backward(kept, grad, input, parameters, work.threads)
    }
}

/// Which tokens of a lane are above 0, a bit for each.
fn signs(lane: &Lane) -> u16 {
    let tokens = lane.iter().rev();
    tokens.fold(0, |bits, x| bits << 1 | u16::from(*x > 0.0))
}

/// Puts 0 where a lane's bit is not set.
fn mask(lane: &mut Lane, bits: u16) {
    for (token, x) in lane.iter_mut().enumerate() {
        *x = if bits >> token & 1 == 1 { *x } else { 0.0 };
    }
}
