//! Operations other than sublayers.

use burn::tensor::Tensor;
use burn::tensor::activation;
use burn::tensor::module::attention_fallback;
use burn::tensor::ops::AttentionModuleOptions;

use crate::support::{compare, random};

#[test]
fn quick_gelu() {
    let composed = |x: &[Tensor<3>]| x[0].clone() * activation::sigmoid(x[0].clone() * 1.702);
    compare(
        &[random([2, 5, 7], 1)],
        |x| vlsm_kernels::quick_gelu(x[0].clone()),
        composed,
    );
    // A view that is not contiguous.
    compare(
        &[random([4, 5, 70], 2)],
        |x| vlsm_kernels::quick_gelu(x[0].clone().swap_dims(0, 2)),
        |x| {
            let x = x[0].clone().swap_dims(0, 2);
            x.clone() * activation::sigmoid(x * 1.702)
        },
    );
}

#[test]
fn layer_norm() {
    let inputs = [random([6, 40], 3), random([1, 40], 4), random([1, 40], 5)];
    compare(
        &inputs,
        |x| {
            let (gamma, beta) = (x[1].clone().reshape([40]), x[2].clone().reshape([40]));
            vlsm_kernels::layer_norm(x[0].clone(), gamma, beta, 1e-5)
        },
        |x| {
            let centred = x[0].clone() - x[0].clone().mean_dim(1);
            let variance = centred.clone().square().mean_dim(1);
            centred / (variance + 1e-5).sqrt() * x[1].clone() + x[2].clone()
        },
    );
}

#[test]
fn attention() {
    let inputs = [10, 11, 12].map(|seed| random([2, 3, 9, 4], seed));
    for causal in [false, true] {
        compare(
            &inputs,
            |x| vlsm_kernels::attention(x[0].clone(), x[1].clone(), x[2].clone(), causal),
            |x| {
                let options = AttentionModuleOptions {
                    is_causal: causal,
                    ..Default::default()
                };
                let [query, key, value] = [0, 1, 2].map(|index| x[index].clone());
                attention_fallback(query, key, value, None, None, options)
            },
        );
    }
}

/// A frozen parameter gets no gradient, the input still does.
#[test]
fn frozen_parameters_are_constants() {
    let x = random([3, 8], 6).autodiff().require_grad();
    let (gamma, beta) = (random([8], 7), random([8], 8));
    let output = vlsm_kernels::layer_norm(x.clone(), gamma.clone(), beta, 1e-5);
    let grads = output.powf_scalar(2.0).sum().backward();
    assert!(x.grad(&grads).is_some());
    assert!(gamma.grad(&grads).is_none());
}
