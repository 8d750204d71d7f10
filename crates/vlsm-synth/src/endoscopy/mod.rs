//! Endoscopy phantom: the inside of a colon with folds, vessels, wet highlights and one to three polyps.

mod wall;

use rand_chacha::ChaCha8Rng;

use crate::canvas::{
    Canvas, Colour, centre, choose, index, mask_of, mix, noise, scaled, smoothstep, uniform,
};
use crate::phantom::Phantom;
use crate::shapes::{Lumpy, Point, blur};
use wall::{Folds, vessels};

/// Draws one picture `[side, side]` with the target "polyp".
pub(super) fn draw(rng: &mut ChaCha8Rng, side: usize) -> Phantom {
    let lens = Lens::draw(rng);
    let folds = Folds::draw(rng);
    let light = Light::draw(rng);
    let polyps = polyps(rng, &folds);
    let soft = noise(side, 2.5, 2, rng);
    let fine = noise(side, 14.0, 3, rng);
    let texture = noise(side, 36.0, 2, rng);
    let vessels = vessels(rng, side);
    let spots = spots(rng);
    let flesh = choose(rng, &FLESH);

    let mut coverage = vec![0.0f32; side * side];
    let mut height = vec![0.0; side * side];
    let mut albedo = vec![[0.0; 3]; side * side];
    // How much polyps hide the wall at each pixel, and the brightness of the folds at that polyp.
    let mut hidden = vec![[0.0f32; 2]; side * side];
    for index in 0..side * side {
        let (x, y) = centre(index, side);
        let pale = mix(flesh.0, flesh.1, smoothstep(0.25, 0.75, soft[index]));
        let mut colour = scaled(pale, 0.86 + 0.28 * fine[index]);
        colour = mix(colour, VESSEL, vessels[index]);
        let mut rise = 0.012 * fine[index] + 0.05 * soft[index];
        for polyp in &polyps {
            if !polyp.near(x, y) {
                continue;
            }
            let reach = polyp.outline.reach(x, y);
            let inside = polyp.outline.distance(x, y) * side as f32;
            coverage[index] = coverage[index].max((0.5 - inside).clamp(0.0, 1.0));
            let hides = smoothstep(1.06, 0.9, reach);
            if hides > hidden[index][0] {
                hidden[index] = [hides, polyp.shade];
            }
            let skin = scaled(polyp.skin, 0.8 + 0.4 * texture[index]);
            colour = mix(colour, skin, polyp.contrast * hides);
            // A polyp shades the wall around its foot, mostly on the side away from the lamp.
            let groove = smoothstep(1.4, 1.0, reach) * smoothstep(0.8, 1.02, reach);
            let groove = groove * polyp.away(x, y, light.at);
            colour = scaled(colour, 1.0 - polyp.groove * groove);
            let open = (1.0 - reach * reach).max(0.0);
            let dome = open / (0.55 + 0.45 * open) * (1.0 + 0.25 * (texture[index] - 0.5));
            rise = rise.max(rise + polyp.height * dome);
        }
        albedo[index] = colour;
        height[index] = rise;
    }
    blur(&mut height, side, 0.006 * side as f32, 0.006 * side as f32);

    let mut canvas = Canvas::new(side, [0.0; 3]);
    for index in 0..side * side {
        let (x, y) = centre(index, side);
        let (shade, depth) = folds.shade(x, y, soft[index], fine[index]);
        // A polyp is in front of the folds; their shading must not show through it.
        let [hides, at_polyp] = hidden[index];
        let shade = shade + (at_polyp - shade) * 0.9 * hides;
        let slope = slope(&height, side, index);
        let (lit, wet) = light.at(x, y, slope);
        let colour = toned(albedo[index], lit * shade);
        let film = smoothstep(0.45, 0.75, wet * (0.2 + 1.2 * fine[index]));
        let glint = light.gloss * film * depth;
        canvas.pixels[index] = mix(colour, GLINT, glint);
    }
    for spot in &spots {
        spot.paint(&mut canvas);
    }
    for polyp in &polyps {
        polyp.glint.paint(&mut canvas);
    }
    canvas.grain(0.012, rng);
    for (index, pixel) in canvas.pixels.iter_mut().enumerate() {
        let (x, y) = centre(index, side);
        let seen = lens.seen(x, y, side);
        coverage[index] *= seen;
        *pixel = mix(lens.rim, *pixel, seen);
    }
    Phantom {
        image: canvas.to_image(),
        targets: vec![("polyp", mask_of(side, &coverage))],
    }
}

/// Mucosa colours of one patient, dark and pale.
const FLESH: [(Colour, Colour); 4] = [
    ([0.80, 0.38, 0.30], [0.92, 0.56, 0.46]),
    ([0.86, 0.46, 0.36], [0.96, 0.66, 0.56]),
    ([0.76, 0.32, 0.24], [0.88, 0.48, 0.34]),
    ([0.84, 0.46, 0.44], [0.94, 0.62, 0.58]),
];
/// Polyp colours: reddened, pale, brownish, inflamed.
const SKINS: [Colour; 4] = [
    [0.82, 0.30, 0.28],
    [0.98, 0.74, 0.64],
    [0.72, 0.38, 0.30],
    [0.90, 0.36, 0.36],
];
const VESSEL: Colour = [0.60, 0.16, 0.16];
const GLINT: Colour = [1.0, 0.98, 0.95];

/// A colour under light of strength `lit`: in shadow, blood absorbs blue and green more than red.
fn toned(colour: Colour, lit: f32) -> Colour {
    let lit = lit.max(0.0);
    let deep = (0.55 + 0.45 * lit).min(1.1);
    [
        colour[0] * lit,
        colour[1] * lit * deep,
        colour[2] * lit * deep * (0.9 + 0.1 * deep),
    ]
}

/// Horizontal and vertical slope of the height field at a pixel.
fn slope(height: &[f32], side: usize, index: usize) -> Point {
    let (column, row) = (index % side, index / side);
    let (left, right) = (column.saturating_sub(1), (column + 1).min(side - 1));
    let (above, below) = (row.saturating_sub(1), (row + 1).min(side - 1));
    let scale = side as f32 * 0.5;
    [
        (height[row * side + right] - height[row * side + left]) * scale,
        (height[below * side + column] - height[above * side + column]) * scale,
    ]
}

/// The lamp next to the lens.
struct Light {
    at: [f32; 3],
    /// How quickly light fades with distance.
    fade: f32,
    strength: f32,
    /// Strength of its reflection on wet tissue.
    gloss: f32,
}

impl Light {
    fn draw(rng: &mut ChaCha8Rng) -> Self {
        Self {
            at: [
                uniform(rng, 0.25, 0.75),
                uniform(rng, 0.2, 0.7),
                uniform(rng, 0.45, 0.8),
            ],
            fade: uniform(rng, 0.4, 1.3),
            strength: uniform(rng, 1.06, 1.28),
            gloss: uniform(rng, 0.05, 0.65),
        }
    }

    /// Light reflected by a surface of this slope: diffuse and specular.
    fn at(&self, x: f32, y: f32, slope: Point) -> (f32, f32) {
        let to = [self.at[0] - x, self.at[1] - y, self.at[2]];
        let far = to[0] * to[0] + to[1] * to[1];
        let length = (far + to[2] * to[2]).sqrt();
        let normal = 1.0 / (1.0 + slope[0] * slope[0] + slope[1] * slope[1]).sqrt();
        let lambert = (to[2] - slope[0] * to[0] - slope[1] * to[1]) * normal / length;
        // Half-way vector between lamp and lens at the picture's centre.
        let eye = [0.5 - x, 0.5 - y, 0.7];
        let eye_length = (eye[0] * eye[0] + eye[1] * eye[1] + 0.49).sqrt();
        let half = [0, 1, 2].map(|c| to[c] / length + eye[c] / eye_length);
        let half_length = (half[0] * half[0] + half[1] * half[1] + half[2] * half[2]).sqrt();
        let mirror = (half[2] - slope[0] * half[0] - slope[1] * half[1]) * normal / half_length;
        let mut wet = mirror.max(0.0);
        for _ in 0..6 {
            wet *= wet;
        }
        let diffuse = 0.3 + 0.7 * lambert.max(0.0);
        (self.strength * diffuse / (1.0 + self.fade * far), wet)
    }
}

/// The dark border that the instrument shows around its picture.
struct Lens {
    centre: Point,
    /// Radius of the round border.
    round: f32,
    /// Half width of the square border, and the cut of its corners: the largest |x| + |y|.
    half: f32,
    cut: f32,
    rim: Colour,
}

impl Lens {
    fn draw(rng: &mut ChaCha8Rng) -> Self {
        let (round, half, cut) = match index(rng, 4) {
            0 => (9.0, 9.0, 9.0),
            1 => (uniform(rng, 0.5, 0.58), uniform(rng, 0.46, 0.6), 9.0),
            2 => (9.0, uniform(rng, 0.47, 0.49), uniform(rng, 0.70, 0.82)),
            _ => (uniform(rng, 0.54, 0.6), uniform(rng, 0.47, 0.49), 9.0),
        };
        Self {
            centre: [uniform(rng, 0.48, 0.52), uniform(rng, 0.48, 0.52)],
            round,
            half,
            cut,
            rim: scaled([1.0, 0.95, 0.95], uniform(rng, 0.01, 0.05)),
        }
    }

    /// 1 where the picture is visible, 0 on the border.
    fn seen(&self, x: f32, y: f32, side: usize) -> f32 {
        let (dx, dy) = ((x - self.centre[0]).abs(), (y - self.centre[1]).abs());
        let round = self.round - (dx * dx + dy * dy).sqrt();
        let square = self.half - dx.max(dy);
        let corner = (self.cut - dx - dy) * 0.7;
        (round.min(square).min(corner) * side as f32 * 0.7 + 0.5).clamp(0.0, 1.0)
    }
}

/// A bump on the wall.
struct Polyp {
    outline: Lumpy,
    skin: Colour,
    contrast: f32,
    groove: f32,
    height: f32,
    /// Brightness of the folds where it is.
    shade: f32,
    glint: Spot,
}

impl Polyp {
    /// From 0.2 on the foot's side towards the lamp to 1 on the far side.
    fn away(&self, x: f32, y: f32, lamp: [f32; 3]) -> f32 {
        let [cx, cy] = self.outline.centre;
        let (fx, fy) = (cx - lamp[0], cy - lamp[1]);
        let (dx, dy) = (x - cx, y - cy);
        let lengths = ((fx * fx + fy * fy) * (dx * dx + dy * dy)).sqrt().max(1e-4);
        0.6 + 0.4 * (fx * dx + fy * dy) / lengths
    }

    fn near(&self, x: f32, y: f32) -> bool {
        let far = 1.5 * self.outline.extent();
        (x - self.outline.centre[0]).abs() < far && (y - self.outline.centre[1]).abs() < far
    }
}

fn polyps(rng: &mut ChaCha8Rng, folds: &Folds) -> Vec<Polyp> {
    let wanted = choose(rng, &[1, 1, 1, 1, 2, 2, 3]);
    let skin = choose(rng, &SKINS);
    let mut list: Vec<Polyp> = Vec::new();
    while list.len() < wanted {
        let largest = if wanted == 1 { 0.22 } else { 0.13 };
        let radius = uniform(rng, 0.065, largest);
        let at = [uniform(rng, 0.24, 0.76), uniform(rng, 0.24, 0.76)];
        let apart = |other: &Polyp| {
            let (dx, dy) = (
                at[0] - other.outline.centre[0],
                at[1] - other.outline.centre[1],
            );
            let least = 1.1 * (radius + other.outline.radii[0]);
            dx * dx + dy * dy > least * least
        };
        // In the dark lumen it would be invisible.
        let (dx, dy) = (at[0] - folds.lumen[0], at[1] - folds.lumen[1]);
        let deep = (dx * dx + dy * dy).sqrt() < 1.6 * folds.dark;
        if deep || !list.iter().all(apart) {
            continue;
        }
        let radii = [radius, radius * uniform(rng, 0.68, 1.0)];
        let roughness = uniform(rng, 0.02, 0.1);
        let outline = Lumpy::new(rng, at, radii, roughness);
        let spot = [
            at[0] + radius * uniform(rng, -0.25, 0.25),
            at[1] + radius * uniform(rng, -0.45, 0.05),
        ];
        let size = radius * uniform(rng, 0.06, 0.16);
        list.push(Polyp {
            outline,
            skin,
            contrast: uniform(rng, 0.25, 0.85),
            groove: uniform(rng, 0.15, 0.5),
            shade: folds.shade(at[0], at[1], 0.5, 0.5).0.clamp(0.62, 1.1),
            height: radius * uniform(rng, 0.25, 0.55),
            glint: Spot(Lumpy::new(rng, spot, [size, size * 0.6], 0.25)),
        });
    }
    list
}

/// A saturated highlight on wet tissue.
struct Spot(Lumpy);

impl Spot {
    fn paint(&self, canvas: &mut Canvas) {
        let side = canvas.side;
        let reach = 1.8 * self.0.extent();
        let bound = |at: f32| (at * side as f32).clamp(0.0, side as f32) as usize;
        let [cx, cy] = self.0.centre;
        for row in bound(cy - reach)..bound(cy + reach) {
            for column in bound(cx - reach)..bound(cx + reach) {
                let index = row * side + column;
                let (x, y) = centre(index, side);
                let out = self.0.reach(x, y);
                let strength = smoothstep(1.25, 0.75, out).max(0.35 * smoothstep(2.0, 0.9, out));
                canvas.pixels[index] = mix(canvas.pixels[index], GLINT, strength);
            }
        }
    }
}

/// Clusters of small highlights anywhere on the wall.
fn spots(rng: &mut ChaCha8Rng) -> Vec<Spot> {
    let mut list = Vec::new();
    for _ in 0..index(rng, 4) + 1 {
        let at = [uniform(rng, 0.1, 0.9), uniform(rng, 0.1, 0.9)];
        for _ in 0..index(rng, 4) + 1 {
            let size = uniform(rng, 0.004, 0.014);
            let centre = [
                at[0] + uniform(rng, -0.06, 0.06),
                at[1] + uniform(rng, -0.06, 0.06),
            ];
            let long = size * uniform(rng, 1.0, 2.2);
            list.push(Spot(Lumpy::new(rng, centre, [long, size], 0.12)));
        }
    }
    list
}
