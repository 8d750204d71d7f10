//! Ultrasound phantom: a grey B-mode picture of layered tissue with speckle, shadows and one or two dark lesions.
//!
//! Speckle, shadows and attenuation are in beam coordinates (`u` across the probe, `v` along the depth, both 0 to 1).
//! Lesions are in picture coordinates, so that their masks are exact.

mod probe;
mod tissue;

use rand_chacha::ChaCha8Rng;

use crate::canvas::{Canvas, centre, chance, choose, mask_of, noise, smoothstep, uniform};
use crate::phantom::Phantom;
use crate::shapes::{Lumpy, Point, sample};
use probe::{Probe, speckle};
use tissue::echoes;

/// Draws one picture `[side, side]` with the target "lesion".
pub(super) fn draw(rng: &mut ChaCha8Rng, side: usize) -> Phantom {
    let probe = Probe::draw(rng);
    let lesions = lesions(rng, &probe);
    let echoes = echoes(rng, side, &probe, &lesions);
    // Each lesion is darker than the surrounding tissue by its own factor.
    let inner: Vec<f32> = lesions
        .iter()
        .map(|l| l.echo * l.tissue(&echoes, side))
        .collect();
    let ragged = noise(side, 16.0, 2, rng);

    // Lesions have their ragged outline in the picture, and the speckle of the beam.
    let speckle = speckle(rng, side);
    let gain = uniform(rng, 0.9, 1.15);
    let contrast = uniform(rng, 0.5, 0.68);
    let mut coverage = vec![0.0f32; side * side];
    let mut canvas = Canvas::new(side, [0.0; 3]);
    for index in 0..side * side {
        let (x, y) = centre(index, side);
        let [u, v] = probe.beam(x, y);
        let seen = probe.seen(u, v, side);
        if seen == 0.0 {
            continue;
        }
        let mut echo = sample(&echoes, side, u, v);
        for (number, lesion) in lesions.iter().enumerate() {
            if !lesion.outline.near(x, y, 0.06) {
                continue;
            }
            let ragged = lesion.ragged * (ragged[index] - 0.5);
            let out = lesion.outline.distance(x, y) + ragged;
            let inside = (0.5 - out * side as f32).clamp(0.0, 1.0);
            coverage[index] = coverage[index].max(inside * seen);
            let soft = lesion.soft * (0.6 + 0.8 * ragged.abs());
            let depth = smoothstep(soft, -soft, out);
            let within = inner[number] * (0.75 + 0.5 * towards_rim(out, lesion));
            echo += (within - echo) * depth;
            let halo = smoothstep(0.035, 0.008, out) * smoothstep(-0.012, 0.006, out);
            echo += lesion.halo * halo;
        }
        let grain = sample(&speckle, side, u, v);
        let level = gain * echo * (1.0 - contrast + contrast * grain);
        canvas.pixels[index] = [compressed(level) * seen; 3];
    }
    probe.marks(&mut canvas);
    Phantom {
        image: canvas.to_image(),
        targets: vec![("lesion", mask_of(side, &coverage))],
    }
}

/// Inside, a lesion is a little brighter towards its rim.
fn towards_rim(out: f32, lesion: &Lesion) -> f32 {
    (1.0 + out / lesion.outline.radii[1]).clamp(0.0, 1.0)
}

/// The display's compression curve: it limits bright echoes, so that they do not all become white.
fn compressed(level: f32) -> f32 {
    let level = level.max(0.0);
    1.25 * level / (0.42 + level)
}

/// A dark lesion.
struct Lesion {
    outline: Lumpy,
    /// Echo inside, relative to the surrounding tissue.
    echo: f32,
    /// Width of the soft rim, and its roughness.
    soft: f32,
    ragged: f32,
    /// Brightness of the rim of reflecting tissue around it.
    halo: f32,
    /// Factor on the echoes below it: above 1 enhancement, below 1 shadow.
    below: f32,
    /// Its centre in beam coordinates, and half its width there.
    beam: Point,
    half: f32,
}

impl Lesion {
    /// Echo of the tissue around the lesion: the median of its centre and four points on its rim.
    fn tissue(&self, echoes: &[f32], side: usize) -> f32 {
        let ([u, v], across, down) = (self.beam, self.half, self.outline.radii[1]);
        let mut around = [
            [u, v],
            [u - across, v],
            [u + across, v],
            [u, v - down],
            [u, v + down],
        ]
        .map(|[u, v]| sample(echoes, side, u, v));
        around.sort_by(f32::total_cmp);
        around[2]
    }

    /// The lesion's factor on the echoes at a point in beam coordinates.
    fn trail(&self, u: f32, v: f32) -> f32 {
        let off = (u - self.beam[0]).abs() / self.half;
        if v < self.beam[1] || off > 1.0 {
            return 1.0;
        }
        let fade = 1.0 / (1.0 + 5.0 * (v - self.beam[1]) * (v - self.beam[1]));
        1.0 + (self.below - 1.0) * smoothstep(1.0, 0.6, off) * fade
    }
}

/// A roughly horizontal direction, along the layers.
fn level(rng: &mut ChaCha8Rng) -> Point {
    let tilt = uniform(rng, -0.4, 0.4);
    let length = (1.0 + tilt * tilt).sqrt();
    [1.0 / length, tilt / length]
}

fn lesions(rng: &mut ChaCha8Rng, probe: &Probe) -> Vec<Lesion> {
    let wanted = choose(rng, &[1, 1, 1, 1, 2]);
    let mut list: Vec<Lesion> = Vec::new();
    while list.len() < wanted {
        let largest = if wanted == 1 { 0.2 } else { 0.12 };
        let across = uniform(rng, 0.07, largest);
        let down = across * uniform(rng, 0.55, 0.95);
        let at = probe.picture(uniform(rng, 0.2, 0.8), uniform(rng, 0.28, 0.68));
        let apart = |other: &Lesion| {
            let (dx, dy) = (
                at[0] - other.outline.centre[0],
                at[1] - other.outline.centre[1],
            );
            let least = 1.25 * (across + other.outline.radii[0]);
            dx * dx + dy * dy > least * least
        };
        if !list.iter().all(apart) {
            continue;
        }
        // A malignant lesion is rough and casts a shadow; a benign one is smooth and lets the beam through.
        let axis = level(rng);
        let malignant = chance(rng, 0.45);
        let roughness = if malignant {
            uniform(rng, 0.08, 0.2)
        } else {
            uniform(rng, 0.02, 0.07)
        };
        let beam = probe.beam(at[0], at[1]);
        let edge = probe.beam(at[0] + across, at[1]);
        list.push(Lesion {
            beam,
            half: (edge[0] - beam[0]).max(0.01),
            outline: Lumpy::along(rng, axis, at, [across, down], roughness),
            echo: uniform(rng, 0.1, 0.42),
            soft: uniform(rng, 0.008, 0.026),
            ragged: if malignant { 0.04 } else { 0.015 },
            halo: uniform(rng, 0.0, 0.18),
            below: if malignant {
                uniform(rng, 0.35, 0.8)
            } else {
                uniform(rng, 1.1, 1.7)
            },
        });
    }
    list
}
