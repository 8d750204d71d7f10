//! Referring-segmentation scenes: several objects over a varied background, and prompts that pick some of them.

mod object;
mod refer;
mod relations;

use rand_chacha::ChaCha8Rng;
use vlsm_image::{Mask, RgbImage};

use crate::canvas::{Canvas, Colour, chance, choose, index, mix, noise, smoothstep, uniform};
use crate::drawing::{Drawing, DrawnReferent, Referent};
use object::{COLOURS, Object, SHAPES, SIZES, TEXTURES, Words};
pub(super) use refer::Referral;
pub(super) use relations::Related;

/// A scene before it is painted.
pub(super) struct Scene {
    objects: Vec<Object>,
    referrals: Vec<Referral>,
    /// Generator for everything that prompts do not describe.
    rng: ChaCha8Rng,
}

impl Scene {
    /// Lays out a training scene with four prompts. The first scenes and prompts are simpler: in half an hour of training,
    /// outlines were learned from large plain objects, and hardly at all from the full mix.
    pub(super) fn for_training(mut rng: ChaCha8Rng, index: u64) -> Self {
        const SIMPLE: f32 = 9_600.0;
        const GROWING: f32 = 22_400.0;
        let progress = ((index as f32 - SIMPLE) / GROWING).clamp(0.0, 1.0);
        let objects = lay_out(progress, &mut rng);
        let referrals = refer::some(&objects, 4, progress, &mut rng);
        Self {
            objects,
            referrals,
            rng,
        }
    }

    /// Lays out an evaluation scene, with a prompt of each kind that it allows.
    pub(super) fn for_evaluation(mut rng: ChaCha8Rng) -> Self {
        let objects = lay_out(1.0, &mut rng);
        let referrals = refer::every_kind(&objects, &mut rng);
        Self {
            objects,
            referrals,
            rng,
        }
    }

    /// Lays out a scene with expressions that relate objects to others.
    pub(super) fn with_relations(mut rng: ChaCha8Rng) -> (Self, Vec<Related>) {
        let (objects, related) = relations::related(&mut rng);
        let mut referrals = Vec::with_capacity(related.len());
        referrals.extend(related.iter().map(Referral::of_relation));
        let scene = Self {
            objects,
            referrals,
            rng,
        };
        (scene, related)
    }

    /// The box of each object: left, top, right, bottom in pixels, the last two exclusive.
    pub(super) fn boxes(&self, side: usize) -> Vec<[usize; 4]> {
        let boxes = self.objects.iter();
        boxes.map(|object| object.bounding_box(side)).collect()
    }

    /// The prompts and their kinds.
    pub(super) fn referents(&self) -> Vec<Referent> {
        self.referrals.iter().map(Referral::referent).collect()
    }

    /// Paints the scene. The second result has, for each pixel, the number of its object from 1, or 0.
    fn paint(&mut self, side: usize) -> (Canvas, Vec<u8>) {
        let rng = &mut self.rng;
        let mut canvas = background(&self.objects, side, rng);
        let mut ids = vec![0; side * side];
        for (object, id) in self.objects.iter().zip(1..) {
            object.paint(&mut canvas, &mut ids, id);
        }
        if chance(rng, 0.7) {
            let sigma = uniform(rng, 0.0, 0.035);
            canvas.grain(sigma, rng);
        }
        (canvas, ids)
    }

    /// Paints the scene, with the masks of its prompts.
    pub(super) fn draw(mut self, side: usize) -> Drawing {
        let (canvas, ids) = self.paint(side);
        let referents = self.referrals.iter().map(|referral| {
            let marked = |id: u8| u8::from(id > 0 && referral.names(usize::from(id) - 1));
            DrawnReferent {
                referent: referral.referent(),
                mask: Mask::from_fn(side, side, |x, y| marked(ids[y * side + x])),
            }
        });
        Drawing {
            image: canvas.to_image(),
            referents: referents.collect(),
        }
    }
}

/// The classes of objects by colour and shape: "red circle". Ids count shapes first.
pub(super) fn class_names() -> Vec<String> {
    let of_colour = |(_, colour): &(Colour, Words)| {
        SHAPES.map(|(_, shape): (_, Words)| format!("{} {}", colour[0], shape[0]))
    };
    COLOURS.iter().flat_map(of_colour).collect()
}

impl Scene {
    /// Paints the scene, with the class of each pixel by [`class_names`]; the background is of class `background`.
    pub(super) fn draw_classes(mut self, side: usize, background: u8) -> (RgbImage, Vec<u8>) {
        let (canvas, mut ids) = self.paint(side);
        for id in &mut ids {
            let object = usize::from(*id)
                .checked_sub(1)
                .map(|index| &self.objects[index]);
            let class = object.map(|object| object.colour * SHAPES.len() + object.shape);
            *id = class
                .and_then(|class| u8::try_from(class).ok())
                .unwrap_or(background);
        }
        (canvas.to_image(), ids)
    }
}

/// Two to five objects that do not overlap. They share colours, shapes and textures, so that one word seldom
/// distinguishes them. With `progress` 0 most are large and plain; with 1 all sizes and surfaces are equally likely.
fn lay_out(progress: f32, rng: &mut ChaCha8Rng) -> Vec<Object> {
    let some = |rng: &mut ChaCha8Rng, kinds: usize, most: usize| -> Vec<usize> {
        (0..2 + index(rng, most - 1))
            .map(|_| index(rng, kinds))
            .collect()
    };
    let shapes = some(rng, SHAPES.len(), 4);
    let colours = some(rng, COLOURS.len(), 4);
    let textured = chance(rng, 0.25 + 0.5 * progress);
    let wanted = 2 + index(rng, 4);
    let mut objects: Vec<Object> = Vec::with_capacity(wanted);
    for _ in 0..60 {
        if objects.len() == wanted {
            break;
        }
        let texture = if textured && chance(rng, 0.6) {
            1 + index(rng, TEXTURES.len() - 1)
        } else {
            0
        };
        let (shape, colour) = (choose(rng, &shapes), choose(rng, &colours));
        let size = if chance(rng, 0.9 * (1.0 - progress)) {
            SIZES.len() - 1
        } else {
            index(rng, SIZES.len())
        };
        let object = Object::draw(rng, shape, colour, texture, size);
        if !objects.iter().any(|other| object.meets(other)) {
            objects.push(object);
        }
    }
    objects
}

/// A background on which every object can be seen.
fn background(objects: &[Object], side: usize, rng: &mut ChaCha8Rng) -> Canvas {
    let far = |colour: Colour| {
        let distance = |object: &Object| {
            let squares = [0, 1, 2].map(|c| (object.tone[c] - colour[c]).powi(2));
            squares.iter().sum::<f32>().sqrt()
        };
        objects.iter().map(distance).fold(f32::MAX, f32::min)
    };
    // The best of a few colours: with many objects, none may differ clearly from all of them.
    let mut candidate = || {
        let (grey, tint) = (uniform(rng, 0.05, 0.95), uniform(rng, 0.0, 0.5));
        mix([grey; 3], [0; 3].map(|_| uniform(rng, 0.0, 1.0)), tint)
    };
    let mut base = candidate();
    for _ in 0..12 {
        if far(base) > 0.4 {
            break;
        }
        let other = candidate();
        if far(other) > far(base) {
            base = other;
        }
    }
    let mut canvas = Canvas::new(side, base);
    let amplitude = uniform(rng, 0.0, 0.3);
    let slope = [uniform(rng, -0.15, 0.15), uniform(rng, -0.15, 0.15)];
    canvas.paint(|x, y, colour| {
        let light = (x - 0.5) * slope[0] + (y - 0.5) * slope[1];
        colour.map(|level| level + light)
    });
    match index(rng, 4) {
        0 => {}
        1 | 2 => {
            let (cells, octaves) = (uniform(rng, 2.0, 14.0), 1 + index(rng, 3) as u32);
            let field = noise(side, cells, octaves, rng);
            let hue = [0; 3].map(|_| uniform(rng, 0.4, 1.0));
            for (pixel, value) in canvas.pixels.iter_mut().zip(field) {
                for (level, hue) in pixel.iter_mut().zip(hue) {
                    *level += amplitude * hue * (value - 0.5) * 2.0;
                }
            }
        }
        _ => {
            // Boards or tiles.
            let (count, dark) = (uniform(rng, 2.5, 7.0), uniform(rng, 0.05, 0.2));
            let tiles = chance(rng, 0.5);
            let width = uniform(rng, 0.03, 0.1);
            canvas.paint(|x, y, colour| {
                let gap = |at: f32| {
                    let off = ((at * count).fract() - 0.5).abs();
                    smoothstep(0.5 - width, 0.5 - 0.5 * width, off)
                };
                let line = if tiles { gap(x).max(gap(y)) } else { gap(y) };
                colour.map(|level| level - dark * line)
            });
        }
    }
    canvas
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn scene(seed: u64, every_kind: bool) -> Scene {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        if every_kind {
            Scene::for_evaluation(rng)
        } else {
            Scene::for_training(rng, seed)
        }
    }

    #[test]
    fn masks_match_the_prompts() {
        for seed in 0..200 {
            let scene = scene(seed, true);
            let objects = scene.objects.clone();
            let named: Vec<usize> = scene
                .referrals
                .iter()
                .map(|referral| (0..objects.len()).filter(|o| referral.names(*o)).count())
                .collect();
            let drawing = scene.draw(160);
            for (drawn, named) in drawing.referents.iter().zip(named) {
                let absent = drawn.referent.group == "absent";
                assert_eq!(named == 0, absent, "{:?}", drawn.referent);
                // The smallest object, a small cross or ring, still has a few dozen pixels.
                let least = 40 * named;
                assert!(drawn.mask.foreground() >= least, "{:?}", drawn.referent);
            }
        }
    }

    #[test]
    fn a_scene_can_be_listed_without_being_painted() {
        for seed in 0..20 {
            let listed = scene(seed, false).referents();
            let drawn = scene(seed, false).draw(96).referents;
            assert_eq!(listed.len(), 4);
            let drawn: Vec<Referent> = drawn.into_iter().map(|drawn| drawn.referent).collect();
            assert_eq!(listed, drawn);
        }
    }

    #[test]
    fn objects_stay_in_their_third_and_do_not_overlap() {
        for seed in 0..200 {
            let objects = scene(seed, false).objects;
            assert!(objects.len() >= 2, "{}", objects.len());
            for (index, object) in objects.iter().enumerate() {
                let third = |at: f32| (at * 3.0) as usize;
                assert_eq!(object.position, 3 * third(object.y) + third(object.x));
                assert!(!objects[..index].iter().any(|other| object.meets(other)));
            }
        }
    }
}
