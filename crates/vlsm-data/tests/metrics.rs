//! Compares metrics with MONAI's on the masks in `fixtures/metrics`.

// Clippy's exception for tests covers test functions, but not their helpers.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use safetensors::SafeTensors;
use vlsm_data::{hausdorff, score};
use vlsm_image::Mask;

fn fixture(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/metrics");
    std::fs::read(Path::new(folder).join(name)).unwrap()
}

#[test]
fn metrics_equal_monai() {
    let masks = fixture("masks.safetensors");
    let tensors = SafeTensors::deserialize(&masks).unwrap();
    let expected = fixture("expected.json");
    let expected: serde_json::Value = serde_json::from_slice(&expected).unwrap();
    let (width, height) = (64, 48);
    let mask = |name: &str, i: usize| {
        let tensor = tensors.tensor(name).unwrap();
        assert_eq!(tensor.shape(), [40, 1, height, width]);
        Mask::new(
            width,
            height,
            tensor.data()[i * width * height..][..width * height].to_vec(),
        )
        .unwrap()
    };
    let mut undefined = 0;
    for i in 0..40 {
        let (pred, truth) = (mask("pred", i), mask("truth", i));
        let scores = score(&pred, &truth).unwrap();
        let close = |name: &str, ours: f64| {
            let theirs = expected[name][i].as_f64().unwrap();
            assert!(
                (ours - theirs).abs() < 1e-4,
                "{name} of pair {i}: {ours}, MONAI {theirs}"
            );
        };
        close("dice", scores.dice);
        close("iou", scores.iou);
        if expected["hd95"][i].is_null() {
            // Undefined in MONAI because at least one mask is empty.
            undefined += 1;
            let one = (pred.foreground() == 0) != (truth.foreground() == 0);
            assert_eq!(scores.one_empty, one);
            assert_eq!(scores.hd95, if one { 80.0 } else { 0.0 }, "pair {i}");
        } else {
            close("hd95", scores.hd95);
            close("hd100", hausdorff(&pred, &truth, 100.0).unwrap());
        }
    }
    assert_eq!(undefined, 3);
}
