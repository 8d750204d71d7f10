//! BitFit.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::json;
use vlsm_models::weights::{self, to_host};
use vlsm_models::{AdapterFile, Base, ClipSegConfig, MethodConfig, Model, SegmentationModel};

fn method(towers: &str) -> MethodConfig {
    serde_json::from_value(json!({ "kind": "bitfit", "towers": towers })).unwrap()
}

/// Per layer of width w, with an MLP of 4w hidden units, as both of CLIP's towers have: 4w for the projections to queries,
/// keys, values and of the output, 4w + w for the MLP and 2w for the shifts of its two norms, 11w in all. CLIPSeg's vision
/// tower is 768 wide and its last tap is layer 9, so 10 layers are run; the text tower has 12 layers of 512.
#[test]
fn counts_at_full_size() {
    let vision = 10 * 11 * 768;
    let text = 12 * 11 * 512;
    assert_eq!((vision, vision + text), (84_480, 152_064));
    let clipseg = ClipSegConfig::rd64_refined().init(&Device::flex());
    for (towers, expected) in [("v", vision), ("l", text), ("vl", vision + text)] {
        let model = vlsm_models::clipseg::ClipSegModel::new(&clipseg, method(towers), 0).unwrap();
        assert_eq!(model.trained_parameters(), expected, "{towers}");
    }
}

fn wave<const D: usize>(shape: [usize; D], step: f32) -> Tensor<D> {
    let values = (0..shape.iter().product()).map(|at: usize| (at as f32 * step).sin());
    let values = TensorData::new(values.collect::<Vec<f32>>(), shape.to_vec());
    Tensor::from_data(values, &Device::flex())
}

/// On every architecture: steps along the gradient raise what it is the gradient of, gradients reach exactly the biases, and
/// what is written comes back.
#[test]
fn trains_and_loads_again() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("biases.safetensors");
    for (base, towers) in [
        (root.join("fixtures/clipseg/tiny_refined"), "vl"),
        (root.join("fixtures/san"), "vl"),
        (root.join("fixtures/cris"), "l"),
    ] {
        let base = Base::load(base.to_str().unwrap(), &Device::flex()).unwrap();
        let side = base.preprocessing.image_size;
        let mut model = Model::new(&base, method(towers), 0).unwrap().for_training();
        let end = match base.network.config() {
            vlsm_models::NetworkConfig::ClipSeg(config) => config.text_config.eos_token_id,
            _ => 39,
        };
        let tokens = model
            .tokens(&[vec![1, 4, end], vec![1, 9, 7, end]])
            .unwrap();
        let logits = |model: &Model| {
            let features = model.encode_image(wave([2, 3, side, side], 0.37)).unwrap();
            model
                .decode(&features, model.encode_text(&tokens).unwrap())
                .unwrap()
        };
        let sum = |model: &Model| {
            let logits = logits(model);
            let weights = wave(logits.dims(), 0.11);
            (logits * weights).sum()
        };
        let value = |model: &Model| to_host(sum(model))[0];
        let before = value(&model);
        for _ in 0..3 {
            let gradients = weights::take_gradients(&model, &mut sum(&model).backward());
            let trained = weights::export(&model, |name| model.trains(name));
            assert!(gradients.keys().eq(trained.keys()));
            assert!(
                gradients
                    .keys()
                    .all(|name| name.ends_with(".bias") && name.contains(".layers."))
            );
            let square: f32 = gradients
                .values()
                .flat_map(|g| g.to_file().data)
                .map(|x| x * x)
                .sum();
            model = weights::update(model, |name, value| match gradients.get(name) {
                Some(gradient) => value + gradient.flat.clone() * (0.01 / square.sqrt()),
                None => value,
            });
        }
        assert!(value(&model) > before, "{} {before}", value(&model));
        let file = AdapterFile {
            path: PathBuf::new(),
            tensors: weights::export(&model, |name| model.saves(name)),
            method: method(towers),
            base: Some(base.identity.clone()),
            image_size: None,
            ..AdapterFile::default()
        };
        file.write(&path).unwrap();
        let again = Model::with_adapter(&base, AdapterFile::read(&path).unwrap()).unwrap();
        let [one, other] = [again, model.for_inference()].map(|model| to_host(logits(&model)));
        assert!(one == other);
    }
}

#[test]
fn methods_that_do_not_fit_say_why() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    for (base, towers, part) in [("san", "vlc", "no bias"), ("cris", "v", "a ResNet")] {
        let base = Base::load(root.join(base).to_str().unwrap(), &Device::flex()).unwrap();
        let error = Model::new(&base, method(towers), 0)
            .unwrap_err()
            .to_string();
        assert!(error.contains(part), "{error}");
    }
}
