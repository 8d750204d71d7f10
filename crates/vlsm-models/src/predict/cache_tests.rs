use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::{Device, Tensor};

use super::*;
use crate::weights::to_host;

/// 1,000 bytes, all values `value`.
fn states(value: f32) -> HiddenStates {
    vec![Tensor::full([1, 10, 25], value, &Device::flex())]
}

fn value(states: HiddenStates) -> f32 {
    states.into_iter().map(to_host).next().unwrap()[0]
}

#[test]
fn the_bound_holds_and_evicted_values_are_computed_again() {
    let cache = StatesCache::<usize>::new(5_500).unwrap();
    let computed = AtomicUsize::new(0);
    for round in 0..3 {
        for key in 0..20 {
            let found = cache.get_or_compute(&key, || {
                computed.fetch_add(1, Ordering::Relaxed);
                Ok(states(key as f32))
            });
            assert_eq!(value(found.unwrap()), key as f32, "round {round}");
            assert!(cache.bytes() <= 5_500, "{} bytes", cache.bytes());
        }
    }
    assert!(cache.bytes() >= 4_000, "{} bytes", cache.bytes());
    assert!(computed.into_inner() > 20);
}

#[test]
fn a_value_larger_than_the_cache_is_given_but_not_kept() {
    let cache = StatesCache::<usize>::new(10).unwrap();
    let found = cache.get_or_compute(&1, || Ok(states(7.0))).unwrap();
    assert_eq!(value(found), 7.0);
    assert_eq!(cache.bytes(), 0);
}

#[test]
fn threads_that_ask_at_once_share_one_computation() {
    let cache = StatesCache::<usize>::new(100_000).unwrap();
    let computed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..10 {
            let (cache, computed) = (&cache, &computed);
            scope.spawn(move || {
                // Each thread starts at another key, so that batches overlap.
                let keys: Vec<usize> = (0..8).map(|index| (index + thread) % 8).collect();
                let all = cache.get_or_compute_all(&keys, 3, |indices| {
                    std::thread::sleep(Duration::from_millis(5));
                    computed.fetch_add(indices.len(), Ordering::Relaxed);
                    Ok(indices
                        .iter()
                        .map(|index| states(keys[*index] as f32))
                        .collect())
                });
                for (key, found) in keys.iter().zip(all.unwrap()) {
                    assert_eq!(value(found), *key as f32);
                }
            });
        }
    });
    assert_eq!(computed.into_inner(), 8);
}

#[test]
fn a_failed_computation_leaves_the_key_free() {
    let cache = StatesCache::<usize>::new(100_000).unwrap();
    let failed = cache.get_or_compute(&1, || Err(ModelError::Engine("no".into())));
    assert!(failed.is_err());
    assert_eq!(
        value(cache.get_or_compute(&1, || Ok(states(2.0))).unwrap()),
        2.0
    );
}

#[test]
fn the_same_key_twice_is_computed_once() {
    let cache = StatesCache::<usize>::new(100_000).unwrap();
    let computed = AtomicUsize::new(0);
    let all = cache.get_or_compute_all(&[4, 5, 4], 8, |indices| {
        computed.fetch_add(indices.len(), Ordering::Relaxed);
        Ok(indices
            .iter()
            .map(|index| states([4.0, 5.0, 4.0][*index]))
            .collect())
    });
    let all: Vec<f32> = all.unwrap().into_iter().map(value).collect();
    assert_eq!(all, [4.0, 5.0, 4.0]);
    assert_eq!(computed.into_inner(), 2);
}

#[test]
fn a_removed_value_is_computed_again() {
    let cache = StatesCache::<usize>::new(100_000).unwrap();
    cache.insert(1, states(1.0));
    cache.insert(2, states(2.0));
    cache.retain(|key| *key != 1);
    assert!(cache.get(&1).is_none());
    assert!(cache.get(&2).is_some());
}
