//! The adapter block: expansion, activation, contraction; after a sublayer, parallel to it, or without one.

use super::activation::relu;
use super::gradient;
use super::half::Kept;
use super::linear::Linear;
use super::mlp::Slopes;
use super::panels::{LANES, Lane, Panels};
use super::product::{BLOCK, Product};
use super::sublayer_core::{Core, Group, NeededGrads, Save};
use crate::ops::{AdapterConfig, Connection};

/// An adapter block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Adapter<'a> {
    pub(crate) expand: Linear<'a>,
    pub(crate) contract: Linear<'a>,
    pub(crate) config: AdapterConfig,
}

/// What the backward pass needs from the forward pass.
#[derive(Debug)]
pub(crate) struct SavedAdapter {
    input: Kept,
    hidden: Panels,
    slopes: Slopes,
    /// For each lane a bit per token, set where the rectifier let the value pass; empty unless the block is rectified.
    positive: Vec<u16>,
}

impl Adapter<'_> {
    /// Panels to panels in blocks of [`BLOCK`], which a sequential block's input must have too. The saved tensors are complete
    /// only if `save` asks for them.
    pub(crate) fn forward(
        &self,
        input: Panels,
        threads: usize,
        save: Save,
    ) -> (Panels, SavedAdapter) {
        let config = self.config;
        let slopes = save.anything();
        let (hidden, slopes) = (self.expand).activated(&input, config.activation, threads, slopes);
        let mut positive = Vec::new();
        let bits = config.rectified.then(|| {
            positive.resize(input.data.len() / LANES, 0);
            &mut positive[..]
        });
        let output = Product {
            terms: &[self.contract.forward(&self.contract.input(&hidden))],
            bias: Some(self.contract.bias),
            block: BLOCK,
            threads,
        }
        .run_with(bits, |index, part, bits| {
            if let Some(bits) = bits {
                let (lanes, _) = part.as_chunks();
                for (lane, bits) in lanes.iter().zip(bits) {
                    *bits = positive_bits(lane);
                }
                relu(part);
            }
            if config.scale != 1.0 {
                for y in part.iter_mut() {
                    *y *= config.scale;
                }
            }
            if config.connection == Connection::Sequential {
                let input = input.panel(index.block, index.panel);
                for (y, x) in part.iter_mut().zip(input) {
                    *y += x;
                }
            }
        });
        let saved = SavedAdapter {
            input: save.kept(input),
            hidden,
            slopes,
            positive,
        };
        (output, saved)
    }

    /// The gradients at the input and at weights and biases in turn, each if needed, given the gradient at the output.
    pub(crate) fn backward(
        &self,
        saved: &SavedAdapter,
        grad: Panels,
        input: bool,
        parameters: bool,
        threads: usize,
    ) -> (Option<Panels>, Vec<Vec<f32>>) {
        let config = self.config;
        let mut change = grad;
        let grad = (config.connection == Connection::Sequential).then(|| change.clone());
        if config.scale != 1.0 {
            for y in &mut change.data {
                *y *= config.scale;
            }
        }
        if config.rectified {
            let (lanes, _) = change.data.as_chunks_mut();
            for (lane, bits) in lanes.iter_mut().zip(&saved.positive) {
                mask(lane, *bits);
            }
        }
        let hidden = (self.contract).activated_backward(&change, &saved.slopes, threads);
        let mut at_parameters = Vec::new();
        if parameters {
            at_parameters.extend(gradient::layer(&saved.input.get(), &hidden, true));
            at_parameters.extend(gradient::layer(&saved.hidden, &change, true));
        }
        let block = change.block;
        drop(change);
        let at_input = input.then(|| {
            Product {
                terms: &[self.expand.backward(&self.expand.input(&hidden))],
                bias: None,
                block,
                threads,
            }
            .run(|index, part| {
                if let Some(grad) = &grad {
                    for (y, grad) in part.iter_mut().zip(grad.panel(index.block, index.panel)) {
                        *y += grad;
                    }
                }
            })
        });
        (at_input, at_parameters)
    }
}

impl Core for Adapter<'_> {
    type Saved = SavedAdapter;

    const TOKENWISE: bool = true;

    fn forward(&self, x: Panels, group: Group, save: Save) -> (Panels, SavedAdapter) {
        self.forward(x, group.threads, save)
    }

    fn backward(
        &self,
        _x: impl Fn() -> Panels,
        saved: &SavedAdapter,
        grad: Panels,
        group: Group,
        needed: NeededGrads,
    ) -> (Option<Panels>, Vec<Vec<f32>>) {
        let (input, parameters) = (needed.core_input(), needed.core_parameters());
        self.backward(saved, grad, input, parameters, group.threads)
    }
}

/// A bit for each token of a lane, set where its value is above 0.
fn positive_bits(lane: &Lane) -> u16 {
    let tokens = lane.iter().rev();
    tokens.fold(0, |bits, x| bits << 1 | u16::from(*x > 0.0))
}

/// Sets a lane to 0 where its bit is not set.
fn mask(lane: &mut Lane, bits: u16) {
    for (token, x) in lane.iter_mut().enumerate() {
        *x = if bits >> token & 1 == 1 { *x } else { 0.0 };
    }
}
