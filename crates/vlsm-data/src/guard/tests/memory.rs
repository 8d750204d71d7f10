//! Data sets in memory.

use std::sync::Arc;

use super::*;
use crate::{Arrays, Prompts};

/// Masks of 100x100 pixels with these values at `(x, y)`; the first six of ten are for training.
fn found(value: impl Fn(usize, usize, usize) -> u8) -> GuardReport {
    let sample = |index: usize| {
        let image = vlsm_image::RgbImage::filled(100, 100, [90, 40, 20]);
        let mask = Mask::from_fn(100, 100, |x, y| value(index, x, y));
        let name = format!("case {index}");
        let source = Arc::new(Arrays::new(name.clone(), image, mask));
        Sample::new(name, source, Prompts::from_texts(vec!["polyp".into()]))
    };
    let splits = [0..6, 6..8, 8..10].map(|range: std::ops::Range<usize>| range.map(sample));
    guard(&Dataset::from_splits("memory", splits.map(Iterator::collect)).unwrap())
}

#[test]
fn good_masks_in_memory_pass() {
    let ignored = |index, x: usize, y: usize| match (index, x) {
        (0, 90..) => Mask::IGNORE,
        _ => u8::from(x < 30 && y < 30),
    };
    assert!(found(ignored).findings.is_empty());
}

#[test]
fn masks_in_memory_are_looked_at() {
    let corner = |x: usize, y: usize| x < 30 && y < 30;
    type Value<'a> = &'a dyn Fn(usize, usize, usize) -> u8;
    let cases: [(Value<'_>, Severity, FindingKind, &str); 7] = [
        (
            &|_, x, y| if corner(x, y) { 255 } else { 0 },
            Severity::Error,
            FindingKind::Levels,
            "levels 0 and 255",
        ),
        (
            &|index, x, y| u8::from(corner(x, y)) * if index == 3 { 128 } else { 1 },
            Severity::Error,
            FindingKind::Levels,
            "1 of 10 masks have other levels than 0, 1 and 255 (`case 3`)",
        ),
        (
            &|index, x, y| u8::from(index >= 6 && corner(x, y)),
            Severity::Error,
            FindingKind::EmptyMask,
            "all masks of the training split are empty",
        ),
        (
            &|index, x, y| u8::from(index > 0 && corner(x, y)),
            Severity::Warning,
            FindingKind::EmptyMask,
            "1 of 10 masks are empty (`case 0`)",
        ),
        (
            &|_, x, y| u8::from(!corner(x, y)),
            Severity::Warning,
            FindingKind::Inverted,
            "10 of 10 masks are foreground for more than half",
        ),
        (
            &|_, x, y| u8::from(x % 25 < 10 && y % 25 < 10),
            Severity::Warning,
            FindingKind::Parts,
            "more than 10 separate parts",
        ),
        (
            &|_, _, _| 0,
            Severity::Error,
            FindingKind::EmptyMask,
            "check that foreground is 1",
        ),
    ];
    for (value, severity, kind, text) in cases {
        let report = found(value);
        let [finding] = &report.findings[..] else {
            panic!("{:?} instead of {text}", report.findings);
        };
        assert_eq!((finding.severity, finding.kind), (severity, kind), "{text}");
        assert!(finding.message.contains(text), "{}", finding.message);
        assert_eq!(
            report.clone().into_result().is_err(),
            severity == Severity::Error
        );
        assert!(report.accept(&[kind]).findings.is_empty());
    }
}
