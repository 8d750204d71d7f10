//! The adapter block: expansion, activation, contraction; behind a sublayer, beside it, or alone.

use super::gradient;
use super::mlp::{Slopes, relu};
use super::panels::{LANES, Lane, Panels};
use super::product::{BLOCK, Linear, Product};
use super::sublayer::{Core, Keep, Wanted, Work};
use crate::{AdapterConfig, Connection};

/// An adapter block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Adapter<'a> {
    pub(crate) expand: Linear<'a>,
    pub(crate) contract: Linear<'a>,
    pub(crate) config: AdapterConfig,
}

/// What the backward pass needs of the forward pass.
#[derive(Debug)]
pub(crate) struct AdapterKept {
    input: Panels,
    hidden: Panels,
    slopes: Slopes,
    /// A bit for each token of a lane whose change is above 0; empty unless it is rectified.
    above: Vec<u16>,
}

impl Adapter<'_> {
    /// Panels to panels in blocks of [`BLOCK`], as the input must be if the change is added to it, with so many threads. What is
    /// kept serves only if `keep` says that it will be needed.
    pub(crate) fn forward(
        &self,
        input: Panels,
        threads: usize,
        keep: bool,
    ) -> (Panels, AdapterKept) {
        let config = self.config;
        let (hidden, slopes) = (self.expand).activated(&input, config.activation, threads, keep);
        let mut above = Vec::new();
        let beside = config.rectified.then(|| {
            above.resize(input.data.len() / LANES, 0);
            &mut above[..]
        });
        let output = Product {
            terms: &[(self.contract.weights, &hidden)],
            bias: Some(self.contract.bias),
            block: BLOCK,
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
            if config.scale != 1.0 {
                for y in part.iter_mut() {
                    *y *= config.scale;
                }
            }
            if config.connection == Connection::Sequential {
                let input = input.panel(place.block, place.panel);
                for (y, x) in part.iter_mut().zip(input) {
                    *y += x;
                }
            }
        });
        let kept = AdapterKept {
            input,
            hidden,
            slopes,
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
            for (lane, above) in lanes.iter_mut().zip(&kept.above) {
                mask(lane, *above);
            }
        }
        let hidden = (self.contract).activated_backward(&change, &kept.slopes, threads);
        let mut at_parameters = Vec::new();
        if parameters {
            at_parameters.extend(gradient::layer(&kept.input, &hidden, true));
            at_parameters.extend(gradient::layer(&kept.hidden, &change, true));
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

    fn forward(&self, x: Panels, work: Work, keep: Keep) -> (Panels, AdapterKept) {
        self.forward(x, work.threads, keep.anything())
    }

    fn backward(
        &self,
        _x: impl Fn() -> Panels,
        kept: &AdapterKept,
        grad: Panels,
        work: Work,
        wanted: Wanted,
    ) -> (Option<Panels>, Vec<Vec<f32>>) {
        let (input, parameters) = (wanted.core_input(), wanted.parameters());
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
