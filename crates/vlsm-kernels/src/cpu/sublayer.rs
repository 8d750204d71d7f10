//! What all sublayers share: normalisation before, an adapter block behind or beside, the residual, and groups of images side by side.

use std::fmt::Debug;

use rayon::prelude::*;

use super::adapter::{Adapter, AdapterKept};
use super::norm::Norm;
use super::panels::{Panels, Rows, copied, zeros};
use super::product::BLOCK;
use crate::Connection;

/// A sublayer: `x + adapter(core(norm(x)))`, or with a parallel adapter `x + core(norm(x)) + change(norm(x))`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sublayer<'a, C> {
    pub(crate) norm: Option<Norm<'a>>,
    pub(crate) core: C,
    pub(crate) adapter: Option<Adapter<'a>>,
    /// Whether the input is added.
    pub(crate) residual: bool,
}

/// What a sublayer is named after.
pub(crate) trait Core: Sync {
    /// What the backward pass needs of the forward pass.
    type Kept: Debug + Send + Sync + 'static;

    /// Whether each token is treated alone, so that images need not have panels of their own.
    const TOKENS_ALONE: bool;

    /// Panels to panels in blocks of [`BLOCK`]. What is kept serves only if `keep` says that it will be needed.
    fn forward(&self, x: Panels, of: Work, keep: Keep) -> (Panels, Self::Kept);

    /// The gradients at the input and at weights and biases in turn, each if asked for, given that at the output. `x` is the
    /// input again.
    fn backward(
        &self,
        x: impl Fn() -> Panels,
        kept: &Self::Kept,
        grad: Panels,
        of: Work,
        wanted: Wanted,
    ) -> (Option<Panels>, Vec<Vec<f32>>);
}

/// What of a forward pass is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Keep {
    /// Nothing.
    Nothing,
    /// What the backward pass needs. Where a layer of the core is trained, its input too, which would have to be computed
    /// again: with all of them trained, an eighth of the time of a step for a twentieth of its memory.
    All {
        /// The layers that are trained.
        trained: [bool; 4],
    },
}

impl Keep {
    /// Whether there will be a backward pass.
    pub(crate) fn anything(self) -> bool {
        matches!(self, Self::All { .. })
    }

    /// Whether the input of a layer is kept.
    pub(crate) fn input_of(self, layer: usize) -> bool {
        matches!(self, Self::All { trained } if trained[layer])
    }
}

/// What one call works on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    pub(crate) shape: Rows,
    /// Threads that have nothing else to do.
    pub(crate) threads: usize,
}

/// Which gradients of a sublayer are asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// That at the input.
    pub(crate) rows: bool,
    /// Those at weight and bias of each of the core's layers.
    pub(crate) layers: [bool; 4],
    /// Those at the adapter's.
    pub(crate) adapter: bool,
    /// Those at scale and shift.
    pub(crate) norm: bool,
}

impl Wanted {
    /// Whether the gradient at the core's input is needed.
    pub(crate) fn core_input(self) -> bool {
        self.rows || self.norm
    }

    /// Whether any of the core's parameters has a gradient.
    pub(crate) fn parameters(self) -> bool {
        self.layers.contains(&true)
    }
}

/// What the backward pass needs of a group of images, besides the rows.
#[derive(Debug)]
pub(crate) struct Kept<K> {
    core: K,
    adapter: Option<AdapterKept>,
}

/// Gradients of a sublayer, none where they are not asked for.
#[derive(Debug, Default)]
pub(crate) struct SublayerGrads {
    /// At the input.
    pub(crate) rows: Option<Vec<f32>>,
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
    /// Rows to rows and, if `keep` says so, what the backward pass needs of each group of images.
    ///
    /// A thread goes through a group alone as long as there are enough of them: waiting for each other behind every operation
    /// cost two threads a fifteenth of their time.
    pub(crate) fn forward(
        &self,
        rows: &[f32],
        shape: Rows,
        keep: Keep,
    ) -> (Vec<f32>, Vec<Kept<C::Kept>>) {
        let mut output = if self.residual {
            copied(rows)
        } else {
            zeros(rows.len())
        };
        let groups = Groups::of(shape);
        let kept = rows
            .par_chunks(groups.size)
            .zip(output.par_chunks_mut(groups.size))
            .map(|(rows, to)| {
                let work = self.work(groups, rows);
                let (y, kept) = self.forward_group(rows, work, keep);
                y.unpack_onto(to, work.shape);
                kept
            })
            .collect::<Vec<_>>();
        (output, kept.into_iter().flatten().collect())
    }

    fn forward_group(
        &self,
        rows: &[f32],
        work: Work,
        keep: Keep,
    ) -> (Panels, Option<Kept<C::Kept>>) {
        let x = self.input(rows, work);
        let beside = match &self.adapter {
            Some(adapter) if adapter.config.connection == Connection::Parallel => {
                Some(adapter.forward(x.clone(), work.threads, keep.anything()))
            }
            _ => None,
        };
        let (y, core) = self.core.forward(x, work, keep);
        let (y, adapter) = match (&self.adapter, beside) {
            (_, Some((change, kept))) => (plus(y, &change), Some(kept)),
            (Some(adapter), None) => {
                let (y, kept) = adapter.forward(y, work.threads, keep.anything());
                (y, Some(kept))
            }
            (None, None) => (y, None),
        };
        (y, (keep.anything()).then_some(Kept { core, adapter }))
    }

    /// The gradients that are asked for, given that at the output. What the forward pass did not keep is computed again.
    pub(crate) fn backward(
        &self,
        rows: &[f32],
        kept: &[Kept<C::Kept>],
        grad: &[f32],
        shape: Rows,
        wanted: Wanted,
    ) -> SublayerGrads {
        let mut at_rows = match (wanted.rows, self.residual) {
            (false, _) => Vec::new(),
            (true, true) => copied(grad),
            (true, false) => zeros(rows.len()),
        };
        let groups = Groups::of(shape);
        let mut to = at_rows.chunks_mut(groups.size);
        let tasks = rows.chunks(groups.size).zip(grad.chunks(groups.size));
        let mut kept = kept.iter();
        let mut tasks: Vec<_> = tasks
            .map(|(rows, grad)| (rows, grad, kept.next(), to.next()))
            .collect();
        let mut sums = ParameterGrads::default();
        // As many at a time as there are threads: each has gradients of its own, which may be large.
        for tasks in tasks.chunks_mut(rayon::current_num_threads()) {
            let grads: Vec<_> = tasks
                .par_iter_mut()
                .map(|(rows, grad, kept, to)| {
                    let work = self.work(groups, rows);
                    let again = match kept {
                        Some(_) => None,
                        None => {
                            let trained = wanted.layers;
                            self.forward_group(rows, work, Keep::All { trained }).1
                        }
                    };
                    let kept = kept.or(again.as_ref())?;
                    Some(self.backward_group(rows, kept, grad, to.as_deref_mut(), work, wanted))
                })
                .collect();
            for grads in grads.into_iter().flatten() {
                sums.add(grads);
            }
        }
        SublayerGrads {
            rows: wanted.rows.then_some(at_rows),
            parameters: sums,
        }
    }

    fn backward_group(
        &self,
        rows: &[f32],
        kept: &Kept<C::Kept>,
        grad: &[f32],
        to: Option<&mut [f32]>,
        work: Work,
        wanted: Wanted,
    ) -> ParameterGrads {
        let mut grads = ParameterGrads::default();
        let grad = Panels::pack(grad, work.shape, BLOCK);
        let core = wanted.core_input() || wanted.parameters();
        let mut beside = None;
        let grad = match (&self.adapter, &kept.adapter) {
            (Some(adapter), Some(kept)) => {
                let parallel = adapter.config.connection == Connection::Parallel;
                let at_output = (parallel && core).then(|| grad.clone());
                let input = if parallel { wanted.core_input() } else { core };
                let (at_input, at_adapter) =
                    adapter.backward(kept, grad, input, wanted.adapter, work.threads);
                grads.adapter = at_adapter;
                if parallel {
                    beside = at_input;
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
        let input = || self.input(rows, work);
        let at_input;
        (at_input, grads.core) = self.core.backward(input, &kept.core, grad, work, wanted);
        let Some(grad) = at_input else {
            return grads;
        };
        let grad = match beside {
            Some(beside) => plus(grad, &beside),
            None => grad,
        };
        if let (Some(norm), true) = (self.norm, wanted.norm) {
            grads.norm = norm.parameters_backward(rows, &grad, work.shape);
        }
        match (self.norm, to) {
            (Some(norm), Some(to)) => norm.backward_onto(to, rows, &grad, work.shape),
            (None, Some(to)) => grad.unpack_onto(to, work.shape),
            (_, None) => {}
        }
        grads
    }

    /// The rows, normalised if `norm` says how.
    fn input(&self, rows: &[f32], work: Work) -> Panels {
        match self.norm {
            Some(norm) => norm.forward(rows, work.shape),
            None => Panels::pack(rows, work.shape, BLOCK),
        }
    }

    /// What is to be done with a group's rows.
    fn work(&self, groups: Groups, rows: &[f32]) -> Work {
        let shape = groups.shape(rows);
        Work {
            shape: if C::TOKENS_ALONE {
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

/// The sum of two with the same blocks.
fn plus(mut sum: Panels, other: &Panels) -> Panels {
    for (y, x) in sum.data.iter_mut().zip(&other.data) {
        *y += x;
    }
    sum
}

/// How the images of a batch are divided: by as many that a thread can go through a sublayer with them alone. It depends on
/// nothing but the shape, so that sums over groups do not either.
#[derive(Debug, Clone, Copy)]
struct Groups {
    whole: Rows,
    /// Numbers in the rows of a group; the last may have fewer.
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
