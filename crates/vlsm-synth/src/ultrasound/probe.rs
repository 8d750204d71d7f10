//! The probe: its beam's geometry in the picture, and its speckle.

use rand_chacha::ChaCha8Rng;

use crate::canvas::{Canvas, chance, choose, uniform};
use crate::shapes::{Point, blur_line, transposed};

/// Geometry of the beam in the picture.
pub(super) struct Probe {
    /// Apex of a sector, above the picture; `None` for a linear probe.
    apex: Option<Point>,
    /// Sine of half the opening angle of a sector.
    open: f32,
    /// Near and far end of the beam: distances from the apex, or rows for a linear probe.
    from: f32,
    to: f32,
    /// Left and right end of a linear probe.
    left: f32,
    right: f32,
}

impl Probe {
    pub(super) fn draw(rng: &mut ChaCha8Rng) -> Self {
        let margin = choose(rng, &[0.0, 0.0, 0.05]);
        let mut probe = Self {
            apex: None,
            open: 0.0,
            from: choose(rng, &[0.0, 0.0, 0.04]),
            to: uniform(rng, 0.94, 1.0),
            left: margin,
            right: 1.0 - margin,
        };
        if chance(rng, 0.35) {
            // A curved array: its face is an arc whose centre is above the picture.
            let above = uniform(rng, 0.15, 0.45);
            probe.apex = Some([0.5, -above]);
            probe.from = above + uniform(rng, 0.05, 0.1);
            probe.to = above + uniform(rng, 0.94, 0.98);
            let half = uniform(rng, 0.44, 0.56);
            probe.open = (half / probe.to).min(0.72);
        }
        probe
    }

    /// Beam coordinates of a point of the picture.
    pub(super) fn beam(&self, x: f32, y: f32) -> Point {
        let Some(apex) = self.apex else {
            return [
                (x - self.left) / (self.right - self.left),
                (y - self.from) / (self.to - self.from),
            ];
        };
        let (dx, dy) = (x - apex[0], y - apex[1]);
        let far = (dx * dx + dy * dy).sqrt();
        [
            0.5 + 0.5 * dx / (far * self.open),
            (far - self.from) / (self.to - self.from),
        ]
    }

    /// The picture point of beam coordinates.
    pub(super) fn picture(&self, u: f32, v: f32) -> Point {
        let Some(apex) = self.apex else {
            return [
                self.left + u * (self.right - self.left),
                self.from + v * (self.to - self.from),
            ];
        };
        let sine = (2.0 * u - 1.0) * self.open;
        let far = self.from + v * (self.to - self.from);
        let cosine = (1.0 - sine * sine).max(0.0).sqrt();
        [apex[0] + far * sine, apex[1] + far * cosine]
    }

    /// 1 where the beam reaches, 0 outside.
    pub(super) fn seen(&self, u: f32, v: f32, side: usize) -> f32 {
        if self.apex.is_none() && self.left == 0.0 {
            return f32::from(u8::from((0.0..=1.0).contains(&v)));
        }
        let rim = u.min(1.0 - u).min(v).min(1.0 - v);
        (rim * side as f32 + 0.5).clamp(0.0, 1.0)
    }

    /// The depth scale at the right margin.
    pub(super) fn marks(&self, canvas: &mut Canvas) {
        if self.right == 1.0 && self.apex.is_none() {
            return;
        }
        let side = canvas.side;
        let unit = 1.0 / side as f32;
        canvas.paint(|x, y, old| {
            let tick = (y * 10.0).fract() * 0.1;
            let long = if ((y * 10.0) as usize).is_multiple_of(5) {
                0.022
            } else {
                0.012
            };
            if x > 0.99 - long && x < 0.99 && tick < unit {
                [0.7; 3]
            } else {
                old
            }
        });
    }
}

/// Fully developed speckle of mean 1 in beam coordinates: the magnitude of two blurred Gaussian fields. The grain widens
/// across the beam with depth.
pub(super) fn speckle(rng: &mut ChaCha8Rng, side: usize) -> Vec<f32> {
    let wide = uniform(rng, 0.009, 0.016) * side as f32;
    let mut square = vec![0.0; side * side];
    let mut padded = Vec::new();
    for _ in 0..2 {
        let mut field: Vec<f32> = (0..side * side).map(|_| uniform(rng, -1.0, 1.0)).collect();
        field = transposed(&field, side);
        for line in field.chunks_mut(side) {
            blur_line(line, 0.0045 * side as f32, &mut padded);
            blur_line(line, 0.0045 * side as f32, &mut padded);
        }
        field = transposed(&field, side);
        for (row, line) in field.chunks_mut(side).enumerate() {
            let radius = wide * (0.35 + 0.9 * row as f32 / side as f32);
            blur_line(line, radius, &mut padded);
            blur_line(line, radius, &mut padded);
            // A wider blur reduces contrast; every row is rescaled to a variance of 1.
            let power: f32 = line.iter().map(|v| v * v).sum::<f32>() / side as f32;
            let scale = 1.0 / power.sqrt().max(1e-6);
            for value in line.iter_mut() {
                *value *= scale;
            }
        }
        for (sum, value) in square.iter_mut().zip(&field) {
            *sum += value * value;
        }
    }
    // A Rayleigh variable's mean is sqrt(pi / 2) times its parameter.
    square.iter().map(|v| v.sqrt() / 1.2533).collect()
}
