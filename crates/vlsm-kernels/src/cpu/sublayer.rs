//! What all sublayers share: normalisation, adapter block, residual, and parallel processing of groups of images.

use rayon::prelude::*;

use super::adapter::{Adapter, SavedAdapter};
use super::norm::Norm;
use super::panels::{Panels, Rows, copied, zeros};
use super::product::BLOCK;
use super::sublayer_core::{Core, Group, NeededGrads, Save};
use crate::ops::Connection;

/// A sublayer: `x + adapter(core(norm(x)))`, or with a parallel adapter `x + core(norm(x)) + change(norm(x))`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sublayer<'a, C> {
    pub(crate) norm: Option<Norm<'a>>,
    pub(crate) core: C,
    pub(crate) adapter: Option<Adapter<'a>>,
    /// Whether the input is added.
    pub(crate) residual: bool,
}

/// What the backward pass needs from the forward pass of a group of images, other than its input.
#[derive(Debug)]
pub(crate) struct SavedTensors<C> {
    core: C,
    adapter: Option<SavedAdapter>,
}

/// Gradients of a sublayer, those that are needed.
#[derive(Debug, Default)]
pub(crate) struct SublayerGrads {
    /// At the input.
    pub(crate) input: Option<Vec<f32>>,
    pub(crate) parameters: ParameterGrads,
}

/// Gradients at weights and biases in turn.
#[derive(Debug, Default)]
pub(crate) struct ParameterGrads {
    pub(crate) core: Vec<Vec<f32>>,
    pub(crate) adapter: Vec<Vec<f32>>,
    /// At scale and shift.
    pub(crate) norm: Vec<Vec<f32>>,
}

impl<C: Core> Sublayer<'_, C> {
    /// Rows to rows and, if `save` asks for it, what the backward pass needs from each group of images.
    ///
    /// One thread processes a whole group if there are enough groups: synchronising after every operation cost two threads a
    /// fifteenth of their time.
    pub(crate) fn forward(
        &self,
        rows: &[f32],
        shape: Rows,
        save: Save,
    ) -> (Vec<f32>, Vec<SavedTensors<C::Saved>>) {
        let mut output = if self.residual {
            copied(rows)
        } else {
            zeros(rows.len())
        };
        let groups = Groups::of(shape);
        let saved = rows
            .par_chunks(groups.size)
            .zip(output.par_chunks_mut(groups.size))
            .map(|(rows, to)| {
                let group = self.group(groups, rows);
                let (y, saved) = self.forward_group(rows, group, save);
                y.unpack_onto(to, group.shape);
                saved
            })
            .collect::<Vec<_>>();
        (output, saved.into_iter().flatten().collect())
    }

    fn forward_group(
        &self,
        rows: &[f32],
        group: Group,
        save: Save,
    ) -> (Panels, Option<SavedTensors<C::Saved>>) {
        let x = self.input(rows, group);
        let parallel = match &self.adapter {
            Some(adapter) if adapter.config.connection == Connection::Parallel => {
                Some(adapter.forward(x.clone(), group.threads, save))
            }
            _ => None,
        };
        let (y, core) = self.core.forward(x, group, save);
        let (y, adapter) = match (&self.adapter, parallel) {
            (_, Some((change, saved))) => (plus(y, &change), Some(saved)),
            (Some(adapter), None) => {
                let (y, saved) = adapter.forward(y, group.threads, save);
                (y, Some(saved))
            }
            (None, None) => (y, None),
        };
        (
            y,
            (save.anything()).then_some(SavedTensors { core, adapter }),
        )
    }

    /// The gradients that are needed, given the gradient at the output. Where the forward pass saved nothing, it runs again.
    pub(crate) fn backward(
        &self,
        rows: &[f32],
        saved: &[SavedTensors<C::Saved>],
        grad: &[f32],
        shape: Rows,
        needed: NeededGrads,
    ) -> SublayerGrads {
        let mut at_rows = match (needed.input, self.residual) {
            (false, _) => Vec::new(),
            (true, true) => copied(grad),
            (true, false) => zeros(rows.len()),
        };
        let groups = Groups::of(shape);
        let mut to = at_rows.chunks_mut(groups.size);
        let tasks = rows.chunks(groups.size).zip(grad.chunks(groups.size));
        let mut saved = saved.iter();
        let mut tasks: Vec<_> = tasks
            .map(|(rows, grad)| (rows, grad, saved.next(), to.next()))
            .collect();
        let mut sums = ParameterGrads::default();
        // As many groups at a time as there are threads: each has its own gradients at the parameters, which may be large.
        for tasks in tasks.chunks_mut(rayon::current_num_threads()) {
            let grads: Vec<_> = tasks
                .par_iter_mut()
                .map(|(rows, grad, saved, to)| {
                    let group = self.group(groups, rows);
                    let again = match saved {
                        Some(_) => None,
                        None => {
                            let save = Save::ForBackward {
                                trained: needed.layers,
                                half: false,
                            };
                            self.forward_group(rows, group, save).1
                        }
                    };
                    let saved = saved.or(again.as_ref())?;
                    Some(self.backward_group(rows, saved, grad, to.as_deref_mut(), group, needed))
                })
                .collect();
            for grads in grads.into_iter().flatten() {
                sums.add(grads);
            }
        }
        SublayerGrads {
            input: needed.input.then_some(at_rows),
            parameters: sums,
        }
    }

    fn backward_group(
        &self,
        rows: &[f32],
        saved: &SavedTensors<C::Saved>,
        grad: &[f32],
        to: Option<&mut [f32]>,
        group: Group,
        needed: NeededGrads,
    ) -> ParameterGrads {
        let mut grads = ParameterGrads::default();
        let grad = Panels::pack(grad, group.shape, BLOCK);
        let core = needed.core_input() || needed.core_parameters();
        let mut parallel_grad = None;
        let grad = match (&self.adapter, &saved.adapter) {
            (Some(adapter), Some(saved)) => {
                let parallel = adapter.config.connection == Connection::Parallel;
                let at_output = (parallel && core).then(|| grad.clone());
                let input = if parallel { needed.core_input() } else { core };
                let (at_input, at_adapter) =
                    adapter.backward(saved, grad, input, needed.adapter, group.threads);
                grads.adapter = at_adapter;
                if parallel {
                    parallel_grad = at_input;
                    at_output
                } else {
                    at_input
                }
            }
            _ => core.then_some(grad),
        };
        let Some(grad) = grad else {
            return grads;
        };
        let input = || self.input(rows, group);
        let at_input;
        (at_input, grads.core) = self.core.backward(input, &saved.core, grad, group, needed);
        let Some(grad) = at_input else {
            return grads;
        };
        let grad = match parallel_grad {
            Some(parallel_grad) => plus(grad, &parallel_grad),
            None => grad,
        };
        if let (Some(norm), true) = (self.norm, needed.norm) {
            grads.norm = norm.parameters_backward(rows, &grad, group.shape);
        }
        match (self.norm, to) {
            (Some(norm), Some(to)) => norm.backward_onto(to, rows, &grad, group.shape),
            (None, Some(to)) => grad.unpack_onto(to, group.shape),
            (_, None) => {}
        }
        grads
    }

    /// The rows as panels, normalised if there is a normalisation.
    fn input(&self, rows: &[f32], group: Group) -> Panels {
        match self.norm {
            Some(norm) => norm.forward(rows, group.shape),
            None => Panels::pack(rows, group.shape, BLOCK),
        }
    }

    /// The group of some rows.
    fn group(&self, groups: Groups, rows: &[f32]) -> Group {
        let shape = groups.shape(rows);
        Group {
            shape: if C::TOKENWISE {
                shape.together()
            } else {
                shape
            },
            threads: rayon::current_num_threads().div_ceil(groups.count),
        }
    }
}

impl ParameterGrads {
    fn add(&mut self, other: Self) {
        for (sums, grads) in [
            (&mut self.core, other.core),
            (&mut self.adapter, other.adapter),
            (&mut self.norm, other.norm),
        ] {
            if sums.is_empty() {
                *sums = grads;
                continue;
            }
            for (sum, grad) in sums.iter_mut().zip(grads) {
                sum.par_iter_mut()
                    .zip(grad)
                    .with_min_len(1 << 14)
                    .for_each(|(sum, grad)| *sum += grad);
            }
        }
    }
}

/// The sum of two panels with the same blocks.
fn plus(mut sum: Panels, other: &Panels) -> Panels {
    for (y, x) in sum.data.iter_mut().zip(&other.data) {
        *y += x;
    }
    sum
}

/// How the images of a batch are divided: into groups small enough that one thread can take each through a sublayer. Depends
/// on the shape alone, and so do sums over groups.
#[derive(Debug, Clone, Copy)]
struct Groups {
    whole: Rows,
    /// Values in the rows of a group; the last group may have fewer.
    size: usize,
    count: usize,
}

impl Groups {
    fn of(whole: Rows) -> Self {
        const TOKENS: usize = 768;
        let images = TOKENS.div_ceil(whole.tokens);
        Self {
            whole,
            size: images * whole.tokens * whole.width,
            count: whole.images.div_ceil(images),
        }
    }

    fn shape(self, rows: &[f32]) -> Rows {
        Rows {
            images: rows.len() / (self.whole.tokens * self.whole.width),
            ..self.whole
        }
    }
}
