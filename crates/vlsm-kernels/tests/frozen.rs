//! Sublayers with matrices in half precision and in 8 bits, compared with f32.

#![allow(clippy::unwrap_used)]

use burn::backend::Dispatch;
use burn::tensor::{Device, Distribution, Tensor};
use vlsm_kernels::{
    Activation, Adapter, AttentionConfig, AttentionWeights, FrozenWeights, HalfWeights,
    Int8Weights, LinearWeights, MlpConfig, MlpWeights, Normalisation,
};

const WIDTH: usize = 96;
const HIDDEN: usize = 200;

fn random<const D: usize>(shape: [usize; D], spread: f64) -> Tensor<D> {
    Tensor::random(
        shape,
        Distribution::Normal(0.0, spread),
        &Device::flex().autodiff(),
    )
}

/// A layer in f32, and in half precision and in 8 bits, whose f32 matrices are NaN.
fn layers(inputs: usize, outputs: usize) -> [LinearWeights<Dispatch>; 3] {
    let (weight, bias) = (random([inputs, outputs], 0.1), random([outputs], 0.1));
    let values: Vec<f32> = weight.clone().into_data().iter::<f32>().collect();
    let gone = Tensor::<2>::full([1, 1], f32::NAN, &weight.device()).expand([inputs, outputs]);
    let half = FrozenWeights::F16(HalfWeights::new(&values, inputs, outputs));
    let int8 = FrozenWeights::Int8(Int8Weights::new(&values, inputs, outputs));
    let all = [
        (weight, None),
        (gone.clone(), Some(half)),
        (gone, Some(int8)),
    ];
    all.map(|(weight, frozen)| LinearWeights {
        weight: weight.into_dispatch(),
        bias: bias.clone().into_dispatch(),
        frozen,
    })
}

fn norm() -> Normalisation<Dispatch> {
    Normalisation::Layer {
        gamma: random([WIDTH], 1.0).into_dispatch(),
        beta: random([WIDTH], 1.0).into_dispatch(),
        epsilon: 1e-5,
    }
}

/// The changes that a sublayer makes and the gradients at its input must be nearly those in f32, and not the same.
fn compare(sublayer: impl Fn(Tensor<3>, usize) -> Tensor<3>) {
    let (x, weights) = (random([2, 33, WIDTH], 1.0), random([2, 33, WIDTH], 1.0));
    let [f32, f16, int8] = [0, 1, 2].map(|precision| {
        let x = x.clone().require_grad();
        let y = sublayer(x.clone(), precision);
        let gradients = (y.clone() * weights.clone()).sum().backward();
        let gradient = x.grad(&gradients).unwrap();
        let change = y.inner() - x.inner();
        [change, gradient - weights.clone().inner()]
    });
    let norm = |x: &Tensor<3>| x.clone().square().sum().sqrt().into_scalar::<f32>();
    for (rounded, errors) in [(f16, 1e-5..3e-3), (int8, 1e-3..4e-2)] {
        for (rounded, exact) in rounded.into_iter().zip(&f32) {
            let error = norm(&(rounded - exact.clone())) / norm(exact);
            assert!(errors.contains(&error), "{error}");
        }
    }
}

#[test]
fn attention_is_nearly_that_in_f32() {
    let norm = norm();
    let [query, key, value, output] = [(); 4].map(|()| layers(WIDTH, WIDTH));
    for recompute in [false, true] {
        compare(|x, precision| {
            let weights = AttentionWeights {
                query: query[precision].clone(),
                key: key[precision].clone(),
                value: value[precision].clone(),
                output: output[precision].clone(),
            };
            let config = AttentionConfig {
                heads: 4,
                causal: false,
                recompute,
            };
            vlsm_kernels::attention_sublayer(x, norm.clone(), weights, Adapter::None, config)
        });
    }
}

#[test]
fn an_mlp_is_nearly_that_in_f32() {
    let norm = norm();
    let (expand, contract) = (layers(WIDTH, HIDDEN), layers(HIDDEN, WIDTH));
    for recompute in [false, true] {
        compare(|x, precision| {
            let weights = MlpWeights {
                expand: expand[precision].clone(),
                contract: contract[precision].clone(),
            };
            let config = MlpConfig {
                activation: Activation::QuickGelu,
                recompute,
            };
            vlsm_kernels::mlp_sublayer(x, norm.clone(), weights, Adapter::None, config)
        });
    }
}
