//! Methods on towers other than CLIPSeg's: tiny SAN and CRIS with random weights.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::{Value, json};
use vlsm_models::tensor_file::WrittenAs;
use vlsm_models::weights::{self, to_host};
use vlsm_models::{AdapterFile, Base, HiddenStates, MethodConfig, Model, SegmentationModel};

const ARCHITECTURES: [&str; 2] = ["san", "cris"];

fn base(architecture: &str) -> Base {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    let folder = folder.join(architecture);
    Base::load(folder.to_str().unwrap(), &Device::flex()).unwrap()
}

fn method(keys: &Value) -> MethodConfig {
    serde_json::from_value(keys.clone()).unwrap()
}

/// Methods with adapters that go with an architecture: on SAN in both towers (text layers are fewer), on CRIS in the text
/// tower.
fn adapters(architecture: &str) -> Vec<Value> {
    let all = ["query", "key", "value", "output", "fc1", "fc2"];
    match architecture {
        "san" => vec![
            json!({ "kind": "dense", "bottleneck": 3, "text_layers": [0, 1], "cond_bottleneck": 4 }),
            json!({ "kind": "dense", "bottleneck": 3, "towers": "v", "connection": "parallel" }),
            json!({ "kind": "shallow", "bottleneck": 3, "towers": "v" }),
            json!({ "kind": "lora", "bottleneck": 2, "text_layers": [0, 1], "projections": all, "cond_bottleneck": 4 }),
            json!({ "kind": "lora", "bottleneck": 2, "towers": "v", "layers": [5], "train_decoder": true }),
            json!({ "kind": "dora", "bottleneck": 2, "text_layers": [0, 1], "projections": all }),
            json!({ "kind": "ia3", "text_layers": [1], "projections": all, "train_decoder": true }),
        ],
        _ => vec![
            json!({ "kind": "dense", "bottleneck": 3, "towers": "lc", "cond_bottleneck": 4 }),
            json!({ "kind": "lora", "bottleneck": 2, "towers": "l", "projections": all }),
            json!({ "kind": "dense", "bottleneck": 3, "towers": "l", "train_decoder": true }),
            json!({ "kind": "dora", "bottleneck": 2, "towers": "l", "projections": all }),
            json!({ "kind": "ia3", "towers": "l" }),
        ],
    }
}

fn wave<const D: usize>(shape: [usize; D], step: f32) -> Tensor<D> {
    let values = (0..shape.iter().product()).map(|at: usize| (at as f32 * step).sin());
    let values = TensorData::new(values.collect::<Vec<f32>>(), shape.to_vec());
    Tensor::from_data(values, &Device::flex())
}

fn side(base: &Base) -> usize {
    base.preprocessing.image_size
}

/// Logits of two images and prompts.
fn logits(base: &Base, model: &Model) -> Tensor<3> {
    let side = side(base);
    let features = model.encode_image(wave([2, 3, side, side], 0.37)).unwrap();
    let tokens = model.tokens(&[vec![38, 4, 39], vec![38, 9, 7, 39]]);
    let text = model.encode_text(&tokens.unwrap()).unwrap();
    model.decode(&features, text).unwrap()
}

/// A model whose trained parameters are away from their start.
fn moved(base: &Base, method: MethodConfig) -> Model {
    let model = Model::new(base, method, 1).unwrap();
    let trained = trained(&model);
    let mut step = 0.1;
    weights::update(model, |name, value| {
        step += 0.01;
        let [count] = value.dims();
        match trained.contains(name) {
            true => value + wave([count], step) * 0.1,
            false => value,
        }
    })
}

fn trained(model: &Model) -> BTreeSet<String> {
    let trained = weights::export(model, |name| model.trains(name));
    trained.into_keys().collect()
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    let pairs = a.iter().zip(b);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Adapters that start at zero leave the base's logits as they are, to the last bit.
#[test]
fn adapters_start_as_the_base() {
    for architecture in ARCHITECTURES {
        let base = base(architecture);
        let plain = Model::new(&base, MethodConfig::zero_shot(), 0).unwrap();
        let plain = to_host(logits(&base, &plain));
        for keys in adapters(architecture) {
            let model = Model::new(&base, method(&keys), 1).unwrap();
            assert_eq!(
                to_host(logits(&base, &model)),
                plain,
                "{architecture} {keys}"
            );
            let moved = moved(&base, method(&keys));
            assert_ne!(
                to_host(logits(&base, &moved)),
                plain,
                "{architecture} {keys}"
            );
        }
    }
}

/// Gradients reach all adapters and nothing of the base but the decoder, where it is trained.
#[test]
fn gradients_reach_exactly_the_adapters() {
    for architecture in ARCHITECTURES {
        let base = base(architecture);
        for keys in adapters(architecture) {
            let model = moved(&base, method(&keys)).for_training();
            let with_decoder = keys.get("train_decoder").is_some();
            let sum = (logits(&base, &model) * wave([2, side(&base), side(&base)], 0.11)).sum();
            let gradients = weights::take_gradients(&model, &mut sum.backward());
            let reached: BTreeSet<String> = gradients.keys().cloned().collect();
            assert_eq!(reached, trained(&model), "{architecture} {keys}");
            let of_base = |name: &str| name.starts_with(&format!("{architecture}."));
            let mut adapters = 0;
            for (name, gradient) in gradients {
                let values = gradient.to_file().data;
                assert!(values.iter().all(|x| x.is_finite()), "{name}");
                if of_base(&name) {
                    assert!(with_decoder, "{name}");
                } else {
                    // The gradient at a key's bias is nothing but rounding; rectified units may be off.
                    let matrix = name.ends_with("weight");
                    let any = values.iter().any(|x| *x != 0.0);
                    assert!(any || !matrix || name.contains("fc"), "{name} {keys}");
                    adapters += 1;
                }
            }
            assert!(adapters > 0);
        }
    }
}

/// Recomputed activations give the same gradients, and every transformer layer recomputes them.
#[test]
fn recomputation_reaches_every_layer() {
    for architecture in ARCHITECTURES {
        let base = base(architecture);
        let gradients = |recompute| {
            let keys = &adapters(architecture)[0];
            let model = moved(&base, method(keys)).with_recompute(recompute);
            // Burn's modules do not list settings; their debug output does.
            let layers = format!("{model:?}");
            assert!(layers.contains(&format!("recompute: {recompute}")));
            assert!(!layers.contains(&format!("recompute: {}", !recompute)));
            let model = model.for_training();
            let sum = (logits(&base, &model) * wave([2, side(&base), side(&base)], 0.11)).sum();
            let gradients = weights::take_gradients(&model, &mut sum.backward());
            let values = gradients.into_iter();
            let values = values.map(|(name, gradient)| (name, gradient.to_file().data));
            values.collect::<Vec<_>>()
        };
        assert_eq!(gradients(true), gradients(false), "{architecture}");
    }
}

/// Exactly the states of towers that a method leaves alone stay as they are when everything that it trains moves.
#[test]
fn frozen_towers_do_not_see_what_is_trained() {
    let values = |states: HiddenStates| states.into_iter().map(to_host).collect::<Vec<_>>();
    for architecture in ARCHITECTURES {
        let base = base(architecture);
        let side = side(&base);
        let others = ["decoder", "full", "zero-shot"].map(|kind| json!({ "kind": kind }));
        for keys in adapters(architecture).into_iter().chain(others) {
            let before = Model::new(&base, method(&keys), 1).unwrap();
            let after = moved(&base, method(&keys));
            let tokens = before.tokens(&[[38, 4, 39]]).unwrap();
            let text = [&before, &after].map(|model| values(model.text_states(&tokens)));
            let frozen = before.frozen_text();
            assert_eq!(text[0] == text[1], frozen, "{architecture} {keys}");

            let pixels = wave([2, 3, side, side], 0.37);
            let states = [&before, &after].map(|model| model.vision_states(pixels.clone()));
            let same = values(states[0].clone()) == values(states[1].clone());
            let Some(shapes) = before.frozen_vision(side) else {
                // Adapters in SAN's last layer change what is recognised alone.
                let last = keys.get("layers") == Some(&json!([5]));
                assert_eq!(same, last, "{architecture} {keys}");
                continue;
            };
            assert!(same, "{architecture} {keys}");
            let found = states[0].iter().map(|state| state.dims());
            let claimed = shapes.into_iter().map(|[tokens, width]| [2, tokens, width]);
            assert!(found.eq(claimed), "{architecture} {keys}");
        }
    }
}

/// A base with LoRA's changes in its matrices computes the same as with them in a file of their own.
#[test]
fn lora_folds_into_every_architecture() {
    for architecture in ARCHITECTURES {
        let base = base(architecture);
        let towers = if architecture == "san" { "vl" } else { "l" };
        let keys = json!({
            "kind": "lora", "towers": towers, "text_layers": [0, 1], "scale": 1.5, "bottleneck": 2,
            "projections": ["query", "key", "value", "output", "fc1", "fc2"],
        });
        let model = moved(&base, method(&keys));
        let file = AdapterFile {
            path: PathBuf::new(),
            tensors: weights::export(&model, |name| model.trains(name)),
            method: method(&keys),
            base: None,
            image_size: None,
            ..AdapterFile::default()
        };
        let folder = tempfile::tempdir().unwrap();
        let merged = base.merge(file).unwrap();
        merged.write(folder.path(), WrittenAs::F32).unwrap();
        let folded = Base::load(folder.path().to_str().unwrap(), &Device::flex()).unwrap();
        assert_eq!(folded.identity.fingerprint, merged.identity.fingerprint);
        let folded = Model::new(&folded, MethodConfig::zero_shot(), 0).unwrap();
        let plain = Model::new(&base, MethodConfig::zero_shot(), 0).unwrap();
        let [changed, folded, plain] =
            [&model, &folded, &plain].map(|model| to_host(logits(&base, model)));
        let (off, change) = (distance(&changed, &folded), distance(&changed, &plain));
        assert!(
            change > 0.0 && off < 1e-4 * change,
            "{architecture}: {off} of {change}"
        );
    }
}

/// What is written comes back, and computes the same.
#[test]
fn adapters_go_through_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adapter.safetensors");
    for architecture in ARCHITECTURES {
        let base = base(architecture);
        for keys in adapters(architecture) {
            let model = moved(&base, method(&keys));
            let file = AdapterFile {
                path: PathBuf::new(),
                tensors: weights::export(&model, |name| model.saves(name)),
                method: method(&keys),
                base: Some(base.identity.clone()),
                image_size: None,
                ..AdapterFile::default()
            };
            file.write(&path).unwrap();
            let again = Model::with_adapter(&base, AdapterFile::read(&path).unwrap()).unwrap();
            assert_eq!(*again.method(), method(&keys));
            let [one, two] = [&model, &again].map(|model| to_host(logits(&base, model)));
            assert_eq!(one, two, "{architecture} {keys}");
        }
    }
}

#[test]
fn methods_that_do_not_fit_say_why() {
    for (architecture, keys, part) in [
        ("cris", json!({ "towers": "v" }), "a ResNet"),
        (
            "cris",
            json!({ "kind": "lora", "towers": "vlc" }),
            "`towers = \"l\"`",
        ),
        ("cris", json!({ "kind": "shallow" }), "no tapped states"),
        (
            "san",
            json!({ "kind": "shallow", "towers": "v", "layers": [1] }),
            "[0, 2, 4]",
        ),
        ("san", json!({ "kind": "dense" }), "other `text_layers`"),
        ("san", json!({ "profile": "paper" }), "\"decoder\""),
        (
            "san",
            json!({ "kind": "decoder", "statistics": "batch" }),
            "SAN has none",
        ),
    ] {
        let base = base(architecture);
        let error = Model::new(&base, method(&keys), 0).unwrap_err().to_string();
        assert!(error.contains(part), "{architecture} {keys}: {error}");
    }
}
