//! Pillow's separable resampling of 8-bit images with its bilinear filter, level for level.
//!
//! The weights, the fixed-point rounding and the order of passes are those of `src/libImaging/Resample.c`
//! (`precompute_coeffs`, `normalize_coeffs_8bpc`, `ImagingResampleHorizontal_8bpc`, `ImagingResampleVertical_8bpc`): first
//! along rows, rounded to 8 bits, then along columns.

/// Fraction bits of a weight: 32 bits minus 8 for a level and 2 spare (`PRECISION_BITS`).
const FRACTION: u32 = 32 - 8 - 2;

/// Weights that resample an axis from `size` to another number of pixels.
pub(crate) struct Resample {
    size: usize,
    taps: Vec<Taps>,
}

/// The source pixels of one output pixel. `weights[i]` is the weight of pixel `first + i`; they add up to one.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

impl Resample {
    /// Weights for resampling an axis from `size` to `new_size` pixels.
    pub(crate) fn new(size: usize, new_size: usize) -> Self {
        let scale = size as f64 / new_size as f64;
        let stretch = scale.max(1.0);
        let taps = (0..new_size)
            .map(|i| Taps::new(size, (i as f64 + 0.5) * scale, stretch))
            .collect();
        Self { size, taps }
    }

    fn is_identity(&self) -> bool {
        self.size == self.taps.len()
    }

    /// Resamples rows of RGB pixels from `[height, size, 3]` to `[height, new_size, 3]`.
    pub(crate) fn rows(&self, data: &[u8], height: usize) -> Vec<u8> {
        if self.is_identity() || self.size == 0 {
            return data.to_vec();
        }
        let mut out = vec![0; height * self.taps.len() * 3];
        let rows = data.chunks_exact(self.size * 3);
        for (row, new_row) in rows.zip(out.chunks_exact_mut((self.taps.len() * 3).max(1))) {
            for (taps, pixel) in self.taps.iter().zip(new_row.chunks_exact_mut(3)) {
                let mut sum = [1i32 << (FRACTION - 1); 3];
                for (&weight, source) in taps
                    .weights
                    .iter()
                    .zip(row[taps.first * 3..].chunks_exact(3))
                {
                    sum[0] += weight * i32::from(source[0]);
                    sum[1] += weight * i32::from(source[1]);
                    sum[2] += weight * i32::from(source[2]);
                }
                pixel.copy_from_slice(&sum.map(level));
            }
        }
        out
    }

    /// Resamples columns from `[size, width]` to `[new_size, width]`, where `width` counts levels, not pixels.
    pub(crate) fn columns(&self, data: Vec<u8>, width: usize) -> Vec<u8> {
        if self.is_identity() || width == 0 {
            return data;
        }
        let mut out = vec![0; self.taps.len() * width];
        let mut sums = vec![0i32; width];
        for (taps, new_row) in self.taps.iter().zip(out.chunks_exact_mut(width)) {
            sums.fill(1 << (FRACTION - 1));
            for (&weight, row) in taps
                .weights
                .iter()
                .zip(data[taps.first * width..].chunks_exact(width))
            {
                for (sum, &source) in sums.iter_mut().zip(row) {
                    *sum += weight * i32::from(source);
                }
            }
            for (new, &sum) in new_row.iter_mut().zip(&sums) {
                *new = level(sum);
            }
        }
        out
    }
}

impl Taps {
    /// The triangle of half-width `stretch` around `centre`, cut at the borders and normalised.
    fn new(size: usize, centre: f64, stretch: f64) -> Self {
        let first = (centre - stretch + 0.5).max(0.0) as usize;
        let end = ((centre + stretch + 0.5) as usize).min(size);
        // Pillow multiplies by the reciprocal; a division would round differently.
        let shrink = 1.0 / stretch;
        let weight = |x: usize| (1.0 - ((x as f64 - centre + 0.5) * shrink).abs()).max(0.0);
        let weights: Vec<f64> = (first..end).map(weight).collect();
        let total: f64 = weights.iter().sum();
        let fixed = |w: f64| (0.5 + (w / total) * f64::from(1u32 << FRACTION)) as i32;
        Self {
            first,
            weights: weights.into_iter().map(fixed).collect(),
        }
    }
}

/// Converts from fixed point. A weighted mean of levels can leave 0 to 255 only by rounding.
fn level(sum: i32) -> u8 {
    (sum >> FRACTION).clamp(0, 255) as u8
}
