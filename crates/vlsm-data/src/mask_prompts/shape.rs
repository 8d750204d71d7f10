//! Names the shape of an object's outline.

use super::components::{Component, Run};

/// A point or a vector.
type Point = (f64, f64);

/// Shape descriptors that do not depend on an outline's size, position or rotation, apart from the pixel grid.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outline {
    /// Ratio of the minor to the major axis of the ellipse with the same second moments: 1 for a disc and for a square.
    pub(super) aspect: f64,
    /// Area divided by the area of the convex hull: 1 for a convex shape.
    pub(super) solidity: f64,
    /// Area divided by the area of the smallest enclosing rectangle at any rotation: 1 for a rectangle, π/4 = 0.785 for an
    /// ellipse, 1/2 for a triangle.
    pub(super) extent: f64,
}

/// Number of pixels below which the pixel grid hides the shape.
const FEWEST: usize = 16;

/// The name of a component's outline; holes are ignored. The first rule that holds applies:
///
/// - `elongated`: more than three times as long as wide;
/// - `irregular`: concave, with a solidity below 0.8;
/// - `triangular`: fills at most 0.64 of the smallest enclosing rectangle, halfway from a triangle to an ellipse; but
///   `irregular` if the solidity is below 0.85, because then spurs make the rectangle large;
/// - `square`, `rectangular`: fills at least 0.89 of it, halfway from an ellipse to a rectangle; square if the aspect is
///   0.85 or more;
/// - `round`: the aspect is 0.7 or more;
/// - `oval`: everything else.
///
/// `None` below 16 pixels.
pub(super) fn shape(component: &Component) -> Option<&'static str> {
    let filled = component.filled();
    (filled.area >= FEWEST).then(|| name(Outline::of(&filled)))
}

fn name(outline: Outline) -> &'static str {
    let Outline {
        aspect,
        solidity,
        extent,
    } = outline;
    if aspect < 1.0 / 3.0 {
        "elongated"
    } else if solidity < 0.8 {
        "irregular"
    } else if extent <= 0.64 {
        if solidity < 0.85 {
            "irregular"
        } else {
            "triangular"
        }
    } else if extent >= 0.89 {
        if aspect < 0.85 {
            "rectangular"
        } else {
            "square"
        }
    } else if aspect < 0.7 {
        "oval"
    } else {
        "round"
    }
}

impl Outline {
    pub(super) fn of(component: &Component) -> Self {
        let area = component.area as f64;
        let hull = convex_hull(edge_points(component));
        // The hull of side midpoints cuts an eighth of a pixel off each corner, so a ratio can slightly exceed 1.
        Self {
            aspect: aspect(component),
            solidity: (area / polygon_area(&hull)).min(1.0),
            extent: (area / smallest_rectangle(&hull)).min(1.0),
        }
    }
}

/// Ratio of the standard deviations along the principal axes, of pixels taken as unit squares.
fn aspect(component: &Component) -> f64 {
    let area = component.area as f64;
    let row = |run: &Run| {
        let length = (run.x1 - run.x0) as f64;
        (length, (run.x0 + run.x1) as f64 / 2.0, run.y as f64 + 0.5)
    };
    let runs = || component.runs.iter().map(row);
    let (sum_x, sum_y) = runs().fold((0.0, 0.0), |(sx, sy), (n, x, y)| (sx + n * x, sy + n * y));
    let (mean_x, mean_y) = (sum_x / area, sum_y / area);
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for (n, x, y) in runs() {
        let (x, y) = (x - mean_x, y - mean_y);
        // A run is a rectangle of n by 1, with variances n²/12 and 1/12 about its own centre.
        xx += n * (x * x + n * n / 12.0);
        xy += n * x * y;
        yy += n * (y * y + 1.0 / 12.0);
    }
    let mean = (xx + yy) / 2.0;
    let spread = ((xx - yy) / 2.0).hypot(xy);
    ((mean - spread).max(0.0) / (mean + spread)).sqrt()
}

/// The midpoints of the outer, upper and lower sides of the pixels at the ends of each run. On a slope, pixel corners
/// are half a pixel outside the true edge; the midpoints are on it.
fn edge_points(component: &Component) -> Vec<Point> {
    let mut points = Vec::with_capacity(component.runs.len() * 6);
    for run in &component.runs {
        let (x0, x1, y) = (run.x0 as f64, run.x1 as f64, run.y as f64);
        points.extend([
            (x0, y + 0.5),
            (x1, y + 0.5),
            (x0 + 0.5, y),
            (x1 - 0.5, y),
            (x0 + 0.5, y + 1.0),
            (x1 - 0.5, y + 1.0),
        ]);
    }
    points
}

/// The convex hull, counter-clockwise, without points on its sides (Andrew's monotone chain).
fn convex_hull(mut points: Vec<Point>) -> Vec<Point> {
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    points.dedup();
    let chain = |points: &mut dyn Iterator<Item = Point>| {
        let mut chain: Vec<Point> = Vec::new();
        for point in points {
            while let [.., a, b] = chain[..]
                && cross(sub(b, a), sub(point, a)) <= 0.0
            {
                chain.pop();
            }
            chain.push(point);
        }
        // The last point is the first of the other chain.
        chain.pop();
        chain
    };
    let mut hull = chain(&mut points.iter().copied());
    hull.extend(chain(&mut points.iter().rev().copied()));
    hull
}

/// The area of a polygon (shoelace formula).
fn polygon_area(points: &[Point]) -> f64 {
    sides(points).map(|(a, b)| cross(a, b)).sum::<f64>().abs() / 2.0
}

/// The area of the smallest rectangle around a convex polygon. One of its sides contains a side of the polygon (Freeman
/// and Shapira 1975).
fn smallest_rectangle(hull: &[Point]) -> f64 {
    let along = |(a, b): (Point, Point)| {
        let side = sub(b, a);
        let length = side.0.hypot(side.1);
        let (mut low, mut high, mut depth) = (f64::MAX, f64::MIN, 0.0_f64);
        for &point in hull {
            let to = sub(point, a);
            let t = (to.0 * side.0 + to.1 * side.1) / length;
            low = low.min(t);
            high = high.max(t);
            depth = depth.max(cross(side, to) / length);
        }
        (high - low) * depth
    };
    sides(hull).map(along).fold(f64::MAX, f64::min)
}

/// The sides of a closed polygon.
fn sides(points: &[Point]) -> impl Iterator<Item = (Point, Point)> + '_ {
    let next = points.iter().cycle().skip(1);
    points.iter().copied().zip(next.copied())
}

fn sub(a: Point, b: Point) -> Point {
    (a.0 - b.0, a.1 - b.1)
}

fn cross(a: Point, b: Point) -> f64 {
    a.0 * b.1 - a.1 * b.0
}

#[cfg(test)]
#[path = "shape_tests.rs"]
mod tests;
