//! BiomedCLIPSeg compared with timm, open_clip and Transformers (`scripts/reference/make_biomedclipseg.py`): logits and gradients in
//! f64 of a small model with random weights, with and without dense adapters.
//!
//! `VLSM_BIOMEDCLIPSEG=FOLDER cargo test -p vlsm-train --test biomedclipseg` compares the full size with the
//! script's output with `--full`.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::panic)]

#[path = "../../vlsm-models/tests/common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Tensor, TensorData};
use serde_json::json;
use vlsm_models::biomedclip::names::{from_file, to_file};
use vlsm_models::clipseg::random_weights;
use vlsm_models::tensor_file::{self, HostTensor, TensorFile};
use vlsm_models::weights::{self, to_host};
use vlsm_models::{
    AdapterFile, Base, MethodConfig, Model, Network, Profile, SegmentationModel, Towers,
};

use crate::common::tested;

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/biomedclipseg/tiny")
}

fn load(folder: &Path) -> Base {
    Base::load(folder.to_str().unwrap(), &tested()).unwrap()
}

/// The model's logits for the batch of a file, on the tape if the model is.
fn logits(model: &Model, batch: &TensorFile) -> Tensor<3> {
    let ids = &batch.ints["input_ids"];
    let ids: Vec<u32> = ids.data.iter().map(|id| *id as u32).collect();
    let length = batch.ints["input_ids"].shape[1];
    let prompts: Vec<&[u32]> = ids.chunks(length).collect();
    let pixels = &batch.tensors["pixel_values"];
    let pixels = TensorData::new(pixels.data.clone(), pixels.shape.clone());
    let pixels = Tensor::from_data(pixels, &tested());
    let text = model.encode_text(&model.tokens(&prompts).unwrap()).unwrap();
    model
        .decode(&model.encode_image(pixels).unwrap(), text)
        .unwrap()
}

/// The distance between values and expected values, and the norm of the expected values about `centre`.
fn distance(found: &[f32], expected: &[f32], centre: f64) -> (f64, f64) {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected);
    let off: f64 = pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum();
    let norm = expected.iter().map(|b| (f64::from(*b) - centre).powi(2));
    (off.sqrt(), norm.sum::<f64>().sqrt())
}

/// Compares logits and gradients with those of a file under a prefix. Returns the largest distances, relative to the logits'
/// spread and to each gradient's norm.
fn check(model: Model, batch: &TensorFile, prefix: &str, some: bool) -> (f64, f64) {
    let model = model.for_training();
    let found = logits(&model, batch);
    let expected = &batch.tensors[&format!("{prefix}.logits")];
    let values = to_host(found.clone().inner());
    let mean = expected.data.iter().map(|x| f64::from(*x)).sum::<f64>() / values.len() as f64;
    let (off, spread) = distance(&values, &expected.data, mean);
    let at_logits = off / spread;

    let weight = (0..values.len()).map(|at| (at as f64 * 0.11).sin() as f32);
    let weight = TensorData::new(weight.collect::<Vec<_>>(), found.dims());
    let weight = Tensor::from_data(weight, &tested());
    let mut gradients = (found * weight).sum().backward();
    let gradients = weights::take_gradients(&model, &mut gradients);
    let prefix = format!("{prefix}.grad.");
    let expected: BTreeMap<String, HostTensor> = batch
        .tensors
        .iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix(&prefix)?.into(), tensor.clone())))
        .collect();
    let expected = from_file(expected);
    if !some {
        let named = gradients
            .keys()
            .map(|name| name.trim_start_matches("clipseg."));
        let named: Vec<&str> = named.collect();
        let wanted: Vec<&str> = expected.keys().map(String::as_str).collect();
        let lacks = wanted.iter().find(|name| !named.contains(name));
        assert_eq!(lacks, None, "gradient of {prefix}");
    }
    let largest = expected
        .values()
        .map(|one| distance(&one.data, &one.data, 0.0).1);
    let largest = largest.fold(0.0, f64::max);
    let mut worst: f64 = 0.0;
    for (name, expected) in &expected {
        let gradient = gradients.get(&format!("clipseg.{name}"));
        let gradient = gradient.or_else(|| gradients.get(name)).unwrap().to_file();
        assert_eq!(gradient.shape, expected.shape, "{name}");
        let (off, norm) = distance(&gradient.data, &expected.data, 0.0);
        // Rounding grows through the layers of the small model, whose weights are large. The gradient of a key's bias is
        // only rounding error.
        if norm > 1e-9 * largest {
            assert!(
                off < 1e-3 * norm + 1e-7 * largest,
                "{name}: off by {off} of {norm}"
            );
            worst = worst.max(off / (norm + 1e-3 * largest));
        }
    }
    assert!(
        at_logits < 1e-5,
        "{prefix}: off by {at_logits} of the spread"
    );
    (at_logits, worst)
}

fn method(kind: &str, profile: Profile) -> MethodConfig {
    method_with(json!({ "kind": kind, "profile": profile }))
}

fn method_with(keys: serde_json::Value) -> MethodConfig {
    serde_json::from_value(keys).unwrap()
}

#[test]
fn logits_and_gradients_agree_with_the_reference() {
    let base = load(&tiny());
    let batch = tensor_file::read(&tiny().join("expected.safetensors")).unwrap();
    // `paper` taps the layers after those that the configuration names, as published.
    for (profile, prefix) in [(Profile::Default, "default"), (Profile::Paper, "published")] {
        let model = Model::new(&base, method("full", profile), 0).unwrap();
        println!("{prefix}: {:?}", check(model, &batch, prefix, false));
    }
}

#[test]
fn dense_adapters_agree_with_the_reference() {
    let base = load(&tiny());
    let batch = tensor_file::read(&tiny().join("expected.safetensors")).unwrap();
    let adapter = AdapterFile::read(&tiny().join("dense_vlc.init.safetensors")).unwrap();
    assert_eq!(adapter.method.towers(), Some(Towers::Vlc));
    let model = Model::with_adapter(&base, adapter).unwrap();
    println!("dense: {:?}", check(model, &batch, "dense_vlc", false));
}

#[test]
fn full_size_agrees_if_a_folder_is_given() {
    let Some(folder) = std::env::var_os("VLSM_BIOMEDCLIPSEG").map(PathBuf::from) else {
        println!("VLSM_BIOMEDCLIPSEG is not set: nothing is checked at full size");
        return;
    };
    let base = load(&folder);
    let batch = tensor_file::read(&folder.join("expected.safetensors")).unwrap();
    for (profile, prefix) in [(Profile::Default, "default"), (Profile::Paper, "published")] {
        let model = Model::new(&base, method("full", profile), 0).unwrap();
        println!("{prefix}: {:?}", check(model, &batch, prefix, true));
    }
}

/// Ids of Transformers' `BertTokenizerFast`; a prompt's do not change with how far it is padded.
#[test]
fn word_pieces_agree_with_the_reference() {
    let base = load(&tiny());
    let batch = tensor_file::read(&tiny().join("expected.safetensors")).unwrap();
    let ids = &batch.ints["input_ids"];
    let texts = [
        "one small round POLYP",
        "polyps",
        "Red polyp, located in the left of the image",
        "a  polyp",
    ];
    for (text, expected) in texts.iter().zip(ids.data.chunks(ids.shape[1])) {
        let found = base.tokenizer.encode(text, ids.shape[1]).unwrap();
        let found: Vec<i64> = found.into_iter().map(i64::from).collect();
        assert_eq!(found, expected[..found.len()], "{text}");
        assert!(expected[found.len()..].iter().all(|id| *id == 0), "{text}");
    }
}

/// A prompt's states are the same, whichever prompts it was encoded with.
#[test]
fn prompts_do_not_depend_on_their_neighbours() {
    let base = load(&tiny());
    let model = Model::new(&base, MethodConfig::zero_shot(), 0).unwrap();
    let ids = ["polyps", "red polyp in the image", "red", "one polyp"]
        .map(|text| base.tokenizer.encode(text, 16).unwrap());
    let together = model.text_states(&model.tokens(&ids).unwrap());
    for (place, ids) in ids.iter().enumerate() {
        let alone = model.text_states(&model.tokens(&[ids]).unwrap());
        let own = together[0].clone().narrow(0, place, 1);
        assert_eq!(to_host(alone[0].clone()), to_host(own));
    }
}

/// Weights are written back as they were read: names, shapes and bits.
#[test]
fn weights_are_written_as_they_were_read() {
    let read = tensor_file::read(&tiny().join("open_clip_model.safetensors")).unwrap();
    let base = load(&tiny());
    let written = to_file(weights::export(&base.network, |_| true));
    assert_eq!(read.tensors, written);
}

/// Without a decoder in the files, and with another model's.
#[test]
fn decoders_are_random_or_taken_from_another_base() {
    let folder = tempfile::tempdir().unwrap();
    let towers = folder.path().join("towers");
    std::fs::create_dir(&towers).unwrap();
    let all = tensor_file::read(&tiny().join("open_clip_model.safetensors")).unwrap();
    let mut tensors = all.tensors;
    tensors.retain(|name, _| !name.starts_with("decoder."));
    let weights_file = towers.join("open_clip_model.safetensors");
    tensor_file::write_safetensors(&weights_file, &tensors, &BTreeMap::new()).unwrap();
    for name in ["open_clip_config.json", "tokenizer.json"] {
        std::fs::copy(tiny().join(name), towers.join(name)).unwrap();
    }
    let random = load(&towers);
    let Network::BiomedClip(clipseg) = &random.network else {
        panic!("not a CLIPSeg");
    };
    assert!(clipseg.config.fresh_decoder);
    let decoder = |model: &Model| {
        let tensors = weights::export(model, |name| name == "clipseg.decoder.film_mul.weight");
        tensors.into_values().next().unwrap().data
    };
    let start = |seed| {
        let model = Model::new(&random, method("decoder", Profile::Default), seed);
        decoder(&model.unwrap())
    };
    assert_eq!(start(1), start(1));
    assert_ne!(start(1), start(2));

    // Another model with a decoder of the same shape, whose taps are not BiomedCLIPSeg's published ones.
    let other = folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let mut config = clipseg.config.clone();
    config.vision_config.timm = false;
    config.text_config.bert = None;
    std::fs::write(
        other.join("config.json"),
        config.to_json().unwrap().to_string(),
    )
    .unwrap();
    let tensors = random_weights(&config, 3);
    let path = other.join("model.safetensors");
    tensor_file::write_safetensors(&path, &tensors, &BTreeMap::new()).unwrap();
    let both = format!("{}+{}", towers.display(), other.display());
    let both = Base::load(&both, &tested()).unwrap();
    assert_ne!(both.identity.fingerprint, random.identity.fingerprint);
    let model = Model::new(&both, MethodConfig::zero_shot(), 0).unwrap();
    assert_eq!(decoder(&model), tensors["decoder.film_mul.weight"].data);
    let Network::BiomedClip(clipseg) = &both.network else {
        panic!("not a CLIPSeg");
    };
    assert!(!clipseg.config.fresh_decoder);
    assert_eq!(clipseg.config.published_taps, Some(vec![4, 7, 10]));
}

/// Adapters of profile `default` start as the identity; adapters that the model cannot have are refused.
#[test]
fn adapters_start_as_on_clipseg() {
    let base = load(&tiny());
    let batch = tensor_file::read(&tiny().join("expected.safetensors")).unwrap();
    let values = |method| to_host(logits(&Model::new(&base, method, 1).unwrap(), &batch));
    let plain = values(MethodConfig::zero_shot());
    for kind in ["dense", "shallow"] {
        let adapted = method_with(json!({ "kind": kind, "towers": "v" }));
        assert_eq!(values(adapted), plain);
    }
    let text = method("shallow", Profile::Default);
    let error = Model::new(&base, text, 1).unwrap_err().to_string();
    assert!(error.contains("equal to the projection width"), "{error}");
}

#[test]
fn errors_say_why_a_folder_is_no_biomedclip() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for name in ["open_clip_config.json", "open_clip_model.safetensors"] {
        std::fs::copy(tiny().join(name), folder.join(name)).unwrap();
    }
    let error = |folder: &Path| {
        let error = Base::load(folder.to_str().unwrap(), &tested()).unwrap_err();
        error.to_string()
    };
    assert!(
        error(folder).contains("tokenizer.json"),
        "{}",
        error(folder)
    );
    let config = folder.join("open_clip_config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    let other = text.replace("\"mlp\"", "\"linear\"");
    std::fs::write(&config, other).unwrap();
    let message = error(folder);
    assert!(
        message.contains("open_clip_config.json") && message.contains("hf_proj_type"),
        "{message}"
    );
}

/// MedVLSM's checkpoints hold the towers as `biomedclip`, next to the decoder. Only the decoder is loaded; the towers
/// must be the base's.
#[test]
fn published_checkpoints_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let read = tensor_file::read(&tiny().join("open_clip_model.safetensors")).unwrap();
    let (decoder, towers): (BTreeMap<_, _>, _) = read
        .tensors
        .into_iter()
        .partition(|(name, _)| name.starts_with("decoder."));
    let with = |towers: &BTreeMap<String, HostTensor>| {
        let mut all = BTreeMap::new();
        for (name, tensor) in &decoder {
            all.insert(format!("net.{name}"), tensor.clone());
        }
        for (name, tensor) in towers {
            all.insert(format!("net.biomedclip.{name}"), tensor.clone());
        }
        let path = folder.path().join("checkpoint.safetensors");
        tensor_file::write_safetensors(&path, &all, &BTreeMap::new()).unwrap();
        AdapterFile::read(&path).unwrap()
    };
    let base = folder.path().join("base");
    std::fs::create_dir(&base).unwrap();
    let weights_file = base.join("open_clip_model.safetensors");
    tensor_file::write_safetensors(&weights_file, &towers, &BTreeMap::new()).unwrap();
    for name in ["open_clip_config.json", "tokenizer.json"] {
        std::fs::copy(tiny().join(name), base.join(name)).unwrap();
    }
    let base = load(&base);
    let adapter = with(&towers);
    assert_eq!(adapter.method.kind(), "decoder");
    assert_eq!(adapter.method.profile(), Profile::Paper);
    let model = Model::with_adapter(&base, adapter).unwrap();
    let own = weights::export(&model, |name| name.starts_with("clipseg.decoder."));
    assert_eq!(own.len(), decoder.len());
    for (name, tensor) in &decoder {
        assert_eq!(own[&format!("clipseg.{name}")], *tensor);
    }
    // Towers that were trained as well belong to another base.
    let mut moved = towers.clone();
    moved.get_mut("logit_scale").unwrap().data[0] += 1.0;
    let error = Model::with_adapter(&base, with(&moved)).unwrap_err();
    assert!(error.to_string().contains("use the base"), "{error}");
}
