//! Every operation against a composition of Burn's own, forward and backward: in f32 the bodies on
//! slices, in f64 those of `compose`.

#![allow(clippy::unwrap_used)]

use burn::tensor::module::attention_fallback;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Device, Distribution, FloatDType, Tensor, activation};
use vlsm_kernels::{AttentionWeights, MlpWeights};

fn random<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    let device = Device::flex();
    device.seed(seed);
    Tensor::random(shape, Distribution::Normal(0.3, 1.5), &device)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.inner().into_data().iter::<f32>().collect()
}

fn assert_close(what: &str, a: Vec<f32>, b: Vec<f32>) {
    assert_eq!(a.len(), b.len(), "{what}");
    let worst = a
        .iter()
        .zip(&b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(worst < 2e-5, "{what} is off by {worst}");
}

/// Output and the gradients at every input of a function of tensors of rank `D`.
fn run<const D: usize>(
    inputs: &[Tensor<D>],
    dtype: FloatDType,
    function: impl Fn(&[Tensor<D>]) -> Tensor<D>,
) -> Vec<Vec<f32>> {
    let inputs: Vec<Tensor<D>> = inputs
        .iter()
        .map(|input| input.clone().cast(dtype).autodiff().require_grad())
        .collect();
    let output = function(&inputs);
    let weights = random(output.dims(), 99).cast(dtype);
    let grads = (output.clone() * weights).sum().backward();
    let mut results = vec![values(output)];
    results.extend(
        inputs
            .iter()
            .map(|input| values(input.grad(&grads).unwrap())),
    );
    results
}

fn compare<const D: usize>(
    inputs: &[Tensor<D>],
    ours: impl Fn(&[Tensor<D>]) -> Tensor<D>,
    composed: impl Fn(&[Tensor<D>]) -> Tensor<D>,
) {
    for dtype in [FloatDType::F32, FloatDType::F64] {
        let pairs = run(inputs, dtype, &ours)
            .into_iter()
            .zip(run(inputs, dtype, &composed));
        for (place, (ours, composed)) in pairs.enumerate() {
            assert_close(&format!("{dtype:?} result {place}"), ours, composed);
        }
    }
}

#[test]
fn quick_gelu() {
    let composed = |x: &[Tensor<3>]| x[0].clone() * activation::sigmoid(x[0].clone() * 1.702);
    compare(
        &[random([2, 5, 7], 1)],
        |x| vlsm_kernels::quick_gelu(x[0].clone()),
        composed,
    );
    // A view, whose values do not lie in order.
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
                let [query, key, value] = [0, 1, 2].map(|place| x[place].clone());
                attention_fallback(query, key, value, None, None, options)
            },
        );
    }
}

/// Sizes around panels, tiles and blocks: 1, 17 and 40 tokens, widths that 6 and 16 do not divide.
#[test]
fn frozen_attention() {
    for (tokens, width, heads) in [(1, 8, 2), (17, 20, 5), (40, 210, 3), (197, 64, 1)] {
        let matrix = |seed| random::<2>([width, width], seed) / (width as f32);
        let vector = |seed| random::<1>([width], seed) * 0.3;
        let (norm, matrices) = ([1, 2].map(vector), [3, 4, 5].map(matrix));
        // As it lies when it comes from a file that has it the other way round.
        let output = matrix(6).transpose();
        let biases = [7, 8, 9, 10].map(vector);
        for causal in [false, true] {
            compare(
                &[random([3, tokens, width], 11)],
                |x| {
                    let dtype = x[0].dtype();
                    let put = |x: &Tensor<2>| x.clone().cast(dtype).into_dispatch();
                    let put1 = |x: &Tensor<1>| x.clone().cast(dtype).into_dispatch();
                    let weights = AttentionWeights {
                        gamma: put1(&norm[0]),
                        beta: put1(&norm[1]),
                        query: put(&matrices[0]),
                        query_bias: put1(&biases[0]),
                        key: put(&matrices[1]),
                        key_bias: put1(&biases[1]),
                        value: put(&matrices[2]),
                        value_bias: put1(&biases[2]),
                        output: put(&output),
                        output_bias: put1(&biases[3]),
                    };
                    vlsm_kernels::frozen_attention(x[0].clone(), weights, heads, causal, 1e-5)
                },
                |x| {
                    let dtype = x[0].dtype();
                    let x = normalised(x[0].clone(), &norm);
                    let linear = |x: Tensor<3>, w: &Tensor<2>, b: &Tensor<1>| {
                        x.matmul(w.clone().cast(dtype).unsqueeze())
                            + b.clone().cast(dtype).unsqueeze()
                    };
                    let [query, key, value] = [0, 1, 2].map(|place| {
                        linear(x.clone(), &matrices[place], &biases[place])
                            .reshape([3, tokens, heads, width / heads])
                            .swap_dims(1, 2)
                    });
                    let options = AttentionModuleOptions {
                        is_causal: causal,
                        ..Default::default()
                    };
                    let mixed = attention_fallback(query, key, value, None, None, options);
                    let mixed = mixed.swap_dims(1, 2).reshape([3, tokens, width]);
                    linear(mixed, &output, &biases[3])
                },
            );
        }
    }
}

#[test]
fn frozen_mlp() {
    for (tokens, width, hidden) in [(1, 8, 20), (17, 20, 205), (40, 300, 64)] {
        let norm = [1, 2].map(|seed| random::<1>([width], seed) * 0.3);
        let expand = random::<2>([width, hidden], 3) / (width as f32);
        let contract = random::<2>([width, hidden], 4).transpose() / (hidden as f32);
        let (first, second) = (random::<1>([hidden], 5), random::<1>([width], 6));
        compare(
            &[random([3, tokens, width], 7)],
            |x| {
                let dtype = x[0].dtype();
                let weights = MlpWeights {
                    gamma: norm[0].clone().cast(dtype).into_dispatch(),
                    beta: norm[1].clone().cast(dtype).into_dispatch(),
                    expand: expand.clone().cast(dtype).into_dispatch(),
                    expand_bias: first.clone().cast(dtype).into_dispatch(),
                    contract: contract.clone().cast(dtype).into_dispatch(),
                    contract_bias: second.clone().cast(dtype).into_dispatch(),
                };
                vlsm_kernels::frozen_mlp(x[0].clone(), weights, 1e-5)
            },
            |x| {
                let dtype = x[0].dtype();
                let hidden = normalised(x[0].clone(), &norm)
                    .matmul(expand.clone().cast(dtype).unsqueeze())
                    + first.clone().cast(dtype).unsqueeze();
                let hidden = hidden.clone() * activation::sigmoid(hidden * 1.702);
                hidden.matmul(contract.clone().cast(dtype).unsqueeze())
                    + second.clone().cast(dtype).unsqueeze()
            },
        );
    }
}

fn normalised(x: Tensor<3>, norm: &[Tensor<1>; 2]) -> Tensor<3> {
    let centred = x.clone() - x.clone().mean_dim(2);
    let variance = centred.clone().square().mean_dim(2);
    let [gamma, beta] = norm.clone().map(|x| x.cast(centred.dtype()).unsqueeze());
    centred / (variance + 1e-5).sqrt() * gamma + beta
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
