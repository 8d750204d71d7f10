//! Ultrasound phantom: a grey B-mode picture of layered tissue with speckle, shadows and one or two dark lesions.
//!
//! Speckle, shadows and attenuation live in the coordinates of the beam (`u` across the probe, `v` along the depth, both
//! 0 to 1), the lesions in those of the picture, so that their masks are exact.

use rand_chacha::ChaCha8Rng;

use super::canvas::{Canvas, centre, chance, choose, index, mask_of, noise, smoothstep, uniform};
use super::phantom::Phantom;
use super::shapes::{Lumpy, Point, blur_line, sample, transposed};

/// Draws one picture `[side, side]` with the target "lesion".
pub(super) fn draw(rng: &mut ChaCha8Rng, side: usize) -> Phantom {
    let probe = Probe::draw(rng);
    let lesions = lesions(rng, &probe);
    let echoes = echoes(rng, side, &probe, &lesions);
    let ragged = noise(side, 16.0, 2, rng);

    // Lesions are cut out along their ragged outline in the picture, and seen through the beam's grain.
    let speckle = speckle(rng, side);
    let gain = uniform(rng, 0.9, 1.15);
    let contrast = uniform(rng, 0.5, 0.68);
    let mut coverage = vec![0.0f32; side * side];
    let mut canvas = Canvas::new(side, [0.0; 3]);
    for place in 0..side * side {
        let (x, y) = centre(place, side);
        let [u, v] = probe.beam(x, y);
        let seen = probe.seen(u, v, side);
        if seen == 0.0 {
            continue;
        }
        let mut echo = sample(&echoes, side, u, v);
        for lesion in &lesions {
            if !lesion.outline.near(x, y, 0.06) {
                continue;
            }
            let ragged = lesion.ragged * (ragged[place] - 0.5);
            let out = lesion.outline.distance(x, y) + ragged;
            let inside = (0.5 - out * side as f32).clamp(0.0, 1.0);
            coverage[place] = coverage[place].max(inside * seen);
            let soft = lesion.soft * (0.6 + 0.8 * ragged.abs());
            let depth = smoothstep(soft, -soft, out);
            let within = lesion.echo * (0.75 + 0.5 * ragged_inside(out, lesion));
            echo += (within - echo) * depth;
            let halo = smoothstep(0.035, 0.008, out) * smoothstep(-0.012, 0.006, out);
            echo += lesion.halo * halo;
        }
        let grain = sample(&speckle, side, u, v);
        let level = gain * echo * (1.0 - contrast + contrast * grain);
        canvas.pixels[place] = [compressed(level) * seen; 3];
    }
    probe.marks(&mut canvas);
    Phantom {
        image: canvas.to_image(),
        targets: vec![("lesion", mask_of(side, &coverage))],
    }
}

/// Inside, a lesion is a little brighter towards its rim.
fn ragged_inside(out: f32, lesion: &Lesion) -> f32 {
    (1.0 + out / lesion.outline.radii[1]).clamp(0.0, 1.0)
}

/// The display's curve: bright echoes are held back, so that they don't all end as white.
fn compressed(level: f32) -> f32 {
    let level = level.max(0.0);
    1.25 * level / (0.42 + level)
}

/// How the beam is laid over the picture.
struct Probe {
    /// The apex of a sector, above the picture; none for a linear probe.
    apex: Option<Point>,
    /// Sine of half the opening angle of a sector.
    open: f32,
    /// Near and far end of the beam: distances from the apex, or rows.
    from: f32,
    to: f32,
    /// Left and right end of a linear probe.
    left: f32,
    right: f32,
}

impl Probe {
    fn draw(rng: &mut ChaCha8Rng) -> Self {
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
            // A curved array: its face is an arc whose centre lies above the picture.
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
    fn beam(&self, x: f32, y: f32) -> Point {
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

    /// The point of the picture that beam coordinates mean.
    fn picture(&self, u: f32, v: f32) -> Point {
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
    fn seen(&self, u: f32, v: f32, side: usize) -> f32 {
        if self.apex.is_none() && self.left == 0.0 {
            return f32::from(u8::from((0.0..=1.0).contains(&v)));
        }
        let rim = u.min(1.0 - u).min(v).min(1.0 - v);
        (rim * side as f32 + 0.5).clamp(0.0, 1.0)
    }

    /// The scale of depth at the right margin.
    fn marks(&self, canvas: &mut Canvas) {
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

/// A dark focus.
struct Lesion {
    outline: Lumpy,
    /// Echo inside, where tissue has about 0.4.
    echo: f32,
    /// Width of the soft rim, and the amplitude of its raggedness.
    soft: f32,
    ragged: f32,
    /// Brightness of the rim of reflecting tissue around it.
    halo: f32,
    /// Factor on the echoes behind it: above 1 enhancement, below 1 shadow.
    behind: f32,
    /// Its middle in beam coordinates, and half its width there.
    beam: Point,
    half: f32,
}

impl Lesion {
    /// What the lesion does to the echoes at a place in the beam: a factor.
    fn trail(&self, u: f32, v: f32) -> f32 {
        let off = (u - self.beam[0]).abs() / self.half;
        if v < self.beam[1] || off > 1.0 {
            return 1.0;
        }
        let fade = 1.0 / (1.0 + 5.0 * (v - self.beam[1]) * (v - self.beam[1]));
        1.0 + (self.behind - 1.0) * smoothstep(1.0, 0.6, off) * fade
    }
}

/// A direction along the layers, more or less.
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
            echo: uniform(rng, 0.02, 0.12),
            soft: uniform(rng, 0.008, 0.026),
            ragged: if malignant { 0.04 } else { 0.015 },
            halo: uniform(rng, 0.0, 0.18),
            behind: if malignant {
                uniform(rng, 0.35, 0.8)
            } else {
                uniform(rng, 1.1, 1.7)
            },
        });
    }
    list
}

/// A band of tissue.
#[derive(Clone, Copy)]
struct Layer {
    /// Depth of its upper face.
    top: f32,
    echo: f32,
    /// Strength of its coarse texture, of its streaks along the layer, and of the reflection at its face.
    patchy: f32,
    streaks: f32,
    face: f32,
}

/// Skin, fat, gland, muscle and what lies behind, of one patient.
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

/// Echo strength before speckle in beam coordinates, `[side, side]`, lesions themselves left out.
fn echoes(rng: &mut ChaCha8Rng, side: usize, probe: &Probe, lesions: &[Lesion]) -> Vec<f32> {
    let layers = layers(rng);
    let coarse = noise(side, 7.0, 3, rng);
    let waves = noise(side, 3.0, 2, rng);
    let clutter = Clutter::draw(rng);
    let shades = shades(rng, side);
    let attenuation = uniform(rng, 0.2, 0.7);
    let tilt = uniform(rng, -0.1, 0.1);
    let mut field = vec![0.0; side * side];
    for (place, value) in field.iter_mut().enumerate() {
        let (u, v) = centre(place, side);
        let bend = tilt * (u - 0.5) + 0.24 * (sample(&waves, side, u, 0.3 * v) - 0.5);
        // The skin is flat under the probe; the deeper, the more freely a layer bends.
        let depth = v - bend * smoothstep(0.0, 0.35, v);
        let patch = sample(&coarse, side, 0.5 * u, depth.clamp(0.0, 1.0)) - 0.5;
        let streak = sample(&coarse, side, 0.2 * u + 0.4, (3.0 * depth).fract()) - 0.5;
        let mut echo = 0.0;
        for layer in &layers {
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
        let mut gain = shades[place] * (1.12 - attenuation * v * v);
        for lesion in lesions {
            gain *= lesion.trail(u, v);
        }
        // The near field is bright with reverberations.
        *value = echo * gain + 0.25 * smoothstep(0.06, 0.0, v);
    }
    field
}

/// Dark ducts, fat lobules, bright calcifications and ligaments: what a lesion can be mistaken for.
struct Clutter {
    ducts: Vec<Lumpy>,
    lobules: Vec<(Lumpy, f32)>,
    bright: Vec<(Lumpy, f32)>,
}

impl Clutter {
    fn draw(rng: &mut ChaCha8Rng) -> Self {
        let place = |rng: &mut ChaCha8Rng| [uniform(rng, 0.05, 0.95), uniform(rng, 0.2, 0.9)];
        let mut clutter = Self {
            ducts: Vec::new(),
            lobules: Vec::new(),
            bright: Vec::new(),
        };
        for _ in 0..index(rng, 4) {
            let (at, thin) = (place(rng), uniform(rng, 0.010, 0.018));
            let long = thin * uniform(rng, 1.0, 4.5);
            let axis = level(rng);
            let duct = Lumpy::along(rng, axis, at, [long, thin], 0.1);
            clutter.ducts.push(duct);
        }
        for _ in 0..index(rng, 6) + 2 {
            let (at, long) = (place(rng), uniform(rng, 0.04, 0.12));
            let thin = long * uniform(rng, 0.35, 0.6);
            let axis = [1.0, 0.0];
            let lobule = Lumpy::along(rng, axis, at, [long, thin], 0.08);
            clutter.lobules.push((lobule, uniform(rng, 0.6, 1.3)));
        }
        for _ in 0..index(rng, 6) {
            let (at, size) = (place(rng), uniform(rng, 0.003, 0.009));
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

/// Shadows in the beam that no lesion casts: poor contact at the skin, ligaments, ribs. `[side, side]` factors.
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
        .map(|place| {
            let (u, v) = centre(place, side);
            list.iter()
                .fold(1.0, |factor, Shade(middle, width, start, depth)| {
                    let wide = width * (1.0 + 0.6 * (v - start));
                    let column = smoothstep(wide, 0.0, (u - middle).abs());
                    factor * (1.0 - depth * column * smoothstep(*start, start + 0.06, v))
                })
        })
        .collect()
}

/// Fully developed speckle of mean 1 in beam coordinates: the length of a vector of two blurred Gaussian fields, whose
/// grain widens across the beam with the depth.
fn speckle(rng: &mut ChaCha8Rng, side: usize) -> Vec<f32> {
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
            // A wider blur leaves less contrast; every row is brought back to a variance of 1.
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
    // The mean of a Rayleigh variable is sqrt(pi / 2) of its parameter.
    square.iter().map(|v| v.sqrt() / 1.2533).collect()
}
