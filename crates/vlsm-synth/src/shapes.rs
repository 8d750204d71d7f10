//! Shapes and fields that the phantom domains share: lumpy outlines, blur, resampling, random directions. Trigonometric
//! functions are avoided, since their last bit differs between platforms.

use rand_chacha::ChaCha8Rng;

use crate::canvas::uniform;

/// A point or a vector in units of the side, y down.
pub(super) type Point = [f32; 2];

/// A uniformly distributed unit vector.
pub(super) fn direction(rng: &mut ChaCha8Rng) -> Point {
    // Rejection sampling in the ring between radius 1/4 and 1 gives uniform directions.
    loop {
        let (x, y) = (uniform(rng, -1.0, 1.0), uniform(rng, -1.0, 1.0));
        let square = x * x + y * y;
        if square > 0.0625 && square < 1.0 {
            let length = square.sqrt();
            return [x / length, y / length];
        }
    }
}

/// An ellipse whose radius varies along its outline by a few low harmonics.
#[derive(Clone, Debug)]
pub(super) struct Lumpy {
    pub(super) centre: Point,
    /// Half axes.
    pub(super) radii: Point,
    /// Direction of the first half axis.
    axis: Point,
    /// Amplitudes of harmonics 2, 3, ... of the radius, cosine and sine, relative to the radius.
    waves: [Point; 6],
}

impl Lumpy {
    /// A randomly rotated shape with half axes `radii`. `roughness` (0 to about 0.3) is the largest amplitude of a
    /// harmonic; higher harmonics have smaller ones.
    pub(super) fn new(rng: &mut ChaCha8Rng, centre: Point, radii: Point, roughness: f32) -> Self {
        let axis = direction(rng);
        Self::along(rng, axis, centre, radii, roughness)
    }

    /// As [`Lumpy::new`], with its first half axis along the unit vector `axis`.
    pub(super) fn along(
        rng: &mut ChaCha8Rng,
        axis: Point,
        centre: Point,
        radii: Point,
        roughness: f32,
    ) -> Self {
        let mut waves = [[0.0; 2]; 6];
        for (order, wave) in waves.iter_mut().enumerate() {
            let limit = roughness / (1.0 + 0.6 * order as f32);
            *wave = [uniform(rng, -limit, limit), uniform(rng, -limit, limit)];
        }
        Self {
            centre,
            radii,
            axis,
            waves,
        }
    }

    /// How far out a point is: 0 at the centre, 1 on the outline.
    pub(super) fn reach(&self, x: f32, y: f32) -> f32 {
        let (dx, dy) = (x - self.centre[0], y - self.centre[1]);
        let u = (dx * self.axis[0] + dy * self.axis[1]) / self.radii[0];
        let v = (dy * self.axis[0] - dx * self.axis[1]) / self.radii[1];
        let length = (u * u + v * v).sqrt();
        if length < 1e-6 {
            return 0.0;
        }
        // Powers of the angle's unit complex number give cosines and sines of its multiples.
        let (c, s) = (u / length, v / length);
        let (mut cosine, mut sine, mut radius) = (c, s, 1.0);
        for wave in &self.waves {
            (cosine, sine) = (cosine * c - sine * s, cosine * s + sine * c);
            radius += wave[0] * cosine + wave[1] * sine;
        }
        length / radius.max(0.2)
    }

    /// Approximate distance from the outline, negative inside.
    pub(super) fn distance(&self, x: f32, y: f32) -> f32 {
        (self.reach(x, y) - 1.0) * self.radii[0].min(self.radii[1])
    }

    /// Whether a point may be inside or within `margin` of the outline.
    pub(super) fn near(&self, x: f32, y: f32, margin: f32) -> bool {
        let far = self.extent() + margin;
        (x - self.centre[0]).abs() < far && (y - self.centre[1]).abs() < far
    }

    /// The larger half axis, with a margin for the harmonics.
    pub(super) fn extent(&self) -> f32 {
        1.3 * self.radii[0].max(self.radii[1])
    }
}

/// Box filter of width `2 radius + 1` along a line; a fractional radius weights the outermost values. Beyond its ends the
/// line is extended with its end values.
pub(super) fn blur_line(line: &mut [f32], radius: f32, padded: &mut Vec<f32>) {
    let (Some(&first), Some(&last)) = (line.first(), line.last()) else {
        return;
    };
    let whole = radius as usize;
    let part = radius - whole as f32;
    let scale = 1.0 / (2.0 * radius + 1.0);
    padded.clear();
    padded.resize(whole + 1, first);
    padded.extend_from_slice(line);
    padded.resize(line.len() + 2 * (whole + 1), last);
    let mut sum: f32 = padded[1..=2 * whole].iter().sum();
    for (index, value) in line.iter_mut().enumerate() {
        sum += padded[index + 2 * whole + 1];
        let ends = padded[index] + padded[index + 2 * whole + 2];
        *value = (sum + part * ends) * scale;
        sum -= padded[index + 1];
    }
}

/// Blurs a field `[side, side]` in place with two box filters per direction; radii in pixels, horizontal and vertical.
pub(super) fn blur(field: &mut Vec<f32>, side: usize, across: f32, down: f32) {
    let mut padded = Vec::new();
    for radius in [across, down] {
        for line in field.chunks_mut(side) {
            blur_line(line, radius, &mut padded);
            blur_line(line, radius, &mut padded);
        }
        *field = transposed(field, side);
    }
}

/// Transposes a field `[side, side]`.
pub(super) fn transposed(field: &[f32], side: usize) -> Vec<f32> {
    (0..side * side)
        .map(|index| field[index % side * side + index / side])
        .collect()
}

/// Bilinear sample of a field `[side, side]` at a point in units of the side; clamped to the border.
pub(super) fn sample(field: &[f32], side: usize, x: f32, y: f32) -> f32 {
    let last = (side - 1) as f32;
    let u = (x * side as f32 - 0.5).clamp(0.0, last);
    let v = (y * side as f32 - 0.5).clamp(0.0, last);
    let (left, top) = (u as usize, v as usize);
    let (right, bottom) = ((left + 1).min(side - 1), (top + 1).min(side - 1));
    let (s, t) = (u - left as f32, v - top as f32);
    let mix = |a: f32, b: f32, t: f32| a + (b - a) * t;
    let upper = mix(field[top * side + left], field[top * side + right], s);
    let lower = mix(field[bottom * side + left], field[bottom * side + right], s);
    mix(upper, lower, t)
}
