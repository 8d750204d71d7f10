//! Random tensors, and the comparison of two functions with their gradients.

use burn::tensor::{Device, FloatDType, Tensor, TensorData};

/// Approximately normal with mean 0.3 and deviation 1.5. Burn's generator would share its seed between threads.
pub(crate) fn random<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
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

pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.inner().into_data().iter::<f32>().collect()
}

pub(crate) fn assert_close(what: &str, a: Vec<f32>, b: Vec<f32>) {
    assert_eq!(a.len(), b.len(), "{what}");
    let worst = a
        .iter()
        .zip(&b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    let largest = b.iter().fold(1f32, |most, b| most.max(b.abs()));
    // Slopes of activations are saved to 1.6e-5, those of a sublayer and of its adapter.
    assert!(
        worst < 4e-5 * largest,
        "{what} is off by {worst} of {largest}"
    );
}

/// The output of a function and its gradients at all inputs, tensors of rank `D`.
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

pub(crate) fn compare<const D: usize>(
    inputs: &[Tensor<D>],
    ours: impl Fn(&[Tensor<D>]) -> Tensor<D>,
    composed: impl Fn(&[Tensor<D>]) -> Tensor<D>,
) {
    for dtype in [FloatDType::F32, FloatDType::F64] {
        let pairs = run(inputs, dtype, &ours)
            .into_iter()
            .zip(run(inputs, dtype, &composed));
        for (index, (ours, composed)) in pairs.enumerate() {
            assert_close(&format!("{dtype:?} result {index}"), ours, composed);
        }
    }
}
