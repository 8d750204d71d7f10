//! Every operation against a composition of Burn's own, forward and backward: in f32 the bodies on
//! slices, in f64 those of `compose`.

#![allow(clippy::unwrap_used)]

use burn::backend::Dispatch;
use burn::tensor::module::attention_fallback;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Device, FloatDType, Tensor, TensorData, activation};
use vlsm_kernels::{
    Activation, Adapter, AdapterConfig, AttentionConfig, AttentionWeights, Connection,
    LinearWeights, MlpWeights, Normalisation,
};

/// About normal, with a mean of 0.3 and a deviation of 1.5. Not the library's, whose seed is shared by all threads.
fn random<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut uniform = || {
        // SplitMix64 (Steele et al. 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 24) as f32
    };
    let mut normal = || (0..12).map(|_| uniform()).sum::<f32>() - 6.0;
    let count: usize = shape.iter().product();
    let values = (0..count).map(|_| 0.3 + 1.5 * normal());
    let values: Vec<f32> = values.collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
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
    let largest = b.iter().fold(1f32, |most, b| most.max(b.abs()));
    // An activation's slope is kept to 1.6e-5, and that of an adapter behind it too.
    assert!(
        worst < 4e-5 * largest,
        "{what} is off by {worst} of {largest}"
    );
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

/// The tensors that go into a sublayer: of its core, and of its adapter.
struct Sublayer {
    x: Tensor<3>,
    core: Parameters,
    adapter: Parameters,
}

#[derive(Clone, Default)]
struct Parameters {
    matrices: Vec<Tensor<2>>,
    vectors: Vec<Tensor<1>>,
}

/// What of a sublayer has a gradient.
#[derive(Debug, Clone, Copy)]
struct Trained {
    x: bool,
    core: Core,
    adapter: bool,
}

/// What of the core's parameters has a gradient.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Core {
    None,
    /// Every second matrix alone, as where low-rank changes are trained.
    EvenMatrices,
    OddMatrices,
    All,
}

fn track<const D: usize>(x: &Tensor<D>, dtype: FloatDType, trained: bool) -> Tensor<D> {
    let x = x.clone().cast(dtype).autodiff();
    if trained { x.require_grad() } else { x }
}

impl Core {
    fn matrix(self, at: usize) -> bool {
        match self {
            Self::None => false,
            Self::EvenMatrices => at.is_multiple_of(2),
            Self::OddMatrices => !at.is_multiple_of(2),
            Self::All => true,
        }
    }
}

impl Parameters {
    fn track(&self, dtype: FloatDType, trained: Core) -> Self {
        let matrices = self.matrices.iter().enumerate();
        let matrices = matrices.map(|(at, x)| track(x, dtype, trained.matrix(at)));
        let vectors = self.vectors.iter();
        let vectors = vectors.map(|x| track(x, dtype, trained == Core::All));
        Self {
            matrices: matrices.collect(),
            vectors: vectors.collect(),
        }
    }

    fn layer(&self, at: usize) -> LinearWeights<Dispatch> {
        layer(&self.matrices[at], &self.vectors[at])
    }

    fn linear(&self, x: Tensor<3>, at: usize) -> Tensor<3> {
        x.matmul(self.matrices[at].clone().unsqueeze()) + self.vectors[at].clone().unsqueeze()
    }
}

/// Output and gradients at everything that is trained.
fn run_sublayer(
    sublayer: &Sublayer,
    dtype: FloatDType,
    trained: Trained,
    function: impl Fn(Tensor<3>, &Parameters, &Parameters) -> Tensor<3>,
) -> Vec<Vec<f32>> {
    let x = track(&sublayer.x, dtype, trained.x);
    let core = sublayer.core.track(dtype, trained.core);
    let all = if trained.adapter {
        Core::All
    } else {
        Core::None
    };
    let adapter = sublayer.adapter.track(dtype, all);
    let output = function(x.clone(), &core, &adapter);
    let weights = random(output.dims(), 99).cast(dtype) / output.dims()[1] as f32;
    let grads = (output.clone() * weights).sum().backward();
    let mut results = vec![values(output)];
    let mut gradient = |grad: Option<Vec<f32>>, trained: bool| {
        assert_eq!(grad.is_some(), trained);
        results.extend(grad);
    };
    gradient(x.grad(&grads).map(values), trained.x);
    for (parameters, trained) in [(core, trained.core), (adapter, all)] {
        for (at, x) in parameters.matrices.iter().enumerate() {
            gradient(x.grad(&grads).map(values), trained.matrix(at));
        }
        for x in &parameters.vectors {
            gradient(x.grad(&grads).map(values), trained == Core::All);
        }
    }
    results
}

/// With everything trained, some of the matrices, nothing but the adapter, with the gradient at the input or without, and nothing
/// at all.
fn compare_sublayer(
    what: &str,
    sublayer: &Sublayer,
    ours: impl Fn(Tensor<3>, &Parameters, &Parameters) -> Tensor<3>,
    composed: impl Fn(Tensor<3>, &Parameters, &Parameters) -> Tensor<3>,
) {
    let adapted = !sublayer.adapter.matrices.is_empty();
    for (x, core, adapter) in [
        (true, Core::All, adapted),
        (true, Core::EvenMatrices, adapted),
        (false, Core::OddMatrices, adapted),
        (true, Core::None, adapted),
        (false, Core::None, true),
        (true, Core::None, false),
    ] {
        let trained = Trained { x, core, adapter };
        let nothing = !x && sublayer.core.matrices.is_empty() && !adapter;
        if adapter && !adapted || nothing {
            continue;
        }
        // Against f64, so that what is found is ours.
        let expected = run_sublayer(sublayer, FloatDType::F64, trained, &composed);
        for dtype in [FloatDType::F32, FloatDType::F64] {
            let results = run_sublayer(sublayer, dtype, trained, &ours);
            for (place, (ours, composed)) in results.into_iter().zip(&expected).enumerate() {
                let what = format!("{what} {dtype:?} {trained:?} {place}");
                assert_close(&what, ours, composed.clone());
            }
        }
    }
}

/// The parameters of an adapter block, or none.
fn adapter_parameters(width: usize, hidden: usize) -> Parameters {
    Parameters {
        matrices: vec![
            random([width, hidden], 20) / (width as f32),
            random([width, hidden], 21).transpose() / (hidden as f32),
        ],
        vectors: vec![random([hidden], 22) * 0.2, random([width], 23) * 0.2],
    }
}

fn kernel_adapter(parameters: &Parameters, config: AdapterConfig) -> Adapter<Dispatch> {
    if parameters.matrices.is_empty() {
        return Adapter::None;
    }
    let weights = MlpWeights {
        expand: parameters.layer(0),
        contract: parameters.layer(1),
    };
    Adapter::Block { weights, config }
}

/// Blocks of all kinds.
const BLOCKS: [AdapterConfig; 4] = [
    AdapterConfig {
        activation: Activation::Relu,
        rectified: true,
        scale: 1.0,
        connection: Connection::Sequential,
    },
    AdapterConfig {
        activation: Activation::Gelu,
        rectified: false,
        scale: 0.5,
        connection: Connection::Parallel,
    },
    AdapterConfig {
        activation: Activation::QuickGelu,
        rectified: false,
        scale: 1.0,
        connection: Connection::Sequential,
    },
    AdapterConfig {
        activation: Activation::GeluTanh,
        rectified: true,
        scale: -2.0,
        connection: Connection::Parallel,
    },
];

fn activated(x: Tensor<3>, activation: Activation) -> Tensor<3> {
    match activation {
        Activation::QuickGelu => x.clone() * activation::sigmoid(x * 1.702),
        Activation::Gelu => activation::gelu(x),
        Activation::GeluTanh => activation::gelu_approximate(x),
        Activation::Relu => activation::relu(x),
    }
}

/// What a block adds.
fn change(x: Tensor<3>, parameters: &Parameters, config: AdapterConfig) -> Tensor<3> {
    let hidden = activated(parameters.linear(x, 0), config.activation);
    let change = parameters.linear(hidden, 1);
    let change = if config.rectified {
        activation::relu(change)
    } else {
        change
    };
    change * config.scale
}

/// What a sublayer with a block gives, of its normalised input and what its core makes of that.
fn adapted(
    input: Tensor<3>,
    output: Tensor<3>,
    parameters: &Parameters,
    config: AdapterConfig,
) -> Tensor<3> {
    if parameters.matrices.is_empty() {
        return output;
    }
    let read = match config.connection {
        Connection::Sequential => output.clone(),
        Connection::Parallel => input,
    };
    output + change(read, parameters, config)
}

fn layer(weight: &Tensor<2>, bias: &Tensor<1>) -> LinearWeights<Dispatch> {
    LinearWeights {
        weight: weight.clone().into_dispatch(),
        bias: bias.clone().into_dispatch(),
    }
}

fn normalised(x: Tensor<3>, gamma: &Tensor<1>, beta: &Tensor<1>) -> Tensor<3> {
    let centred = x.clone() - x.mean_dim(2);
    let variance = centred.clone().square().mean_dim(2);
    centred / (variance + 1e-5).sqrt() * gamma.clone().unsqueeze() + beta.clone().unsqueeze()
}

fn norm(gamma: &Tensor<1>, beta: &Tensor<1>) -> Normalisation<Dispatch> {
    Normalisation::Layer {
        gamma: gamma.clone().into_dispatch(),
        beta: beta.clone().into_dispatch(),
        epsilon: 1e-5,
    }
}

/// Sizes around panels, tiles and blocks: 1, 17 and 40 tokens, widths that 6 and 16 do not divide; and images in two groups.
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
                    // One as it lies when it comes from a file that has it the other way round.
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
                    let config = AttentionConfig { heads, causal };
                    vlsm_kernels::attention_sublayer(x, norm, weights, adapter, config)
                },
                |x, core, adapter| {
                    let residual = x.clone();
                    let x = match &core.vectors[4..] {
                        [gamma, beta] => normalised(x, gamma, beta),
                        _ => x,
                    };
                    let [query, key, value] = [0, 1, 2].map(|place| {
                        core.linear(x.clone(), place)
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
                    vlsm_kernels::mlp_sublayer(x, norm, weights, adapter, activation)
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

/// What is computed again has the same bits.
#[test]
fn recomputed_activations() {
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
        vlsm_kernels::recompute_activations(recompute);
        let results = run_sublayer(&sublayer, FloatDType::F32, trained, |x, core, adapter| {
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
            };
            let none = Normalisation::None;
            let x = vlsm_kernels::attention_sublayer(x, none, weights, block, config);
            let weights = MlpWeights {
                expand: core.layer(0),
                contract: core.layer(1),
            };
            let block = kernel_adapter(adapter, BLOCKS[1]);
            let none = Normalisation::None;
            vlsm_kernels::mlp_sublayer(x, none, weights, block, Activation::QuickGelu)
        });
        vlsm_kernels::recompute_activations(false);
        results
    };
    assert_eq!(run(true), run(false));
}

/// The gradient along a direction is how much the result changes there, in f64, so that what the other tests compare with
/// is right.
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
        };
        let block = || Adapter::Block {
            weights: adapter.clone(),
            config: BLOCKS[2],
        };
        let attention = attention.clone();
        let y = vlsm_kernels::attention_sublayer(x, norm(), attention, block(), config);
        let activation = Activation::QuickGelu;
        let z = vlsm_kernels::mlp_sublayer(y, norm(), mlp.clone(), block(), activation);
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
