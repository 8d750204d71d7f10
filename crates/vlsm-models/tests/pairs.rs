//! Methods whose texts depend on the image: what is kept of prompts and images never mixes them up.

// Clippy's leave for tests covers test functions, not their helpers.
#![allow(clippy::unwrap_used)]

use std::sync::LazyLock;

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::{Value, json};
use vlsm_image::{RgbImage, resize_image};
use vlsm_models::contract::{concatenate, select};
use vlsm_models::onnx::OnnxExport;
use vlsm_models::predict::{Adapter, Engine, EngineConfig, PromptEncoder, Request};
use vlsm_models::weights::{export, to_host};
use vlsm_models::{AdapterFile, Base, HiddenStates, Model, Preprocessing, SegmentationModel};

const PROMPTS: [&str; 3] = ["a red disc", "", "the large blue square at the left"];

fn base() -> Base {
    static BASE: LazyLock<Base> =
        LazyLock::new(|| Base::load("builtin:tiny", &Device::flex()).unwrap());
    BASE.clone()
}

/// A method's file with the parameters that it starts from.
fn file(keys: Value, seed: u64) -> AdapterFile {
    let method = serde_json::from_value(keys).unwrap();
    let model = Model::new(&base(), method, seed).unwrap();
    AdapterFile {
        path: "adapter.safetensors".into(),
        tensors: export(&model, |name| model.saves(name)),
        method: model.method().clone(),
        base: Some(base().identity.clone()),
        ..AdapterFile::default()
    }
}

fn image(index: usize) -> RgbImage {
    let level = |at: usize| ((at + 1 + index * 7919).wrapping_mul(2_654_435_761) >> 13) as u8;
    RgbImage::new(60, 50, (0..60 * 50 * 3).map(level).collect()).unwrap()
}

const SIDE: usize = 84;

/// Features of images, a row for each.
fn features(model: &Model, images: &[usize]) -> HiddenStates {
    let preprocessing = Preprocessing {
        image_size: SIDE,
        ..base().preprocessing
    };
    concatenate(images.iter().map(|index| {
        let square = resize_image(&image(*index), SIDE);
        let pixels = preprocessing.tensor(&[&square], &model.device()).unwrap();
        model.encode_image(pixels).unwrap()
    }))
}

fn text(model: &Model, prompts: &[&str]) -> HiddenStates {
    let base = base();
    let encoder = PromptEncoder::training(&base.tokenizer);
    encoder.encode(model, prompts).unwrap()
}

fn off(a: &Tensor<3>, b: &Tensor<3>) -> f32 {
    let pairs = to_host(a.clone()).into_iter().zip(to_host(b.clone()));
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// The methods with what a file can be merged or exported without.
fn methods() -> Vec<Value> {
    vec![
        json!({ "kind": "cocoop", "depth": 2 }),
        json!({ "kind": "pvl", "bottleneck": 8 }),
        json!({ "kind": "pvl", "bottleneck": 8, "layers": [0, 3, 4] }),
        json!({ "kind": "pvl", "bottleneck": 8, "profile": "paper" }),
    ]
}

/// Each row of a batch has the logits that its image and its prompt have alone, and the text depends on the image.
#[test]
fn a_pair_is_the_same_whatever_it_is_decoded_with() {
    for keys in methods() {
        let model = Model::with_adapter(&base(), file(keys.clone(), 1)).unwrap();
        let model = model.for_inference();
        let (images, prompts) = ([0, 1, 2], text(&model, &PROMPTS));
        let all = features(&model, &images);
        let pairs = [(0, 2), (1, 0), (0, 0), (2, 1), (2, 2)];
        let together = model
            .decode(
                &select(&all, &pairs.map(|pair| pair.0)),
                select(&prompts, &pairs.map(|pair| pair.1)),
            )
            .unwrap();
        let spread = off(&together, &together.zeros_like());
        for (row, (image, prompt)) in pairs.into_iter().enumerate() {
            let prompt = text(&model, &[PROMPTS[prompt]]);
            let alone = model.decode(&features(&model, &[image]), prompt).unwrap();
            let row = together.clone().narrow(0, row, 1);
            assert!(off(&row, &alone) < 1e-5 * spread, "{keys}");
        }
        // With what the text has of another image, an image has other logits.
        let mut mixed = select(&all, &[0]);
        let own = model.decode(&mixed, select(&prompts, &[0])).unwrap();
        let last = mixed.len() - 1;
        mixed[last] = select(&all[last..], &[1]).remove(0);
        let other = model.decode(&mixed, select(&prompts, &[0])).unwrap();
        assert!(off(&own, &other) > 1e-3 * spread, "{keys}");
    }
}

/// What is drawn in a step depends on its seed and on the number of an example in it, not on how the step is split; outside of a step
/// nothing is drawn.
#[test]
fn draws_do_not_depend_on_the_parts_of_a_step() {
    let keys = json!({ "kind": "pvl", "bottleneck": 8 });
    let model = Model::with_adapter(&base(), file(keys, 1)).unwrap();
    let prompts = text(&model, &[PROMPTS[0], PROMPTS[2], PROMPTS[0], PROMPTS[0]]);
    let all = features(&model, &[0, 1, 2, 0]);
    let step = |seed| model.clone().begin_step(seed);
    let logits = |model: &Model, rows: &[usize]| {
        let text = select(&prompts, rows);
        model.decode(&select(&all, rows), text).unwrap()
    };
    let rows = [0, 1, 2, 3];
    let whole = logits(&step(7), &rows);
    let spread = off(&whole, &whole.zeros_like());
    assert_eq!(to_host(logits(&step(7), &rows)), to_host(whole.clone()));
    let part = logits(&step(7).begin_part(2), &[2, 3]);
    assert!(off(&whole.clone().narrow(0, 2, 2), &part) < 1e-5 * spread);
    for other in [step(8), step(7).begin_part(4), step(7).end_step()] {
        assert!(off(&whole, &logits(&other, &rows)) > 1e-4 * spread);
    }
    // Two examples that are the same have numbers of their own.
    let first = whole.clone().narrow(0, 0, 1);
    assert!(off(&first, &whole.narrow(0, 3, 1)) > 1e-4 * spread);
    let mean = logits(&model, &rows);
    let ended = logits(&step(7).end_step(), &rows);
    assert_eq!(to_host(mean.clone()), to_host(ended));
    assert!(off(&mean.clone().narrow(0, 0, 1), &mean.narrow(0, 3, 1)) < 1e-5 * spread);
}

/// A BERT, in which texts of another length have a pass of their own: as texts alone.
#[test]
fn towers_of_biomedclip_run_in_step() {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../fixtures/biomedclipseg/tiny"
    );
    let base = Base::load(folder, &Device::flex()).unwrap();
    let method = json!({ "kind": "pvl", "bottleneck": 4 });
    let method = serde_json::from_value(method).unwrap();
    let model = Model::new(&base, method, 1).unwrap();
    let side = base.preprocessing.image_size;
    let pixels = (0..3 * 3 * side * side).map(|at| (at as f32 * 0.37).sin());
    let pixels = TensorData::new(pixels.collect::<Vec<f32>>(), [3, 3, side, side]);
    let images = model
        .encode_image(Tensor::from_data(pixels, &Device::flex()))
        .unwrap();
    let prompts: [&[u32]; 3] = [&[2, 4, 5, 6, 3], &[2, 4, 3], &[2, 7, 8, 9, 3]];
    let texts = |prompts: &[&[u32]]| {
        let tokens = model.tokens(prompts).unwrap();
        model.encode_text(&tokens).unwrap()
    };
    let together = model.decode(&images, texts(&prompts)).unwrap();
    let spread = off(&together, &together.zeros_like());
    for (row, prompt) in prompts.into_iter().enumerate() {
        let alone = model.decode(&select(&images, &[row]), texts(&[prompt]));
        let row = together.clone().narrow(0, row, 1);
        assert!(off(&row, &alone.unwrap()) < 1e-5 * spread);
    }
}

/// The engine's caches: two adapters of a method, which leave different lengths to prompts, and images and prompts in any order.
#[test]
fn an_engine_answers_as_one_that_has_done_nothing_else() {
    let long = "red disc ".repeat(40);
    let prompts = [PROMPTS[0], &long, PROMPTS[2]];
    for keys in methods() {
        let mut short = keys.clone();
        if keys["kind"] == "cocoop" {
            short["tokens"] = 40.into();
        }
        let files = || [file(keys.clone(), 1), file(short.clone(), 2)];
        let ask = |engine: &Engine, adapter: &Adapter, index: usize, prompt: &str| {
            let encoded = engine.encode_one(adapter, &image(index), SIDE).unwrap();
            let request = Request {
                image: &encoded,
                adapter,
                prompts: &[prompt],
            };
            engine.predict_one(&request).unwrap().remove(0)
        };
        let busy = Engine::new(base(), EngineConfig::default()).unwrap();
        let adapters = files().map(|file| busy.add(file).unwrap());
        for index in [0, 1] {
            for prompt in prompts {
                for (number, adapter) in adapters.iter().enumerate() {
                    let fresh = Engine::new(base(), EngineConfig::default()).unwrap();
                    let own = fresh.add(files()[number].clone()).unwrap();
                    let expected = ask(&fresh, &own, index, prompt);
                    assert_eq!(ask(&busy, adapter, index, prompt), expected, "{keys}");
                }
            }
        }
    }
}

/// What needs texts without images is an error.
#[test]
fn texts_without_images_are_refused() {
    for keys in methods() {
        let file = file(keys.clone(), 1);
        let error = base().merge(file.clone()).unwrap_err().to_string();
        assert!(error.contains("cannot be merged"), "{error}");
        let error = OnnxExport::new(&base(), Some(file), None, &[]);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("cannot be exported"), "{error}");
    }
}
