//! The static surroundings: sky, road, sidewalks, buildings.

use rand_chacha::ChaCha8Rng;

use super::scene::{Class, Hour, Scene};
use crate::canvas::{Colour, chance, choose, index, mix, noise, scaled, smoothstep, uniform};
use crate::shapes::sample;

/// The sky with clouds, over the whole picture above the horizon; later objects are painted over it.
pub(super) fn sky(scene: &mut Scene, rng: &mut ChaCha8Rng) {
    let (zenith, low, cloud, cover): (Colour, Colour, Colour, f32) = match scene.view.hour {
        Hour::Day => (
            [uniform(rng, 0.22, 0.38), 0.53, 0.86],
            [0.74, 0.86, 0.96],
            [0.97, 0.97, 0.98],
            uniform(rng, 0.2, 0.62),
        ),
        Hour::Overcast => (
            [0.66, 0.69, 0.73],
            [0.84, 0.85, 0.86],
            [0.9, 0.9, 0.91],
            0.55,
        ),
        Hour::Dusk => (
            [uniform(rng, 0.16, 0.3), 0.2, uniform(rng, 0.36, 0.48)],
            [0.95, uniform(rng, 0.5, 0.62), 0.36],
            [0.72, 0.42, 0.42],
            uniform(rng, 0.3, 0.55),
        ),
    };
    let puffs = noise(64, 5.0, 4, rng);
    let horizon = scene.view.vanish[1];
    scene.fill([0.0, 0.0], [1.0, horizon], Some(Class::Sky), |x, y, _| {
        let high = (1.0 - y / horizon).clamp(0.0, 1.0);
        let clear = mix(low, zenith, high * (1.6 - 0.6 * high));
        // Clouds flatten towards the horizon.
        let puff = sample(&puffs, 64, 0.75 * x, 0.9 / (1.0 + 1.8 * high));
        let dense = smoothstep(1.0 - cover - 0.1, 1.0 - cover + 0.12, puff);
        Some(mix(clear, cloud, 0.85 * dense * (0.35 + 0.65 * high)))
    });
}

const KERB: Colour = [0.68, 0.67, 0.65];

/// The street's edges, in metres to the right of the camera.
pub(super) struct Street {
    pub(super) left: f32,
    pub(super) right: f32,
    /// Width of the sidewalks, up to the buildings.
    pub(super) walk: f32,
    pub(super) middle: f32,
}

impl Street {
    pub(super) fn draw(rng: &mut ChaCha8Rng) -> Self {
        let lane = uniform(rng, 2.9, 3.6);
        let parking = choose(rng, &[0.0, 2.1, 2.1]);
        // The camera drives on the right.
        let middle = -0.5 * lane + uniform(rng, -0.2, 0.2);
        Self {
            left: middle - lane - parking,
            right: middle + lane + parking,
            walk: uniform(rng, 2.2, 4.0),
            middle,
        }
    }

    /// The road with its markings, kerbs and sidewalks.
    pub(super) fn ground(&self, scene: &mut Scene, rng: &mut ChaCha8Rng) {
        let view = scene.view;
        let rough = noise(96, 9.0, 3, rng);
        let asphalt = scaled([1.0, 1.0, 1.03], uniform(rng, 0.27, 0.42));
        let paving = choose(
            rng,
            &[[0.58, 0.56, 0.53], [0.50, 0.47, 0.45], [0.60, 0.53, 0.48]],
        );
        let verge = choose(rng, &[None, None, Some([0.30, 0.42, 0.20])]);
        let paint = choose(
            rng,
            &[[0.88, 0.88, 0.86], [0.86, 0.85, 0.8], [0.85, 0.7, 0.25]],
        );
        let edges = chance(rng, 0.5);
        let solid = chance(rng, 0.25);
        let phase = uniform(rng, 0.0, 9.0);
        let zebra = if chance(rng, 0.25) {
            uniform(rng, 6.0, 14.0)
        } else {
            1e6
        };
        let bright = if view.hour == Hour::Dusk { 0.5 } else { 1.0 };
        let horizon = view.vanish[1];
        let (left, right, middle, walk) = (self.left, self.right, self.middle, self.walk);
        let road = |x: f32, y: f32, at: f32, ahead: f32| {
            let wheels = smoothstep(0.5, 0.1, ((at - middle).abs() - 1.6).abs());
            // Wear and patches, stretched in the direction of travel.
            let worn = sample(&rough, 96, 0.5 + 0.07 * at, 0.2 + 3.0 / (3.0 + ahead)) - 0.5;
            let grain = sample(&rough, 96, x, y) - 0.5;
            let mut colour = scaled(asphalt, 1.0 + 0.1 * grain + 0.22 * worn - 0.06 * wheels);
            let dash = solid || ((ahead + phase) / 9.0).fract() < 0.4;
            let striped = (ahead - zebra).abs() < 1.6;
            let stripe = striped && (at - left).fract() < 0.5;
            let edge = edges && (at - left - 0.3).abs().min((right - 0.3 - at).abs()) < 0.07;
            if stripe || (!striped && (edge || (dash && (at - middle).abs() < 0.08))) {
                colour = mix(colour, paint, 0.85 + 0.6 * grain.min(0.0));
            }
            let gutter = (at - left).min(right - at) < 0.15;
            if gutter { scaled(colour, 0.8) } else { colour }
        };
        let sidewalk = |x: f32, y: f32, off: f32, ahead: f32| {
            let grain = sample(&rough, 96, x, y) - 0.5;
            let joint = (ahead / 1.5).fract() < 0.05 || (off / 1.2).fract() < 0.04;
            match verge {
                _ if off > walk - 0.4 => scaled(paving, 0.72),
                _ if off < 0.25 => KERB,
                Some(green) if off < 1.2 => scaled(green, 1.0 + 1.2 * grain),
                _ if joint && ahead < 25.0 => scaled(paving, 0.82),
                _ => scaled(paving, 1.0 + 0.3 * grain),
            }
        };
        scene.fill(
            [0.0, horizon],
            [1.0, 1.0],
            Some(Class::Pavement),
            |x, y, _| {
                let [at, ahead] = view.ground(x, y);
                let off = (left - at).max(at - right);
                let colour = if off <= 0.0 {
                    road(x, y, at, ahead)
                } else {
                    sidewalk(x, y, off, ahead)
                };
                Some(view.hazed(view.tinted(scaled(colour, bright)), ahead))
            },
        );
        // The road is the triangle between its edges, which meet at the vanishing point.
        let edge = |at: f32| view.project([at, 0.0, 1.5]);
        scene.mark(&[view.vanish, edge(left), edge(right)], Class::Road);
    }

    /// Rows of buildings on both sides, from far to near, and at the street's far end.
    pub(super) fn buildings(&self, scene: &mut Scene, rng: &mut ChaCha8Rng) {
        let view = scene.view;
        let horizon = view.vanish[1];
        let trees = noise(64, 12.0, 3, rng);
        let tall = uniform(rng, 0.015, 0.05);
        let leaves = view.hazed(view.lit([0.22, 0.30, 0.18], 0.0, 60.0), 120.0);
        scene.fill(
            [0.0, horizon - 0.15],
            [1.0, horizon + 0.004],
            Some(Class::Tree),
            |x, y, _| {
                let top = horizon - tall * (0.5 + sample(&trees, 64, x, 0.5));
                (y > top).then_some(leaves)
            },
        );
        let streaks = noise(32, 5.0, 2, rng);
        for right in [false, true] {
            let wall = if right {
                self.right + self.walk
            } else {
                self.left - self.walk
            };
            let mut ends = Vec::new();
            let mut near = uniform(rng, 1.5, 4.0);
            while near < 75.0 {
                let far = near + uniform(rng, 7.0, 18.0);
                ends.push((near, far));
                near = far
                    + if chance(rng, 0.25) {
                        uniform(rng, 1.5, 5.0)
                    } else {
                        0.0
                    };
            }
            let low = chance(rng, 0.4);
            for (near, far) in ends.into_iter().rev() {
                let height = if low {
                    uniform(rng, 4.5, 9.0)
                } else {
                    uniform(rng, 7.0, 19.0)
                };
                Building::draw(rng, wall, near, far, height).paint(scene, &streaks);
            }
        }
    }
}

/// A building: a face along the street and one towards the camera.
struct Building {
    wall: f32,
    near: f32,
    far: f32,
    height: f32,
    colour: Colour,
    glass: Colour,
    /// Width of a window bay and height of a storey in metres, and the fractions that the window fills.
    bay: f32,
    storey: f32,
    pane: [f32; 2],
    shop: bool,
    seed: u32,
}

impl Building {
    fn draw(rng: &mut ChaCha8Rng, wall: f32, near: f32, far: f32, height: f32) -> Self {
        let colour = choose(
            rng,
            &[
                [0.72, 0.62, 0.50],
                [0.60, 0.34, 0.26],
                [0.50, 0.28, 0.22],
                [0.78, 0.74, 0.66],
                [0.62, 0.62, 0.62],
                [0.70, 0.56, 0.40],
                [0.54, 0.50, 0.46],
                [0.80, 0.70, 0.58],
                [0.46, 0.50, 0.54],
            ],
        );
        let storey = uniform(rng, 2.9, 3.6);
        Self {
            wall,
            near,
            far,
            height: (height / storey).ceil() * storey + 0.6,
            colour: scaled(colour, uniform(rng, 0.85, 1.1)),
            glass: choose(
                rng,
                &[[0.20, 0.24, 0.28], [0.28, 0.34, 0.40], [0.16, 0.17, 0.19]],
            ),
            bay: uniform(rng, 1.8, 3.2),
            storey,
            pane: [uniform(rng, 0.4, 0.65), uniform(rng, 0.45, 0.62)],
            shop: chance(rng, 0.35),
            seed: index(rng, 1 << 16) as u32,
        }
    }

    /// `streaks` is a noise field `[32, 32]` of weathering.
    fn paint(&self, scene: &mut Scene, streaks: &[f32]) {
        let view = scene.view;
        let outward = self.wall.signum();
        let dusk = view.hour == Hour::Dusk;
        // The face towards the camera, visible above a lower neighbour or next to a gap.
        let back = self.wall + outward * 14.0;
        let low = view.project([self.wall.min(back), self.height, self.near]);
        let high = view.project([self.wall.max(back), 0.0, self.near]);
        scene.fill(low, high, Some(Class::Building), |x, y, _| {
            let shade = 0.85 + 0.2 * sample(streaks, 32, x, y);
            Some(view.lit(scaled(self.colour, shade), 0.0, self.near))
        });
        // The face along the street.
        let corners = [
            view.project([self.wall, self.height, self.near]),
            view.project([self.wall, 0.0, self.near]),
            view.project([self.wall, self.height, self.far]),
        ];
        let low = [
            corners[0][0].min(corners[2][0]),
            corners[0][1].min(corners[2][1]),
        ];
        let high = [corners[0][0].max(corners[2][0]), corners[1][1]];
        scene.fill(low, high, Some(Class::Building), |x, y, _| {
            let [up, ahead] = view.wall(self.wall, x, y);
            if up < 0.0 || up > self.height || ahead <= 0.0 {
                return None;
            }
            let shade = 0.9 + 0.2 * sample(streaks, 32, 0.02 * ahead, y);
            let (colour, glows) = self.facade(up, ahead - self.near, dusk);
            if glows {
                return Some(view.hazed(colour, ahead));
            }
            Some(view.lit(scaled(colour, shade), -outward, ahead))
        });
    }

    /// The colour of the face `up` metres above the ground and `along` its length, and whether it is a lit window.
    fn facade(&self, up: f32, along: f32, dusk: bool) -> (Colour, bool) {
        if up > self.height - 0.5 {
            return (
                scaled(self.colour, if up > self.height - 0.2 { 1.12 } else { 0.8 }),
                false,
            );
        }
        let (column, row) = ((along / self.bay) as u32, (up / self.storey) as u32);
        let (s, t) = ((along / self.bay).fract(), (up / self.storey).fract());
        // A cheap hash decides which windows are lit or curtained.
        let mixed = (self.seed ^ (column * 7919 + row * 104_729)).wrapping_mul(2_654_435_761) >> 16;
        if row == 0 && self.shop {
            let glass = t > 0.15 && t < 0.68 && s > 0.06 && s < 0.94;
            if glass && dusk {
                return ([0.95, 0.78, 0.5], true);
            }
            let awning = t > 0.7 && t < 0.86;
            let sign = [[0.55, 0.16, 0.14], [0.14, 0.30, 0.24], [0.16, 0.22, 0.42]]
                [self.seed as usize % 3];
            return (
                if glass {
                    self.glass
                } else if awning {
                    sign
                } else {
                    scaled(self.colour, 0.8)
                },
                false,
            );
        }
        let (dx, dy) = ((s - 0.5).abs() * 2.0, (t - 0.5).abs() * 2.0);
        if dx > self.pane[0] + 0.1 || dy > self.pane[1] + 0.1 {
            let band = t < 0.04;
            return (scaled(self.colour, if band { 0.88 } else { 1.0 }), false);
        }
        if dx > self.pane[0] || dy > self.pane[1] {
            return (mix(self.colour, [0.9, 0.9, 0.88], 0.45), false);
        }
        if dusk && mixed.is_multiple_of(3) {
            return ([0.98, 0.80, 0.48], true);
        }
        let curtain = mixed.is_multiple_of(5);
        (
            if curtain {
                mix(self.glass, [0.8, 0.78, 0.72], 0.5)
            } else {
                self.glass
            },
            false,
        )
    }
}
