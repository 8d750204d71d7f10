//! SAN compared with the published code (`scripts/reference/make_san.py`): features, logits and gradients.
//!
//! The fixture is small; `SAN_FIXTURE` names the folder of another one, such as `make_san.py --full` makes.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::panic)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use vlsm_models::methods::Unadapted;
use vlsm_models::san::names::{from_file, to_file};
use vlsm_models::san::{San, SanConfig};
use vlsm_models::tensor_file::{self, HostTensor, TensorFile};
use vlsm_models::weights::{self, to_host};
use vlsm_models::{
    Base, DecoderConfig, MethodConfig, Model, Network, Profile, SegmentationModel, TokenBatch,
    ZeroShotConfig,
};

use crate::common::tested;

type Tensors = BTreeMap<String, HostTensor>;

fn folder() -> PathBuf {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/san");
    std::env::var_os("SAN_FIXTURE").map_or_else(own, PathBuf::from)
}

fn read(name: &str) -> TensorFile {
    tensor_file::read(&folder().join(name)).unwrap()
}

fn san(profile: Profile) -> San {
    let path = folder().join("model.safetensors");
    let config = SanConfig::read(&folder().join("config.json")).unwrap();
    let tensors = tensor_file::read(&path).unwrap().tensors;
    let san = San::from_tensors(&config, tensors, &path, 0, &tested()).unwrap();
    san.with_profile(profile)
}

fn tensor<const D: usize>(tensor: &HostTensor) -> Tensor<D> {
    let shape: [usize; D] = tensor.shape.clone().try_into().unwrap();
    Tensor::from_data(TensorData::new(tensor.data.clone(), shape), &tested())
}

fn tokens(batch: &TensorFile, name: &str, san: &San) -> TokenBatch {
    let ids = &batch.ints[name];
    let prompts: Vec<Vec<u32>> = ids
        .data
        .chunks(ids.shape[1])
        .map(|row| row.iter().map(|id| *id as u32).collect())
        .collect();
    TokenBatch::new(&prompts, &san.config().text_config).unwrap()
}

/// Holds values to 1e-4 of the expected values' spread.
fn assert_close<const D: usize>(name: &str, found: Tensor<D>, expected: &Tensors) {
    let expected = &expected[name];
    let found = to_host(found);
    assert_eq!(found.len(), expected.data.len(), "{name}");
    let count = found.len() as f32;
    let mean = expected.data.iter().sum::<f32>() / count;
    let squares = expected.data.iter().map(|x| (x - mean).powi(2));
    let spread = (squares.sum::<f32>() / count).sqrt();
    let pairs = found.iter().zip(&expected.data);
    let off = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("{name}: off by {off:.1e}, spread {spread:.1e}");
    assert!(
        off <= 1e-4 * spread,
        "{name} is off by {off}, of a spread of {spread}"
    );
}

/// CLIP's embeddings of prompts.
fn encode_text(san: &San, tokens: &TokenBatch) -> Tensor<2> {
    san.encode_text(tokens, &Unadapted).0
}

/// Holds the gradients of `sum(logits * weights)` to 1e-3 of their norms.
fn assert_gradients(san: San, expected: &Tensors) {
    let batch = read("batch.safetensors");
    let pixels = tensor(&batch.tensors["pixel_values"]);
    let features = san.encode_image(pixels, &Unadapted).unwrap();
    let text = encode_text(&san, &tokens(&batch, "input_ids", &san));
    let logits = san.decode(&features, text);
    let loss = (logits * tensor::<3>(&batch.tensors["weights"])).sum();
    let found = weights::take_gradients(&san, &mut loss.backward());

    let expected = expected.iter().filter_map(|(name, tensor)| {
        Some((name.strip_prefix("grad.")?.to_owned(), tensor.clone()))
    });
    let expected = from_file(expected.collect(), san.config());
    let names = |keys: BTreeSet<&String>| keys.into_iter().cloned().collect::<Vec<_>>();
    assert_eq!(
        names(found.keys().collect()),
        names(expected.keys().collect())
    );
    let norm = |x: &[f32]| x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let largest = expected.values().map(|x| norm(&x.data)).fold(0.0, f64::max);
    let mut worst = (0.0, String::new());
    for (name, gradient) in found {
        let (gradient, expected) = (gradient.to_file(), &expected[&name]);
        assert_eq!(gradient.shape, expected.shape, "{name}");
        let pairs = gradient.data.iter().zip(&expected.data);
        let off = norm(&pairs.map(|(a, b)| a - b).collect::<Vec<_>>());
        let norm = norm(&expected.data);
        // The gradient of a key's bias is nothing but rounding. At full size those of the last bias of `attn_mlp` and of
        // `bias_scaling.bias` nearly cancel: PyTorch's own are off f64's by 2e-3 of their norms.
        assert!(
            off <= 1e-3 * norm + 1e-7 * largest,
            "{name}: {off:.1e} of {norm:.1e}"
        );
        if !name.ends_with("k_proj.bias") && off / norm > worst.0 {
            worst = (off / norm, name);
        }
    }
    println!(
        "gradients: off by at most {:.1e} of a norm: {}",
        worst.0, worst.1
    );
}

#[test]
fn logits_and_parts_are_those_of_the_published_modules() {
    let san = san(Profile::Default);
    let expected = read("default.expected.safetensors").tensors;
    let batch = read("batch.safetensors");
    let states = san.vision_states(tensor(&batch.tensors["pixel_values"]), &Unadapted);
    let masks = san.masks(states.clone(), &Unadapted).unwrap();
    let products = masks.queries.clone().matmul(masks.pixels.swap_dims(1, 2));
    assert_close("masks", products, &expected);
    assert_close("biases", masks.biases, &expected);
    let features = san.features(states, &Unadapted).unwrap();
    assert_close("embeddings", features.embeddings.clone(), &expected);
    let text = encode_text(&san, &tokens(&batch, "input_ids", &san));
    assert_close("text", text.clone(), &expected);
    assert_close("logits", san.decode(&features, text), &expected);

    let templates = ["classes_0", "classes_1"];
    let templates = templates.map(|name| encode_text(&san, &tokens(&batch, name, &san)));
    let classes = san.class_embeddings(templates.into());
    assert_close("classes", classes.clone(), &expected);
    let semantic = san.vocabulary_masks(&features, classes).scores();
    assert_close("semantic", semantic, &expected);
}

#[test]
fn gradients_are_those_of_the_published_modules() {
    // At full size those of CLIP would be a large file, and are not in it.
    let expected = read("default.expected.safetensors").tensors;
    let clip = expected
        .keys()
        .any(|name| name.starts_with("grad.clip_model."));
    let san = weights::tracked(san(Profile::Default), |name| clip || San::is_side(name));
    assert_gradients(san, &expected);
}

/// The published class as it is: its fusion map is read backwards, its recognition branch has no gradient.
#[test]
fn paper_profile_is_the_published_class() {
    let san = weights::tracked(san(Profile::Paper), San::is_side);
    let expected = read("paper.expected.safetensors").tensors;
    let batch = read("batch.safetensors");
    let features = san
        .encode_image(tensor(&batch.tensors["pixel_values"]), &Unadapted)
        .unwrap();
    let text = encode_text(&san, &tokens(&batch, "input_ids", &san));
    assert_close("logits", san.decode(&features, text).inner(), &expected);
    assert_gradients(san, &expected);
}

/// What is cached of an image has the shapes that are said, and does not depend on the side network.
#[test]
fn vision_states_are_clips() {
    let batch = read("batch.safetensors");
    let pixels = &batch.tensors["pixel_values"];
    for profile in [Profile::Default, Profile::Paper] {
        let san = san(profile);
        let states = san.vision_states(tensor(pixels), &Unadapted);
        let shapes = san.vision_state_shapes(pixels.shape[3], &Unadapted);
        assert_eq!(states.len(), shapes.len());
        let moved = weights::update(san, |name, value| {
            let trained = San::is_side(name);
            if trained { value + 0.1 } else { value }
        });
        let again = moved.vision_states(tensor(pixels), &Unadapted);
        for ((state, again), [tokens, width]) in states.into_iter().zip(again).zip(shapes) {
            assert_eq!(state.dims(), [pixels.shape[0], tokens, width]);
            assert_eq!(to_host(state), to_host(again));
        }
    }
}

/// An image that several prompts share is encoded once.
#[test]
fn features_of_images_are_selected() {
    let san = san(Profile::Default);
    let batch = read("batch.safetensors");
    let features = san
        .encode_image(tensor(&batch.tensors["pixel_values"]), &Unadapted)
        .unwrap();
    let text = encode_text(&san, &tokens(&batch, "input_ids", &san));
    let last = text.dims()[0] - 1;
    let both = san.decode(&features, text.clone());
    let one = san.decode(&features.select(&[last]), text.narrow(0, last, 1));
    for (a, b) in to_host(one).iter().zip(to_host(both.narrow(0, last, 1))) {
        assert!((a - b).abs() < 1e-6, "{a} {b}");
    }
}

/// The published count: 8.4 million, of which 7.1 million have a gradient in the published code.
#[test]
fn trained_parameters_are_as_published() {
    let san = SanConfig::default().init(&Device::flex());
    let count = |wanted: &dyn Fn(&str) -> bool| {
        let mut count = 0;
        weights::for_each_parameter(&san, |name, shape| {
            if wanted(name) {
                count += shape.iter().product::<usize>();
            }
        });
        count
    };
    assert_eq!(count(&San::is_side), 8_219_058);
    assert_eq!(count(&San::is_published_as_trained), 8_370_866);
    let dead = [
        "side_adapter_network.fusion_layers.3.",
        "side_adapter_network.mask_decoder.attn_mlp.",
        "side_adapter_network.mask_decoder.bias_scaling.",
    ];
    let reached =
        |name: &str| San::is_side(name) && !dead.iter().any(|dead| name.starts_with(dead));
    assert_eq!(count(&reached), 7_115_968);
}

/// What is read is written as it was; in profile `paper` with the published numbers of the fusion layers.
#[test]
fn side_networks_are_written_under_published_names() {
    let tensors = read("model.safetensors").tensors;
    let san = san(Profile::Default);
    let side = |name: &str| San::is_side(name) || name == "bg_embed";
    let published = |profile| to_file(weights::export(&san, side), san.config(), profile);
    let written = published(Profile::Default);
    let expected = tensors.into_iter();
    let expected: Tensors = expected
        .filter(|(name, _)| San::is_side(name) || name.ends_with("bg_embed"))
        .collect();
    assert_eq!(
        written.keys().collect::<Vec<_>>(),
        expected.keys().collect::<Vec<_>>()
    );
    assert!(written == expected);
    let config = san.config();
    let numbers: BTreeSet<String> = config
        .fusion
        .iter()
        .map(|[clip, _]| clip.to_string())
        .collect();
    let names = published(Profile::Paper).into_keys();
    let found: BTreeSet<String> = names
        .filter_map(|name| {
            let rest = name.strip_prefix("side_adapter_network.fusion_layers.layer_")?;
            Some(rest.split('.').next()?.to_owned())
        })
        .collect();
    assert_eq!(found, numbers);
}

/// A plain CLIP gets a side network by seed; one that is there in part is an error that names what is missing.
#[test]
fn a_side_network_is_whole_or_fresh() {
    let config = SanConfig::read(&folder().join("config.json")).unwrap();
    let mut tensors = read("model.safetensors").tensors;
    let load = |tensors: &Tensors, seed| {
        let path = Path::new("some.pth");
        San::from_tensors(&config, tensors.clone(), path, seed, &tested())
    };
    let query = "side_adapter_network.query_embed";
    tensors.remove(query);
    let error = load(&tensors, 0).unwrap_err().to_string();
    assert!(
        error.contains("some.pth") && error.contains(&format!("missing `{query}`")),
        "{error}"
    );
    tensors.retain(|name, _| !San::is_side(name));
    let side = |seed| {
        let san = load(&tensors, seed).unwrap();
        weights::export(&san, San::is_side)
    };
    let (one, again, two) = (side(1), side(1), side(2));
    assert_eq!(one, again);
    assert_ne!(one[query].data, two[query].data);
    let restarted = weights::export(
        &load(&tensors, 1).unwrap().restarted(2, |_| true),
        San::is_side,
    );
    assert_eq!(restarted, two);
    let whole = read("model.safetensors").tensors;
    let query = |san: San| weights::export(&san, |name| name == query);
    assert_eq!(
        query(load(&whole, 1).unwrap().restarted(2, |_| true)),
        query(load(&whole, 1).unwrap())
    );
}

/// As a base, through `SegmentationModel`.
#[test]
fn a_base_gives_the_published_logits() {
    let base = Base::load(folder().to_str().unwrap(), &tested()).unwrap();
    assert_eq!(base.preprocessing.image_size, 48);
    let batch = read("batch.safetensors");
    for (profile, name) in [
        (Profile::Default, "default.expected.safetensors"),
        (Profile::Paper, "paper.expected.safetensors"),
    ] {
        let method = ZeroShotConfig { profile };
        let model = Model::new(&base, method.into(), 0).unwrap();
        let pixels = tensor(&batch.tensors["pixel_values"]);
        let features = model.encode_image(pixels).unwrap();
        let tokens = tokens(&batch, "input_ids", &san(profile));
        let logits = model
            .decode(&features, model.encode_text(&tokens).unwrap())
            .unwrap();
        assert_close("logits", logits, &read(name).tensors);
    }
}

/// A plain CLIP's folder: its side network depends on the seed and takes another input size than CLIP.
#[test]
fn a_plain_clip_is_a_base() {
    let there = tempfile::tempdir().unwrap();
    let config = std::fs::read_to_string(folder().join("config.json")).unwrap();
    let file = |name| there.path().join(name);
    std::fs::write(file("config.json"), config.replace("\"san\"", "\"clip\"")).unwrap();
    std::fs::write(file("preprocessor_config.json"), r#"{"size": 24}"#).unwrap();
    let tensors = weights::export(&san(Profile::Default), |name| name.starts_with("clip."));
    let path = file("model.safetensors");
    let plain = tensors
        .into_iter()
        .map(|(name, tensor)| (name[5..].to_owned(), tensor));
    tensor_file::write_safetensors(&path, &plain.collect(), &BTreeMap::new()).unwrap();

    let load = |path: &Path| Base::load(path.to_str().unwrap(), &Device::flex());
    let base = load(there.path()).unwrap();
    let Network::San(network) = &base.network else {
        panic!("not a SAN");
    };
    assert!(network.is_fresh());
    assert_eq!(base.preprocessing.image_size, 48);
    let start = |seed| {
        let model = Model::new(&base, DecoderConfig::default().into(), seed).unwrap();
        let wanted = "san.side_adapter_network.query_embed";
        weights::export(&model, |name| name == wanted)[wanted]
            .data
            .clone()
    };
    assert_eq!(start(1), start(1));
    assert_ne!(start(1), start(2));
    // Adapters next to a random side network learn nothing.
    let error = Model::new(&base, MethodConfig::default(), 0)
        .unwrap_err()
        .to_string();
    assert!(error.contains("no side network of its own"), "{error}");

    // The file alone is recognised by its tensors, but is not of CLIP ViT-B/16.
    let error = load(&path).unwrap_err().to_string();
    for part in [
        "model.safetensors",
        "patch_embedding",
        "ViT-B/16",
        "config.json",
    ] {
        assert!(error.contains(part), "{error}");
    }
}
