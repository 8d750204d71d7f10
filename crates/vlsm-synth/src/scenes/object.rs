//! Objects of a scene: their attributes, the words for them, and how they are painted.

use rand_chacha::ChaCha8Rng;

use crate::canvas::{Canvas, Colour, chance, choose, mix, scaled, uniform};

/// An attribute value with its words, the most common first.
pub(super) type Words = &'static [&'static str];

/// Outlines. The words are singular; see [`plural`].
pub(super) const SHAPES: [(Shape, Words); 9] = [
    (Shape::Circle, &["circle", "disc", "round object"]),
    (Shape::Oval, &["oval", "ellipse", "oval object"]),
    (Shape::Square, &["square", "square object"]),
    (Shape::Rectangle, &["rectangle", "bar"]),
    (Shape::Triangle, &["triangle", "triangular object"]),
    (Shape::Star, &["star"]),
    (Shape::Cross, &["cross", "plus sign"]),
    (Shape::Ring, &["ring", "donut"]),
    (Shape::Blob, &["blob", "irregular lump"]),
];

/// Colours.
pub(super) const COLOURS: [(Colour, Words); 11] = [
    ([0.82, 0.12, 0.12], &["red"]),
    ([0.95, 0.52, 0.10], &["orange"]),
    ([0.95, 0.86, 0.15], &["yellow"]),
    ([0.15, 0.62, 0.20], &["green"]),
    ([0.14, 0.28, 0.82], &["blue"]),
    ([0.50, 0.18, 0.66], &["purple", "violet"]),
    ([0.96, 0.58, 0.72], &["pink"]),
    ([0.45, 0.27, 0.12], &["brown"]),
    ([0.95, 0.95, 0.95], &["white"]),
    ([0.50, 0.50, 0.50], &["grey", "gray"]),
    ([0.07, 0.07, 0.07], &["black", "dark"]),
];

/// Surfaces.
pub(super) const TEXTURES: [(Texture, Words); 4] = [
    (Texture::Plain, &["plain"]),
    (Texture::Striped, &["striped", "stripy"]),
    (Texture::Dotted, &["dotted", "spotted"]),
    (Texture::Checkered, &["checkered", "chequered"]),
];

/// Sizes: smallest and largest radius in units of the side. Gaps between the ranges keep the words distinct.
pub(super) const SIZES: [([f32; 2], Words); 3] = [
    ([0.085, 0.100], &["small", "little", "tiny"]),
    ([0.125, 0.148], &["medium", "medium-sized"]),
    ([0.180, 0.220], &["large", "big"]),
];

/// Positions: thirds of the image, row by row.
pub(super) const POSITIONS: [Words; 9] = [
    &["top left", "upper left"],
    &["top"],
    &["top right", "upper right"],
    &["left"],
    &["center", "middle"],
    &["right"],
    &["bottom left", "lower left"],
    &["bottom"],
    &["bottom right", "lower right"],
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Circle,
    Oval,
    Square,
    Rectangle,
    Triangle,
    Star,
    Cross,
    Ring,
    Blob,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Texture {
    Plain,
    Striped,
    Dotted,
    Checkered,
}

/// An object: each attribute as an index into its table, and the rest of its appearance.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) shape: usize,
    pub(super) colour: usize,
    pub(super) texture: usize,
    pub(super) size: usize,
    pub(super) position: usize,
    /// Centre and radius in units of the side.
    pub(super) x: f32,
    pub(super) y: f32,
    pub(super) radius: f32,
    turn: [f32; 2],
    aspect: f32,
    pub(super) tone: Colour,
    second: Colour,
    /// Amplitudes and phases of a blob's harmonics.
    lumps: [[f32; 2]; 3],
    /// Width of the edge in pixels; 1 is sharp.
    rim: f32,
    /// Direction and strength of the shading.
    light: [f32; 2],
}

impl Object {
    /// An object with this shape, colour, texture and size, at a random position.
    pub(super) fn draw(
        rng: &mut ChaCha8Rng,
        shape: usize,
        colour: usize,
        texture: usize,
        size: usize,
    ) -> Self {
        let [least, most] = SIZES[size].0;
        let radius = uniform(rng, least, most);
        let column = third(rng, radius);
        let row = third(rng, radius);
        // Objects are more or less upright, so that there are fewer outlines to learn.
        let angle: f32 = uniform(rng, -0.3, 0.3);
        let tone = COLOURS[colour].0;
        let tone = tone.map(|level| (level + uniform(rng, -0.05, 0.05)).clamp(0.0, 1.0));
        let bright = 0.3 * tone[0] + 0.6 * tone[1] + 0.1 * tone[2] > 0.45;
        let second = if bright {
            scaled(tone, uniform(rng, 0.35, 0.5))
        } else {
            mix(tone, [1.0; 3], uniform(rng, 0.5, 0.7))
        };
        Self {
            shape,
            colour,
            texture,
            size,
            position: 3 * row.0 + column.0,
            x: column.1,
            y: row.1,
            radius,
            turn: [angle.cos(), angle.sin()],
            aspect: uniform(rng, 0.42, 0.58),
            tone,
            second,
            lumps: [2.0, 3.0, 4.0].map(|_| {
                let phase = uniform(rng, 0.0, std::f32::consts::TAU);
                [uniform(rng, 0.07, 0.15), phase]
            }),
            rim: if chance(rng, 0.25) {
                uniform(rng, 1.5, 3.0)
            } else {
                1.0
            },
            light: [uniform(rng, -0.18, 0.18), uniform(rng, -0.18, 0.18)],
        }
    }

    /// Whether two objects would overlap or nearly touch.
    pub(super) fn meets(&self, other: &Self) -> bool {
        let apart = (self.x - other.x).hypot(self.y - other.y);
        apart < self.radius + other.radius + 0.012
    }

    /// Paints the object and marks its pixels in `ids` with `id`.
    pub(super) fn paint(&self, canvas: &mut Canvas, ids: &mut [u8], id: u8) {
        let side = canvas.side;
        for row in self.range(self.y, side) {
            for column in self.range(self.x, side) {
                let [dx, dy, u, v] = self.local(column, row, side);
                let inside = self.depth(u, v) * self.radius * side as f32;
                let coverage = (0.5 + inside / self.rim).clamp(0.0, 1.0);
                if coverage <= 0.0 {
                    continue;
                }
                let index = row * side + column;
                let shade = 1.0 + (dx * self.light[0] + dy * self.light[1]) / self.radius;
                let tone = scaled(self.surface(u, v, side), shade);
                canvas.pixels[index] = mix(canvas.pixels[index], tone, coverage);
                if coverage > 0.5 {
                    ids[index] = id;
                }
            }
        }
    }

    /// The rows or columns around a centre that the object may cover.
    fn range(&self, centre: f32, side: usize) -> std::ops::Range<usize> {
        let reach = self.radius * 1.2 + 2.0 / side as f32;
        let from = ((centre - reach) * side as f32).max(0.0) as usize;
        from..(((centre + reach) * side as f32) as usize + 1).min(side)
    }

    /// A pixel's offset from the centre in units of the side, and turned, in radii.
    fn local(&self, column: usize, row: usize, side: usize) -> [f32; 4] {
        let unit = 1.0 / side as f32;
        let (dx, dy) = (
            (column as f32 + 0.5) * unit - self.x,
            (row as f32 + 0.5) * unit - self.y,
        );
        let [cos, sin] = self.turn;
        let (u, v) = (
            (dx * cos + dy * sin) / self.radius,
            (dy * cos - dx * sin) / self.radius,
        );
        [dx, dy, u, v]
    }

    /// Left, top, right, bottom of the pixels that [`paint`](Self::paint) marks, the last two exclusive.
    pub(super) fn bounding_box(&self, side: usize) -> [usize; 4] {
        let mut found = [side, side, 0, 0];
        for row in self.range(self.y, side) {
            for column in self.range(self.x, side) {
                let [_, _, u, v] = self.local(column, row, side);
                if self.depth(u, v) > 0.0 {
                    found = [
                        found[0].min(column),
                        found[1].min(row),
                        found[2].max(column + 1),
                        found[3].max(row + 1),
                    ];
                }
            }
        }
        found
    }

    /// Approximate distance of a point inside the outline, in radii; negative outside. `u` and `v` are the point's
    /// coordinates relative to the object, in radii.
    fn depth(&self, u: f32, v: f32) -> f32 {
        let from_centre = u.hypot(v);
        match SHAPES[self.shape].0 {
            Shape::Circle => 1.0 - from_centre,
            Shape::Oval => (1.0 - u.hypot(v / self.aspect)) * self.aspect,
            Shape::Square => 0.82 - u.abs().max(v.abs()),
            Shape::Rectangle => (0.95 - u.abs()).min(0.8 * self.aspect - v.abs()),
            Shape::Triangle => {
                let (half, slant) = (0.5, 0.866_025_4);
                let edges = [-v, half * v + slant * u, half * v - slant * u];
                0.55 - edges.into_iter().fold(f32::MIN, f32::max)
            }
            Shape::Star => {
                // By symmetry, half of one of the five points is enough: outside the line from tip to notch.
                let fifth = std::f32::consts::TAU / 5.0;
                let angle = u.atan2(v).rem_euclid(fifth);
                let angle = angle.min(fifth - angle);
                let (x, y) = (from_centre * angle.cos(), from_centre * angle.sin());
                let (tip, notch) = (1.05, [0.48 * 0.809_017, 0.48 * 0.587_785_3]);
                let (dx, dy) = (notch[0] - tip, notch[1]);
                ((x - tip) * dy - y * dx) / -dx.hypot(dy)
            }
            Shape::Cross => {
                let (a, b) = (u.abs(), v.abs());
                let arm = |long: f32, across: f32| (1.0 - long).min(0.32 - across);
                arm(a, b).max(arm(b, a))
            }
            Shape::Ring => (1.0 - from_centre).min(from_centre - 0.52),
            Shape::Blob => {
                let angle = v.atan2(u);
                let lump = |(order, [amplitude, phase]): (usize, &[f32; 2])| {
                    amplitude * ((order + 2) as f32 * angle + phase).cos()
                };
                0.8 + self.lumps.iter().enumerate().map(lump).sum::<f32>() - from_centre
            }
        }
    }

    /// The colour of the surface at a point.
    fn surface(&self, u: f32, v: f32, side: usize) -> Colour {
        // Fine enough to show several periods, coarse enough to be visible.
        let period = (0.42 * self.radius * side as f32).clamp(5.0, 14.0);
        let scale = std::f32::consts::TAU * self.radius * side as f32 / period;
        let (a, b) = ((u * scale).sin(), (v * scale).sin());
        let second = match TEXTURES[self.texture].0 {
            Texture::Plain => 0.0,
            Texture::Striped => edge(a),
            Texture::Dotted => edge(a + b - 0.75),
            Texture::Checkered => edge(2.0 * a * b),
        };
        mix(self.tone, self.second, second)
    }
}

/// Rises from 0 to 1 across a soft edge at 0.
fn edge(x: f32) -> f32 {
    (0.5 + 1.5 * x).clamp(0.0, 1.0)
}

/// A third, and a centre coordinate in it, away from its borders and with the object inside the image.
fn third(rng: &mut ChaCha8Rng, radius: f32) -> (usize, f32) {
    const CLEAR: f32 = 0.025;
    let inside = radius * 0.95;
    let ranges = [
        [inside, 1.0 / 3.0 - CLEAR],
        [1.0 / 3.0 + CLEAR, 2.0 / 3.0 - CLEAR],
        [2.0 / 3.0 + CLEAR, 1.0 - inside],
    ];
    let third = choose(rng, &[0, 1, 2]);
    let [from, to] = ranges[third];
    (third, uniform(rng, from, to))
}

/// The plural of a noun phrase; its last word changes.
pub(super) fn plural(noun: &str) -> String {
    if noun.ends_with('s') {
        format!("{noun}es")
    } else {
        format!("{noun}s")
    }
}
