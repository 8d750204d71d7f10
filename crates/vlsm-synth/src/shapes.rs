//! Shapes and fields that the phantom domains share: lumpy outlines, blur, resampling, random directions. There are no
//! trigonometric functions, whose last bit differs between platforms.

use rand_chacha::ChaCha8Rng;

use crate::canvas::uniform;

/// A point or a vector in units of the side, y down.
pub(super) type Point = [f32; 2];

/// A uniformly distributed unit vector.
pub(super) fn direction(rng: &mut ChaCha8Rng) -> Point {
    // A point of the ring between radius 1/4 and 1, found by trial, has every direction equally often.
    loop {
        let (x, y) = (uniform(rng, -1.0, 1.0), uniform(rng, -1.0, 1.0));
        let square = x * x + y * y;
        if square > 0.0625 && square < 1.0 {
            let length = square.sqrt();
            return [x / length, y / length];
        }
    }
}

/// An ellipse whose radius swells and shrinks along its outline by a few low harmonics.
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
    /// A shape of half axes `radii`, turned at random; `roughness` (0 to about 0.3) is the largest amplitude of a
    /// harmonic, that of higher ones falls.
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
        // Powers of the unit complex number of the angle are the cosines and sines of its multiples.
        let (c, s) = (u / length, v / length);
        let (mut cosine, mut sine, mut radius) = (c, s, 1.0);
        for wave in &self.waves {
            (cosine, sine) = (cosine * c - sine * s, cosine * s + sine * c);
            radius += wave[0] * cosine + wave[1] * sine;
        }
        length / radius.max(0.2)
    }

    /// About the distance from the outline, negative inside.
    pub(super) fn distance(&self, x: f32, y: f32) -> f32 {
        (self.reach(x, y) - 1.0) * self.radii[0].min(self.radii[1])
    }

    /// Whether a point can be inside or within `margin` of the outline.
    pub(super) fn near(&self, x: f32, y: f32, margin: f32) -> bool {
        let far = self.extent() + margin;
        (x - self.centre[0]).abs() < far && (y - self.centre[1]).abs() < far
    }

    /// The larger half axis, with a margin for the harmonics.
    pub(super) fn extent(&self) -> f32 {
        1.3 * self.radii[0].max(self.radii[1])
    }
}

/// Mean over the `2 radius + 1` neighbours of each value of a line; the part of the radius behind the point weighs the
/// outermost ones. Beyond its ends a line keeps its last value.
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
    for (place, value) in line.iter_mut().enumerate() {
        sum += padded[place + 2 * whole + 1];
        let ends = padded[place] + padded[place + 2 * whole + 2];
        *value = (sum + part * ends) * scale;
        sum -= padded[place + 1];
    }
}

/// Blurs a field `[side, side]` in place with two box filters each way; radii in pixels, across and down.
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

/// A field `[side, side]` with rows and columns exchanged.
pub(super) fn transposed(field: &[f32], side: usize) -> Vec<f32> {
    (0..side * side)
        .map(|place| field[place % side * side + place / side])
        .collect()
}

/// A field `[side, side]` between its pixels at a point in units of the side, bilinear; beyond the rim the rim's value.
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
