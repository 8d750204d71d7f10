//! Maps in other resolutions.

use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Tensor, TensorData};

use crate::resize::{Corners, Filter, matrix};

/// Pixels `[batch, 3, side, side]` at half the resolution: bilinear interpolation at exactly half is the mean of each four.
pub(super) fn halve(pixels: Tensor<4>) -> Tensor<4> {
    let [batch, channels, height, width] = pixels.dims();
    pixels
        .reshape([batch, channels, height / 2, 2, width / 2, 2])
        .mean_dims(&[3, 5])
        .reshape([batch, channels, height / 2, width / 2])
}

/// Pixels `[batch, 3, side, side]` to patches `[batch, grid * grid, 3 * patch * patch]`, each patch's channels one after
/// another, as the weights of a convolution have them.
pub(super) fn patches(pixels: Tensor<4>, patch: usize) -> Tensor<3> {
    let [batch, channels, height, width] = pixels.dims();
    let (rows, columns) = (height / patch, width / patch);
    pixels
        .reshape([batch, channels, rows, patch, columns, patch])
        .permute([0, 2, 4, 1, 3, 5])
        .reshape([batch, rows * columns, channels * patch * patch])
}

/// Maps `[batch, heads, queries, grid * grid]` at half the resolution by the largest of each four values,
/// `[batch, heads, queries, grid * grid / 4]`.
pub(super) fn halve_by_maximum(maps: Tensor<4>, grid: usize) -> Tensor<4> {
    let [batch, heads, queries, _] = maps.dims();
    let maps = maps.reshape([batch, heads * queries, grid, grid]);
    max_pool2d(maps, MaxPoolOptions::new([2, 2])).reshape([
        batch,
        heads,
        queries,
        (grid / 2) * (grid / 2),
    ])
}

/// Maps `[batch, from * from, channels]` to `[batch, to * to, channels]` by bilinear interpolation (PyTorch's, with
/// `align_corners=False`).
pub(super) fn bilinear(maps: Tensor<3>, from: usize, to: usize) -> Tensor<3> {
    let [batch, _, channels] = maps.dims();
    let axis = matrix(from, to, Filter::Bilinear, Corners::Edges);
    let axis: Vec<f32> = axis.into_iter().map(|weight| weight as f32).collect();
    let axis = Tensor::<3>::from_data(TensorData::new(axis, [1, to, from]), &maps.device());
    // Rows, then columns: each is a product with one matrix.
    let maps = axis
        .clone()
        .matmul(maps.reshape([batch, from, from * channels]));
    let maps = axis.matmul(maps.reshape([batch * to, from, channels]));
    maps.reshape([batch, to * to, channels])
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::weights::to_host;

    fn close(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 1e-6, "{found:?} {expected:?}");
        }
    }

    /// `torch.nn.functional.interpolate(torch.tensor([[[[0., 1.], [2., 5.]]]]), 4, mode="bilinear")`.
    #[test]
    fn bilinear_matches_pytorch() {
        let map = Tensor::<1>::from_floats([0.0, 1.0, 2.0, 5.0], &Device::flex());
        let large = bilinear(map.reshape([1, 4, 1]), 2, 4);
        close(
            &to_host(large),
            &[
                0.0, 0.25, 0.75, 1.0, 0.5, 0.875, 1.625, 2.0, 1.5, 2.125, 3.375, 4.0, 2.0, 2.75,
                4.25, 5.0,
            ],
        );
    }

    #[test]
    fn patches_are_in_order() {
        let values: Vec<f32> = (0..48).map(|value| value as f32).collect();
        let pixels = TensorData::new(values, [1, 3, 4, 4]);
        let pixels = Tensor::<4>::from_data(pixels, &Device::flex());
        let found = to_host(patches(pixels.clone(), 2).narrow(1, 1, 1));
        close(
            &found,
            &[
                2.0, 3.0, 6.0, 7.0, 18.0, 19.0, 22.0, 23.0, 34.0, 35.0, 38.0, 39.0,
            ],
        );
        close(
            &to_host(halve(pixels.narrow(1, 0, 1))),
            &[2.5, 4.5, 10.5, 12.5],
        );
    }
}
