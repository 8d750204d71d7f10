//! Resizing maps, as PyTorch's `interpolate` does without antialias.
//!
//! Resizing is linear, so that along each axis it is one product with a constant matrix, which autodiff can follow.

use burn::tensor::{Tensor, TensorData};

/// How values between pixels are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filter {
    /// From two neighbours, by distance.
    Bilinear,
    /// Cubic convolution of four neighbours with a = -0.75 (Keys 1981).
    Bicubic,
}

/// Positions of the result's pixels on the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Corners {
    /// Outer edges of the outer pixels on each other (PyTorch's `align_corners=False`).
    Edges,
    /// Centres of the outer pixels on each other (`align_corners=True`).
    Centres,
}

/// Maps `[batch, channels, height, width]` to `[batch, channels, to[0], to[1]]`.
pub(crate) fn resize(x: Tensor<4>, to: [usize; 2], filter: Filter, corners: Corners) -> Tensor<4> {
    let device = x.device();
    // Resize along the last axis, then swap the last two axes; twice.
    let along = |x: Tensor<4>, to: usize| {
        let [batch, channels, rows, from] = x.dims();
        let weights = TensorData::new(matrix(from, to, filter, corners), [to, from]);
        let weights = Tensor::<2>::from_data(weights, (&device, x.dtype()));
        x.reshape([batch * channels * rows, from])
            .matmul(weights.transpose())
            .reshape([batch, channels, rows, to])
            .swap_dims(2, 3)
    };
    let [_, _, height, width] = x.dims();
    if [height, width] == to {
        return x;
    }
    along(along(x, to[1]), to[0])
}

/// The matrix `[to, from]` of one axis, row-major; the border is repeated.
pub(crate) fn matrix(from: usize, to: usize, filter: Filter, corners: Corners) -> Vec<f64> {
    let mut matrix = vec![0.0; to * from];
    let rows = matrix.chunks_mut(from);
    for (row, taps) in rows.zip(taps(from, to, filter, corners)) {
        for (source, weight) in taps {
            row[source] += weight;
        }
    }
    matrix
}

/// What each value of the result is the sum of, along one axis: four sources, some of which can be equal at the border, and their
/// weights.
pub(crate) fn taps(
    from: usize,
    to: usize,
    filter: Filter,
    corners: Corners,
) -> impl Iterator<Item = [(usize, f64); 4]> {
    const A: f64 = -0.75;
    let near = |t: f64| ((A + 2.0) * t - (A + 3.0)) * t * t + 1.0;
    let far = |t: f64| ((A * t - 5.0 * A) * t + 8.0 * A) * t - 4.0 * A;
    (0..to).map(move |index| {
        let centre = match corners {
            Corners::Edges => (index as f64 + 0.5) * (from as f64 / to as f64) - 0.5,
            Corners::Centres => {
                index as f64 * (from - 1) as f64 / to.saturating_sub(1).max(1) as f64
            }
        };
        let t = centre - centre.floor();
        let weights = match filter {
            Filter::Bilinear => [0.0, 1.0 - t, t, 0.0],
            Filter::Bicubic => [far(1.0 + t), near(t), near(1.0 - t), far(2.0 - t)],
        };
        let first = centre.floor() as isize - 1;
        std::array::from_fn(|offset| {
            let source = first + offset as isize;
            let source = source.clamp(0, from as isize - 1) as usize;
            (source, weights[offset])
        })
    })
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::weights::to_host;

    #[test]
    fn rows_sum_to_one() {
        for filter in [Filter::Bilinear, Filter::Bicubic] {
            for corners in [Corners::Edges, Corners::Centres] {
                for row in matrix(14, 22, filter, corners).chunks(14) {
                    assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12);
                }
            }
        }
    }

    /// `torch.nn.functional.interpolate(torch.tensor([[[[0., 1.], [0., 1.]]]]), 4, mode=MODE, align_corners=CORNERS)`:
    /// first row.
    #[test]
    fn as_pytorch() {
        for (filter, corners, expected) in [
            (
                Filter::Bicubic,
                Corners::Edges,
                [-0.10546875, 0.2265625, 0.7734375, 1.10546875],
            ),
            (
                Filter::Bicubic,
                Corners::Centres,
                [0.0, 0.31481462717056274, 0.6851851344108582, 1.0],
            ),
            (Filter::Bilinear, Corners::Edges, [0.0, 0.25, 0.75, 1.0]),
            (
                Filter::Bilinear,
                Corners::Centres,
                [0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0],
            ),
        ] {
            let matrix = matrix(2, 4, filter, corners);
            for (row, expected) in matrix.chunks(2).zip(expected) {
                assert!((row[1] - expected).abs() < 1e-6, "{filter:?} {corners:?}");
            }
        }
    }

    /// A map that grows along its rows and more along its columns keeps doing so.
    #[test]
    fn axes_are_not_mixed_up() {
        let x = Tensor::<4>::from_data([[[[0.0, 1.0], [10.0, 11.0]]]], &Device::flex());
        let y = resize(x, [3, 2], Filter::Bilinear, Corners::Centres);
        assert_eq!(y.dims(), [1, 1, 3, 2]);
        assert_eq!(to_host(y), [0.0, 1.0, 5.0, 6.0, 10.0, 11.0]);
    }
}
