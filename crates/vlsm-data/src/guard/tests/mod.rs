mod files;
mod masks;
mod memory;

use std::fs;

use image::{DynamicImage, GrayAlphaImage, GrayImage, ImageBuffer, Luma, RgbImage};
use tempfile::TempDir;

use super::*;
use crate::file_set::in_parallel;
use crate::{DataConfig, Dataset, PromptChoice, Sample, Split, SplitConfig, check};
use vlsm_image::Mask;

/// Width and height of images and masks. They differ, so that turned files have another size.
const SIDES: (u32, u32) = (40, 30);

/// A picture with all levels.
fn photo(index: usize) -> DynamicImage {
    let level = |x: u32, y: u32| [(x * 6) as u8, (y * 8) as u8, (index * 20) as u8];
    RgbImage::from_fn(SIDES.0, SIDES.1, |x, y| image::Rgb(level(x, y))).into()
}

/// A mask with the level `on` in a square that covers an eighth of it, and `off` elsewhere.
fn square(on: u8, off: u8) -> DynamicImage {
    let is_in = |x: u32, y: u32| (5..20).contains(&x) && (5..15).contains(&y);
    GrayImage::from_fn(SIDES.0, SIDES.1, |x, y| {
        Luma([if is_in(x, y) { on } else { off }])
    })
    .into()
}

/// A mask with the levels of `levels`, each in a column of its own.
fn columns(levels: &[u8]) -> DynamicImage {
    let width = SIDES.0 as usize / levels.len();
    let level = |x: u32| levels[(x as usize / width).min(levels.len() - 1)];
    GrayImage::from_fn(SIDES.0, SIDES.1, |x, _| Luma([level(x)])).into()
}

/// A data set of ten pairs.
fn set(
    image: impl Fn(usize) -> DynamicImage,
    mask: impl Fn(usize) -> DynamicImage,
) -> (TempDir, DataConfig) {
    let folder = tempfile::tempdir().unwrap();
    for name in ["images", "masks"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    for index in 0..10 {
        let path = |name: &str| folder.path().join(format!("{name}/case{index}.png"));
        image(index).save(path("images")).unwrap();
        mask(index).save(path("masks")).unwrap();
    }
    let config = DataConfig {
        prompt: PromptChoice::Text("lesion".into()),
        ..DataConfig::new(folder.path())
    };
    (folder, config)
}

/// The findings of the guards. Those of `check` must contain them.
fn findings(config: &DataConfig) -> Vec<(Severity, FindingKind, String)> {
    let dataset = Dataset::open(config).unwrap();
    let found = guard(&dataset).findings;
    let checked = check(config).findings;
    for finding in &found {
        let is_same =
            |other: &Finding| (other.severity, other.kind) == (finding.severity, finding.kind);
        assert!(
            checked.iter().any(is_same),
            "{finding:?} not in {checked:?}"
        );
    }
    let all = found.into_iter();
    all.map(|finding| (finding.severity, finding.kind, finding.message))
        .collect()
}

/// Asserts that there is one finding, of this kind and with this text, and that accepting it silences it.
fn only(config: &DataConfig, severity: Severity, kind: FindingKind, text: &str) {
    let found = findings(config);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].0, found[0].1), (severity, kind), "{found:?}");
    assert!(found[0].2.contains(text), "{found:?}");
    if severity == Severity::Notice {
        return;
    }
    assert!(found[0].2.ends_with(&format!("[{kind}]")), "{found:?}");
    let dataset = Dataset::open(config).unwrap();
    let result = guard(&dataset).into_result();
    assert_eq!(result.is_err(), severity == Severity::Error);
    if let Err(error) = result {
        assert!(error.to_string().contains("--accept"), "{error}");
    }
    let accepting = DataConfig {
        accept: vec![kind],
        ..config.clone()
    };
    let found = findings(&accepting);
    assert!(found.iter().all(|finding| finding.1 != kind), "{found:?}");
}

/// All samples by name.
fn samples(config: &DataConfig) -> Vec<Sample> {
    let dataset = Dataset::open(config).unwrap();
    let mut all = Split::ALL
        .map(|split| dataset.split(split).to_vec())
        .concat();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn foreground(config: &DataConfig) -> Vec<usize> {
    let masks = samples(config);
    masks
        .iter()
        .map(|sample| sample.read(None).unwrap().1.foreground())
        .collect()
}

#[test]
fn names_that_cannot_be_accepted_are_refused() {
    let error = "unreadable".parse::<FindingKind>().unwrap_err().to_string();
    assert!(
        error.contains("inverted") && error.contains("single-level"),
        "{error}"
    );
    let config = DataConfig {
        accept: vec![FindingKind::Unreadable],
        ..DataConfig::new("x")
    };
    let error = Dataset::open(&config).unwrap_err().to_string();
    assert!(error.contains("data.accept"), "{error}");
}

#[test]
fn large_sets_are_sampled_evenly() {
    let all: Vec<usize> = (0..10).collect();
    assert_eq!(spread(&all, 4), [0, 2, 5, 7]);
    assert_eq!(spread(&all, 10), all);
    let doubled = in_parallel(&all, |n| n * 2);
    assert_eq!(doubled, all.iter().map(|n| n * 2).collect::<Vec<_>>());
}
