//! Signs on poles: round, triangular, octagonal and rectangular plates.

use rand_chacha::ChaCha8Rng;

use super::objects::ring;
use super::scene::{Class, Scene};
use crate::canvas::{Colour, choose, mix, scaled, uniform};
use crate::shapes::Point;

/// Kind of sign.
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

/// A sign on a pole.
pub(super) struct Sign {
    pub(super) at: Point,
    plate: Plate,
    /// Half the height of the plate, and the height of its middle, in metres.
    size: f32,
    up: f32,
    /// Apparent width relative to the true one, as it is turned slightly away.
    turned: f32,
}

const WHITE: Colour = [0.93, 0.93, 0.92];
const RED: Colour = [0.80, 0.08, 0.10];
const BLUE: Colour = [0.10, 0.28, 0.66];
const BLACK: Colour = [0.08, 0.08, 0.08];

impl Sign {
    pub(super) fn draw(rng: &mut ChaCha8Rng, scene: &Scene, at: Point) -> Self {
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
        // Large enough to learn from at any distance.
        let least = 0.048 / scene.view.scale(at[1]);
        Self {
            at,
            plate: choose(rng, &plates),
            size: uniform(rng, 0.42, 0.55).max(least * uniform(rng, 1.0, 1.3)),
            up: uniform(rng, 2.3, 3.0),
            turned: uniform(rng, 0.85, 1.0),
        }
    }

    pub(super) fn paint(&self, scene: &mut Scene) {
        let view = scene.view;
        let [right, ahead] = self.at;
        let steel = view.lit([0.50, 0.51, 0.52], 0.0, ahead);
        let pole = [(-0.05, 0.0), (0.05, 0.0), (0.05, self.up), (-0.05, self.up)]
            .map(|(x, up)| [right + x, up, ahead]);
        scene.solid(&pole, Some(Class::Pole), steel);
        for (shape, colour) in self.parts() {
            let corners: Vec<_> = shape
                .iter()
                .map(|[x, y]| {
                    let (x, y) = (x * self.size * self.turned, y * self.size);
                    [right + x, self.up + y, ahead]
                })
                .collect();
            scene.solid(
                &corners,
                Some(Class::Sign),
                view.lit(scaled(colour, 1.08), 0.0, ahead),
            );
        }
    }

    /// Polygons of the plate from bottom to top layer, in units of its half height, y up.
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
