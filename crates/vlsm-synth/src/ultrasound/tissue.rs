//! The tissue under the probe: layers, clutter and shadows.

use rand_chacha::ChaCha8Rng;

use super::probe::Probe;
use super::{Lesion, level};
use crate::canvas::{centre, chance, choose, index, noise, smoothstep, uniform};
use crate::shapes::{Lumpy, sample};

/// A band of tissue.
#[derive(Clone, Copy)]
struct Layer {
    /// Depth of its upper boundary.
    top: f32,
    echo: f32,
    /// Strength of its coarse texture, of the streaks along it, and of the reflection at its upper boundary.
    patchy: f32,
    streaks: f32,
    face: f32,
}

/// Skin, fat, gland, muscle and deep tissue of one patient.
fn layers(rng: &mut ChaCha8Rng) -> [Layer; 5] {
    let fat = uniform(rng, 0.045, 0.07);
    let gland = fat + uniform(rng, 0.06, 0.2);
    let muscle = gland + uniform(rng, 0.35, 0.5);
    let wall = muscle + uniform(rng, 0.1, 0.2);
    let layer = |top, echo, patchy, streaks, face| Layer {
        top,
        echo,
        patchy,
        streaks,
        face,
    };
    [
        layer(-1.0, uniform(rng, 0.4, 0.6), 0.2, 0.5, 0.0),
        layer(fat, uniform(rng, 0.14, 0.22), 0.6, 0.5, 0.3),
        layer(gland, uniform(rng, 0.24, 0.38), 0.8, 0.5, 0.15),
        layer(muscle, uniform(rng, 0.14, 0.22), 0.3, 1.5, 0.45),
        layer(wall, uniform(rng, 0.08, 0.22), 0.8, 0.4, 0.5),
    ]
}

/// Echo strength before speckle in beam coordinates, `[side, side]`, without the lesions.
pub(super) fn echoes(
    rng: &mut ChaCha8Rng,
    side: usize,
    probe: &Probe,
    lesions: &[Lesion],
) -> Vec<f32> {
    let layers = layers(rng);
    let coarse = noise(side, 7.0, 3, rng);
    let waves = noise(side, 3.0, 2, rng);
    let clutter = Clutter::draw(rng);
    let shades = shades(rng, side);
    let attenuation = uniform(rng, 0.2, 0.7);
    let tilt = uniform(rng, -0.1, 0.1);
    let mut field = vec![0.0; side * side];
    for (index, value) in field.iter_mut().enumerate() {
        let (u, v) = centre(index, side);
        let bend = tilt * (u - 0.5) + 0.24 * (sample(&waves, side, u, 0.3 * v) - 0.5);
        // The skin is flat under the probe; deeper layers bend more.
        let depth = v - bend * smoothstep(0.0, 0.35, v);
        let patch = sample(&coarse, side, 0.5 * u, depth.clamp(0.0, 1.0)) - 0.5;
        // Folded like a triangle wave, so that the streaks are finer than the patches and have no seam.
        let fold = (2.0 * (1.5 * depth.max(0.0)).fract() - 1.0).abs();
        let streak = sample(&coarse, side, 0.2 * u + 0.4, fold) - 0.5;
        let mut echo = 0.0;
        // Layers entirely below the upper boundary of a deeper one are hidden.
        let first = layers
            .iter()
            .rposition(|layer| depth > layer.top + 0.03)
            .unwrap_or(0);
        for layer in &layers[first..] {
            let (edge, shine) = (depth - layer.top, 0.012);
            if edge < -shine {
                break;
            }
            let own = layer.echo * (1.0 + 2.0 * (layer.patchy * patch + layer.streaks * streak));
            echo += (own.max(0.04) - echo) * smoothstep(-0.008, 0.008, edge);
            let near = (edge / shine) * (edge / shine);
            echo += layer.face * (0.5 + 2.0 * patch.max(-0.2)) / (1.0 + 4.0 * near * near);
        }
        let [x, y] = probe.picture(u, v);
        echo = clutter.apply(echo, x, y);
        let mut gain = shades[index] * (1.12 - attenuation * v * v);
        for lesion in lesions {
            gain *= lesion.trail(u, v);
        }
        // Reverberations brighten the near field.
        *value = echo * gain + 0.25 * smoothstep(0.06, 0.0, v);
    }
    field
}

/// Structures that can be mistaken for lesions: dark ducts, fat lobules, bright calcifications and ligaments.
struct Clutter {
    ducts: Vec<Lumpy>,
    lobules: Vec<(Lumpy, f32)>,
    bright: Vec<(Lumpy, f32)>,
}

impl Clutter {
    fn draw(rng: &mut ChaCha8Rng) -> Self {
        let position = |rng: &mut ChaCha8Rng| [uniform(rng, 0.05, 0.95), uniform(rng, 0.2, 0.9)];
        let mut clutter = Self {
            ducts: Vec::new(),
            lobules: Vec::new(),
            bright: Vec::new(),
        };
        for _ in 0..index(rng, 4) {
            let (at, thin) = (position(rng), uniform(rng, 0.010, 0.018));
            let long = thin * uniform(rng, 1.0, 4.5);
            let axis = level(rng);
            let duct = Lumpy::along(rng, axis, at, [long, thin], 0.1);
            clutter.ducts.push(duct);
        }
        for _ in 0..index(rng, 6) + 2 {
            let (at, long) = (position(rng), uniform(rng, 0.04, 0.12));
            let thin = long * uniform(rng, 0.35, 0.6);
            let axis = [1.0, 0.0];
            let lobule = Lumpy::along(rng, axis, at, [long, thin], 0.08);
            clutter.lobules.push((lobule, uniform(rng, 0.82, 1.35)));
        }
        for _ in 0..index(rng, 6) {
            let (at, size) = (position(rng), uniform(rng, 0.003, 0.009));
            let long = size * choose(rng, &[1.0, 1.5, 5.0]);
            let strength = uniform(rng, 0.3, 0.8);
            let axis = level(rng);
            let spot = Lumpy::along(rng, axis, at, [long, size], 0.2);
            clutter.bright.push((spot, strength));
        }
        clutter
    }

    fn apply(&self, mut echo: f32, x: f32, y: f32) -> f32 {
        for (lobule, factor) in &self.lobules {
            if !lobule.near(x, y, 0.013) {
                continue;
            }
            let out = lobule.distance(x, y);
            echo *= 1.0 + (factor - 1.0) * smoothstep(0.012, -0.012, out);
            let septum = smoothstep(0.012, 0.0, out.abs());
            echo += 0.08 * septum;
        }
        for duct in &self.ducts {
            if !duct.near(x, y, 0.013) {
                continue;
            }
            let out = duct.distance(x, y);
            echo += (0.05 - echo) * smoothstep(0.004, -0.004, out);
            echo += 0.12 * smoothstep(0.012, 0.004, out.abs()) * smoothstep(0.0, 0.004, out);
        }
        for (spot, strength) in &self.bright {
            if !spot.near(x, y, 0.005) {
                continue;
            }
            echo += strength * smoothstep(0.004, -0.003, spot.distance(x, y));
        }
        echo
    }
}

/// Shadows not cast by lesions (poor skin contact, ligaments, ribs), as factors `[side, side]`.
fn shades(rng: &mut ChaCha8Rng, side: usize) -> Vec<f32> {
    struct Shade(f32, f32, f32, f32);
    let mut list = Vec::new();
    for _ in 0..index(rng, 4) {
        let start = if chance(rng, 0.4) {
            0.0
        } else {
            uniform(rng, 0.15, 0.7)
        };
        let width = uniform(rng, 0.05, 0.16);
        list.push(Shade(
            uniform(rng, 0.0, 1.0),
            width,
            start,
            uniform(rng, 0.25, 0.7),
        ));
    }
    (0..side * side)
        .map(|index| {
            let (u, v) = centre(index, side);
            list.iter()
                .fold(1.0, |factor, Shade(middle, width, start, depth)| {
                    let wide = width * (1.0 + 0.6 * (v - start));
                    let column = smoothstep(wide, 0.0, (u - middle).abs());
                    factor * (1.0 - depth * column * smoothstep(*start, start + 0.06, v))
                })
        })
        .collect()
}
