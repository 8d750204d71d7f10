//! Compares the AdamW kernel with the formula in f64 and with the composition.

#![allow(clippy::unwrap_used)]

use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};
use vlsm_kernels::AdamW;

const COUNT: usize = 40_003;

fn wave(step: f64) -> Vec<f64> {
    let values = (0..COUNT).map(|at| (at as f64 * step).sin());
    // Rounded to f32, the kernel's input type.
    values.map(|x| f64::from(x as f32)).collect()
}

fn tensor(values: &[f64], dtype: FloatDType) -> Tensor<1> {
    let data = TensorData::new(values.to_vec(), [values.len()]);
    Tensor::<1>::from_data(data, (&Device::flex(), DType::F64)).cast(dtype)
}

fn rule(step: usize) -> AdamW {
    AdamW {
        lr: 1e-2,
        betas: [0.9, 0.999],
        epsilon: 1e-8,
        weight_decay: 0.1,
        step,
    }
}

/// The gradient of a step.
fn slope(step: usize) -> Vec<f64> {
    let values = wave(0.11 * step as f64).into_iter();
    values.map(|x| f64::from((0.3 * x) as f32)).collect()
}

/// Five steps by the formula.
fn expected() -> Vec<f64> {
    let mut values = wave(0.37);
    let (mut first, mut second) = (vec![0.0; COUNT], vec![0.0; COUNT]);
    for step in 1..=5 {
        let gradients = slope(step as usize);
        for at in 0..COUNT {
            let gradient = gradients[at];
            first[at] = 0.9 * first[at] + 0.1 * gradient;
            second[at] = 0.999 * second[at] + 0.001 * gradient * gradient;
            let mean = first[at] / (1.0 - 0.9f64.powi(step));
            let spread = second[at] / (1.0 - 0.999f64.powi(step));
            values[at] -= 1e-2 * 0.1 * values[at];
            values[at] -= 1e-2 * mean / (spread.sqrt() + 1e-8);
        }
    }
    values
}

#[test]
fn is_the_rule() {
    let expected = expected();
    // On slices, and composed.
    for (dtype, bound) in [(FloatDType::F32, 5e-6), (FloatDType::F64, 1e-6)] {
        let start = tensor(&wave(0.37), dtype);
        let mut value = start.clone();
        let mut moments = [(); 2].map(|()| value.zeros_like());
        for step in 1..=5 {
            let gradient = tensor(&slope(step), dtype);
            (value, moments) = vlsm_kernels::adamw(value, gradient, moments, rule(step));
        }
        let found = value.into_data().iter::<f64>().collect::<Vec<_>>();
        for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert!(
                (found - expected).abs() < bound,
                "{dtype:?} {at}: {found} {expected}"
            );
        }
        // A value with another owner is not changed in place.
        let start = start.into_data().iter::<f64>().collect::<Vec<_>>();
        assert_eq!(start, wave(0.37));
    }
}

/// Views into larger tensors.
#[test]
fn takes_views() {
    let wide = tensor(&wave(0.37), FloatDType::F32);
    let part = |x: &Tensor<1>| x.clone().narrow(0, 1, 1000);
    let gradient = tensor(&wave(0.11), FloatDType::F32);
    let zeros = || [(); 2].map(|()| Tensor::<1>::zeros([1000], &Device::flex()));
    let (view, _) = vlsm_kernels::adamw(part(&wide), part(&gradient), zeros(), rule(1));
    let copy = |x: Tensor<1>| Tensor::<1>::from_data(x.into_data(), &Device::flex());
    let (own, _) = vlsm_kernels::adamw(copy(part(&wide)), copy(part(&gradient)), zeros(), rule(1));
    let [view, own] = [view, own].map(|x| x.into_data().iter::<f32>().collect::<Vec<_>>());
    for (a, b) in view.iter().zip(&own) {
        assert!((a - b).abs() < 1e-6);
    }
}
