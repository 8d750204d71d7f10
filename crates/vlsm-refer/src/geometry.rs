//! Boxes.

/// A box in pixels: left, top, right, bottom.
pub type Bbox = [f64; 4];

/// Intersection over union of two boxes; 0 if both are empty.
pub fn iou(a: Bbox, b: Bbox) -> f64 {
    let area = |b: Bbox| (b[2] - b[0]).max(0.0) * (b[3] - b[1]).max(0.0);
    let both = area([
        a[0].max(b[0]),
        a[1].max(b[1]),
        a[2].min(b[2]),
        a[3].min(b[3]),
    ]);
    let either = area(a) + area(b) - both;
    if either > 0.0 { both / either } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlap_over_union() {
        let a = [0.0, 0.0, 2.0, 2.0];
        assert_eq!(iou(a, a), 1.0);
        assert_eq!(iou(a, [1.0, 0.0, 3.0, 2.0]), 2.0 / 6.0);
        assert_eq!(iou(a, [5.0, 5.0, 6.0, 6.0]), 0.0);
        assert_eq!(iou([0.0; 4], [0.0; 4]), 0.0);
        // Right and bottom before left and top: nothing.
        assert_eq!(iou(a, [2.0, 2.0, 0.0, 0.0]), 0.0);
    }
}
