//! How a pass through the network is made: batch normalisation and dropout are not the same in training.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::tensor::Tensor;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::dropout::dropout;
use crate::weights::with_tracking;

/// The share of a batch's statistics in the running ones: PyTorch's `momentum`, which is one minus that of other libraries.
const MOMENTUM: f64 = 0.1;

/// How a part of the network is run.
///
/// It does not follow from what is trained: a frozen part may see training batches, and the papers train a part whose
/// normalisations they leave in evaluation (see [`Cris`](super::Cris)).
#[derive(Debug, Clone, Copy)]
pub enum Mode<'a> {
    /// Running statistics, no dropout.
    Evaluation,
    /// The batch's statistics, which are recorded, and dropout.
    Training(&'a TrainingPass),
}

/// State of a training pass: the random numbers of dropout, and the recorded statistics of its batch.
///
/// A pass does not change the running statistics, so passes can run in parallel on one network. [`update_statistics`] updates
/// them, in an order that the caller decides.
#[derive(Debug)]
pub struct TrainingPass {
    random: Mutex<ChaCha8Rng>,
    seen: Mutex<BTreeMap<ParamId, Vec<Tensor<1>>>>,
}

impl TrainingPass {
    /// A pass whose dropout depends on `seed` alone.
    pub fn new(seed: u64) -> Self {
        Self {
            random: Mutex::new(ChaCha8Rng::seed_from_u64(seed)),
            seen: Mutex::default(),
        }
    }

    /// Records a batch's statistic `[channels]` for the running one of an id.
    pub(super) fn note(&self, id: ParamId, statistic: Tensor<1>) {
        let statistic = statistic.detach().inner();
        locked(&self.seen).entry(id).or_default().push(statistic);
    }
}

/// Locks even after another thread's panic: the guarded value is valid at all times.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mode<'_> {
    /// Dropout (Srivastava et al. 2014): in training, each value is 0 with probability `rate`, else larger by
    /// `1 / (1 - rate)`.
    pub(super) fn dropout<const D: usize>(self, x: Tensor<D>, rate: f64) -> Tensor<D> {
        let Self::Training(pass) = self else {
            return x;
        };
        dropout(x, rate, &mut locked(&pass.random))
    }
}

/// The network with its running statistics moved a tenth of the way to those of a pass's batch.
pub fn update_statistics<M: Module>(network: M, pass: &TrainingPass) -> M {
    struct Update(BTreeMap<ParamId, Vec<Tensor<1>>>);
    impl ModuleMapper for Update {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let Some(seen) = self.0.remove(&param.id) else {
                return param;
            };
            let shape = param.val().shape();
            let running = seen
                .into_iter()
                .fold(param.val().inner().reshape([-1]), |running, seen| {
                    running * (1.0 - MOMENTUM) + seen * MOMENTUM
                });
            with_tracking(param.id, running.reshape(shape), false)
        }
    }
    network.map(&mut Update(std::mem::take(&mut *locked(&pass.seen))))
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::weights::to_host;

    #[test]
    fn dropout_keeps_the_mean_and_depends_on_the_seed() {
        let ones = || Tensor::<2>::ones([100, 100], &Device::flex());
        let drop = |seed| to_host(Mode::Training(&TrainingPass::new(seed)).dropout(ones(), 0.2));
        let values = drop(1);
        assert!(values.iter().all(|value| [0.0, 1.25].contains(value)));
        let mean = values.iter().sum::<f32>() / 1e4;
        // Standard deviation of the mean: 0.005.
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        assert_eq!(values, drop(1));
        assert_ne!(values, drop(2));
        assert_eq!(
            to_host(Mode::Evaluation.dropout(ones(), 0.2)),
            [1.0; 10_000]
        );
    }
}
