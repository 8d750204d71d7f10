//! The picture while it is painted: perspective, classes, polygons, light.

use rand_chacha::ChaCha8Rng;
use vlsm_image::RgbImage;

use crate::canvas::{Canvas, Colour, chance, index, mix, scaled, uniform};
use crate::shapes::Point;

/// What a pixel shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Sky,
    Building,
    Pole,
    Road,
    Pavement,
    Tree,
    Sign,
    Car,
}

impl Class {
    /// All classes with their names, in the order of their declaration.
    pub(super) const NAMES: [(Self, &str); 8] = [
        (Self::Sky, "sky"),
        (Self::Building, "building"),
        (Self::Pole, "pole"),
        (Self::Road, "road"),
        (Self::Pavement, "pavement"),
        (Self::Tree, "tree"),
        (Self::Sign, "sign"),
        (Self::Car, "car"),
    ];
}

/// A finished picture, with the class of each pixel, row by row; `None` where several meet.
pub(super) struct Drawn {
    pub(super) image: RgbImage,
    pub(super) classes: Vec<Option<Class>>,
}

/// A point in metres: to the right, up from the ground, ahead.
pub(super) type Position = [f32; 3];

/// Time of day and weather.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hour {
    Day,
    Overcast,
    Dusk,
}

/// Camera and light.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    /// The vanishing point, in units of the side.
    pub(super) vanish: Point,
    /// Units of the side per metre at a distance of one metre.
    focal: f32,
    /// Height of the camera in metres.
    pub(super) height: f32,
    pub(super) hour: Hour,
    /// Light on faces turned left, right, up and to the camera.
    left: f32,
    right: f32,
    pub(super) front: f32,
    /// Colour of the light, and of distant haze.
    tint: Colour,
    pub(super) haze: Colour,
}

impl View {
    pub(super) fn draw(rng: &mut ChaCha8Rng) -> Self {
        let hour = [Hour::Day, Hour::Day, Hour::Overcast, Hour::Dusk][index(rng, 4)];
        let (sunny, dull) = (uniform(rng, 1.0, 1.15), uniform(rng, 0.6, 0.75));
        let from_left = chance(rng, 0.5);
        let (left, right, front, tint, haze) = match hour {
            Hour::Day if from_left => (sunny, dull, 0.9, [1.0, 0.98, 0.94], [0.82, 0.88, 0.95]),
            Hour::Day => (dull, sunny, 0.9, [1.0, 0.98, 0.94], [0.82, 0.88, 0.95]),
            Hour::Overcast => (0.8, 0.8, 0.82, [0.92, 0.95, 1.0], [0.80, 0.82, 0.85]),
            Hour::Dusk => (0.6, 0.55, 0.57, [1.0, 0.88, 0.86], [0.80, 0.55, 0.45]),
        };
        Self {
            vanish: [uniform(rng, 0.4, 0.6), uniform(rng, 0.42, 0.54)],
            focal: uniform(rng, 0.8, 1.05),
            height: uniform(rng, 1.35, 1.9),
            hour,
            left,
            right,
            front,
            tint,
            haze,
        }
    }

    /// Projects a point, which must be ahead of the camera, to the picture.
    pub(super) fn project(&self, position: Position) -> Point {
        let scale = self.focal / position[2].max(0.5);
        [
            self.vanish[0] + scale * position[0],
            self.vanish[1] + scale * (self.height - position[1]),
        ]
    }

    /// Units of the side per metre at a distance.
    pub(super) fn scale(&self, ahead: f32) -> f32 {
        self.focal / ahead.max(0.5)
    }

    /// The ground point seen at a picture point below the horizon: metres to the right and ahead.
    pub(super) fn ground(&self, x: f32, y: f32) -> Point {
        let ahead = self.focal * self.height / (y - self.vanish[1]).max(1e-4);
        [(x - self.vanish[0]) * ahead / self.focal, ahead]
    }

    /// The point seen on the wall `right` metres to the right: metres up and ahead.
    pub(super) fn wall(&self, right: f32, x: f32, y: f32) -> Point {
        let ahead = self.focal * right / (x - self.vanish[0]);
        [
            self.height - (y - self.vanish[1]) * ahead / self.focal,
            ahead,
        ]
    }

    /// A surface's colour with the light on its side and the haze of its distance. `sideways` is the rightward component of
    /// its normal.
    pub(super) fn lit(&self, colour: Colour, sideways: f32, ahead: f32) -> Colour {
        let side = if sideways < 0.0 {
            self.left
        } else {
            self.right
        };
        let light = self.front + (side - self.front) * sideways.abs();
        self.hazed(self.tinted(scaled(colour, light)), ahead)
    }

    pub(super) fn tinted(&self, colour: Colour) -> Colour {
        [0, 1, 2].map(|c| colour[c] * self.tint[c])
    }

    /// A colour seen through the haze of a distance.
    pub(super) fn hazed(&self, colour: Colour, ahead: f32) -> Colour {
        mix(colour, self.haze, 0.75 * ahead / (ahead + 110.0))
    }
}

/// The picture at twice its size, with the class of every pixel; halving it smooths the edges.
pub(super) struct Scene {
    pub(super) view: View,
    pub(super) canvas: Canvas,
    classes: Vec<Class>,
}

impl Scene {
    pub(super) fn new(side: usize, view: View) -> Self {
        Self {
            view,
            canvas: Canvas::new(2 * side, [0.0; 3]),
            classes: vec![Class::Sky; 4 * side * side],
        }
    }

    /// Paints the pixels of the box from `low` to `high` for which `colour` is not `None`, and sets their class unless
    /// `class` is `None`.
    pub(super) fn fill(
        &mut self,
        low: Point,
        high: Point,
        class: Option<Class>,
        mut colour: impl FnMut(f32, f32, Colour) -> Option<Colour>,
    ) {
        let side = self.canvas.side;
        let unit = 1.0 / side as f32;
        let bound = |at: f32| (at * side as f32 + 0.5).clamp(0.0, side as f32) as usize;
        for row in bound(low[1])..bound(high[1]) {
            let y = (row as f32 + 0.5) * unit;
            for column in bound(low[0])..bound(high[0]) {
                let x = (column as f32 + 0.5) * unit;
                let index = row * side + column;
                let pixel = &mut self.canvas.pixels[index];
                if let Some(painted) = colour(x, y, *pixel) {
                    *pixel = painted;
                    if let Some(class) = class {
                        self.classes[index] = class;
                    }
                }
            }
        }
    }

    /// Paints a polygon by scan conversion.
    pub(super) fn polygon(&mut self, corners: &[Point], class: Option<Class>, colour: Colour) {
        self.blend(corners, class, colour, 1.0);
    }

    /// As [`Scene::polygon`], blended with the background by `opacity`.
    pub(super) fn blend(
        &mut self,
        corners: &[Point],
        class: Option<Class>,
        colour: Colour,
        opacity: f32,
    ) {
        let side = self.canvas.side;
        let size = side as f32;
        let bound = |at: f32| (at * size + 0.5).clamp(0.0, size) as usize;
        let top = corners.iter().fold(1.0f32, |least, c| least.min(c[1]));
        let bottom = corners.iter().fold(0.0f32, |most, c| most.max(c[1]));
        let mut crossings: Vec<f32> = Vec::with_capacity(8);
        for row in bound(top)..bound(bottom) {
            let y = (row as f32 + 0.5) / size;
            crossings.clear();
            for (index, a) in corners.iter().enumerate() {
                let b = corners[(index + 1) % corners.len()];
                if (a[1] <= y) != (b[1] <= y) {
                    crossings.push(a[0] + (y - a[1]) / (b[1] - a[1]) * (b[0] - a[0]));
                }
            }
            crossings.sort_by(f32::total_cmp);
            for span in crossings.chunks_exact(2) {
                for index in row * side + bound(span[0])..row * side + bound(span[1]) {
                    let pixel = &mut self.canvas.pixels[index];
                    *pixel = mix(*pixel, colour, opacity);
                    if let Some(class) = class {
                        self.classes[index] = class;
                    }
                }
            }
        }
    }

    /// Sets the class of a polygon's pixels and keeps their colours.
    pub(super) fn mark(&mut self, corners: &[Point], class: Class) {
        self.blend(corners, Some(class), [0.0; 3], 0.0);
    }

    /// Paints a polygon of points in space.
    pub(super) fn solid(&mut self, positions: &[Position], class: Option<Class>, colour: Colour) {
        let corners: Vec<Point> = positions.iter().map(|p| self.view.project(*p)).collect();
        self.polygon(&corners, class, colour);
    }

    /// Halves the picture. A pixel is of the class of at least three of its four parts.
    pub(super) fn finish(self, rng: &mut ChaCha8Rng) -> Drawn {
        let (double, side) = (self.canvas.side, self.canvas.side / 2);
        let four = |index: usize| {
            let first = index / side * 2 * double + index % side * 2;
            [first, first + 1, first + double, first + double + 1]
        };
        let mut half = Canvas::new(side, [0.0; 3]);
        for (index, pixel) in half.pixels.iter_mut().enumerate() {
            for part in four(index) {
                let colour = self.canvas.pixels[part];
                *pixel = [0, 1, 2].map(|c| pixel[c] + 0.25 * colour[c]);
            }
        }
        half.grain(uniform(rng, 0.006, 0.018), rng);
        let class = |index: usize| {
            let [a, b, c, d] = four(index).map(|part| self.classes[part]);
            let of_most = if a == b || a == c { a } else { d };
            let covered = [a, b, c, d].iter().filter(|part| **part == of_most).count();
            (covered > 2).then_some(of_most)
        };
        let classes = (0..side * side).map(class).collect();
        Drawn {
            image: half.to_image(),
            classes,
        }
    }
}
