//! Painting of generated images: a colour canvas, smooth noise and anti-aliased coverage.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use vlsm_image::{Mask, RgbImage};

/// Red, green and blue from 0 to 1, gamma-encoded.
pub(super) type Colour = [f32; 3];

/// A square picture in floating point; `pixels` is `[side, side]`, row by row.
pub(super) struct Canvas {
    pub(super) side: usize,
    pub(super) pixels: Vec<Colour>,
}

impl Canvas {
    /// A canvas of one colour.
    pub(super) fn new(side: usize, colour: Colour) -> Self {
        Self {
            side,
            pixels: vec![colour; side * side],
        }
    }

    /// Sets every pixel to `colour(x, y, old)`; `x` and `y` are the pixel's centre in units of the side.
    pub(super) fn paint(&mut self, colour: impl Fn(f32, f32, Colour) -> Colour) {
        let side = self.side;
        for (index, pixel) in self.pixels.iter_mut().enumerate() {
            let (x, y) = centre(index, side);
            *pixel = colour(x, y, *pixel);
        }
    }

    /// Adds Gaussian-like noise of standard deviation `sigma` to every channel.
    pub(super) fn grain(&mut self, sigma: f32, rng: &mut ChaCha8Rng) {
        // The sum of four uniform bytes is close enough to a Gaussian, and needs one draw per channel.
        let scale = sigma / 147.8;
        for pixel in &mut self.pixels {
            for level in pixel {
                let bytes = rng.random::<u32>().to_le_bytes();
                let sum: f32 = bytes.iter().map(|byte| f32::from(*byte)).sum();
                *level += (sum - 510.0) * scale;
            }
        }
    }

    /// The picture with 8 bits per channel.
    pub(super) fn to_image(&self) -> RgbImage {
        let level = |value: f32| (value.clamp(0.0, 1.0) * 255.0 + 0.5) as u8;
        RgbImage::from_fn(self.side, self.side, |x, y| {
            self.pixels[y * self.side + x].map(level)
        })
    }
}

/// The centre of pixel `index` in units of the side.
pub(super) fn centre(index: usize, side: usize) -> (f32, f32) {
    let unit = 1.0 / side as f32;
    (
        ((index % side) as f32 + 0.5) * unit,
        ((index / side) as f32 + 0.5) * unit,
    )
}

/// A mask of the pixels whose coverage is above half.
pub(super) fn mask_of(side: usize, coverage: &[f32]) -> Mask {
    Mask::from_fn(side, side, |x, y| u8::from(coverage[y * side + x] > 0.5))
}

/// Interpolates from `a` (`t` is 0) to `b` (`t` is 1).
pub(super) fn mix(a: Colour, b: Colour, t: f32) -> Colour {
    [0, 1, 2].map(|c| a[c] + (b[c] - a[c]) * t)
}

/// Multiplies a colour by `factor`.
pub(super) fn scaled(colour: Colour, factor: f32) -> Colour {
    colour.map(|level| level * factor)
}

/// 0 below `from`, 1 above `to`, smooth between.
pub(super) fn smoothstep(from: f32, to: f32, x: f32) -> f32 {
    let t = ((x - from) / (to - from)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// A uniform number between `from` and `to`, from 24 random bits, so that all platforms agree.
pub(super) fn uniform(rng: &mut ChaCha8Rng, from: f32, to: f32) -> f32 {
    let unit = (rng.random::<u32>() >> 8) as f32 / (1 << 24) as f32;
    from + (to - from) * unit
}

/// A uniform index below `n`, which must not be 0.
pub(super) fn index(rng: &mut ChaCha8Rng, n: usize) -> usize {
    rng.random_range(0..u32::try_from(n).unwrap_or(u32::MAX)) as usize
}

/// A uniformly drawn element.
pub(super) fn choose<T: Copy>(rng: &mut ChaCha8Rng, list: &[T]) -> T {
    list[index(rng, list.len())]
}

/// True with this probability.
pub(super) fn chance(rng: &mut ChaCha8Rng, probability: f32) -> bool {
    uniform(rng, 0.0, 1.0) < probability
}

/// Smooth noise `[side, side]` from 0 to 1 with a mean of about 1/2: value noise on a lattice `cells` wide. Each of the
/// `octaves` layers has half the amplitude and twice the frequency of the one before.
pub(super) fn noise(side: usize, cells: f32, octaves: u32, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let mut field = vec![0.0; side * side];
    let (mut cells, mut amplitude, mut total) = (cells, 1.0, 0.0);
    for _ in 0..octaves {
        let columns = cells.ceil() as usize + 2;
        let lattice: Vec<f32> = (0..columns * columns)
            .map(|_| uniform(rng, 0.0, 1.0))
            .collect();
        let step = cells / side as f32;
        let axis: Vec<(usize, f32)> = (0..side)
            .map(|pixel| {
                let at = (pixel as f32 + 0.5) * step;
                let t = at.fract();
                (at as usize, t * t * (3.0 - 2.0 * t))
            })
            .collect();
        for (row, &(v, t)) in field.chunks_mut(side).zip(&axis) {
            let (above, below) = (&lattice[v * columns..], &lattice[(v + 1) * columns..]);
            for (value, &(u, s)) in row.iter_mut().zip(&axis) {
                let top = above[u] + (above[u + 1] - above[u]) * s;
                let bottom = below[u] + (below[u + 1] - below[u]) * s;
                *value += amplitude * (top + (bottom - top) * t);
            }
        }
        total += amplitude;
        amplitude *= 0.5;
        cells *= 2.0;
    }
    for value in &mut field {
        *value /= total;
    }
    field
}
