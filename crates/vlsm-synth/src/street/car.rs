//! Cars: a side outline extruded to the car's width, with glass, wheels and lights, visible from any side.

use rand_chacha::ChaCha8Rng;

use super::objects::ring;
use super::scene::{Class, Hour, Position, Scene, View};
use crate::canvas::{Colour, choose, mix, scaled, uniform};
use crate::shapes::Point;

/// Material of a part of the outline.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Skin {
    Paint,
    Glass,
    Rear,
    Front,
}
use Skin::{Front, Glass, Paint, Rear};

/// A car model: the outline from the rear bumper over the roof to the front bumper, in metres forward and up. Each point
/// has the material of the part up to the next point.
struct Make {
    outline: &'static [(f32, f32, Skin)],
    /// Corners of the side windows, and the position of the pillar between them.
    window: &'static [Point],
    pillar: f32,
    axles: [f32; 2],
    wheel: f32,
    width: f32,
}

const MAKES: [Make; 4] = [
    // Saloon.
    Make {
        outline: &[
            (0.0, 0.28, Rear),
            (0.0, 0.88, Paint),
            (0.08, 1.0, Paint),
            (0.75, 1.06, Glass),
            (1.25, 1.42, Paint),
            (2.45, 1.45, Glass),
            (3.2, 1.02, Paint),
            (4.25, 0.86, Front),
            (4.45, 0.28, Paint),
        ],
        window: &[[0.95, 1.04], [1.32, 1.36], [2.42, 1.38], [2.98, 1.04]],
        pillar: 1.95,
        axles: [0.85, 3.55],
        wheel: 0.33,
        width: 1.8,
    },
    // Hatchback.
    Make {
        outline: &[
            (0.0, 0.28, Rear),
            (0.0, 0.92, Paint),
            (0.1, 1.0, Glass),
            (0.5, 1.45, Paint),
            (2.2, 1.5, Glass),
            (2.95, 1.04, Paint),
            (3.8, 0.9, Front),
            (3.95, 0.28, Paint),
        ],
        window: &[[0.35, 1.05], [0.65, 1.38], [2.15, 1.42], [2.72, 1.05]],
        pillar: 1.5,
        axles: [0.65, 3.15],
        wheel: 0.32,
        width: 1.75,
    },
    // Sport utility.
    Make {
        outline: &[
            (0.0, 0.36, Rear),
            (0.0, 1.08, Glass),
            (0.3, 1.68, Paint),
            (2.6, 1.74, Glass),
            (3.25, 1.2, Paint),
            (4.4, 1.06, Front),
            (4.55, 0.36, Paint),
        ],
        window: &[[0.3, 1.2], [0.5, 1.6], [2.5, 1.66], [3.0, 1.2]],
        pillar: 1.7,
        axles: [0.8, 3.65],
        wheel: 0.38,
        width: 1.92,
    },
    // Van.
    Make {
        outline: &[
            (0.0, 0.34, Rear),
            (0.0, 1.2, Glass),
            (0.06, 1.95, Paint),
            (3.5, 2.0, Glass),
            (4.2, 1.25, Paint),
            (4.75, 1.05, Front),
            (4.85, 0.34, Paint),
        ],
        window: &[[2.7, 1.25], [2.7, 1.8], [3.4, 1.82], [3.9, 1.25]],
        pillar: 9.0,
        axles: [0.8, 3.9],
        wheel: 0.36,
        width: 1.95,
    },
];

const PAINTS: [Colour; 11] = [
    [0.88, 0.88, 0.88],
    [0.62, 0.64, 0.66],
    [0.13, 0.13, 0.14],
    [0.30, 0.31, 0.33],
    [0.70, 0.10, 0.10],
    [0.12, 0.22, 0.50],
    [0.18, 0.38, 0.62],
    [0.80, 0.62, 0.14],
    [0.16, 0.34, 0.24],
    [0.46, 0.38, 0.30],
    [0.90, 0.90, 0.92],
];

/// One car on the road.
pub(super) struct Car {
    make: &'static Make,
    paint: Colour,
    /// Its centre: metres to the right and ahead.
    at: Point,
    /// Its heading, a unit vector to the right and ahead.
    heading: Point,
    braking: bool,
}

impl Car {
    pub(super) fn draw(rng: &mut ChaCha8Rng, at: Point, heading: Point) -> Self {
        static MAKE_OF: [usize; 8] = [0, 0, 0, 1, 1, 2, 2, 3];
        let paint = choose(rng, &PAINTS);
        Self {
            make: &MAKES[choose(rng, &MAKE_OF)],
            paint: scaled(paint, uniform(rng, 0.85, 1.1)),
            at,
            heading,
            braking: uniform(rng, 0.0, 1.0) < 0.3,
        }
    }

    fn length(&self) -> f32 {
        self.make.outline.last().map_or(4.0, |p| p.0)
    }

    /// The point `forward` metres from the rear bumper, `up` from the ground and `right` of the centre line.
    fn position(&self, forward: f32, up: f32, right: f32) -> Position {
        let along = forward - 0.5 * self.length();
        let [hx, hz] = self.heading;
        [
            self.at[0] + along * hx + right * hz,
            up,
            self.at[1] + along * hz - right * hx,
        ]
    }

    /// Half the body's width at a height; it narrows above the belt line.
    fn half(&self, up: f32) -> f32 {
        let belt = 0.72
            * self
                .make
                .outline
                .iter()
                .fold(0.0f32, |most, p| most.max(p.1));
        0.5 * self.make.width * (1.0 - 0.4 * (up - belt).clamp(0.0, 0.55))
    }

    pub(super) fn paint(&self, scene: &mut Scene) {
        let view = scene.view;
        let distance = self.at[1];
        let class = Some(Class::Car);
        let (length, half) = (self.length(), 0.5 * self.make.width);
        let shadow: Vec<Point> = ring(20)
            .map(|[c, s]| {
                let along = 0.5 * length + 0.56 * length * c.clamp(-0.92, 0.92);
                view.project(self.position(along, 0.0, 1.25 * half * s.clamp(-0.9, 0.9)))
            })
            .collect();
        let dim = if view.hour == Hour::Day { 0.6 } else { 0.45 };
        scene.blend(&shadow, None, [0.05, 0.05, 0.07], dim);
        // The dark underside, and the wheels below it, seen from the ends.
        let dark = view.hazed(scaled([0.06, 0.06, 0.065], view.front), distance);
        for axle in self.make.axles {
            for right in [-half + 0.02, half - 0.24] {
                let top = self.make.wheel;
                let tyre = [
                    (0.0, right),
                    (0.0, right + 0.22),
                    (top, right + 0.22),
                    (top, right),
                ]
                .map(|(up, right)| self.position(axle, up, right));
                scene.solid(&tyre, class, dark);
            }
        }
        let low = self.make.outline[0].1;
        for end in [0.02, length - 0.02] {
            let sill = [
                (0.16, -half),
                (0.16, half),
                (low + 0.02, half),
                (low + 0.02, -half),
            ]
            .map(|(up, right)| self.position(end, up, 0.93 * right));
            if self.seen(&view, end - 0.5 * length, 0.0, sill[0], sill[2]) {
                scene.solid(&sill, class, dark);
            }
        }
        self.strips(scene);
        for right in [-1.0, 1.0] {
            self.flank(scene, right);
        }
    }

    /// Whether a face is turned to the camera; given by its outward normal (forward, up) and two of its corners.
    fn seen(&self, view: &View, forward: f32, up: f32, a: Position, b: Position) -> bool {
        let [hx, hz] = self.heading;
        let middle = [0, 1, 2].map(|c| 0.5 * (a[c] + b[c]));
        forward * (hx * -middle[0] + hz * -middle[2]) + up * (view.height - middle[1]) > 0.0
    }

    /// The faces across the car: ends, bonnet, windscreens, roof; farthest first.
    fn strips(&self, scene: &mut Scene) {
        let mut parts: Vec<usize> = (0..self.make.outline.len() - 1).collect();
        let away = |part: &usize| {
            let (forward, up, _) = self.make.outline[*part];
            self.position(forward, up, 0.0)[2]
        };
        parts.sort_by(|a, b| away(b).total_cmp(&away(a)));
        for part in parts {
            let (from, to) = (self.make.outline[part], self.make.outline[part + 1]);
            let corner = |t: f32, right: f32| {
                let (forward, up) = (from.0 + (to.0 - from.0) * t, from.1 + (to.1 - from.1) * t);
                self.position(forward, up, right * self.half(up))
            };
            let quad = |low: f32, high: f32, left: f32, right: f32| {
                [
                    corner(low, left),
                    corner(low, right),
                    corner(high, right),
                    corner(high, left),
                ]
            };
            let (along, rise) = (to.0 - from.0, to.1 - from.1);
            let size = (along * along + rise * rise).sqrt().max(1e-3);
            let normal = [-rise / size, along / size];
            let whole = quad(0.0, 1.0, -1.0, 1.0);
            let view = scene.view;
            if !self.seen(&view, normal[0], normal[1], whole[0], whole[2]) {
                continue;
            }
            let lit = |colour: Colour| {
                let sky = scaled(colour, 1.0 + 0.18 * normal[1].max(0.0));
                view.lit(sky, normal[0] * self.heading[0], self.at[1])
            };
            let class = Some(Class::Car);
            scene.solid(&whole, class, lit(self.paint));
            match from.2 {
                Paint => {}
                Glass => {
                    let shine = mix(
                        [0.10, 0.12, 0.14],
                        view.haze,
                        0.12 + 0.2 * normal[1].max(0.0),
                    );
                    scene.solid(&quad(0.1, 0.92, -0.86, 0.86), class, lit(shine));
                }
                Rear | Front => {
                    let front = from.2 == Front;
                    // The outline of the front is ordered downwards.
                    let at = |low: f32, high: f32| {
                        if front {
                            (1.0 - high, 1.0 - low)
                        } else {
                            (low, high)
                        }
                    };
                    let dusk = view.hour == Hour::Dusk;
                    let lamp = match (front, dusk || (!front && self.braking)) {
                        (true, true) => [1.0, 0.97, 0.82],
                        (true, false) => lit([0.86, 0.88, 0.9]),
                        (false, true) => [0.98, 0.14, 0.10],
                        (false, false) => lit([0.58, 0.06, 0.06]),
                    };
                    let (low, high) = at(0.0, 0.22);
                    scene.solid(&quad(low, high, -1.0, 1.0), class, lit([0.10, 0.10, 0.11]));
                    if front {
                        let (low, high) = at(0.4, 0.78);
                        scene.solid(&quad(low, high, -0.5, 0.5), class, lit([0.08, 0.08, 0.09]));
                    }
                    let (low, high) = at(0.28, 0.44);
                    scene.solid(&quad(low, high, -0.28, 0.28), class, lit([0.85, 0.85, 0.8]));
                    let (low, high) = at(0.6, 0.88);
                    scene.solid(&quad(low, high, -0.97, -0.6), class, lamp);
                    scene.solid(&quad(low, high, 0.6, 0.97), class, lamp);
                }
            }
        }
    }

    /// The long side to the left (-1) or the right (1), if it is turned to the camera.
    fn flank(&self, scene: &mut Scene, right: f32) {
        let [hx, hz] = self.heading;
        let half = 0.5 * self.make.width;
        let middle = self.position(0.5 * self.length(), 0.7, right * half);
        if right * (hz * -middle[0] - hx * -middle[2]) <= 0.0 {
            return;
        }
        let view = scene.view;
        let class = Some(Class::Car);
        let lit = |colour: Colour| view.lit(colour, right * hz, self.at[1]);
        let side = |p: &(f32, f32, Skin)| self.position(p.0, p.1, right * self.half(p.1));
        let body: Vec<Position> = self.make.outline.iter().map(side).collect();
        scene.solid(&body, class, lit(scaled(self.paint, 0.94)));
        let glass = mix([0.09, 0.11, 0.13], view.haze, 0.1);
        let panes: Vec<Position> = self
            .make
            .window
            .iter()
            .map(|p| self.position(p[0], p[1], right * self.half(p[1])))
            .collect();
        scene.solid(&panes, class, lit(glass));
        if self.make.pillar < self.length() {
            let pillar = self.make.pillar;
            let (low, high) = (self.make.window[0][1], self.make.window[1][1] + 0.02);
            let post = [
                (pillar, low),
                (pillar + 0.1, low),
                (pillar + 0.1, high),
                (pillar, high),
            ]
            .map(|(forward, up)| self.position(forward, up, right * self.half(up)));
            scene.solid(&post, class, lit(scaled(self.paint, 0.9)));
        }
        let wheel = self.make.wheel;
        for axle in self.make.axles {
            let parts: [(f32, Colour); 3] = [
                (1.18, scaled(self.paint, 0.25)),
                (1.0, [0.07, 0.07, 0.075]),
                (0.62, [0.55, 0.56, 0.58]),
            ];
            for (size, colour) in parts {
                let disc: Vec<Position> = ring(16)
                    .map(|[c, s]| {
                        let up = (wheel + size * wheel * s).max(0.0);
                        self.position(axle + size * wheel * c, up, right * (half + 0.01))
                    })
                    .collect();
                scene.solid(&disc, class, lit(colour));
            }
        }
    }
}
