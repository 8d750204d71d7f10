//! Exchange of weights with published code, whose names and shapes the fixtures hold.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::{Value, json};
use vlsm_image::ClassList;
use vlsm_models::methods::Tensors;
use vlsm_models::predict::label_prompts;
use vlsm_models::tensor_file::{self, write_safetensors};
use vlsm_models::weights;
use vlsm_models::{
    AdapterFile, Base, DecoderConfig, MethodConfig, Model, Profile, SegmentationModel,
    ZeroShotConfig,
};

/// A folder with a small model that the published code wrote, by architecture.
fn folder(architecture: &str) -> PathBuf {
    let folder = match architecture {
        "clipseg" => "clipseg/tiny_refined",
        "biomedclipseg" => "biomedclipseg/tiny",
        other => other,
    };
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures")
        .join(folder)
}

const ARCHITECTURES: [&str; 4] = ["clipseg", "biomedclipseg", "san", "cris"];

fn load(folder: &Path) -> Base {
    Base::load(folder.to_str().unwrap(), &Device::flex()).unwrap()
}

fn method(keys: Value) -> MethodConfig {
    serde_json::from_value(keys).unwrap()
}

/// The state dict of the published code, without its counters of batches, which PyTorch does not miss.
fn state_dict(architecture: &str) -> Tensors {
    let weights = match architecture {
        "biomedclipseg" => "open_clip_model.safetensors",
        _ => "model.safetensors",
    };
    let tensors = tensor_file::read(&folder(architecture).join(weights))
        .unwrap()
        .tensors;
    let tensors = tensors.into_iter().map(|(name, tensor)| {
        // open_clip's model is one of two parts of MedVLSM's.
        let part = architecture == "biomedclipseg" && !name.starts_with("decoder.");
        let name = if part {
            format!("biomedclip.{name}")
        } else {
            name
        };
        (name, tensor)
    });
    tensors.collect()
}

/// An adapter file of a method, whose parameters have moved.
fn trained(base: &Base, keys: Value) -> AdapterFile {
    let method = method(keys);
    let model = Model::new(base, method.clone(), 1).unwrap();
    let mut tensors = weights::export(&model, |name| model.saves(name));
    for (index, value) in tensors.values_mut().flat_map(|t| &mut t.data).enumerate() {
        *value += 0.01 * (index as f32).sin();
    }
    AdapterFile {
        tensors,
        method,
        base: Some(base.identity.clone()),
        ..AdapterFile::default()
    }
}

fn write(tensors: &Tensors, path: &Path) {
    write_safetensors(path, tensors, &BTreeMap::new()).unwrap();
}

fn refused<T: std::fmt::Debug>(result: vlsm_models::Result<T>, parts: &[&str]) {
    let error = result.unwrap_err().to_string();
    for part in parts {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn bases_have_the_published_state_dict() {
    for architecture in ARCHITECTURES {
        let published = load(&folder(architecture)).published(Profile::Default);
        let expected = state_dict(architecture);
        let names = |tensors: &Tensors| tensors.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&published), names(&expected), "{architecture}");
        for (name, tensor) in &expected {
            assert!(published[name] == *tensor, "{architecture}: {name}");
        }
    }
}

/// VLSM-Adapter's class numbers its fusion layers by CLIP's layers, holds CLIP as a whole as well, and has no background.
#[test]
fn a_san_of_profile_paper_has_the_names_of_vlsm_adapter() {
    let published = load(&folder("san")).published(Profile::Paper);
    let gradients = tensor_file::read(&folder("san").join("paper.expected.safetensors")).unwrap();
    let gradients = gradients.tensors.iter();
    let mut count = 0;
    for (name, gradient) in gradients {
        if let Some(name) = name.strip_prefix("grad.") {
            assert_eq!(published[name].shape, gradient.shape, "{name}");
            count += 1;
        }
    }
    assert!(count > 50);
    let released = state_dict("san");
    for (name, tensor) in &published {
        let released_name = match name.strip_prefix("clip_model.") {
            Some(rest) if !rest.starts_with("visual.") => format!("ov_classifier.{rest}"),
            _ => name.clone(),
        };
        let known = released.get(&released_name);
        let whole = name.starts_with("clip_model.visual.") || name.contains(".fusion_layers.");
        assert!(whole || known == Some(tensor), "{name}");
    }
    assert!(!published.contains_key("ov_classifier.bg_embed"));
}

/// A trained decoder is exported as a whole model with the published names, and imported again bit for bit.
#[test]
fn decoders_go_out_and_come_back() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("whole.safetensors");
    for architecture in ARCHITECTURES {
        let base = load(&folder(architecture));
        let file = trained(&base, json!({ "kind": "decoder", "profile": "paper" }));
        let published = file.published(Some(&base)).unwrap();
        if architecture != "san" {
            let expected = state_dict(architecture);
            assert!(published.keys().eq(expected.keys()), "{architecture}");
        }
        write(&published, &path);
        let again = AdapterFile::import(&path, Some(&base)).unwrap();
        assert!(again.tensors == file.tensors, "{architecture}");
        assert_eq!(again.method, file.method, "{architecture}");
        assert_eq!(again.base, file.base, "{architecture}");
    }
}

/// A model that was trained as a whole is a base under its published names.
#[test]
fn whole_models_go_out_and_come_back() {
    for architecture in ["clipseg", "san", "cris"] {
        let base = load(&folder(architecture));
        let file = trained(&base, json!({ "kind": "full" }));
        let temporary = tempfile::tempdir().unwrap();
        let config = folder(architecture).join("config.json");
        std::fs::copy(config, temporary.path().join("config.json")).unwrap();
        let path = temporary.path().join("model.safetensors");
        write(&file.published(Some(&base)).unwrap(), &path);
        let again = load(temporary.path());
        let own = weights::export(&again.network, |_| true);
        for (name, tensor) in &file.tensors {
            let name = name.strip_prefix(base.network.prefix()).unwrap();
            assert!(own[name] == *tensor, "{architecture}: {name}");
        }
    }
}

#[test]
fn only_published_adapter_blocks_are_exported() {
    let base = load(&folder("clipseg"));
    let published = trained(&base, json!({ "towers": "v", "profile": "paper" }));
    assert!(published.published(Some(&base)).unwrap() == published.tensors);
    for keys in [
        json!({ "towers": "v" }),
        json!({ "towers": "l", "profile": "paper" }),
        json!({ "towers": "v", "profile": "paper", "layers": [0] }),
    ] {
        let file = trained(&base, keys);
        refused(
            file.published(Some(&base)),
            &["dense adapters", "method.profile=paper"],
        );
    }
    let biomed = load(&folder("biomedclipseg"));
    let file = trained(&biomed, json!({ "towers": "v", "profile": "paper" }));
    refused(file.published(Some(&biomed)), &["BiomedCLIPSeg"]);
    let low_rank = trained(&base, json!({ "kind": "lora", "towers": "vlc" }));
    refused(low_rank.published(Some(&base)), &["adapter blocks"]);
    let decoder = trained(&base, json!({ "kind": "decoder" }));
    refused(decoder.published(None), &["--base"]);
}

/// Only the decoder of a whole model is taken, so its towers must be the base's.
#[test]
fn a_whole_model_is_an_adapter_only_with_the_towers_of_the_base() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("model.safetensors");
    for architecture in ARCHITECTURES {
        let base = load(&folder(architecture));
        let mut tensors = state_dict(architecture);
        write(&tensors, &path);
        let adapter = AdapterFile::import(&path, Some(&base)).unwrap();
        assert_eq!(adapter.method.kind(), "decoder", "{architecture}");
        let tower = tensors.keys().find(|name| {
            ["layer_norm1", "norm1", "ln_1"]
                .iter()
                .any(|norm| name.contains(norm))
                && !["decoder.", "side_adapter"]
                    .iter()
                    .any(|part| name.starts_with(part))
        });
        let tower = tower.unwrap().clone();
        tensors.get_mut(&tower).unwrap().data[0] += 0.25;
        write(&tensors, &path);
        let parts = ["model.safetensors", "whole model", "--base"];
        refused(AdapterFile::import(&path, Some(&base)), &parts);
    }
    // The last file is a CRIS, which cannot be recognised without its base.
    let base = load(&folder("clipseg"));
    refused(
        AdapterFile::read(&path).and_then(|adapter| Model::with_adapter(&base, adapter)),
        &["vlsm model import"],
    );
}

#[test]
fn imported_adapters_compute_what_was_exported() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("whole.safetensors");
    let base = load(&folder("san"));
    let file = trained(&base, json!({ "kind": "decoder" }));
    write(&file.published(Some(&base)).unwrap(), &path);
    let imported = AdapterFile::import(&path, Some(&base)).unwrap();
    let side = base.preprocessing.image_size;
    let values = (0..3 * side * side).map(|at| (at as f32 * 0.37).sin());
    let values = TensorData::new(values.collect::<Vec<f32>>(), [1, 3, side, side]);
    let pixels = Tensor::<4>::from_data(values, &Device::flex());
    let logits = |file: AdapterFile| {
        let model = Model::with_adapter(&base, file).unwrap();
        let text = model
            .encode_text(&model.tokens(&[[38, 4, 39]]).unwrap())
            .unwrap();
        let features = model.encode_image(pixels.clone()).unwrap();
        weights::to_host(model.decode(&features, text).unwrap())
    };
    assert_eq!(logits(imported), logits(file));
}

/// Labels of whole images by SAN's own mode: every class in every template, here the same two prompts again and again.
#[test]
fn a_vocabulary_gives_the_published_scores() {
    let base = load(&folder("san"));
    let model = Model::new(&base, ZeroShotConfig::default().into(), 0).unwrap();
    let read = |name: &str| tensor_file::read(&folder("san").join(name)).unwrap();
    let batch = read("batch.safetensors");
    let expected = &read("default.expected.safetensors").tensors["semantic"].data;
    let ids = |name: &str| -> Vec<Vec<u32>> {
        let ids = &batch.ints[name];
        let rows = ids.data.chunks(ids.shape[1]);
        rows.map(|row| row.iter().map(|id| *id as u32).collect())
            .collect()
    };
    let two = [ids("classes_0"), ids("classes_1")];
    let classes = two[0].len();
    let prompts: Vec<Vec<u32>> = (0..classes)
        .flat_map(|class| (0..model.templates().len()).map(move |index| (class, index)))
        .map(|(class, index)| two[index % 2][class].clone())
        .collect();
    let text = model.encode_text(&model.tokens(&prompts).unwrap()).unwrap();
    let pixels = batch.tensors["pixel_values"].clone();
    let pixels = TensorData::new(pixels.data, pixels.shape);
    let pixels = Tensor::<4>::from_data(pixels, &Device::flex());
    let features = model.encode_image(pixels).unwrap();
    let masks = model.vocabulary_masks(&features, text).unwrap();
    let scores = weights::to_host(masks.scores());
    assert_eq!(scores.len(), expected.len());
    for (found, expected) in scores.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }
    // What was trained with single prompts is asked with single prompts.
    let trained = Model::new(&base, DecoderConfig::default().into(), 0).unwrap();
    assert!(trained.templates().is_empty());
    let classes = ClassList::new(vec!["road".into(), "sky".into()], None).unwrap();
    assert_eq!(label_prompts(&trained, &classes), ["road", "sky"]);
    let sentences = label_prompts(&model, &classes);
    assert_eq!(sentences.len(), 28);
    assert_eq!(sentences[14], "a photo of a sky.");
    // A threshold is one of a class's own probability.
    let classes = classes.with_background(0.5).unwrap();
    assert_eq!(label_prompts(&model, &classes), ["road", "sky"]);
}
