//! Preprocessing against torchvision on PIL, from fixtures next to the repository.
//!
//! They hold images that may not be copied; without them these tests say that they were skipped.

// Clippy's leave for tests covers test functions, not their helpers.
#![allow(clippy::print_stderr, clippy::print_stdout, clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use vlsm_image::{RgbImage, normalize, read_image, read_mask, resize_image, resize_mask};

/// Folder beside the repository with `fixtures/` and `data/`.
const SHARED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared");
const PREPROCESS: &str = "preprocess/expected.safetensors";

fn fixture(name: &str) -> Option<PathBuf> {
    let path = Path::new(SHARED).join("fixtures").join(name);
    path.is_file().then_some(path)
}

fn preprocess_fixture(test: &str) -> Option<Vec<u8>> {
    let path = fixture(PREPROCESS);
    if path.is_none() {
        eprintln!("skipped: {test} (no `fixtures/{PREPROCESS}` beside the repository)");
    }
    path.map(|path| std::fs::read(path).unwrap())
}

/// ImageNet's mean and standard deviation of red, green and blue.
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const STD: [f32; 3] = [0.229, 0.224, 0.225];

/// `[3, size, size]` to `[size, size, 3]`.
fn interleave(planes: &[u8]) -> Vec<u8> {
    let pixels = planes.len() / 3;
    (0..pixels)
        .flat_map(|i| [planes[i], planes[pixels + i], planes[2 * pixels + i]])
        .collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b))
        .collect()
}

fn max_and_mean(a: &[u8], b: &[u8]) -> (u8, f64) {
    assert_eq!(a.len(), b.len());
    let differences = || a.iter().zip(b).map(|(a, b)| a.abs_diff(*b));
    (
        differences().max().unwrap(),
        differences().map(f64::from).sum::<f64>() / a.len() as f64,
    )
}

fn decoded(tensors: &SafeTensors<'_>, id: &str) -> RgbImage {
    let tensor = tensors.tensor(&format!("{id}.decoded_u8")).unwrap();
    RgbImage::new(tensor.shape()[1], tensor.shape()[0], tensor.data().to_vec()).unwrap()
}

/// Id and size of each `{id}.{size}.resized_u8`.
fn resized(tensors: &SafeTensors<'_>) -> Vec<(String, usize)> {
    let mut found: Vec<(String, usize)> = Vec::new();
    for name in tensors.names() {
        if let [id, size, "resized_u8"] = name.split('.').collect::<Vec<_>>()[..] {
            found.push((id.to_string(), size.parse().unwrap()));
        }
    }
    found.sort();
    assert!(found.len() >= 5);
    found
}

/// Stricter than asked for: not within one level, but equal.
#[test]
fn resizing_decoded_pixels_equals_pil() {
    let Some(bytes) = preprocess_fixture("resizing_decoded_pixels_equals_pil") else {
        return;
    };
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    for (id, size) in resized(&tensors) {
        let ours = resize_image(&decoded(&tensors, &id), size);
        let theirs = interleave(
            tensors
                .tensor(&format!("{id}.{size}.resized_u8"))
                .unwrap()
                .data(),
        );
        assert_eq!(
            max_and_mean(&ours.data, &theirs).0,
            0,
            "image {id} at {size}"
        );
    }
}

#[test]
fn normalising_equals_torchvision() {
    let Some(bytes) = preprocess_fixture("normalising_equals_torchvision") else {
        return;
    };
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    for id in ["0", "1", "2"] {
        let image = resize_image(&decoded(&tensors, id), 96);
        let mut ours = vec![0.0; 3 * 96 * 96];
        normalize(&image, MEAN, STD, &mut ours);
        let theirs = floats(
            tensors
                .tensor(&format!("{id}.96.normalized"))
                .unwrap()
                .data(),
        );
        let worst = ours
            .iter()
            .zip(&theirs)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(worst < 1e-6, "image {id}: {worst}");
    }
}

#[test]
fn decoding_and_resizing_files_is_close_to_pil() {
    let Some(bytes) = preprocess_fixture("decoding_and_resizing_files_is_close_to_pil") else {
        return;
    };
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let index = std::fs::read(fixture("preprocess/index.json").unwrap()).unwrap();
    let index: Vec<serde_json::Value> = serde_json::from_slice(&index).unwrap();
    for (id, size) in resized(&tensors) {
        let entry = index
            .iter()
            .find(|e| e["id"] == id.parse::<u64>().unwrap())
            .unwrap();
        let image = read_image(&Path::new(SHARED).join(entry["file"].as_str().unwrap())).unwrap();
        let (_, mean) = max_and_mean(&image.data, &decoded(&tensors, &id).data);
        assert!(mean < 0.5, "image {id} decoded: {mean}");
        let theirs = interleave(
            tensors
                .tensor(&format!("{id}.{size}.resized_u8"))
                .unwrap()
                .data(),
        );
        let (max, mean) = max_and_mean(&resize_image(&image, size).data, &theirs);
        println!("image {id} at {size}: largest difference {max}, mean {mean:.4}");
        assert!(mean < 0.5, "image {id} at {size}: {mean}");
    }
}

#[test]
fn masks_equal_pil_once_binarised() {
    let Some(bytes) = preprocess_fixture("masks_equal_pil_once_binarised") else {
        return;
    };
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let index = std::fs::read(fixture("preprocess/index.json").unwrap()).unwrap();
    let index: Vec<serde_json::Value> = serde_json::from_slice(&index).unwrap();
    let entry = index.iter().find(|e| e["id"] == "mask").unwrap();
    let mask = read_mask(&Path::new(SHARED).join(entry["file"].as_str().unwrap())).unwrap();
    for size in [96, 300] {
        let theirs = floats(tensors.tensor(&format!("mask.{size}")).unwrap().data());
        let theirs: Vec<u8> = theirs.iter().map(|&v| u8::from(v >= 0.5)).collect();
        assert!(theirs.contains(&1));
        assert_eq!(resize_mask(&mask, size, size).data, theirs, "size {size}");
    }
}
