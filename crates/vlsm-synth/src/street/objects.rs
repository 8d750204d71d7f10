//! Objects in front of the buildings: trees, lamps, cars, signs.

use rand_chacha::ChaCha8Rng;

use super::car::Car;
use super::scene::{Class, Scene};
use super::sign::Sign;
use super::town::Street;
use crate::canvas::{Colour, chance, choose, noise, scaled, uniform};
use crate::shapes::{Lumpy, Point, sample};

/// Corners of a regular polygon of 4, 8, 16, 20 or 24 corners (others are rounded up to 24) on the unit circle.
pub(super) fn ring(corners: usize) -> impl Iterator<Item = Point> {
    // Cosine and sine of the angle between two corners, as constants for equal bits on all platforms.
    let (c, s): (f32, f32) = match corners {
        4 => (0.0, 1.0),
        8 => (0.707_106_77, 0.707_106_77),
        16 => (0.923_879_5, 0.382_683_43),
        20 => (0.951_056_54, 0.309_017),
        _ => (0.965_925_8, 0.258_819_04),
    };
    let count = if matches!(corners, 4 | 8 | 16 | 20) {
        corners
    } else {
        24
    };
    let mut at = [1.0f32, 0.0f32];
    (0..count).map(move |_| {
        let here = at;
        at = [c * at[0] - s * at[1], s * at[0] + c * at[1]];
        here
    })
}

enum Thing {
    Car(Car),
    Tree(Tree),
    Lamp(Point),
    Sign(Sign),
}

impl Thing {
    /// Position of a sign.
    fn sign(&self) -> Option<Point> {
        match self {
            Self::Sign(sign) => Some(sign.at),
            _ => None,
        }
    }

    /// Metres to the right of the camera of a tree or lamp; 0 for objects that cannot hide a sign.
    fn offset(&self) -> f32 {
        match self {
            Self::Tree(tree) => tree.at[0],
            Self::Lamp(at) => at[0],
            Self::Car(_) | Self::Sign(_) => 0.0,
        }
    }
}

/// Draws and paints all objects, from far to near.
pub(super) fn paint(scene: &mut Scene, street: &Street, rng: &mut ChaCha8Rng) {
    let mut things: Vec<(f32, Thing)> = Vec::new();
    trees_and_lamps(&mut things, scene, street, rng);
    cars(&mut things, street, rng);
    signs(&mut things, scene, street, rng);
    // Nothing on the sidewalk may hide a sign.
    let signs: Vec<Point> = things
        .iter()
        .filter_map(|(_, thing)| thing.sign())
        .collect();
    things.retain(|(ahead, thing)| {
        let hides = |sign: &Point| sign[0] * thing.offset() > 0.0 && *ahead < sign[1] + 2.0;
        !signs.iter().any(hides)
    });
    things.sort_by(|a, b| b.0.total_cmp(&a.0));
    let rough = noise(48, 11.0, 2, rng);
    for (_, thing) in things {
        match thing {
            Thing::Car(car) => car.paint(scene),
            Thing::Tree(tree) => tree.paint(scene, &rough, rng),
            Thing::Lamp(at) => lamp(scene, at),
            Thing::Sign(sign) => sign.paint(scene),
        }
    }
}

fn trees_and_lamps(
    things: &mut Vec<(f32, Thing)>,
    scene: &Scene,
    street: &Street,
    rng: &mut ChaCha8Rng,
) {
    let leaves = choose(
        rng,
        &[
            [0.24, 0.40, 0.14],
            [0.18, 0.34, 0.16],
            [0.34, 0.42, 0.16],
            [0.56, 0.36, 0.12],
        ],
    );
    for side in [-1.0, 1.0] {
        let kerb = if side > 0.0 {
            street.right
        } else {
            street.left
        };
        let green = choose(rng, &[0.0, 0.3, 0.7]);
        let mut ahead = uniform(rng, 7.0, 14.0);
        while ahead < 60.0 {
            let at = [kerb + side * uniform(rng, 0.8, 1.2), ahead];
            // Objects outside the picture are skipped.
            let seen = scene.view.project([at[0], 0.0, ahead])[0];
            if seen > -0.2 && seen < 1.2 {
                if chance(rng, green) {
                    things.push((ahead, Thing::Tree(Tree::draw(rng, at, leaves))));
                } else if chance(rng, 0.3) {
                    things.push((ahead, Thing::Lamp(at)));
                }
            }
            ahead += uniform(rng, 6.0, 11.0);
        }
    }
}

fn cars(things: &mut Vec<(f32, Thing)>, street: &Street, rng: &mut ChaCha8Rng) {
    let mut add = |rng: &mut ChaCha8Rng, at: Point, heading: Point| {
        things.push((at[1], Thing::Car(Car::draw(rng, at, heading))));
    };
    let crossing = chance(rng, 0.16).then(|| uniform(rng, 9.0, 16.0));
    let lane = uniform(rng, 1.5, 1.8);
    // Our lane, then the oncoming one.
    for (at, ahead) in [(street.middle + lane, 1.0), (street.middle - lane, -1.0)] {
        let mut far = uniform(rng, 7.5, 30.0);
        while far < 70.0 {
            if crossing.is_none_or(|c| far > c + 5.0) && chance(rng, 0.75) {
                let at = at + uniform(rng, -0.2, 0.2);
                add(rng, [at, far], [0.0, ahead]);
            }
            far += uniform(rng, 8.0, 30.0);
        }
    }
    if let Some(far) = crossing {
        let across = choose(rng, &[-1.0, 1.0]);
        let at = uniform(rng, street.left + 1.0, street.right - 1.0);
        add(rng, [at, far], [across, 0.0]);
    }
    let parked = choose(rng, &[0.0, 0.5, 0.85]);
    for side in [-1.0, 1.0] {
        let kerb = if side > 0.0 {
            street.right
        } else {
            street.left
        };
        let mut far = uniform(rng, 6.0, 12.0);
        while far < 60.0 {
            let clear = crossing.is_none_or(|c| (far - c).abs() > 4.5);
            if clear && chance(rng, parked) {
                // Parked cars are along the kerb, a few of them slightly askew.
                let askew = uniform(rng, -0.04, 0.04);
                let length = (1.0 + askew * askew).sqrt();
                let way = if side > 0.0 {
                    1.0
                } else {
                    choose(rng, &[-1.0, 1.0])
                };
                add(
                    rng,
                    [kerb - side * 1.1, far],
                    [askew / length, way / length],
                );
            }
            far += uniform(rng, 5.4, 7.5);
        }
    }
}

struct Tree {
    at: Point,
    leaves: Colour,
    trunk: f32,
    crown: f32,
}

impl Tree {
    fn draw(rng: &mut ChaCha8Rng, at: Point, leaves: Colour) -> Self {
        Self {
            at,
            leaves: scaled(leaves, uniform(rng, 0.85, 1.15)),
            trunk: uniform(rng, 2.2, 3.2),
            crown: uniform(rng, 1.3, 2.3),
        }
    }

    /// `rough` is a noise field `[48, 48]` that roughens the edges of the leaves.
    fn paint(&self, scene: &mut Scene, rough: &[f32], rng: &mut ChaCha8Rng) {
        let view = scene.view;
        let [right, ahead] = self.at;
        let bark = view.lit([0.26, 0.20, 0.15], 0.0, ahead);
        let top = self.trunk + self.crown;
        let trunk = [(-0.17, 0.0), (0.17, 0.0), (0.09, top), (-0.09, top)]
            .map(|(x, up)| [right + x, up, ahead]);
        scene.solid(&trunk, Some(Class::Tree), bark);
        let scale = view.scale(ahead);
        // From the outer and lower tufts to the central one on top.
        for tuft in 0..7 {
            let spread = self.crown * if tuft < 5 { 0.75 } else { 0.25 };
            let at = [
                right + uniform(rng, -spread, spread),
                self.trunk + self.crown * (0.45 + 0.22 * tuft as f32),
                ahead,
            ];
            let size = scale * self.crown * uniform(rng, 0.55, 0.85);
            let shape = Lumpy::new(rng, view.project(at), [size, size * 0.85], 0.12);
            let reach = 1.1 * shape.extent();
            let [cx, cy] = shape.centre;
            let light = 0.72 + 0.07 * tuft as f32;
            scene.fill(
                [cx - reach, cy - reach],
                [cx + reach, cy + reach],
                Some(Class::Tree),
                |x, y, _| {
                    let (s, t) = ((x - cx) / reach, (y - cy) / reach);
                    if s * s + t * t > 1.0 {
                        return None;
                    }
                    let ragged = sample(rough, 48, 0.5 + 0.5 * s, 0.5 + 0.5 * t) - 0.5;
                    if shape.reach(x, y) + 0.9 * ragged > 1.0 {
                        return None;
                    }
                    let shade = light * (1.0 - 0.35 * t - 0.1 * s) + 0.9 * ragged;
                    Some(view.lit(scaled(self.leaves, shade.max(0.25)), 0.0, ahead))
                },
            );
        }
    }
}

/// A street lamp with an arm over the road.
fn lamp(scene: &mut Scene, at: Point) {
    let view = scene.view;
    let steel = view.lit([0.32, 0.33, 0.34], 0.0, at[1]);
    let inward = -at[0].signum();
    let position = |(x, up): (f32, f32)| [at[0] + inward * x, up, at[1]];
    for part in [
        [(-0.07, 0.0), (0.07, 0.0), (0.05, 6.5), (-0.05, 6.5)],
        [(0.0, 6.4), (1.6, 6.7), (1.6, 6.8), (0.0, 6.55)],
        [(1.2, 6.6), (1.9, 6.7), (1.9, 6.85), (1.2, 6.8)],
    ] {
        scene.solid(&part.map(position), Some(Class::Pole), steel);
    }
}

fn signs(things: &mut Vec<(f32, Thing)>, scene: &Scene, street: &Street, rng: &mut ChaCha8Rng) {
    let first = choose(rng, &[-1.0, 1.0, 1.0]);
    let wanted = choose(rng, &[0, 1, 1, 1, 2]);
    for side in [first, -first].into_iter().take(wanted) {
        let kerb = if side > 0.0 {
            street.right
        } else {
            street.left
        };
        let at = kerb + side * uniform(rng, 0.4, 1.0);
        // The smallest distance at which the whole plate is in the picture.
        let extent = if side > 0.0 {
            0.93 - scene.view.vanish[0]
        } else {
            scene.view.vanish[0] - 0.07
        };
        let nearest = scene.view.scale(1.0) * at.abs() / extent;
        let ahead = nearest * uniform(rng, 1.02, 1.35);
        things.push((ahead, Thing::Sign(Sign::draw(rng, scene, [at, ahead]))));
    }
}
