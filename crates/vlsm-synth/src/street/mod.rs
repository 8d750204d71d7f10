//! Street phantom: a town street seen from a car, with buildings, trees, cars and signs, by day, at dusk or under cloud.

mod car;
mod objects;
mod scene;
mod sign;
mod town;

use rand_chacha::ChaCha8Rng;

use crate::phantom::{Phantom, SMALLEST_SHARE, share};
use scene::{Class, Scene, View};

/// Draws one picture `[side, side]` with the targets that it shows of "road", "sky", "car" and "sign".
pub(super) fn draw(rng: &mut ChaCha8Rng, side: usize) -> Phantom {
    let mut phantom = attempt(rng, side);
    // Trees may hide all but a few pixels of a car or the sky; such a scene is drawn again.
    for _ in 0..20 {
        if phantom
            .targets
            .iter()
            .all(|(_, mask)| share(mask) >= SMALLEST_SHARE)
        {
            break;
        }
        phantom = attempt(rng, side);
    }
    phantom
        .targets
        .retain(|(_, mask)| share(mask) >= SMALLEST_SHARE);
    phantom
}

/// A random scene, without targets that it does not show at all.
fn attempt(rng: &mut ChaCha8Rng, side: usize) -> Phantom {
    let view = View::draw(rng);
    let mut scene = Scene::new(side, view);
    town::sky(&mut scene, rng);
    let street = town::Street::draw(rng);
    street.ground(&mut scene, rng);
    street.buildings(&mut scene, rng);
    objects::paint(&mut scene, &street, rng);
    scene.finish(rng)
}

/// Target classes.
const ASKED: [(&str, Class); 4] = [
    ("road", Class::Road),
    ("sky", Class::Sky),
    ("car", Class::Car),
    ("sign", Class::Sign),
];
