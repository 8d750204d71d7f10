//! The gut's wall: its folds around the lumen, and the vessels under its surface.

use rand_chacha::ChaCha8Rng;

use crate::canvas::{centre, chance, choose, index, smoothstep, uniform};
use crate::shapes::{Point, blur, direction};

/// The wall's folds: rings around the lumen (the gut's dark far end), each wider and nearer than the one before.
pub(super) struct Folds {
    pub(super) lumen: Point,
    /// Radius at which the lumen's darkness has faded by half.
    pub(super) dark: f32,
    rings: Vec<Ring>,
}

struct Ring {
    radius: f32,
    /// Direction and distance of the ring's shift.
    shift: Point,
    /// Triangular deformation (third harmonic), cosine and sine.
    corners: Point,
    /// Middle of the protruding arc, and the fraction of the ring that protrudes.
    middle: Point,
    arc: f32,
    /// Thickness of the fold relative to its radius.
    width: f32,
    strength: f32,
}

impl Folds {
    pub(super) fn draw(rng: &mut ChaCha8Rng) -> Self {
        let towards = direction(rng);
        // Some pictures show the lumen; in others the instrument looks at the wall.
        let (far, dark) = if chance(rng, 0.55) {
            (uniform(rng, 0.05, 0.35), uniform(rng, 0.06, 0.13))
        } else {
            (uniform(rng, 0.55, 0.9), uniform(rng, 0.1, 0.2))
        };
        let mut rings = Vec::new();
        let mut radius = uniform(rng, 0.08, 0.16);
        while radius < 1.3 {
            let shift = direction(rng);
            let corner = direction(rng);
            let bend = uniform(rng, 0.03, 0.12);
            let slide = uniform(rng, 0.0, 0.16);
            rings.push(Ring {
                radius,
                shift: [shift[0] * slide, shift[1] * slide],
                corners: [corner[0] * bend, corner[1] * bend],
                middle: direction(rng),
                arc: uniform(rng, -0.5, 1.0),
                width: uniform(rng, 0.10, 0.2),
                strength: uniform(rng, 0.5, 1.0),
            });
            radius *= uniform(rng, 1.35, 1.9);
        }
        Self {
            lumen: [0.5 + far * towards[0], 0.5 + far * towards[1]],
            dark,
            rings,
        }
    }

    /// A point's brightness, and how near the lens it is (0 in the lumen, up to 1).
    pub(super) fn shade(&self, x: f32, y: f32, soft: f32, fine: f32) -> (f32, f32) {
        let (dx, dy) = (x - self.lumen[0], y - self.lumen[1]);
        let raw = (dx * dx + dy * dy).sqrt().max(1e-4);
        let (c, s) = (dx / raw, dy / raw);
        let (c3, s3) = (c * (4.0 * c * c - 3.0), s * (3.0 - 4.0 * s * s));
        let r = raw * (1.0 + 0.35 * (soft - 0.5) + 0.03 * (fine - 0.5));
        let near = r * r / (r * r + self.dark * self.dark);
        let mut shade = 0.10 + 0.98 * near;
        for ring in &self.rings {
            let bend = 1.0 + ring.corners[0] * c3 + ring.corners[1] * s3;
            let at = ring.radius * (bend + ring.shift[0] * c + ring.shift[1] * s);
            let t = (r - at) / (ring.width * ring.radius);
            if t.abs() > 4.0 {
                continue;
            }
            let protrusion = c * ring.middle[0] + s * ring.middle[1] + ring.arc;
            let presence = ring.strength * smoothstep(-0.1, 0.7, protrusion);
            // The crest is lit; the wall on its far side, towards the lumen, is in shadow.
            let crest = 1.0 / (1.0 + 1.2 * (t - 0.35) * (t - 0.35)) - 0.07;
            let shadow = 1.0 / (1.0 + 0.8 * t * t) - 0.07;
            let front = smoothstep(-0.35, 0.25, t);
            shade *= 1.0 + presence * (0.24 * crest * front - 0.62 * shadow * (1.0 - front));
        }
        (shade, near)
    }
}

/// How strongly vessels show, `[side, side]`: branching random walks that thin out.
pub(super) fn vessels(rng: &mut ChaCha8Rng, side: usize) -> Vec<f32> {
    let mut field = vec![0.0f32; side * side];
    let strength = uniform(rng, 0.15, 0.7);
    let mut open: Vec<(Point, Point, f32)> = Vec::new();
    for _ in 0..index(rng, 8) + 3 {
        let at = [uniform(rng, 0.0, 1.0), uniform(rng, 0.0, 1.0)];
        open.push((at, direction(rng), uniform(rng, 0.004, 0.008)));
    }
    while let Some((mut at, mut heading, mut width)) = open.pop() {
        while width > 0.002 {
            let turn = uniform(rng, -0.35, 0.35);
            let [hx, hy] = heading;
            let length = (1.0 + turn * turn).sqrt();
            heading = [(hx - turn * hy) / length, (hy + turn * hx) / length];
            at = [at[0] + 0.012 * heading[0], at[1] + 0.012 * heading[1]];
            stamp(&mut field, side, at, width, strength);
            width *= 0.975;
            if chance(rng, 0.06) {
                let bend = choose(rng, &[-0.8, 0.8]);
                let [hx, hy] = heading;
                let length = 1.280_625; // of (1, 0.8)
                let branch = [(hx - bend * hy) / length, (hy + bend * hx) / length];
                open.push((at, branch, 0.7 * width));
            }
        }
    }
    blur(&mut field, side, 0.003 * side as f32, 0.003 * side as f32);
    field
}

/// Adds a soft disc to a field, keeping the larger value of both.
fn stamp(field: &mut [f32], side: usize, at: Point, radius: f32, strength: f32) {
    let reach = radius + 1.0 / side as f32;
    let bound = |at: f32| (at * side as f32).clamp(0.0, side as f32) as usize;
    for row in bound(at[1] - reach)..bound(at[1] + reach + 1.0 / side as f32) {
        for column in bound(at[0] - reach)..bound(at[0] + reach + 1.0 / side as f32) {
            let (x, y) = centre(row * side + column, side);
            let far = ((x - at[0]) * (x - at[0]) + (y - at[1]) * (y - at[1])).sqrt();
            let cover = ((radius - far) * side as f32 + 0.5).clamp(0.0, 1.0);
            let value = &mut field[row * side + column];
            *value = value.max(strength * cover);
        }
    }
}
