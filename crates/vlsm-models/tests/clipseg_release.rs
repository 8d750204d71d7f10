//! CLIPSeg's original release, compared with PyTorch (`scripts/reference/make_clipseg_release.py`).

// Clippy's leave for tests covers test functions, not their helpers.
#![allow(clippy::unwrap_used)]

use std::fs::copy;
use std::path::{Path, PathBuf};

use burn::tensor::{Tensor, TensorData};
use vlsm_models::tensor_file::{self, WrittenAs};
use vlsm_models::weights::to_host;
use vlsm_models::{Base, MethodConfig, Model, SegmentationModel, device};

fn fixture(name: &str) -> PathBuf {
    let folder = "../../fixtures/clipseg/release";
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(folder)
        .join(name)
}

fn load(name: &str) -> vlsm_models::Result<Base> {
    Base::load(name, &device("cpu").unwrap())
}

fn pair(decoder: &str) -> String {
    let (towers, decoder) = (fixture("ViT-B-16.pt"), fixture(decoder));
    format!("{}+{}", towers.display(), decoder.display())
}

/// The logits of a base for the fixture's input.
fn logits(base: &Base) -> Vec<f32> {
    let batch = tensor_file::read(&fixture("expected.safetensors")).unwrap();
    let pixels = &batch.tensors["pixel_values"];
    let shape: [usize; 4] = pixels.shape.clone().try_into().unwrap();
    let pixels = TensorData::new(pixels.data.clone(), shape);
    let pixels = Tensor::<4>::from_data(pixels, &device("cpu").unwrap());
    let ids = &batch.ints["input_ids"];
    let prompts = ids.data.chunks(ids.shape[1]);
    let prompts: Vec<Vec<u32>> = prompts
        .map(|row| row.iter().map(|id| *id as u32).collect())
        .collect();
    let model = Model::new(base, MethodConfig::zero_shot(), 0).unwrap();
    let model = model.for_inference();
    let text = model.encode_text(&model.tokens(&prompts).unwrap()).unwrap();
    let features = model.encode_image(pixels).unwrap();
    to_host(model.decode(&features, text).unwrap())
}

#[test]
fn logits_equal_pytorchs() {
    let expected = tensor_file::read(&fixture("expected.safetensors")).unwrap();
    for decoder in ["rd64-uni", "rd64-uni-refined"] {
        let base = load(&pair(&format!("{decoder}.pth"))).unwrap();
        assert_eq!(base.preprocessing.image_size, 352);
        let (found, expected) = (logits(&base), &expected.tensors[decoder].data);
        assert_eq!(found.len(), expected.len());
        let pairs = found.iter().zip(expected);
        let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("{decoder}: {worst:e}");
        assert!(worst < 1e-4, "{decoder}: {worst}");
    }
}

#[test]
fn a_folder_of_the_two_files_is_a_base_and_can_be_converted() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str| copy(fixture(name), folder.path().join(name)).unwrap();
    let name = folder.path().to_string_lossy().into_owned();
    put("ViT-B-16.pt");
    let error = load(&name).unwrap_err().to_string();
    assert!(error.contains("rd64-uni.pth"), "{error}");
    put("rd64-uni-refined.pth");
    let base = load(&name).unwrap();
    let named = load(&pair("rd64-uni-refined.pth")).unwrap();
    assert_eq!(base.identity.fingerprint, named.identity.fingerprint);

    let written = folder.path().join("written");
    base.write(&written, WrittenAs::F32).unwrap();
    let written = load(&written.to_string_lossy()).unwrap();
    assert_eq!(written.identity.fingerprint, base.identity.fingerprint);
    assert_eq!(logits(&written), logits(&base));

    put("rd64-uni.pth");
    let error = load(&name).unwrap_err().to_string();
    assert!(
        error.contains("several decoders") && error.contains("+"),
        "{error}"
    );
}

#[test]
fn other_files_are_refused_with_the_fix() {
    let decoder = fixture("rd64-uni.pth").display().to_string();
    let error = load(&decoder).unwrap_err().to_string();
    assert!(error.contains("ViT-B-16.pt+rd64-uni.pth"), "{error}");
    let error = load(&format!("{decoder}+{decoder}"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("use OpenAI's `ViT-B-16.pt`"), "{error}");
}
