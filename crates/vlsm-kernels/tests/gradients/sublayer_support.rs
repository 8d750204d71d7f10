//! A sublayer's operands, run by the kernels and composed.

use burn::backend::Dispatch;
use burn::tensor::{FloatDType, Tensor, activation};
use vlsm_kernels::{
    Activation, Adapter, AdapterConfig, Connection, LinearWeights, MlpWeights, Normalisation,
};

use crate::support::{assert_close, random, values};

/// The operands of a sublayer.
pub(crate) struct Sublayer {
    pub(crate) x: Tensor<3>,
    pub(crate) core: Parameters,
    pub(crate) adapter: Parameters,
}

#[derive(Clone, Default)]
pub(crate) struct Parameters {
    pub(crate) matrices: Vec<Tensor<2>>,
    pub(crate) vectors: Vec<Tensor<1>>,
}

/// Which operands of a sublayer have a gradient.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trained {
    pub(crate) x: bool,
    pub(crate) core: Core,
    pub(crate) adapter: bool,
}

/// Which parameters of the core have a gradient.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Core {
    None,
    /// Only every second matrix, as with trained low-rank changes.
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

    pub(crate) fn layer(&self, at: usize) -> LinearWeights<Dispatch> {
        layer(&self.matrices[at], &self.vectors[at])
    }

    pub(crate) fn linear(&self, x: Tensor<3>, at: usize) -> Tensor<3> {
        x.matmul(self.matrices[at].clone().unsqueeze()) + self.vectors[at].clone().unsqueeze()
    }
}

/// The output and the gradients at all trained operands.
pub(crate) fn run_sublayer(
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

/// Compares with everything trained, with some of the matrices, with only the adapter, with and without the gradient at the
/// input, and with nothing.
pub(crate) fn compare_sublayer(
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
        // Against f64, so that differences are errors of the kernels.
        let expected = run_sublayer(sublayer, FloatDType::F64, trained, &composed);
        for dtype in [FloatDType::F32, FloatDType::F64] {
            let results = run_sublayer(sublayer, dtype, trained, &ours);
            for (index, (ours, composed)) in results.into_iter().zip(&expected).enumerate() {
                let what = format!("{what} {dtype:?} {trained:?} {index}");
                assert_close(&what, ours, composed.clone());
            }
        }
    }
}

/// The parameters of an adapter block, or none.
pub(crate) fn adapter_parameters(width: usize, hidden: usize) -> Parameters {
    Parameters {
        matrices: vec![
            random([width, hidden], 20) / (width as f32),
            random([width, hidden], 21).transpose() / (hidden as f32),
        ],
        vectors: vec![random([hidden], 22) * 0.2, random([width], 23) * 0.2],
    }
}

pub(crate) fn kernel_adapter(parameters: &Parameters, config: AdapterConfig) -> Adapter<Dispatch> {
    if parameters.matrices.is_empty() {
        return Adapter::None;
    }
    let weights = MlpWeights {
        expand: parameters.layer(0),
        contract: parameters.layer(1),
    };
    Adapter::Block { weights, config }
}

/// Adapter blocks of all kinds.
pub(crate) const BLOCKS: [AdapterConfig; 4] = [
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

pub(crate) fn activated(x: Tensor<3>, activation: Activation) -> Tensor<3> {
    match activation {
        Activation::QuickGelu => x.clone() * activation::sigmoid(x * 1.702),
        Activation::Gelu => activation::gelu(x),
        Activation::GeluTanh => activation::gelu_approximate(x),
        Activation::Relu => activation::relu(x),
    }
}

/// The output of an adapter block, without its input.
pub(crate) fn change(x: Tensor<3>, parameters: &Parameters, config: AdapterConfig) -> Tensor<3> {
    let hidden = activated(parameters.linear(x, 0), config.activation);
    let change = parameters.linear(hidden, 1);
    let change = if config.rectified {
        activation::relu(change)
    } else {
        change
    };
    change * config.scale
}

/// A sublayer's output after its adapter, given its (normalised) input and its core's output.
pub(crate) fn adapted(
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

pub(crate) fn layer(weight: &Tensor<2>, bias: &Tensor<1>) -> LinearWeights<Dispatch> {
    LinearWeights {
        weight: weight.clone().into_dispatch(),
        bias: bias.clone().into_dispatch(),
        frozen: None,
    }
}

pub(crate) fn normalised(x: Tensor<3>, gamma: &Tensor<1>, beta: &Tensor<1>) -> Tensor<3> {
    let centred = x.clone() - x.mean_dim(2);
    let variance = centred.clone().square().mean_dim(2);
    centred / (variance + 1e-5).sqrt() * gamma.clone().unsqueeze() + beta.clone().unsqueeze()
}

pub(crate) fn norm(gamma: &Tensor<1>, beta: &Tensor<1>) -> Normalisation<Dispatch> {
    Normalisation::Layer {
        gamma: gamma.clone().into_dispatch(),
        beta: beta.clone().into_dispatch(),
        epsilon: 1e-5,
    }
}
