//! What stands or moves in front of the houses: trees, lamps, cars, signs.

use rand_chacha::ChaCha8Rng;

use super::super::canvas::{Colour, chance, choose, mix, noise, scaled, uniform};
use super::super::shapes::{Lumpy, Point, sample};
use super::car::Car;
use super::scene::{Class, Scene};
use super::town::Street;

/// Corners of a regular polygon of 4, 8, 16, 20 or 24 corners (others are rounded up to 24) on the unit circle.
pub(super) fn ring(corners: usize) -> impl Iterator<Item = Point> {
    // Cosine and sine of the angle between two corners, written out for equal bits everywhere.
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

/// Draws and paints all things, from far to near.
pub(super) fn place(scene: &mut Scene, street: &Street, rng: &mut ChaCha8Rng) {
    let mut things: Vec<(f32, Thing)> = Vec::new();
    trees_and_lamps(&mut things, scene, street, rng);
    cars(&mut things, street, rng);
    signs(&mut things, scene, street, rng);
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
            // What is beside the picture is not worth the drawing.
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
    // Our lane, and the one that comes towards us.
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
                // A parked car stands along the kerb, the few careless ones a little askew.
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

    /// `rough` is a noise field `[48, 48]` that the leaves' edges are torn by.
    fn paint(&self, scene: &mut Scene, rough: &[f32], rng: &mut ChaCha8Rng) {
        let view = scene.view;
        let [right, ahead] = self.at;
        let bark = view.lit([0.26, 0.20, 0.15], 0.0, ahead);
        let top = self.trunk + self.crown;
        let trunk = [(-0.17, 0.0), (0.17, 0.0), (0.09, top), (-0.09, top)]
            .map(|(x, up)| [right + x, up, ahead]);
        scene.solid(&trunk, Some(Class::Other), bark);
        let scale = view.scale(ahead);
        // From the outer and lower tufts to the middle one on top.
        for tuft in 0..7 {
            let spread = self.crown * if tuft < 5 { 0.75 } else { 0.25 };
            let at = [
                right + uniform(rng, -spread, spread),
                self.trunk + self.crown * (0.45 + 0.22 * tuft as f32),
                ahead,
            ];
            let size = scale * self.crown * uniform(rng, 0.55, 0.85);
            let shape = Lumpy::new(rng, view.project(at), [size, size * 0.85], 0.12);
            let reach = 1.25 * shape.extent();
            let [cx, cy] = shape.centre;
            let light = 0.72 + 0.07 * tuft as f32;
            scene.fill(
                [cx - reach, cy - reach],
                [cx + reach, cy + reach],
                Some(Class::Other),
                |x, y, _| {
                    let (s, t) = ((x - cx) / reach, (y - cy) / reach);
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
    let place = |(x, up): (f32, f32)| [at[0] + inward * x, up, at[1]];
    for part in [
        [(-0.07, 0.0), (0.07, 0.0), (0.05, 6.5), (-0.05, 6.5)],
        [(0.0, 6.4), (1.6, 6.7), (1.6, 6.8), (0.0, 6.55)],
        [(1.2, 6.6), (1.9, 6.7), (1.9, 6.85), (1.2, 6.8)],
    ] {
        scene.solid(&part.map(place), Some(Class::Other), steel);
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
        // The nearest distance at which the whole plate is in the picture.
        let room = if side > 0.0 {
            0.93 - scene.view.vanish[0]
        } else {
            scene.view.vanish[0] - 0.07
        };
        let nearest = scene.view.scale(1.0) * at.abs() / room;
        let ahead = nearest * uniform(rng, 1.02, 1.35);
        things.push((ahead, Thing::Sign(Sign::draw(rng, scene, [at, ahead]))));
    }
}

#[derive(Clone, Copy)]
enum Plate {
    Limit,
    NoEntry,
    Arrow,
    Warning,
    Stop,
    Parking,
    Diamond,
    Direction,
}

struct Sign {
    at: Point,
    plate: Plate,
    /// Half the height of the plate, and the height of its middle, in metres.
    size: f32,
    up: f32,
    /// How much narrower it looks, being turned a little away.
    turned: f32,
}

const WHITE: Colour = [0.93, 0.93, 0.92];
const RED: Colour = [0.80, 0.08, 0.10];
const BLUE: Colour = [0.10, 0.28, 0.66];
const BLACK: Colour = [0.08, 0.08, 0.08];

impl Sign {
    fn draw(rng: &mut ChaCha8Rng, scene: &Scene, at: Point) -> Self {
        let plates = [
            Plate::Limit,
            Plate::NoEntry,
            Plate::Arrow,
            Plate::Warning,
            Plate::Stop,
            Plate::Parking,
            Plate::Diamond,
            Plate::Direction,
        ];
        // Large enough to be learnt from, however far it stands.
        let least = 0.048 / scene.view.scale(at[1]);
        Self {
            at,
            plate: choose(rng, &plates),
            size: uniform(rng, 0.42, 0.55).max(least * uniform(rng, 1.0, 1.3)),
            up: uniform(rng, 2.3, 3.0),
            turned: uniform(rng, 0.85, 1.0),
        }
    }

    fn paint(&self, scene: &mut Scene) {
        let view = scene.view;
        let [right, ahead] = self.at;
        let steel = view.lit([0.50, 0.51, 0.52], 0.0, ahead);
        let pole = [(-0.05, 0.0), (0.05, 0.0), (0.05, self.up), (-0.05, self.up)]
            .map(|(x, up)| [right + x, up, ahead]);
        scene.solid(&pole, Some(Class::Other), steel);
        for (shape, colour) in self.parts() {
            let places: Vec<_> = shape
                .iter()
                .map(|[x, y]| {
                    let (x, y) = (x * self.size * self.turned, y * self.size);
                    [right + x, self.up + y, ahead]
                })
                .collect();
            scene.solid(
                &places,
                Some(Class::Sign),
                view.lit(scaled(colour, 1.08), 0.0, ahead),
            );
        }
    }

    /// Polygons of the plate from the lowest to the uppermost, in units of its half height, y up.
    fn parts(&self) -> Vec<(Vec<Point>, Colour)> {
        let disc = |size: f32| {
            ring(24)
                .map(|[c, s]| [size * c, size * s])
                .collect::<Vec<_>>()
        };
        let bar = |left: f32, low: f32, right: f32, high: f32| {
            vec![[left, low], [right, low], [right, high], [left, high]]
        };
        let triangle = |size: f32| {
            vec![
                [0.0, 1.15 * size],
                [1.1 * size, -0.8 * size],
                [-1.1 * size, -0.8 * size],
            ]
        };
        // Turned by half a corner, so that its sides are upright.
        let (c, s) = (0.923_879_5, 0.382_683_43);
        let octagon = |size: f32| {
            ring(8)
                .map(|[x, y]| [size * (x * c - y * s), size * (x * s + y * c)])
                .collect::<Vec<_>>()
        };
        match self.plate {
            Plate::Limit => vec![
                (disc(1.0), RED),
                (disc(0.74), WHITE),
                (bar(-0.4, -0.35, -0.1, 0.35), BLACK),
                (bar(0.08, -0.35, 0.4, 0.35), BLACK),
                (bar(0.18, -0.18, 0.3, 0.18), WHITE),
            ],
            Plate::NoEntry => vec![(disc(1.0), RED), (bar(-0.7, -0.2, 0.7, 0.2), WHITE)],
            Plate::Arrow => vec![
                (disc(1.0), WHITE),
                (disc(0.93), BLUE),
                (bar(-0.12, -0.6, 0.12, 0.2), WHITE),
                (vec![[0.0, 0.7], [0.45, 0.1], [-0.45, 0.1]], WHITE),
            ],
            Plate::Warning => vec![
                (triangle(1.0), RED),
                (triangle(0.66), WHITE),
                (bar(-0.09, -0.12, 0.09, 0.4), BLACK),
                (bar(-0.09, -0.38, 0.09, -0.22), BLACK),
            ],
            Plate::Stop => vec![
                (octagon(1.05), WHITE),
                (octagon(0.95), RED),
                (bar(-0.72, -0.2, 0.72, 0.2), WHITE),
                (bar(-0.45, -0.2, -0.35, 0.2), RED),
                (bar(-0.05, -0.2, 0.05, 0.2), RED),
                (bar(0.35, -0.2, 0.45, 0.2), RED),
            ],
            Plate::Parking => vec![
                (bar(-0.85, -1.0, 0.85, 1.0), WHITE),
                (bar(-0.78, -0.93, 0.78, 0.93), BLUE),
                (bar(-0.35, -0.65, -0.1, 0.65), WHITE),
                (bar(-0.1, -0.05, 0.4, 0.65), WHITE),
                (bar(-0.1, 0.15, 0.18, 0.45), BLUE),
            ],
            Plate::Diamond => [(1.15, WHITE), (0.98, [0.92, 0.74, 0.08])]
                .into_iter()
                .map(|(size, colour)| {
                    (ring(4).map(|[x, y]| [size * x, size * y]).collect(), colour)
                })
                .collect(),
            Plate::Direction => vec![
                (bar(-1.6, -0.75, 1.6, 0.75), WHITE),
                (
                    bar(-1.53, -0.68, 1.53, 0.68),
                    mix([0.06, 0.38, 0.24], BLUE, 0.2),
                ),
                (bar(-1.2, 0.15, 0.7, 0.4), WHITE),
                (bar(-1.2, -0.4, 0.3, -0.15), WHITE),
                (bar(0.95, -0.4, 1.12, 0.3), WHITE),
            ],
        }
    }
}
