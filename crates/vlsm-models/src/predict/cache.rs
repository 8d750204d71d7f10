//! A cache of states with a bound on their bytes.

use std::hash::Hash;
use std::time::Duration;

use quick_cache::sync::{Cache, DefaultLifecycle, GuardResult};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use crate::contract::HiddenStates;
use crate::error::{ModelError, Result};

/// Hidden states by key. Values that have not been used for a long time are dropped when the cache is full. Threads that ask
/// for the same missing value at once wait for one of them to compute it.
pub(super) struct StatesCache<K>(Cache<K, HiddenStates, Bytes, DefaultHashBuilder>);

#[derive(Clone)]
struct Bytes;

impl<K> Weighter<K, HiddenStates> for Bytes {
    fn weight(&self, _: &K, states: &HiddenStates) -> u64 {
        let bytes = states.iter().map(|state| {
            let values: usize = state.dims().iter().product();
            (values * state.dtype().size()) as u64
        });
        bytes.sum::<u64>().max(1)
    }
}

impl<K: Hash + Eq + Clone> StatesCache<K> {
    /// An empty cache for at most `bytes` bytes of values.
    ///
    /// # Errors
    /// If a cache of that size cannot be created.
    pub(super) fn new(bytes: u64) -> Result<Self> {
        // One shard: each shard has its own bound, and a value of megabytes may be larger than a small share.
        let options = OptionsBuilder::new()
            .shards(1)
            .estimated_items_capacity(256)
            .weight_capacity(bytes)
            .build()
            .map_err(|error| ModelError::Engine(format!("a cache of {bytes} bytes: {error}")))?;
        let (hash, lifecycle) = (DefaultHashBuilder::default(), DefaultLifecycle::default());
        Ok(Self(Cache::with_options(options, Bytes, hash, lifecycle)))
    }

    /// The value of a key, if it is cached.
    pub(super) fn get(&self, key: &K) -> Option<HiddenStates> {
        self.0.get(key)
    }

    /// Adds a value.
    pub(super) fn insert(&self, key: K, states: HiddenStates) {
        self.0.insert(key, states);
    }

    /// The value of a key. If it is missing, it is computed, or awaited if another thread is computing it.
    ///
    /// # Errors
    /// Those of `compute`. Threads that waited for it then compute the value themselves.
    pub(super) fn get_or_compute(
        &self,
        key: &K,
        compute: impl FnOnce() -> Result<HiddenStates>,
    ) -> Result<HiddenStates> {
        // A rayon thread may have stolen this task while it was inside the computation that it would wait for. Waiting would
        // then be a deadlock, so the thread computes the value a second time.
        let patience = rayon::current_thread_index().map(|_| Duration::ZERO);
        match self.0.get_value_or_guard(key, patience) {
            GuardResult::Value(states) => Ok(states),
            GuardResult::Guard(guard) => {
                let states = compute()?;
                // Fails only if the key was removed in the meantime; then it stays removed.
                guard.insert(states.clone()).ok();
                Ok(states)
            }
            GuardResult::Timeout => compute(),
        }
    }

    /// The values of keys. Those that are missing, and that no other thread is computing, are computed by `compute` from
    /// their indices among the keys, at most `batch` at a time.
    ///
    /// # Errors
    /// Those of `compute`.
    pub(super) fn get_or_compute_all(
        &self,
        keys: &[K],
        batch: usize,
        compute: impl Fn(&[usize]) -> Result<Vec<HiddenStates>>,
    ) -> Result<Vec<HiddenStates>> {
        let mut found: Vec<Option<HiddenStates>> = vec![None; keys.len()];
        let mut missing = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            // No waiting here: a thread that waits while it holds guards could deadlock with another one.
            match self.0.get_value_or_guard(key, Some(Duration::ZERO)) {
                GuardResult::Value(states) => found[index] = Some(states),
                GuardResult::Guard(guard) => missing.push((index, guard)),
                GuardResult::Timeout => {}
            }
        }
        while !missing.is_empty() {
            let part: Vec<_> = missing.drain(..batch.clamp(1, missing.len())).collect();
            let indices: Vec<usize> = part.iter().map(|(index, _)| *index).collect();
            for ((index, guard), states) in part.into_iter().zip(compute(&indices)?) {
                guard.insert(states.clone()).ok();
                found[index] = Some(states);
            }
        }
        // The remaining keys are being computed by other threads, or occur a second time.
        let compute_one = |index: usize| {
            let states = compute(&[index])?;
            states.into_iter().next().ok_or_else(|| {
                ModelError::Engine("a computation of one value returned none; this is a bug".into())
            })
        };
        let all = keys.iter().zip(found).enumerate();
        all.map(|(index, (key, found))| match found {
            Some(states) => Ok(states),
            None => self.get_or_compute(key, || compute_one(index)),
        })
        .collect()
    }

    /// Drops the values whose keys do not pass `keep`.
    pub(super) fn retain(&self, keep: impl Fn(&K) -> bool) {
        self.0.retain(|key, _| keep(key));
    }

    /// Bytes of the cached values.
    pub(super) fn bytes(&self) -> u64 {
        self.0.weight()
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
