use super::super::components::{Neighbours, components};
use super::*;
use vlsm_image::Mask;

/// The largest component of the pixels whose centres are `inside`, in coordinates relative to the image's centre and
/// rotated by `angle` degrees.
fn drawn(side: usize, angle: f64, inside: impl Fn(f64, f64) -> bool) -> Component {
    let (sin, cos) = angle.to_radians().sin_cos();
    let middle = side as f64 / 2.0;
    let data = (0..side * side)
        .map(|at| {
            let (x, y) = ((at % side) as f64 + 0.5, (at / side) as f64 + 0.5);
            let (x, y) = (x - middle, y - middle);
            u8::from(inside(cos * x + sin * y, cos * y - sin * x))
        })
        .collect();
    let found = components(&Mask::new(side, side, data).unwrap(), Neighbours::Eight);
    found.into_iter().max_by_key(|part| part.area).unwrap()
}

/// Asserts that the name is the same at three sizes and six rotations.
fn always(expected: &str, inside: impl Fn(f64, f64) -> bool) {
    for (side, radius) in [(32, 12.0), (101, 40.0), (300, 100.0)] {
        for angle in [0.0, 17.0, 45.0, 72.0, 90.0, 133.0] {
            let component = drawn(side, angle, |x, y| inside(x / radius, y / radius));
            let outline = Outline::of(&component.filled());
            assert_eq!(
                shape(&component),
                Some(expected),
                "side {side}, angle {angle}: {outline:?}"
            );
        }
    }
}

#[test]
fn ellipses_are_round_oval_or_elongated() {
    always("round", |x, y| x.hypot(y) <= 1.0);
    always("round", |x, y| x.hypot(y / 0.85) <= 1.0);
    always("oval", |x, y| x.hypot(y / 0.6) <= 1.0);
    always("oval", |x, y| x.hypot(y / 0.45) <= 1.0);
    always("elongated", |x, y| x.hypot(y / 0.25) <= 1.0);
}

#[test]
fn rectangles_are_square_rectangular_or_elongated() {
    always("square", |x, y| x.abs().max(y.abs()) <= 0.8);
    always("rectangular", |x, y| x.abs().max(y.abs() / 0.5) <= 1.0);
    always("elongated", |x, y| x.abs().max(y.abs() / 0.2) <= 1.0);
}

#[test]
fn triangles_are_triangular() {
    // Equilateral: half-planes at the same distance from the centre, 120 degrees from each other.
    let plane = |x: f64, y: f64, angle: f64| {
        let (sin, cos) = f64::to_radians(angle).sin_cos();
        x * cos + y * sin
    };
    always("triangular", |x, y| {
        [90.0, 210.0, 330.0].iter().all(|&a| plane(x, y, a) <= 0.5)
    });
    // Right-angled.
    always("triangular", |x, y| x >= -0.6 && y >= -0.6 && x + y <= 0.6);
}

#[test]
fn a_concave_shape_is_irregular_and_holes_are_ignored() {
    // A cross, a crescent.
    always("irregular", |x, y| {
        x.abs().max(y.abs()) <= 1.0 && x.abs().min(y.abs()) <= 0.25
    });
    always("irregular", |x, y| {
        x.hypot(y) <= 1.0 && (x - 0.5).hypot(y) > 0.75
    });
    // A disc with spurs on two sides.
    always("irregular", |x, y| {
        x.hypot(y) <= 0.6 || (x.abs() <= 1.0 && y.abs() <= 0.1)
    });
    always("round", |x, y| (0.5..=1.0).contains(&x.hypot(y)));
}

#[test]
fn descriptors_agree_with_values_computed_by_hand() {
    let near = |a: f64, b: f64, tolerance: f64| assert!((a - b).abs() < tolerance, "{a} {b}");
    // 40 x 20 pixels: the variances are 40²/12 and 20²/12.
    let outline = Outline::of(&drawn(60, 0.0, |x, y| x.abs() <= 20.0 && y.abs() <= 10.0));
    near(outline.aspect, 0.5, 1e-12);
    near(outline.solidity, 1.0, 1e-12);
    near(outline.extent, 1.0, 1e-12);
    // A disc: π/4 of its square.
    let outline = Outline::of(&drawn(300, 0.0, |x, y| x.hypot(y) <= 120.0));
    near(outline.aspect, 1.0, 1e-3);
    near(outline.solidity, 1.0, 5e-3);
    near(outline.extent, std::f64::consts::FRAC_PI_4, 5e-3);
    // A right-angled triangle with legs of 100 fills half of its square; its covariance has eigenvalues 100²/24, 100²/72.
    let outline = Outline::of(&drawn(200, 0.0, |x, y| {
        x >= -50.0 && y >= -50.0 && x + y <= 0.0
    }));
    near(outline.aspect, (1.0_f64 / 3.0).sqrt(), 5e-3);
    near(outline.extent, 0.5, 1e-2);
    // An L of three squares with sides of 20; its hull has an area of three and a half squares.
    let outline = Outline::of(&drawn(60, 0.0, |x, y| {
        x.abs() <= 20.0 && y.abs() <= 20.0 && (x <= 0.0 || y <= 0.0)
    }));
    near(outline.solidity, 3.0 / 3.5, 1e-2);
    near(outline.extent, 0.75, 1e-12);
}

#[test]
fn fewer_than_sixteen_pixels_have_no_shape() {
    assert_eq!(
        shape(&drawn(8, 0.0, |x, y| x.abs().max(y.abs()) <= 1.0)),
        None
    );
    let one = drawn(9, 0.0, |x, y| x.hypot(y) < 0.5);
    let outline = Outline::of(&one);
    assert_eq!((one.area, outline.solidity, outline.extent), (1, 1.0, 1.0));
    // A line of pixels has an outline, too.
    let line = drawn(40, 0.0, |x, y| x.abs() <= 15.0 && (0.0..1.0).contains(&y));
    assert_eq!(shape(&line), Some("elongated"));
}
