//! The sublayers of a transformer.

use burn::tensor::module::attention_fallback;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{FloatDType, Tensor};
use vlsm_kernels::{
    Activation, Adapter, AttentionConfig, AttentionWeights, Connection, MlpConfig, MlpWeights,
    Normalisation,
};

use crate::sublayer_support::{
    BLOCKS, Core, Parameters, Sublayer, Trained, activated, adapted, adapter_parameters, change,
    compare_sublayer, kernel_adapter, layer, norm, normalised, run_sublayer,
};
use crate::support::random;

/// Sizes around panels, tiles and blocks: 1, 17 and 40 tokens, widths not divisible by 6 and 16; and images in two groups.
#[test]
fn attention_sublayer() {
    for (tokens, width, heads) in [
        (1, 8, 2),
        (17, 20, 5),
        (40, 210, 3),
        (197, 64, 1),
        (400, 12, 2),
    ] {
        let matrix = |seed| random::<2>([width, width], seed) / (width as f32);
        let vectors = |range: std::ops::Range<u64>| {
            let vectors = range.map(|seed| random([width], seed) * 0.3);
            vectors.collect::<Vec<_>>()
        };
        for (causal, normalise, bottleneck, block) in [
            (false, true, None, BLOCKS[0]),
            (true, true, Some(5), BLOCKS[0]),
            (true, true, Some(5), BLOCKS[1]),
            (false, false, Some(200), BLOCKS[2]),
            (false, false, Some(30), BLOCKS[3]),
        ] {
            let sublayer = Sublayer {
                x: random([3, tokens, width], 1),
                core: Parameters {
                    // One matrix is transposed, as some files store it.
                    matrices: vec![matrix(2), matrix(3), matrix(4), matrix(5).transpose()],
                    vectors: vectors(if normalise { 6..12 } else { 6..10 }),
                },
                adapter: bottleneck.map_or_else(Parameters::default, |hidden| {
                    adapter_parameters(width, hidden)
                }),
            };
            compare_sublayer(
                &format!("{tokens} {width} {causal} {normalise} {block:?}"),
                &sublayer,
                |x, core, adapter| {
                    let weights = AttentionWeights {
                        query: core.layer(0),
                        key: core.layer(1),
                        value: core.layer(2),
                        output: core.layer(3),
                    };
                    let norm = match &core.vectors[4..] {
                        [gamma, beta] => norm(gamma, beta),
                        _ => Normalisation::None,
                    };
                    let adapter = kernel_adapter(adapter, block);
                    let config = AttentionConfig {
                        heads,
                        causal,
                        recompute: false,
                    };
                    vlsm_kernels::attention_sublayer(x, norm, weights, adapter, config)
                },
                |x, core, adapter| {
                    let residual = x.clone();
                    let x = match &core.vectors[4..] {
                        [gamma, beta] => normalised(x, gamma, beta),
                        _ => x,
                    };
                    let [query, key, value] = [0, 1, 2].map(|index| {
                        core.linear(x.clone(), index)
                            .reshape([3, tokens, heads, width / heads])
                            .swap_dims(1, 2)
                    });
                    let options = AttentionModuleOptions {
                        is_causal: causal,
                        ..Default::default()
                    };
                    let mixed = attention_fallback(query, key, value, None, None, options);
                    let mixed = mixed.swap_dims(1, 2).reshape([3, tokens, width]);
                    residual + adapted(x, core.linear(mixed, 3), adapter, block)
                },
            );
        }
    }
}

#[test]
fn mlp_sublayer() {
    for (tokens, width, hidden) in [(1, 8, 20), (17, 20, 205), (40, 300, 64), (400, 12, 20)] {
        for (activation, normalise, bottleneck, block) in [
            (Activation::QuickGelu, true, None, BLOCKS[0]),
            (Activation::QuickGelu, true, Some(7), BLOCKS[0]),
            (Activation::Relu, false, Some(30), BLOCKS[1]),
            (Activation::Gelu, true, Some(5), BLOCKS[2]),
            (Activation::GeluTanh, true, Some(5), BLOCKS[3]),
        ] {
            let mut vectors = vec![random([hidden], 4), random([width], 5)];
            if normalise {
                vectors.extend([random([width], 6), random([width], 7)]);
            }
            let sublayer = Sublayer {
                x: random([3, tokens, width], 1),
                core: Parameters {
                    matrices: vec![
                        random([width, hidden], 2) / (width as f32),
                        random([width, hidden], 3).transpose() / (hidden as f32),
                    ],
                    vectors,
                },
                adapter: bottleneck.map_or_else(Parameters::default, |hidden| {
                    adapter_parameters(width, hidden)
                }),
            };
            compare_sublayer(
                &format!("{tokens} {width} {activation:?} {block:?}"),
                &sublayer,
                |x, core, adapter| {
                    let weights = MlpWeights {
                        expand: core.layer(0),
                        contract: core.layer(1),
                    };
                    let norm = match &core.vectors[2..] {
                        [gamma, beta] => norm(gamma, beta),
                        _ => Normalisation::None,
                    };
                    let adapter = kernel_adapter(adapter, block);
                    let config = MlpConfig {
                        activation,
                        recompute: false,
                    };
                    vlsm_kernels::mlp_sublayer(x, norm, weights, adapter, config)
                },
                |x, core, adapter| {
                    let residual = x.clone();
                    let x = match &core.vectors[2..] {
                        [gamma, beta] => normalised(x, gamma, beta),
                        _ => x,
                    };
                    let hidden = core.linear(x.clone(), 0);
                    let output = core.linear(activated(hidden, activation), 1);
                    residual + adapted(x, output, adapter, block)
                },
            );
        }
    }
}

#[test]
fn adapter_block() {
    for (tokens, width, hidden) in [(1, 8, 20), (17, 20, 205), (400, 210, 16)] {
        for config in BLOCKS {
            compare_sublayer(
                &format!("{tokens} {width} {config:?}"),
                &Sublayer {
                    x: random([3, tokens, width], 1),
                    core: Parameters::default(),
                    adapter: adapter_parameters(width, hidden),
                },
                |x, _, adapter| {
                    let weights = MlpWeights {
                        expand: adapter.layer(0),
                        contract: adapter.layer(1),
                    };
                    vlsm_kernels::adapter_block(x, weights, config)
                },
                |x, _, adapter| {
                    let change = change(x.clone(), adapter, config);
                    match config.connection {
                        Connection::Sequential => x + change,
                        Connection::Parallel => change,
                    }
                },
            );
        }
    }
}

/// Recomputed activations have the same bits. `tests/recompute.rs` tests that less memory is held.
#[test]
fn recomputed_activations_have_the_same_bits() {
    let (tokens, width, hidden) = (400, 12, 20);
    let sublayer = Sublayer {
        x: random([3, tokens, width], 1),
        core: Parameters {
            matrices: (2..6).map(|seed| random([width, width], seed)).collect(),
            vectors: (6..10).map(|seed| random([width], seed)).collect(),
        },
        adapter: adapter_parameters(width, hidden),
    };
    let trained = Trained {
        x: true,
        core: Core::All,
        adapter: true,
    };
    let run = |recompute| {
        run_sublayer(&sublayer, FloatDType::F32, trained, |x, core, adapter| {
            let weights = AttentionWeights {
                query: core.layer(0),
                key: core.layer(1),
                value: core.layer(2),
                output: core.layer(3),
            };
            let block = kernel_adapter(adapter, BLOCKS[0]);
            let config = AttentionConfig {
                heads: 3,
                causal: false,
                recompute,
            };
            let none = Normalisation::None;
            let x = vlsm_kernels::attention_sublayer(x, none, weights, block, config);
            let weights = MlpWeights {
                expand: core.layer(0),
                contract: core.layer(1),
            };
            let block = kernel_adapter(adapter, BLOCKS[1]);
            let none = Normalisation::None;
            let config = MlpConfig {
                activation: Activation::QuickGelu,
                recompute,
            };
            vlsm_kernels::mlp_sublayer(x, none, weights, block, config)
        })
    };
    assert_eq!(run(true), run(false));
}

/// The gradient along a direction agrees with finite differences in f64, so that the other tests compare with correct
/// gradients.
#[test]
fn gradients_are_differences() {
    let flat = |x: Tensor<1>| x.cast(FloatDType::F64);
    let (tokens, width, hidden) = (7, 12, 20);
    let layer = |inputs, outputs, seed| {
        let weight = random([inputs, outputs], seed) * 0.3;
        layer(
            &weight.cast(FloatDType::F64),
            &flat(random([outputs], seed + 1)),
        )
    };
    let attention = AttentionWeights {
        query: layer(width, width, 1),
        key: layer(width, width, 3),
        value: layer(width, width, 5),
        output: layer(width, width, 7),
    };
    let mlp = MlpWeights {
        expand: layer(width, hidden, 9),
        contract: layer(hidden, width, 11),
    };
    let adapter = MlpWeights {
        expand: layer(width, 6, 17),
        contract: layer(6, width, 19),
    };
    let norm = || norm(&flat(random([width], 13)), &flat(random([width], 14)));
    let function = |x: Tensor<3>| {
        let config = AttentionConfig {
            heads: 3,
            causal: true,
            recompute: false,
        };
        let block = || Adapter::Block {
            weights: adapter.clone(),
            config: BLOCKS[2],
        };
        let attention = attention.clone();
        let y = vlsm_kernels::attention_sublayer(x, norm(), attention, block(), config);
        let config = MlpConfig {
            activation: Activation::QuickGelu,
            recompute: false,
        };
        let z = vlsm_kernels::mlp_sublayer(y, norm(), mlp.clone(), block(), config);
        z.sin().sum()
    };
    let [x, along] = [15, 16].map(|seed| random([2, tokens, width], seed).cast(FloatDType::F64));
    let step = along.clone() * 1e-5;
    let difference = function(x.clone() + step.clone()) - function(x.clone() - step);
    let difference = difference.into_scalar::<f64>() / 2e-5;
    let x = x.autodiff().require_grad();
    let gradients = function(x.clone()).backward();
    let slope = (x.grad(&gradients).unwrap().inner() * along)
        .sum()
        .into_scalar::<f64>();
    assert!(
        (difference / slope - 1.0).abs() < 1e-6,
        "{difference} for {slope}"
    );
}

/// Parameters with another dtype than the input are not read as f32: Burn's operations reject them.
#[test]
#[should_panic]
fn other_dtypes_are_refused() {
    let x = random([1, 5, 8], 1);
    let linear = |seed| layer(&random([8, 8], seed), &random([8], seed));
    let weights = MlpWeights {
        expand: linear(2),
        contract: linear(3),
    };
    let [gamma, beta] = [4, 5].map(|seed| random([8], seed).cast(FloatDType::F64));
    let config = MlpConfig {
        activation: Activation::Gelu,
        recompute: false,
    };
    let _ = vlsm_kernels::mlp_sublayer(x, norm(&gamma, &beta), weights, Adapter::None, config);
}
