//! Sublayers that recompute their activations hold less memory between the forward and the backward pass.

#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::backend::Dispatch;
use burn::tensor::{Device, Distribution, Tensor};
use vlsm_kernels::{
    Activation, Adapter, AdapterConfig, AttentionConfig, AttentionWeights, Connection,
    LinearWeights, MlpConfig, MlpWeights, Normalisation,
};

/// Bytes currently allocated.
static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator with the same arguments; the counter changes nothing about them.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const IMAGES: usize = 4;
const TOKENS: usize = 200;
const WIDTH: usize = 64;
const HIDDEN: usize = 256;
/// Bytes of one activation of the sublayers' width.
const ACTIVATION: usize = IMAGES * TOKENS * WIDTH * size_of::<f32>();

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    let device = Device::flex().autodiff();
    Tensor::random(shape, Distribution::Normal(0.0, 0.1), &device)
}

fn linear(inputs: usize, outputs: usize) -> LinearWeights<Dispatch> {
    LinearWeights {
        weight: random([inputs, outputs]).require_grad().into_dispatch(),
        bias: random([outputs]).require_grad().into_dispatch(),
        frozen: None,
    }
}

fn mlp(hidden: usize) -> MlpWeights<Dispatch> {
    MlpWeights {
        expand: linear(WIDTH, hidden),
        contract: linear(hidden, WIDTH),
    }
}

/// Bytes that a sublayer holds after its forward pass, other than its input and its result, which have the same size.
fn held(sublayer: impl Fn(Tensor<3>) -> Tensor<3>) -> usize {
    let x = random([IMAGES, TOKENS, WIDTH]).require_grad();
    let before = ALLOCATED.load(Ordering::Relaxed);
    let y = sublayer(x);
    let after = ALLOCATED.load(Ordering::Relaxed);
    // Runs the backward pass, so that the saved tensors are needed.
    drop(y.sum().backward());
    after - before - ACTIVATION
}

// A single test, since the counter is for the whole process.
#[test]
fn recomputing_sublayers_hold_their_input_alone() {
    let attention = AttentionWeights {
        query: linear(WIDTH, WIDTH),
        key: linear(WIDTH, WIDTH),
        value: linear(WIDTH, WIDTH),
        output: linear(WIDTH, WIDTH),
    };
    let (weights, block) = (mlp(HIDDEN), mlp(16));
    let block_config = AdapterConfig {
        activation: Activation::Relu,
        rectified: false,
        scale: 1.0,
        connection: Connection::Sequential,
    };
    let adapter = || Adapter::Block {
        weights: block.clone(),
        config: block_config,
    };
    let norm = || Normalisation::None;
    let run_attention = |recompute| {
        held(|x| {
            let config = AttentionConfig {
                heads: 4,
                causal: false,
                recompute,
            };
            vlsm_kernels::attention_sublayer(x, norm(), attention.clone(), adapter(), config)
        })
    };
    let run_mlp = |recompute| {
        held(|x| {
            let config = MlpConfig {
                activation: Activation::Gelu,
                recompute,
            };
            vlsm_kernels::mlp_sublayer(x, norm(), weights.clone(), adapter(), config)
        })
    };
    // The first pass allocates buffers that each thread keeps.
    for recompute in [false, true] {
        run_attention(recompute);
        run_mlp(recompute);
    }
    // At least queries, keys, values and mixed values; slopes in 16 bits and hidden units.
    let least = [4 * ACTIVATION, 6 * ACTIVATION];
    let saved = [run_attention(false), run_mlp(false)];
    let recomputed = [run_attention(true), run_mlp(true)];
    for ((least, saved), recomputed) in least.into_iter().zip(saved).zip(recomputed) {
        assert!(saved >= least, "{saved} bytes, expected at least {least}");
        assert!(
            recomputed < ACTIVATION / 8,
            "{recomputed} bytes, recomputing"
        );
    }
}
