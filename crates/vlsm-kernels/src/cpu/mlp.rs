//! The MLP: expansion, activation, contraction.

use std::cell::RefCell;

use super::activation::{coarsened, dequantised, fine};
use super::gradient;
use super::linear::Linear;
use super::panels::{LANES, Panels, zeros};
use super::product::{BLOCK, Product};
use super::sublayer_core::{Core, Group, NeededGrads, Save};
use crate::ops::Activation;

/// An MLP.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mlp<'a> {
    pub(crate) expand: Linear<'a>,
    pub(crate) contract: Linear<'a>,
    /// Between expansion and contraction.
    pub(crate) activation: Activation,
}

/// The saved slopes of an activation, in the order of the hidden units; empty if they are not saved.
#[derive(Debug)]
pub(super) enum Slopes {
    Fine(Vec<[u16; LANES]>),
    /// The upper halves, after layers in 8 bits, whose own rounding is as coarse.
    Coarse(Vec<[u8; LANES]>),
}

thread_local! {
    /// Slopes of a panel.
    static FINE: RefCell<Vec<u16>> = const { RefCell::new(Vec::new()) };
}

impl Linear<'_> {
    /// The activated outputs of the layer, and the slopes if `save`.
    pub(super) fn activated(
        &self,
        x: &Panels,
        activation: Activation,
        threads: usize,
        save: bool,
    ) -> (Panels, Slopes) {
        let x = self.input(x);
        let count = x.panels();
        let expansion = Product {
            terms: &[self.forward(&x)],
            bias: Some(self.bias),
            block: BLOCK,
            threads,
        };
        let lanes = self.weights.outputs * count;
        if !save {
            let hidden = expansion.run(|_, part| activation.forward(part));
            (hidden, Slopes::Fine(Vec::new()))
        } else if self.int8().is_some() {
            let mut slopes = zeros(lanes);
            let hidden = expansion.run_with(Some(&mut slopes), |_, part, slopes| {
                FINE.with_borrow_mut(|fine| {
                    fine.resize(part.len(), 0);
                    activation.forward_and_slope(part, fine);
                    let slopes: &mut [[u8; LANES]] = slopes.unwrap_or_default();
                    for (coarse, fine) in slopes.as_flattened_mut().iter_mut().zip(fine) {
                        *coarse = coarsened(*fine);
                    }
                });
            });
            (hidden, Slopes::Coarse(slopes))
        } else {
            let mut slopes = zeros(lanes);
            let hidden = expansion.run_with(Some(&mut slopes), |_, part, slopes| {
                let slopes: &mut [[u16; LANES]] = slopes.unwrap_or_default();
                activation.forward_and_slope(part, slopes.as_flattened_mut());
            });
            (hidden, Slopes::Fine(slopes))
        }
    }

    /// The gradient at the inputs of the activation before this layer, given the gradient at the layer's outputs.
    pub(super) fn activated_backward(
        &self,
        grad: &Panels,
        slopes: &Slopes,
        threads: usize,
    ) -> Panels {
        let count = grad.count;
        let grad = self.input(grad);
        Product {
            terms: &[self.backward(&grad)],
            bias: None,
            block: BLOCK,
            threads,
        }
        .run(|index, part| {
            let start = index.block * BLOCK * count + index.panel * part.len() / LANES;
            match slopes {
                Slopes::Fine(slopes) => {
                    for (grad, slope) in part.iter_mut().zip(slopes[start..].as_flattened()) {
                        *grad *= dequantised(*slope);
                    }
                }
                Slopes::Coarse(slopes) => {
                    for (grad, slope) in part.iter_mut().zip(slopes[start..].as_flattened()) {
                        *grad *= dequantised(fine(*slope));
                    }
                }
            }
        })
    }
}

/// What the backward pass needs from the forward pass, other than the input.
#[derive(Debug)]
pub(crate) struct SavedMlp {
    slopes: Slopes,
    /// The hidden units, where the contraction is trained.
    hidden: Option<Panels>,
}

impl Core for Mlp<'_> {
    type Saved = SavedMlp;

    const TOKENWISE: bool = true;

    fn forward(&self, x: Panels, group: Group, save: Save) -> (Panels, SavedMlp) {
        let threads = group.threads;
        let (hidden, slopes) =
            (self.expand).activated(&x, self.activation, threads, save.anything());
        drop(x);
        let output = Product {
            terms: &[self.contract.forward(&self.contract.input(&hidden))],
            bias: Some(self.contract.bias),
            block: BLOCK,
            threads: group.threads,
        }
        .run(|_, _| {});
        let hidden = save.input_of(1).then_some(hidden);
        (output, SavedMlp { slopes, hidden })
    }

    fn backward(
        &self,
        x: impl Fn() -> Panels,
        saved: &SavedMlp,
        grad: Panels,
        group: Group,
        needed: NeededGrads,
    ) -> (Option<Panels>, Vec<Vec<f32>>) {
        let threads = group.threads;
        let hidden_grad = (self.contract).activated_backward(&grad, &saved.slopes, threads);
        let mut at_parameters = Vec::new();
        if needed.core_parameters() {
            let x = x();
            at_parameters.extend(gradient::layer(&x, &hidden_grad, needed.layers[0]));
            let again;
            let hidden = match &saved.hidden {
                None if needed.layers[1] => {
                    (again, _) = (self.expand).activated(&x, self.activation, threads, false);
                    &again
                }
                None => &x,
                Some(hidden) => hidden,
            };
            at_parameters.extend(gradient::layer(hidden, &grad, needed.layers[1]));
        }
        drop(grad);
        let at_input = needed.core_input().then(|| {
            Product {
                terms: &[self.expand.backward(&self.expand.input(&hidden_grad))],
                bias: None,
                block: BLOCK,
                threads: group.threads,
            }
            .run(|_, _| {})
        });
        (at_input, at_parameters)
    }
}
