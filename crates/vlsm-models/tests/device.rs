//! The operations on a device in f32 compared with the CPU's compositions in f64, at sizes below, at and above the number of units
//! that share a row on accelerators, and with more rows than one dimension of a launch can have.
//!
//! `VLSM_TEST_DEVICE` names another device than the CPU; see `cargo xtask device-tests`.

#![allow(clippy::unwrap_used)]

mod common;

use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use vlsm_kernels::AdamW;

use crate::common::tested;

/// Values between about -3 and 3, as f32 holds them.
fn wave<const D: usize>(shape: [usize; D], step: f64) -> Tensor<D> {
    let count: usize = shape.iter().product();
    let value = |at: usize| {
        let at = at as f64;
        (2.0 * (at * step).sin() + (at * at * 0.013).cos()) as f32
    };
    let values: Vec<f32> = (0..count).map(value).collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.inner().into_data().iter::<f64>().collect()
}

/// The largest difference is at most 4e-5 of the largest value: sums over 70,000 rows are in f32.
fn assert_close(what: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    // A comparison with NaN is false, so it is looked for.
    assert!(found.iter().all(|x| x.is_finite()), "{what} is not finite");
    let worst = differences.fold(0.0, f64::max);
    let largest = expected.iter().fold(1e-3, |most: f64, x| most.max(x.abs()));
    assert!(
        worst < 4e-5 * largest,
        "{what}: off by {worst} of {largest}"
    );
}

/// Compares the output of a function, and its gradients at its inputs.
fn compare<const D: usize>(
    what: &str,
    inputs: &[Tensor<D>],
    function: impl Fn(&[Tensor<D>]) -> Tensor<D>,
) {
    let run = |device: &Device, dtype: FloatDType| {
        let inputs: Vec<Tensor<D>> = inputs
            .iter()
            .map(|input| input.clone().to_device(device).cast(dtype))
            .map(|input| input.autodiff().require_grad())
            .collect();
        let output = function(&inputs);
        let weights = wave(output.dims(), 0.7).to_device(device).cast(dtype);
        let grads = (output.clone() * weights.autodiff()).sum().backward();
        let grads = inputs
            .iter()
            .map(|input| values(input.grad(&grads).unwrap()));
        let mut results: Vec<Vec<f64>> = grads.collect();
        results.push(values(output));
        results
    };
    let found = run(&tested(), FloatDType::F32);
    let expected = run(&Device::flex(), FloatDType::F64);
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert_close(&format!("{what}, result {index}"), found, expected);
    }
}

#[test]
fn layer_norm() {
    for [rows, width] in [
        [1, 1],
        [3, 7],
        [2, 127],
        [5, 128],
        [2, 129],
        [3, 768],
        [70_000, 5],
    ] {
        let inputs = [
            wave([rows, width], 0.37),
            wave([1, width], 0.9),
            wave([1, width], 1.3),
        ];
        compare(&format!("{rows} x {width}"), &inputs, |x| {
            let flat = |x: &Tensor<2>| x.clone().reshape([width]);
            vlsm_kernels::layer_norm(x[0].clone(), flat(&x[1]), flat(&x[2]), 1e-5)
        });
    }
}

#[test]
fn attention() {
    for [queries, keys] in [[1, 1], [3, 5], [9, 127], [4, 128], [7, 129], [2, 485]] {
        let inputs = [
            wave([2, 3, queries, 4], 0.37),
            wave([2, 3, keys, 4], 0.9),
            wave([2, 3, keys, 4], 1.3),
        ];
        compare(&format!("{queries} x {keys}"), &inputs, |x| {
            vlsm_kernels::attention(x[0].clone(), x[1].clone(), x[2].clone(), false)
        });
    }
    let inputs = [0.37, 0.9, 1.3].map(|step| wave([2, 3, 77, 4], step));
    compare("causal", &inputs, |x| {
        vlsm_kernels::attention(x[0].clone(), x[1].clone(), x[2].clone(), true)
    });
    // Scores of thousands, whose exponentials overflow unless the largest is subtracted.
    let inputs = inputs.map(|x| x * 100.0);
    compare("large scores", &inputs, |x| {
        vlsm_kernels::attention(x[0].clone(), x[1].clone(), x[2].clone() / 100.0, false)
    });
}

#[test]
fn quick_gelu() {
    for shape in [[1, 1, 1], [2, 5, 7], [3, 129, 257]] {
        let inputs = [wave(shape, 0.37) * 20.0];
        compare(&format!("{shape:?}"), &inputs, |x| {
            vlsm_kernels::quick_gelu(x[0].clone())
        });
    }
    // A view that is not contiguous.
    compare("view", &[wave([4, 5, 70], 0.37)], |x| {
        vlsm_kernels::quick_gelu(x[0].clone().swap_dims(0, 2))
    });
}

#[test]
fn gelu() {
    compare("gelu", &[wave([3, 129, 257], 0.37) * 2.0], |x| {
        vlsm_kernels::gelu(x[0].clone())
    });
    // The gradient at 1: the normal distribution and its density there.
    let x = Tensor::<1>::from_data([1.0f32], &tested())
        .autodiff()
        .require_grad();
    let gradient = x.grad(&vlsm_kernels::gelu(x.clone()).sum().backward());
    let gradient = values(gradient.unwrap())[0];
    assert!((gradient - 1.083_315_5).abs() < 1e-6, "{gradient}");
}

#[test]
fn adamw() {
    for count in [1, 7, 70_001] {
        let run = |device: &Device, dtype: FloatDType| {
            let tensor = |step: f64| wave([count], step).to_device(device).cast(dtype);
            let mut value = tensor(0.37);
            let mut moments = [(); 2].map(|()| value.zeros_like());
            for step in 1..=4 {
                let rule = AdamW {
                    lr: 1e-2,
                    betas: [0.9, 0.999],
                    epsilon: 1e-8,
                    weight_decay: 0.1,
                    step,
                };
                let gradient = tensor(0.11 * step as f64);
                (value, moments) = vlsm_kernels::adamw(value, gradient, moments, rule);
            }
            let [first, second] = moments;
            [value, first, second].map(|x| values(x.autodiff()))
        };
        let found = run(&tested(), FloatDType::F32);
        let expected = run(&Device::flex(), FloatDType::F64);
        for (found, expected) in found.iter().zip(&expected) {
            assert_close(&format!("{count}"), found, expected);
        }
    }
}
