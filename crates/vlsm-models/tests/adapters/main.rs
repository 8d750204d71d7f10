//! Positions and forms of adapters.

#![allow(clippy::unwrap_used, clippy::panic)]

mod errors;
mod gradients;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::{Value, json};
use vlsm_models::clipseg::{random_decoder, random_weights};
use vlsm_models::tensor_file::{self, HostTensor};
use vlsm_models::weights::{self, to_host};
use vlsm_models::{
    AdapterFile, Base, ClipSegConfig, MethodConfig, Model, Network, SegmentationModel,
};

/// A base of a few thousand parameters that takes all kinds of adapters.
fn base(folder: &Path) -> Base {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/odd_base/config.json");
    let mut config = ClipSegConfig::read(&path).unwrap();
    config.projection_dim = config.text_config.hidden_size;
    write(folder, &config, &random_weights(&config, 3))
}

fn write(folder: &Path, config: &ClipSegConfig, tensors: &BTreeMap<String, HostTensor>) -> Base {
    std::fs::write(
        folder.join("config.json"),
        config.to_json().unwrap().to_string(),
    )
    .unwrap();
    let path = folder.join("model.safetensors");
    tensor_file::write_safetensors(&path, tensors, &BTreeMap::new()).unwrap();
    Base::load(folder.to_str().unwrap(), &Device::flex()).unwrap()
}

fn config(base: &Base) -> &ClipSegConfig {
    let Network::ClipSeg(clipseg) = &base.network else {
        panic!("not a CLIPSeg");
    };
    &clipseg.config
}

fn wave(shape: &[usize], step: f32) -> TensorData {
    let values = (0..shape.iter().product()).map(|index: usize| (index as f32 * step).sin());
    TensorData::new(values.collect::<Vec<f32>>(), shape.to_vec())
}

/// Logits of two images and prompts.
fn logits(model: &Model) -> Tensor<3> {
    let pixels = Tensor::<4>::from_data(wave(&[2, 3, 32, 32], 0.37), &Device::flex());
    let tokens = model.tokens(&[[60, 4, 63], [60, 9, 63]]).unwrap();
    model
        .decode(
            &model.encode_image(pixels).unwrap(),
            model.encode_text(&tokens).unwrap(),
        )
        .unwrap()
}

/// A model whose adapters are not at their initial values.
fn moved(base: &Base, method: &MethodConfig) -> Model {
    let model = Model::new(base, method.clone(), 1).unwrap();
    let trained = weights::export(&model, |name| model.trains(name));
    let trained: BTreeSet<String> = trained.into_keys().collect();
    let mut step = 0.1;
    weights::update(model, |name, value| {
        step += 0.01;
        let [count] = value.dims();
        let change = Tensor::from_data(wave(&[count], step), &Device::flex()) * 0.1;
        let trained = trained.contains(name);
        if trained { value + change } else { value }
    })
}

/// A method of a kind with small adapters.
fn of(kind: &str, keys: Value) -> MethodConfig {
    serde_json::from_value(small(kind, keys)).unwrap()
}

fn small(kind: &str, keys: Value) -> Value {
    let mut all = json!({ "kind": kind, "bottleneck": 3 });
    let towers = keys.get("towers").and_then(Value::as_str);
    if towers.unwrap_or("vlc").contains('c') {
        all["cond_bottleneck"] = 5.into();
    }
    if let (Some(all), Some(keys)) = (all.as_object_mut(), keys.as_object()) {
        all.extend(keys.clone());
    }
    all
}

/// The value of a method's key.
fn key(method: &MethodConfig, key: &str) -> Value {
    serde_json::to_value(method).unwrap()[key].clone()
}

/// Every setting, with the number of trained parameters in blocks and changes of the two towers.
fn forms(config: &ClipSegConfig) -> Vec<(MethodConfig, usize)> {
    let (vision, text) = (&config.vision_config, &config.text_config);
    let layers = config.last_tap() + 1;
    let taps = config.extract_layers.len();
    let (v, l) = (vision.hidden_size, text.hidden_size);
    let (v_hidden, l_hidden) = (vision.intermediate_size, text.intermediate_size);
    let block = |width: usize, units: usize| 2 * width * units + width + units;
    let both = |units: usize| block(v, units) + block(l, units);
    let growing: Vec<usize> = (1..=layers).collect();
    let grown: usize = growing.iter().map(|units| 2 * both(*units)).sum();
    let decoder: usize = random_decoder(config, 0)
        .values()
        .map(|tensor| tensor.data.len())
        .sum();
    vec![
        (of("dense", json!({})), layers * 2 * both(3)),
        (
            of("dense", json!({ "sublayers": "attention" })),
            layers * both(3),
        ),
        (
            of(
                "dense",
                json!({ "sublayers": "mlp", "connection": "parallel", "scale": 4.0 }),
            ),
            layers * both(3),
        ),
        (
            of(
                "dense",
                json!({ "connection": "parallel", "activation": "gelu", "init": "random" }),
            ),
            layers * 2 * both(3),
        ),
        (of("dense", json!({ "bottleneck": growing })), grown),
        (
            of(
                "dense",
                json!({ "text_layers": [1], "text_bottleneck": [7], "init": "near-zero" }),
            ),
            layers * 2 * block(v, 3) + 2 * block(l, 7),
        ),
        (
            of("dense", json!({ "towers": "lc" })),
            layers * 2 * block(l, 3),
        ),
        (
            of("dense", json!({ "train_decoder": true })),
            layers * 2 * both(3) + decoder,
        ),
        (
            of(
                "shallow",
                json!({ "activation": "quick_gelu", "scale": 0.5 }),
            ),
            taps * both(3),
        ),
        (of("lora", json!({})), layers * 2 * 2 * 3 * (v + l)),
        (
            of(
                "lora",
                json!({
                    "projections": ["key", "output", "fc1", "fc2"],
                    "bottleneck": growing,
                    "text_bottleneck": 2,
                    "scale": 2.0,
                    "train_decoder": true,
                }),
            ),
            growing.iter().sum::<usize>() * (2 * 2 * v + 2 * (v + v_hidden))
                + layers * 2 * (2 * 2 * l + 2 * (l + l_hidden))
                + decoder,
        ),
    ]
}

#[test]
fn all_forms_train_the_expected_parameters() {
    let folder = tempfile::tempdir().unwrap();
    let base = base(folder.path());
    let config = config(&base);
    let projection = config.projection_dim;
    for (method, expected) in forms(config) {
        let model = Model::new(&base, method.clone(), 1).unwrap();
        let parameters = weights::export(&model, |name| model.trains(name));
        let count: usize = parameters.values().map(|tensor| tensor.data.len()).sum();
        let conditional = 2 * projection * 5 + projection + 5;
        assert_eq!(count, expected + conditional, "{method:?}");
        let mut first = parameters
            .iter()
            .filter(|(name, _)| name.ends_with(".a.weight"));
        assert!(first.all(|(_, a)| a.data.iter().any(|x| *x != 0.0)));
        let as_it_was = ![json!("random"), json!("near-zero")].contains(&key(&method, "init"));
        let plain = Model::new(&base, MethodConfig::zero_shot(), 1).unwrap();
        let same = to_host(logits(&model)) == to_host(logits(&plain));
        assert_eq!(same, as_it_was, "{method:?}");
    }
}

/// An adapter read from its file computes the same as the written one.
#[test]
fn all_forms_go_through_files() {
    let folder = tempfile::tempdir().unwrap();
    let base = base(folder.path());
    for (method, _) in forms(config(&base)) {
        let model = moved(&base, &method);
        let path = folder.path().join("adapter.safetensors");
        AdapterFile {
            path: PathBuf::new(),
            tensors: weights::export(&model, |name| model.trains(name)),
            method: method.clone(),
            base: Some(base.identity.clone()),
            image_size: None,
            ..AdapterFile::default()
        }
        .write(&path)
        .unwrap();
        let again = Model::with_adapter(&base, AdapterFile::read(&path).unwrap()).unwrap();
        assert_eq!(*again.method(), method);
        assert_eq!(
            to_host(logits(&again)),
            to_host(logits(&model)),
            "{method:?}"
        );
    }
}

/// A base with LoRA's changes in its matrices computes the same as with the changes in a separate file.
#[test]
fn lora_folds_into_the_base() {
    let folder = tempfile::tempdir().unwrap();
    let base = base(folder.path());
    let method = of(
        "lora",
        json!({
            "towers": "vl",
            "scale": 1.5,
            "text_layers": [1],
            "projections": ["query", "key", "value", "output", "fc1", "fc2"],
        }),
    );
    let model = moved(&base, &method);
    let mut file = AdapterFile {
        tensors: weights::export(&model, |name| model.trains(name)),
        method,
        ..AdapterFile::default()
    };
    let folded = base.merge(file.clone()).unwrap();
    let folded = Model::new(&folded, MethodConfig::zero_shot(), 1).unwrap();
    let plain = Model::new(&base, MethodConfig::zero_shot(), 1).unwrap();
    let [changed, folded, plain] = [&model, &folded, &plain].map(|model| to_host(logits(model)));
    assert_eq!(changed, folded);
    assert_ne!(changed, plain);

    file.tensors.remove("l_lora.0.fc2.b.weight");
    let error = base.merge(file).unwrap_err();
    let missing = "missing `l_lora.0.fc2.b.weight`";
    assert!(error.to_string().contains(missing), "{error}");
}
