//! Street phantom: a town street seen from a car, with buildings, trees, cars and signs, by day, at dusk or under cloud.

mod car;
mod objects;
mod scene;
mod sign;
mod town;

use rand_chacha::ChaCha8Rng;

use crate::phantom::{Phantom, SMALLEST_SHARE, share};
use scene::{Class, Drawn, Scene, View};
use vlsm_image::{Mask, RgbImage};

/// Draws one picture `[side, side]` with the targets that it shows of "road", "sky", "car" and "sign".
pub(super) fn draw(rng: &mut ChaCha8Rng, side: usize) -> Phantom {
    let picture = picture(rng, side);
    let mut targets = targets(&picture, side);
    targets.retain(|(_, mask)| share(mask) >= SMALLEST_SHARE);
    Phantom {
        image: picture.image,
        targets,
    }
}

/// The names of all classes, by id.
pub(super) fn class_names() -> Vec<String> {
    Class::NAMES.map(|(_, name)| name.to_owned()).into()
}

/// Draws the same picture with the class of each pixel by [`class_names`]; pixels between classes are of class `background`.
pub(super) fn draw_classes(
    rng: &mut ChaCha8Rng,
    side: usize,
    background: u8,
) -> (RgbImage, Vec<u8>) {
    let Drawn { image, classes } = picture(rng, side);
    let id = |class: Option<Class>| class.map_or(background, |class| class as u8);
    (image, classes.into_iter().map(id).collect())
}

/// A random picture that shows enough of each of its targets.
fn picture(rng: &mut ChaCha8Rng, side: usize) -> Drawn {
    let mut picture = attempt(rng, side);
    // Trees may hide all but a few pixels of a car or the sky; such a scene is drawn again.
    for _ in 0..20 {
        let small = |(_, mask): &(&str, Mask)| share(mask) < SMALLEST_SHARE;
        if !targets(&picture, side).iter().any(small) {
            break;
        }
        picture = attempt(rng, side);
    }
    picture
}

/// A random picture.
fn attempt(rng: &mut ChaCha8Rng, side: usize) -> Drawn {
    let view = View::draw(rng);
    let mut scene = Scene::new(side, view);
    town::sky(&mut scene, rng);
    let street = town::Street::draw(rng);
    street.ground(&mut scene, rng);
    street.buildings(&mut scene, rng);
    objects::paint(&mut scene, &street, rng);
    scene.finish(rng)
}

/// The targets that a picture shows.
fn targets(picture: &Drawn, side: usize) -> Vec<(&'static str, Mask)> {
    let masks = ASKED.map(|(word, class)| {
        let is_target = |x, y| u8::from(picture.classes[y * side + x] == Some(class));
        (word, Mask::from_fn(side, side, is_target))
    });
    let masks = masks.into_iter();
    masks.filter(|(_, mask)| mask.data.contains(&1)).collect()
}

/// Target classes.
const ASKED: [(&str, Class); 4] = [
    ("road", Class::Road),
    ("sky", Class::Sky),
    ("car", Class::Car),
    ("sign", Class::Sign),
];
