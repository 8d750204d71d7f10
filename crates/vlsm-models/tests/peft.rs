//! Exchange of adapters with peft, whose own files are in `fixtures/methods`.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::{Value, json};
use vlsm_models::tensor_file::{self, pytorch_metadata, write_safetensors};
use vlsm_models::weights::{self, to_host};
use vlsm_models::{AdapterFile, Base, MethodConfig, Model, SegmentationModel, peft};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

fn base(name: &str) -> Base {
    let folder = fixtures().join(name);
    let name = if name.starts_with("builtin:") {
        name
    } else {
        folder.to_str().unwrap()
    };
    Base::load(name, &Device::flex()).unwrap()
}

fn clipseg() -> Base {
    base("clipseg/tiny_refined")
}

fn of_peft(kind: &str) -> PathBuf {
    fixtures().join(format!("methods/{kind}_peft"))
}

/// Logits of the first two images and prompts of the base's batch.
fn logits(base: &Base, adapter: AdapterFile) -> Vec<f32> {
    let model = Model::with_adapter(base, adapter).unwrap().for_inference();
    let batch = fixtures().join("clipseg/tiny_refined/batch.safetensors");
    let batch = tensor_file::read(&batch).unwrap();
    let pixels = batch.tensors["pixel_values"].data[..2 * 3 * 64 * 64].to_vec();
    let pixels = TensorData::new(pixels, [2, 3, 64, 64]);
    let pixels = Tensor::<4>::from_data(pixels, &Device::flex());
    let ids = batch.ints["input_ids"].data.chunks(12);
    let ids = ids.take(2).map(|ids| ids[..7].iter().map(|id| *id as u32));
    let ids: Vec<Vec<u32>> = ids.map(Iterator::collect).collect();
    let text = model.encode_text(&model.tokens(&ids).unwrap()).unwrap();
    let logits = model.decode(&model.encode_image(pixels).unwrap(), text);
    to_host(logits.unwrap())
}

/// An adapter with peft's file gives peft's logits, and goes back with the same tensors.
#[test]
fn adapters_of_peft_give_its_logits_and_go_back() {
    let base = clipseg();
    for kind in ["lora", "dora", "ia3"] {
        let adapter = peft::read(&of_peft(kind), &base).unwrap();
        assert_eq!(adapter.method.kind(), kind);
        let reference = fixtures().join(format!("methods/{kind}.safetensors"));
        let reference = tensor_file::read(&reference).unwrap();
        let expected = &reference.tensors["logits"].data;
        let found = logits(&base, adapter.clone());
        let largest = |values: &[f32]| values.iter().copied().fold(f32::MIN, f32::max);
        let least = expected.iter().copied().fold(f32::MAX, f32::min);
        let off: Vec<f32> = found
            .iter()
            .zip(expected)
            .map(|(a, b)| (a - b).abs())
            .collect();
        let off = largest(&off) / (largest(expected) - least);
        assert!(off < 1e-4, "{kind}: {off}");

        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("peft");
        peft::write(&adapter, &base, &out).unwrap();
        let [theirs, ours] = [of_peft(kind), out.clone()].map(|folder| folder.join(peft::WEIGHTS));
        let [theirs, ours] = [theirs, ours].map(|path| tensor_file::read(&path).unwrap());
        assert_eq!(ours.tensors, theirs.tensors, "{kind}");
        let again = peft::read(&out, &base).unwrap();
        assert_eq!(again.tensors, adapter.tensors, "{kind}");
        assert_eq!(again.method, adapter.method, "{kind}");
    }
}

/// What was trained here comes back as it was, with the settings of its use.
#[test]
fn exported_adapters_come_back() {
    let base = base("builtin:tiny");
    for keys in [
        json!({ "kind": "lora", "towers": "l", "scale": 0.5, "init": "random" }),
        json!({ "kind": "lora", "towers": "vl", "layers": [1, 3], "text_layers": [0], "bottleneck": 5, "init": "random" }),
        json!({ "kind": "dora", "projections": ["fc2", "query"], "init": "random" }),
        json!({ "kind": "ia3", "towers": "v" }),
    ] {
        let method: MethodConfig = serde_json::from_value(keys.clone()).unwrap();
        let model = Model::new(&base, method.clone(), 3).unwrap();
        let adapter = AdapterFile {
            tensors: weights::export(&model, |name| model.trains(name)),
            method,
            image_size: Some(168),
            ..AdapterFile::default()
        };
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("a/peft");
        std::fs::create_dir(folder.path().join("a")).unwrap();
        peft::write(&adapter, &base, &out).unwrap();
        assert!(peft::is_peft(&out));
        let again = peft::read(&out, &base).unwrap();
        assert_eq!(again.tensors, adapter.tensors, "{keys}");
        assert_eq!(again.image_size, Some(168));
        assert_eq!(again.base.as_ref(), Some(&base.identity));
        let forward = Model::with_adapter(&base, again).unwrap();
        assert_eq!(forward.trained_parameters(), model.trained_parameters());
        // Not over what is there.
        let error = peft::write(&adapter, &base, &out).unwrap_err().to_string();
        assert!(error.contains("peft"), "{error}");
        // Another base.
        let error = peft::read(&out, &clipseg()).unwrap_err().to_string();
        assert!(error.contains(peft::WEIGHTS), "{error}");
    }
}

/// A copy of peft's LoRA with another value of a key of its configuration, and its error.
fn with_key(key: &str, value: Value) -> String {
    let folder = tempfile::tempdir().unwrap();
    let from = of_peft("lora");
    let config = std::fs::read(from.join(peft::CONFIG)).unwrap();
    let mut config: Value = serde_json::from_slice(&config).unwrap();
    config[key] = value;
    std::fs::write(folder.path().join(peft::CONFIG), config.to_string()).unwrap();
    std::fs::copy(from.join(peft::WEIGHTS), folder.path().join(peft::WEIGHTS)).unwrap();
    match peft::read(folder.path(), &clipseg()) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_configuration_that_says_something_else_is_refused() {
    for (key, value, part) in [
        ("use_magic", json!(true), "`use_magic` is not a key"),
        ("bias", json!("all"), "`bias` is \"all\""),
        ("rank_pattern", json!({ "q_proj": 4 }), "`rank_pattern`"),
        ("modules_to_save", json!(["decoder"]), "`modules_to_save`"),
        ("fan_in_fan_out", json!(true), "`fan_in_fan_out`"),
        ("init_lora_weights", json!("pissa"), "`init_lora_weights`"),
        ("peft_type", json!("LOHA"), "\"LORA\""),
        ("r", json!(null), "`r`"),
        ("lora_alpha", json!(0), "`lora_alpha`"),
    ] {
        let error = with_key(key, value);
        assert!(error.contains(part), "{key}: {error}");
        assert!(error.contains(peft::CONFIG), "{key}: {error}");
    }
    // Keys that change nothing.
    for (key, value) in [
        ("lora_dropout", json!(0.3)),
        ("layers_to_transform", json!([1])),
        ("revision", json!("x")),
        ("init_lora_weights", json!("gaussian")),
    ] {
        assert_eq!(with_key(key, value), "", "{key}");
    }
    // Without `use_dora` the lengths are not a tensor of the method.
    let folder = tempfile::tempdir().unwrap();
    for file in [peft::CONFIG, peft::WEIGHTS] {
        std::fs::copy(of_peft("dora").join(file), folder.path().join(file)).unwrap();
    }
    let path = folder.path().join(peft::CONFIG);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(
        &path,
        text.replace("\"use_dora\": true", "\"use_dora\": false"),
    )
    .unwrap();
    let error = peft::read(folder.path(), &clipseg())
        .unwrap_err()
        .to_string();
    assert!(error.contains("lora_magnitude_vector"), "{error}");
}

#[test]
fn tensors_that_do_not_fit_are_refused() {
    let query =
        "base_model.model.clip.vision_model.encoder.layers.1.self_attn.q_proj.lora_A.weight";
    let decoder = "base_model.model.decoder.layers.0.self_attn.q_proj.lora_A.weight";
    for (case, parts) in [
        ("missing", [query, "is missing"]),
        ("shape", [query, "instead of [3, 48]"]),
        ("decoder", [decoder, "target_modules"]),
        ("none", ["no tensors", peft::WEIGHTS]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let from = of_peft("lora");
        std::fs::copy(from.join(peft::CONFIG), folder.path().join(peft::CONFIG)).unwrap();
        let mut tensors = tensor_file::read(&from.join(peft::WEIGHTS))
            .unwrap()
            .tensors;
        match case {
            "missing" => drop(tensors.remove(query)),
            "shape" => {
                let tensor = tensors.get_mut(query).unwrap();
                tensor.shape = vec![tensor.shape[1], tensor.shape[0]];
            }
            "decoder" => {
                let tensor = tensors[query].clone();
                tensors.insert(decoder.to_owned(), tensor);
            }
            _ => tensors.clear(),
        }
        let path = folder.path().join(peft::WEIGHTS);
        write_safetensors(&path, &tensors, &pytorch_metadata()).unwrap();
        let error = peft::read(folder.path(), &clipseg())
            .unwrap_err()
            .to_string();
        for part in parts {
            assert!(error.contains(part), "{case}: {error}");
        }
    }
    let error = peft::read(&of_peft("lora"), &base("cris"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("CRIS") && error.contains("CLIPSeg"),
        "{error}"
    );
    // The file alone says what to do with it.
    let error = AdapterFile::read(&of_peft("lora").join(peft::WEIGHTS))
        .unwrap_err()
        .to_string();
    assert!(error.contains("vlsm model import"), "{error}");
}

#[test]
fn what_peft_does_not_have_is_not_exported() {
    let base = clipseg();
    for (keys, part) in [
        (json!({ "kind": "lora" }), "text embedding"),
        (
            json!({ "kind": "lora", "towers": "vl", "train_biases": true }),
            "`train_biases = false`",
        ),
        (
            json!({ "kind": "ia3", "train_decoder": true }),
            "`train_decoder = false`",
        ),
        (json!({ "kind": "ia3", "head": true }), "`head = false`"),
        (
            json!({ "kind": "dora", "bottleneck": [1, 2, 3, 4] }),
            "`bottleneck`",
        ),
        (json!({ "kind": "ssf" }), "`ia3`"),
    ] {
        let method: MethodConfig = serde_json::from_value(keys.clone()).unwrap();
        let model = Model::new(&base, method.clone(), 0).unwrap();
        let adapter = AdapterFile {
            tensors: weights::export(&model, |name| model.saves(name)),
            method,
            ..AdapterFile::default()
        };
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("peft");
        let error = peft::write(&adapter, &base, &out).unwrap_err().to_string();
        assert!(error.contains(part), "{keys}: {error}");
        assert!(!out.exists());
    }
}
