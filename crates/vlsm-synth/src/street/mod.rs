//! Street phantom: a town street seen from a car, with buildings, trees, cars and signs, by day, at dusk or under cloud.

mod car;
mod objects;
mod scene;
mod sign;
mod town;

use rand_chacha::ChaCha8Rng;

use crate::phantom::{Phantom, SMALLEST_SHARE, share};
use scene::{Class, Scene, View};

/// Draws one picture `[side, side]` with those of the targets "road", "sky", "car" and "sign" that it shows.
pub(super) fn draw(rng: &mut ChaCha8Rng, side: usize) -> Phantom {
    let mut phantom = attempt(rng, side);
    // Now and then trees hide a car or the sky but for a few pixels; such a scene is drawn again.
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

/// A scene as it falls, without targets that it does not show at all.
fn attempt(rng: &mut ChaCha8Rng, side: usize) -> Phantom {
    let view = View::draw(rng);
    let mut scene = Scene::new(side, view);
    town::sky(&mut scene, rng);
    let street = town::Street::draw(rng);
    street.ground(&mut scene, rng);
    street.buildings(&mut scene, rng);
    objects::place(&mut scene, &street, rng);
    scene.finish(rng)
}

/// The classes that are asked for.
const ASKED: [(&str, Class); 4] = [
    ("road", Class::Road),
    ("sky", Class::Sky),
    ("car", Class::Car),
    ("sign", Class::Sign),
];
