//! Compares preprocessing with torchvision on PIL, for the drawn images in `fixtures/preprocess`. Photographs that must not
//! be redistributed are compared too if a folder `shared` next to the repository has them.

// Clippy's exception for tests covers test functions, but not their helpers.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use vlsm_image::{RgbImage, normalize, read_image, read_mask, resize_image, resize_mask};

/// ImageNet's mean and standard deviation of red, green and blue.
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const STD: [f32; 3] = [0.229, 0.224, 0.225];

/// Expected tensors and the files that they were computed from.
struct Fixture {
    expected: Vec<u8>,
    index: Vec<serde_json::Value>,
    /// The folder that file names in the index are relative to.
    files: PathBuf,
}

impl Fixture {
    fn read(folder: &Path, files: &Path) -> Self {
        let index = std::fs::read(folder.join("index.json")).unwrap();
        Self {
            expected: std::fs::read(folder.join("expected.safetensors")).unwrap(),
            index: serde_json::from_slice(&index).unwrap(),
            files: files.to_path_buf(),
        }
    }

    /// The fixture in the repository, and the one next to it if that exists.
    fn all() -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let own = root.join("fixtures/preprocess");
        let mut all = vec![Self::read(&own, &own)];
        let shared = root.join("../shared");
        if shared.join("fixtures/preprocess").is_dir() {
            all.push(Self::read(&shared.join("fixtures/preprocess"), &shared));
        }
        all
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.expected).unwrap()
    }

    fn file(&self, id: &str) -> PathBuf {
        let is_wanted = |entry: &&serde_json::Value| {
            let found = match &entry["id"] {
                serde_json::Value::String(text) => text.clone(),
                number => number.to_string(),
            };
            found == id
        };
        let entry = self.index.iter().find(is_wanted).unwrap();
        self.files.join(entry["file"].as_str().unwrap())
    }
}

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

/// Id and size of each `{id}.{size}.{kind}`.
fn named(tensors: &SafeTensors<'_>, wanted: &str) -> Vec<(String, usize)> {
    let mut found: Vec<(String, usize)> = Vec::new();
    for name in tensors.names() {
        if let [id, size, kind] = name.split('.').collect::<Vec<_>>()[..]
            && kind == wanted
        {
            found.push((id.to_string(), size.parse().unwrap()));
        }
    }
    found.sort();
    assert!(found.len() >= 3);
    found
}

/// Id and size of each resized image.
fn resized(tensors: &SafeTensors<'_>) -> Vec<(String, usize)> {
    let found = named(tensors, "resized_u8");
    assert!(found.len() >= 5);
    found
}

fn expected_image(tensors: &SafeTensors<'_>, id: &str, size: usize) -> Vec<u8> {
    let tensor = tensors.tensor(&format!("{id}.{size}.resized_u8")).unwrap();
    interleave(tensor.data())
}

/// Stricter than required: the requirement is one level, but the results are equal.
#[test]
fn resizing_decoded_pixels_equals_pil() {
    for fixture in Fixture::all() {
        let tensors = fixture.tensors();
        for (id, size) in resized(&tensors) {
            let ours = resize_image(&decoded(&tensors, &id), size);
            let theirs = expected_image(&tensors, &id, size);
            let (max, _) = max_and_mean(&ours.data, &theirs);
            assert_eq!(max, 0, "image {id} at {size}");
        }
    }
}

#[test]
fn normalising_equals_torchvision() {
    for fixture in Fixture::all() {
        let tensors = fixture.tensors();
        for (id, size) in named(&tensors, "normalized") {
            let image = resize_image(&decoded(&tensors, &id), size);
            let mut ours = vec![0.0; 3 * size * size];
            normalize(&image, MEAN, STD, &mut ours);
            let theirs = tensors.tensor(&format!("{id}.{size}.normalized")).unwrap();
            let theirs = floats(theirs.data());
            assert_eq!(ours.len(), theirs.len());
            let differences = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs());
            let worst = differences.fold(0.0, f32::max);
            assert!(worst < 1e-6, "image {id}: {worst}");
        }
    }
}

#[test]
fn decoding_and_resizing_files_is_close_to_pil() {
    for fixture in Fixture::all() {
        let tensors = fixture.tensors();
        for (id, size) in resized(&tensors) {
            let file = fixture.file(&id);
            let image = read_image(&file).unwrap();
            let (max, mean) = max_and_mean(&image.data, &decoded(&tensors, &id).data);
            assert!(mean < 0.5, "image {id} decoded: {mean}");
            let is_lossless = file.extension().is_some_and(|extension| extension == "png");
            assert!(!is_lossless || max == 0, "image {id} decoded");
            let theirs = expected_image(&tensors, &id, size);
            let (_, mean) = max_and_mean(&resize_image(&image, size).data, &theirs);
            assert!(mean < 0.5, "image {id} at {size}: {mean}");
        }
    }
}

#[test]
fn binarised_masks_equal_pil() {
    for fixture in Fixture::all() {
        let tensors = fixture.tensors();
        let mask = read_mask(&fixture.file("mask")).unwrap();
        let names = tensors.names();
        let sizes = names.iter().filter_map(|name| name.strip_prefix("mask."));
        let sizes: Vec<usize> = sizes.map(|size| size.parse().unwrap()).collect();
        assert!(sizes.len() >= 2);
        for size in sizes {
            let theirs = floats(tensors.tensor(&format!("mask.{size}")).unwrap().data());
            let theirs: Vec<u8> = theirs.iter().map(|&v| u8::from(v >= 0.5)).collect();
            assert!(theirs.contains(&1));
            assert_eq!(resize_mask(&mask, size, size).data, theirs, "size {size}");
        }
    }
}
