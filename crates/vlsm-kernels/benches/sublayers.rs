//! Sublayers of CLIPSeg's vision tower at full size, forward and backward, for one image, each compared with the composition of
//! Burn's operations: `cargo bench --workspace --profile dev --bench sublayers`.

use burn::backend::Dispatch;
use burn::tensor::{Device, Distribution, Tensor};
use divan::{Bencher, black_box};
use vlsm_kernels::{
    Activation, Adapter, AdapterConfig, AttentionConfig, AttentionWeights, Connection,
    LinearWeights, MlpConfig, MlpWeights, Normalisation, compose,
};

const TOKENS: usize = 485;
const WIDTH: usize = 768;
const HIDDEN: usize = 3072;
const BOTTLENECK: usize = 64;
const ATTENTION: AttentionConfig = AttentionConfig {
    heads: 12,
    causal: false,
    recompute: false,
};
const MLP: MlpConfig = MlpConfig {
    activation: Activation::QuickGelu,
    recompute: false,
};
const ADAPTER: AdapterConfig = AdapterConfig {
    activation: Activation::Relu,
    rectified: false,
    scale: 1.0,
    connection: Connection::Sequential,
};

fn main() {
    divan::main();
}

fn random<const D: usize>(shape: [usize; D], spread: f64) -> Tensor<D> {
    Tensor::random(
        shape,
        Distribution::Normal(0.0, spread),
        &Device::flex().autodiff(),
    )
}

fn norm() -> Normalisation<Dispatch> {
    Normalisation::Layer {
        gamma: random([WIDTH], 1.0).into_dispatch(),
        beta: random([WIDTH], 1.0).into_dispatch(),
        epsilon: 1e-5,
    }
}

fn linear(inputs: usize, outputs: usize) -> LinearWeights<Dispatch> {
    LinearWeights {
        weight: random([inputs, outputs], 0.03).into_dispatch(),
        bias: random([outputs], 0.1).into_dispatch(),
        frozen: None,
    }
}

fn attention_weights() -> AttentionWeights<Dispatch> {
    AttentionWeights {
        query: linear(WIDTH, WIDTH),
        key: linear(WIDTH, WIDTH),
        value: linear(WIDTH, WIDTH),
        output: linear(WIDTH, WIDTH),
    }
}

fn mlp_weights(hidden: usize) -> MlpWeights<Dispatch> {
    MlpWeights {
        expand: linear(WIDTH, hidden),
        contract: linear(hidden, WIDTH),
    }
}

/// With or without the gradient at the input, by the kernels or composed.
const RUNS: [&str; 4] = [
    "forward",
    "forward, composed",
    "forward and back",
    "forward and back, composed",
];

/// Runs a sublayer on an image.
fn run(bencher: Bencher<'_, '_>, what: &str, sublayer: impl Fn(Tensor<3>) -> Tensor<3> + Sync) {
    let x = random([1, TOKENS, WIDTH], 1.0);
    bencher.bench_local(|| {
        let x = x.clone();
        if what.contains("back") {
            let x = x.require_grad();
            let gradients = sublayer(x.clone()).sum().backward();
            black_box(x.grad(&gradients));
        } else {
            black_box(sublayer(x).into_data());
        }
    });
}

#[divan::bench(args = RUNS, sample_count = 10)]
fn attention(bencher: Bencher<'_, '_>, what: &str) {
    let (norm, weights) = (norm(), attention_weights());
    run(bencher, what, |x| {
        let (norm, weights) = (norm.clone(), weights.clone());
        let none = Adapter::None;
        if !what.contains("composed") {
            vlsm_kernels::attention_sublayer(x, norm, weights, none, ATTENTION)
        } else {
            let x = x.into_dispatch();
            let y = compose::attention_sublayer::<Dispatch>(x, norm, weights, none, ATTENTION);
            Tensor::from_dispatch(y)
        }
    });
}

#[divan::bench(args = RUNS, sample_count = 10)]
fn mlp(bencher: Bencher<'_, '_>, what: &str) {
    let (norm, weights) = (norm(), mlp_weights(HIDDEN));
    run(bencher, what, |x| {
        let (norm, weights) = (norm.clone(), weights.clone());
        let none = Adapter::None;
        if !what.contains("composed") {
            vlsm_kernels::mlp_sublayer(x, norm, weights, none, MLP)
        } else {
            let x = x.into_dispatch();
            let y = compose::mlp_sublayer::<Dispatch>(x, norm, weights, none, MLP);
            Tensor::from_dispatch(y)
        }
    });
}

#[divan::bench(args = RUNS, sample_count = 10)]
fn adapter(bencher: Bencher<'_, '_>, what: &str) {
    let weights = mlp_weights(BOTTLENECK);
    run(bencher, what, |x| {
        let weights = weights.clone();
        if !what.contains("composed") {
            vlsm_kernels::adapter_block(x, weights, ADAPTER)
        } else {
            let x = x.into_dispatch();
            Tensor::from_dispatch(compose::adapter_block::<Dispatch>(x, weights, ADAPTER))
        }
    });
}
