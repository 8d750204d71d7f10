//! The engine: many adapters, images and threads over one base.

// Clippy's leave for tests covers test functions, not their helpers.
#![allow(clippy::unwrap_used)]

use std::sync::LazyLock;

use vlsm_image::{ClassList, RgbImage};
use vlsm_models::predict::{
    Adapter, Engine, EngineConfig, EngineStats, Prediction, PromptEncoder, Request,
};
use vlsm_models::weights::{export, to_host};
use vlsm_models::{
    AdapterFile, AdapterInit, Base, DenseConfig, LoraConfig, MethodConfig, Model, Profile,
    Projection, SegmentationModel, ShallowConfig, Towers, device,
};

const PROMPTS: [&str; 3] = ["a red disc", "", "the large blue square at the left"];

fn base() -> Base {
    static BASE: LazyLock<Base> =
        LazyLock::new(|| Base::load("builtin:tiny", &device("cpu").unwrap()).unwrap());
    BASE.clone()
}

fn engine(config: EngineConfig) -> Engine {
    Engine::new(base(), config).unwrap()
}

/// A file of random adapters.
fn file(base: &Base, method: impl Into<MethodConfig>, seed: u64) -> AdapterFile {
    let method = method.into();
    let model = Model::new(base, method.clone(), seed).unwrap();
    AdapterFile {
        path: "adapter.safetensors".into(),
        tensors: export(&model, |name| model.saves(name)),
        method,
        base: Some(base.identity.clone()),
        image_size: None,
        ..AdapterFile::default()
    }
}

fn shallow(towers: Towers) -> ShallowConfig {
    ShallowConfig {
        towers,
        profile: Profile::Paper,
        ..ShallowConfig::default()
    }
}

/// Two adapters that leave the vision tower as it is, one with text adapters, and a dense one.
fn adapters(engine: &Engine) -> Vec<Adapter> {
    let base = engine.base();
    let dense = DenseConfig {
        profile: Profile::Paper,
        ..DenseConfig::default()
    };
    let files = [
        file(base, shallow(Towers::V), 1),
        file(base, shallow(Towers::Vlc), 2),
        file(base, dense, 3),
    ];
    files.map(|file| engine.add(file).unwrap()).into()
}

/// An image of noise, of a size of its own.
fn image(index: usize) -> RgbImage {
    let (width, height) = (40 + 3 * index, 90 - 2 * index);
    let level = |at: usize| ((at + 1 + index * 7919).wrapping_mul(2_654_435_761) >> 13) as u8;
    let data = (0..width * height * 3).map(level).collect();
    RgbImage::new(width, height, data).unwrap()
}

fn bits(predictions: &[Prediction]) -> Vec<(Vec<u8>, Vec<u32>)> {
    let bits = |one: &Prediction| {
        let probability = one.probability.iter().map(|p| p.to_bits());
        (one.mask.data.clone(), probability.collect())
    };
    predictions.iter().map(bits).collect()
}

/// An answer of an engine that has done nothing else.
fn alone(adapter: usize, image: &RgbImage) -> Vec<Prediction> {
    let engine = engine(EngineConfig::default());
    let adapter = &adapters(&engine)[adapter];
    let image = engine
        .encode_one(adapter, image, adapter.image_size())
        .unwrap();
    let request = Request {
        image: &image,
        adapter,
        prompts: &PROMPTS,
    };
    engine.predict_one(&request).unwrap()
}

#[test]
fn threads_share_passes_and_get_the_answers_of_single_requests() {
    let engine = engine(EngineConfig::default());
    let adapters = adapters(&engine);
    let sharing: Vec<bool> = adapters.iter().map(Adapter::shares_vision).collect();
    assert_eq!(sharing, [true, true, false]);
    let images: Vec<RgbImage> = (0..20).map(image).collect();
    let expected: Vec<Vec<_>> = images
        .iter()
        .map(|image| (0..3).map(|adapter| bits(&alone(adapter, image))).collect())
        .collect();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (engine, adapters, images, expected) = (&engine, &adapters, &images, &expected);
            scope.spawn(move || {
                for step in 0..images.len() {
                    let index = (step * 3 + thread * 7) % images.len();
                    // Encoded for one adapter, and asked of all.
                    let first = &adapters[(thread + step) % 3];
                    let image = engine.encode_one(first, &images[index], first.image_size());
                    let image = image.unwrap();
                    let requests = adapters.iter().map(|adapter| Request {
                        image: &image,
                        adapter,
                        prompts: &PROMPTS,
                    });
                    let answers = engine.predict(&requests.collect::<Vec<_>>());
                    for (answer, expected) in answers.into_iter().zip(&expected[index]) {
                        assert_eq!(&bits(&answer.unwrap()), expected);
                    }
                }
            });
        }
    });
    let EngineStats {
        vision_passes,
        text_passes,
        ..
    } = engine.stats();
    // 20 images in the base's tower and in the dense adapter's; 3 prompts in the base's text tower, in the same with the
    // taps of the second adapter, and in the dense adapter's.
    assert_eq!((vision_passes, text_passes), (40, 9));
}

#[test]
fn an_engine_is_shared_by_threads() {
    fn check<T: Send + Sync>() {}
    check::<Engine>();
    check::<Adapter>();
    check::<vlsm_models::predict::EncodedImage>();
}

#[test]
fn a_full_cache_changes_no_answer() {
    let one = {
        let engine = engine(EngineConfig::default());
        let adapter = engine.zero_shot();
        engine
            .encode_one(adapter, &image(0), adapter.image_size())
            .unwrap();
        engine.stats().vision_bytes
    };
    // Space for two of five images.
    let vision_cache = one * 5 / 2;
    let engine = engine(EngineConfig {
        vision_cache,
        text_cache: 1_000,
        ..EngineConfig::default()
    });
    let adapters = adapters(&engine);
    let images: Vec<_> = (0..5).map(image).collect();
    let side = adapters[0].image_size();
    let views: Vec<&RgbImage> = images.iter().collect();
    let encoded = engine.encode(&adapters[0], &views, side).unwrap();
    for round in 0..2 {
        for (image, encoded) in images.iter().zip(&encoded) {
            for (index, adapter) in adapters.iter().enumerate() {
                let request = Request {
                    image: encoded,
                    adapter,
                    prompts: &PROMPTS,
                };
                let answer = engine.predict_one(&request).unwrap();
                assert_eq!(bits(&answer), bits(&alone(index, image)), "round {round}");
                let stats = engine.stats();
                assert!(stats.vision_bytes <= vision_cache, "{stats:?}");
                assert!(stats.text_bytes <= 1_000, "{stats:?}");
            }
        }
    }
    assert!(engine.stats().vision_passes > 10);
}

#[test]
fn images_are_encoded_in_batches() {
    let engine = engine(EngineConfig {
        vision_batch: 3,
        ..EngineConfig::default()
    });
    let adapters = adapters(&engine);
    // The last image is the first one again.
    let images: Vec<_> = [0, 1, 2, 3, 0].map(image).into();
    let views: Vec<&RgbImage> = images.iter().collect();
    let encoded = engine
        .encode(&adapters[0], &views, adapters[0].image_size())
        .unwrap();
    assert_eq!(engine.stats().vision_passes, 4);
    let requests: Vec<Request<'_>> = encoded
        .iter()
        .flat_map(|image| {
            adapters.iter().map(move |adapter| Request {
                image,
                adapter,
                prompts: &PROMPTS,
            })
        })
        .collect();
    let answers = engine.predict(&requests);
    assert_eq!(engine.stats().vision_passes, 8);
    for (index, answer) in answers.into_iter().enumerate() {
        let expected = alone(index % 3, &images[index / 3]);
        for (found, expected) in answer.unwrap().iter().zip(&expected) {
            let pairs = found.probability.iter().zip(&expected.probability);
            assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-5));
        }
    }
}

#[test]
fn what_cannot_be_answered_is_an_error() {
    let engine = engine(EngineConfig::default());
    let adapter = engine.zero_shot();
    let side = adapter.image_size();
    let message = |image: &RgbImage, side| {
        let error = engine.encode_one(adapter, image, side).unwrap_err();
        error.to_string()
    };
    let mut short = image(0);
    short.data.pop();
    assert!(
        message(&short, side).contains("40 x 90"),
        "{}",
        message(&short, side)
    );
    let empty = RgbImage::new(0, 90, Vec::new()).unwrap();
    assert!(message(&empty, side).contains("0 x 90"));
    let mut huge = image(0);
    huge.width = usize::MAX;
    assert!(message(&huge, side).contains("data"));
    assert!(message(&image(0), side + 1).contains("try"));
    assert!(message(&image(0), 0).contains("try"));
    assert!(engine.encode(adapter, &[], side).unwrap().is_empty());
    for config in [
        EngineConfig {
            vision_batch: 0,
            ..EngineConfig::default()
        },
        EngineConfig {
            decoder_batch: 0,
            ..EngineConfig::default()
        },
    ] {
        let error = Engine::new(base(), config).unwrap_err().to_string();
        assert!(error.contains("_batch"), "{error}");
    }

    let mut other = base();
    other.identity.fingerprint = "other weights".into();
    other.identity.name = "another".into();
    let other = Engine::new(other, EngineConfig::default()).unwrap();
    let image = engine.encode_one(adapter, &image(0), side).unwrap();
    let ask = |adapter| {
        let request = Request {
            image: &image,
            adapter,
            prompts: &PROMPTS,
        };
        other.predict_one(&request).unwrap_err().to_string()
    };
    assert!(ask(other.zero_shot()).contains("encode it"));
    assert!(ask(adapter).contains("add it here"));
    let request = Request {
        image: &image,
        adapter,
        prompts: &[],
    };
    assert!(engine.predict_one(&request).unwrap().is_empty());
}

#[test]
fn an_error_of_a_request_stays_with_it() {
    let engine = engine(EngineConfig::default());
    let mut other = base();
    other.identity.fingerprint = "other weights".into();
    let other = Engine::new(other, EngineConfig::default()).unwrap();
    let encode = |engine: &Engine| {
        let adapter = engine.zero_shot();
        engine
            .encode_one(adapter, &image(1), adapter.image_size())
            .unwrap()
    };
    let (own, foreign) = (encode(&engine), encode(&other));
    let requests = [&own, &foreign, &own].map(|image| Request {
        image,
        adapter: engine.zero_shot(),
        prompts: &PROMPTS,
    });
    let answers = engine.predict(&requests);
    let fine: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(fine, [true, false, true]);
}

#[test]
fn a_removed_adapter_frees_its_states() {
    let engine = engine(EngineConfig::default());
    let adapter = engine.zero_shot();
    let image = engine
        .encode_one(adapter, &image(2), adapter.image_size())
        .unwrap();
    let ask = |adapter: &Adapter| {
        let request = Request {
            image: &image,
            adapter,
            prompts: &PROMPTS,
        };
        engine.predict_one(&request).unwrap()
    };
    ask(adapter);
    let before = engine.stats();
    let dense = adapters(&engine).swap_remove(2);
    let answer = ask(&dense);
    let with = engine.stats();
    assert!(with.vision_bytes > before.vision_bytes && with.text_bytes > before.text_bytes);
    engine.remove(dense.clone());
    let after = engine.stats();
    assert_eq!(after.vision_bytes, before.vision_bytes);
    assert_eq!(after.text_bytes, before.text_bytes);
    // Another clone of the handle still works.
    assert_eq!(bits(&ask(&dense)), bits(&answer));
}

#[test]
fn labels_are_the_likeliest_classes() {
    let engine = engine(EngineConfig::default());
    let adapters = adapters(&engine);
    let picture = image(3);
    let image = engine
        .encode_one(&adapters[0], &picture, adapters[0].image_size())
        .unwrap();
    let names = ["a red disc".to_owned(), "a blue square".to_owned()];
    let classes = ClassList::of_prompts(&names)
        .unwrap()
        .with_background(0.0)
        .unwrap();
    let labels = engine.segment(&adapters[1], &image, &classes).unwrap();
    assert_eq!(
        (labels.width, labels.height),
        (picture.width, picture.height)
    );
    assert!(labels.data.iter().all(|label| *label < 2));
}

/// LoRA's changes are added to the matrices once, with the same result as in every pass.
#[test]
fn lora_is_merged_when_it_is_added() {
    let engine = engine(EngineConfig::default());
    let lora = LoraConfig {
        init: Some(AdapterInit::Random),
        projections: vec![Projection::Query, Projection::Output, Projection::Fc2],
        ..LoraConfig::default()
    };
    let file = file(engine.base(), lora, 4);
    let plain = Model::with_adapter(engine.base(), file.clone()).unwrap();
    let plain = plain.for_inference();
    let adapter = engine.add(file).unwrap();
    assert!(!adapter.shares_vision());
    assert_eq!(
        adapter.model().trained_parameters(),
        plain.trained_parameters()
    );
    let base = engine.base();
    let picture = image(5);
    let logits = |model: &Model| {
        let pixels = base.preprocessing.tensor(&[&picture], &model.device());
        let features = model.encode_image(pixels.unwrap()).unwrap();
        let encoder = PromptEncoder::frozen(&base.tokenizer).unwrap();
        let text = encoder.encode(model, &PROMPTS[..1]).unwrap();
        to_host(model.decode(&features, text).unwrap())
    };
    let matrix = "clipseg.clip.vision_model.encoder.layers.0.self_attn.q_proj.weight";
    let weight = |model: &Model| export(model, |name| name == matrix)[matrix].data.clone();
    assert!(weight(adapter.model()) != weight(&plain));
    assert_eq!(logits(adapter.model()), logits(&plain));
    assert!(logits(&plain) != logits(engine.zero_shot().model()));
}
