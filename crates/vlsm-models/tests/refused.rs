//! Files, sizes and methods that would give wrong masks, take all memory or wait for ever: each is an error.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::json;
use vlsm_image::{Fit, RgbImage};
use vlsm_models::clipseg::random_weights;
use vlsm_models::predict::{Engine, EngineConfig, masks, threshold};
use vlsm_models::tensor_file::{self, WrittenAs, write_safetensors_as};
use vlsm_models::weights;
use vlsm_models::{AdapterFile, Base, ClipSegConfig, MethodConfig, Model, SegmentationModel};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn load(folder: &Path) -> vlsm_models::Result<Base> {
    Base::load(folder.to_str().unwrap(), &Device::flex())
}

fn method(keys: serde_json::Value) -> MethodConfig {
    serde_json::from_value(keys).unwrap()
}

/// A base of a few thousand parameters in a folder of its own.
fn small_base(folder: &Path, seed: u64) -> ClipSegConfig {
    let path = self::folder("tests/data/odd_base/config.json");
    std::fs::copy(path, folder.join("config.json")).unwrap();
    let config = ClipSegConfig::read(&folder.join("config.json")).unwrap();
    let path = folder.join("model.safetensors");
    tensor_file::write_safetensors(&path, &random_weights(&config, seed), &BTreeMap::new())
        .unwrap();
    config
}

/// Without its preprocessing a CLIPSeg of the hub would run at the size of its position embeddings.
#[test]
fn a_cached_base_without_its_preprocessing_is_an_error() {
    let cache = tempfile::tempdir().unwrap();
    let snapshot = cache.path().join("models--org--name/snapshots/c0ffee");
    std::fs::create_dir_all(&snapshot).unwrap();
    small_base(&snapshot, 1);
    let load = || {
        let program = std::env::current_exe().unwrap();
        let output = std::process::Command::new(program)
            .args([
                "--exact",
                "loads_the_base_of_the_environment",
                "--nocapture",
            ])
            .env("VLSM_TEST_BASE", "org/name@c0ffee")
            .env("HF_HUB_CACHE", cache.path())
            .env("HF_HUB_OFFLINE", "1")
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let found = load();
    assert!(
        found.contains("preprocessor_config.json") && found.contains("without HF_HUB_OFFLINE"),
        "{found}"
    );
    std::fs::write(snapshot.join("preprocessor_config.json"), r#"{"size": 64}"#).unwrap();
    assert!(load().contains("input of 64 pixels"), "{}", load());
}

/// Run by the test above in a process of its own, since variables of the environment belong to a process.
#[test]
#[allow(clippy::print_stdout)]
fn loads_the_base_of_the_environment() {
    let Ok(name) = std::env::var("VLSM_TEST_BASE") else {
        return;
    };
    match Base::load(&name, &Device::flex()) {
        Ok(base) => println!("input of {} pixels", base.preprocessing.image_size),
        Err(error) => println!("{error}"),
    }
}

/// A weight that is not a number would make every mask empty.
#[test]
fn weights_that_are_no_numbers_are_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let config = small_base(temporary.path(), 1);
    let base = load(temporary.path()).unwrap();
    let model = Model::new(&base, method(json!({ "towers": "v" })), 1).unwrap();
    let adapters = weights::export(&model, |name| model.trains(name));
    let path = temporary.path().join("adapter.safetensors");
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for written_as in [WrittenAs::F32, WrittenAs::F16] {
            let mut tensors = random_weights(&config, 1);
            tensors.get_mut("decoder.film_mul.bias").unwrap().data[3] = value;
            let file = temporary.path().join("model.safetensors");
            let metadata = BTreeMap::new();
            write_safetensors_as(&file, &tensors, &metadata, written_as).unwrap();
            let error = load(temporary.path()).unwrap_err().to_string();
            for part in [
                "model.safetensors",
                "`decoder.film_mul.bias`",
                "not a number",
            ] {
                assert!(error.contains(part), "{error}");
            }
        }
        let mut tensors = adapters.clone();
        tensors.get_mut("v_out_adapters.1.fc2.weight").unwrap().data[0] = value;
        tensor_file::write_safetensors(&path, &tensors, &BTreeMap::new()).unwrap();
        let error = AdapterFile::read(&path).unwrap_err().to_string();
        assert!(error.contains("`v_out_adapters.1.fc2.weight`"), "{error}");
    }
    // The causal mask that some files hold is infinite where it should be.
    let mut file = tensor_file::TensorFile::default();
    file.non_finite.insert("ov_classifier.attn_mask".into());
    assert!(file.expect_finite(&path).is_ok());
}

/// Finite weights can still compute something else than numbers.
#[test]
fn logits_that_are_no_numbers_are_no_masks() {
    let logits = |value: f32| {
        let data = TensorData::new(vec![1.0, -1.0, value, 2.0], [1, 2, 2]);
        Tensor::<3>::from_data(data, &Device::flex())
    };
    assert_eq!(threshold(logits(0.5)).unwrap()[0].data, [1, 0, 1, 1]);
    for value in [f32::NAN, f32::INFINITY] {
        let error = threshold(logits(value)).unwrap_err().to_string();
        assert!(error.contains("has no answer"), "{error}");
        assert!(masks(logits(value), &[(4, 4)], Fit::Stretch).is_err());
    }
    // No pixels, no panic.
    let none = Tensor::<3>::zeros([1, 0, 0], &Device::flex());
    assert!(threshold(none).unwrap().is_empty());
}

/// Adapters on a decoder that is random and stays so cannot learn to segment.
#[test]
fn a_random_decoder_must_be_trained() {
    let temporary = tempfile::tempdir().unwrap();
    let fixture = folder("../../fixtures/biomedclipseg/tiny");
    for name in ["open_clip_config.json", "tokenizer.json"] {
        std::fs::copy(fixture.join(name), temporary.path().join(name)).unwrap();
    }
    let weights = "open_clip_model.safetensors";
    let mut tensors = tensor_file::read(&fixture.join(weights)).unwrap().tensors;
    tensors.retain(|name, _| !name.starts_with("decoder."));
    let path = temporary.path().join(weights);
    tensor_file::write_safetensors(&path, &tensors, &BTreeMap::new()).unwrap();
    let base = load(temporary.path()).unwrap();
    assert_eq!(base.network.random_part(), Some("decoder"));
    for kind in ["dense", "lora", "bitfit"] {
        let error = Model::new(&base, method(json!({ "kind": kind })), 0).unwrap_err();
        let error = error.to_string();
        for part in [
            "decoder",
            "random",
            "`train_decoder = true`",
            "+CIDAS/clipseg-rd64-refined",
        ] {
            assert!(error.contains(part), "{kind}: {error}");
        }
    }
    let towers = "v";
    for keys in [
        json!({ "kind": "dense", "towers": towers, "train_decoder": true }),
        json!({ "kind": "decoder" }),
        json!({ "kind": "full" }),
        json!({ "kind": "zero-shot" }),
    ] {
        assert!(Model::new(&base, method(keys.clone()), 0).is_ok(), "{keys}");
    }
    assert_eq!(load(&fixture).unwrap().network.random_part(), None);
}

/// A few more digits, a pipe or a huge file must not take the machine's memory or wait for ever.
#[test]
fn absurd_sizes_and_odd_files_are_refused() {
    let temporary = tempfile::tempdir().unwrap();
    small_base(temporary.path(), 1);
    let path = temporary.path().join("config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let config: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (tower, field, value) in [
        ("vision_config", "hidden_size", 1_000_000_000_u64),
        ("vision_config", "image_size", 160_000),
        ("text_config", "num_hidden_layers", 100_000),
        ("text_config", "vocab_size", 1 << 40),
    ] {
        let mut config = config.clone();
        // Older files repeat the towers.
        for tower in [tower.to_owned(), format!("{tower}_dict")] {
            if config.get(&tower).is_some() {
                config[tower][field] = value.into();
            }
        }
        std::fs::write(&path, config.to_string()).unwrap();
        let error = load(temporary.path()).unwrap_err().to_string();
        let field = format!("`{tower}.{field}` is {value}");
        assert!(
            error.contains("config.json") && error.contains(&field),
            "{error}"
        );
    }
    std::fs::write(&path, format!("{text}{}", " ".repeat(5 << 20))).unwrap();
    let error = load(temporary.path()).unwrap_err().to_string();
    assert!(error.contains("more than 4194304 bytes"), "{error}");
    std::fs::write(&path, text).unwrap();
    let base = load(temporary.path()).unwrap();

    let model = Model::new(&base, MethodConfig::zero_shot(), 0).unwrap();
    let error = model.output_size(160_000).unwrap_err().to_string();
    assert!(
        error.contains("160000") && error.contains("4096"),
        "{error}"
    );
    for (keys, field) in [
        (json!({ "bottleneck": 1_000_000_000 }), "`bottleneck`"),
        (
            json!({ "bottleneck": [4, 100_000], "layers": [0, 1], "towers": "v" }),
            "`bottleneck`",
        ),
        (
            json!({ "kind": "lora", "bottleneck": 1_000_000_000 }),
            "`bottleneck`",
        ),
        (
            json!({ "cond_bottleneck": 1_000_000_000, "bottleneck": 2 }),
            "`cond_bottleneck`",
        ),
        (
            json!({ "text_bottleneck": 1_000_000_000, "towers": "vl" }),
            "`text_bottleneck`",
        ),
    ] {
        let error = Model::new(&base, method(keys), 0).unwrap_err().to_string();
        assert!(error.contains(field) && error.contains("65536"), "{error}");
    }
}

/// A byte of a pickle can become a value of 88 bytes: 100 MB, compressed to 100 kB, would take 9 GB.
#[test]
fn a_small_archive_with_a_large_pickle_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("pytorch_model.bin");
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (count, fault) in [
        (1 << 20, "its pickle has 1048577 bytes, but the file only"),
        (1 << 10, "found None"),
    ] {
        let mut archive = ZipWriter::new(File::create(&path).unwrap());
        archive.start_file("model/data.pkl", options).unwrap();
        let pickle = [&b"N".repeat(count)[..], b"."].concat();
        archive.write_all(&pickle).unwrap();
        archive.finish().unwrap();
        let error = tensor_file::read(&path).unwrap_err().to_string();
        assert!(error.contains(fault), "{error}");
        assert!(error.contains("pytorch_model.bin"), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn pipes_and_devices_are_no_weights() {
    let temporary = tempfile::tempdir().unwrap();
    let pipe = temporary.path().join("pipe.safetensors");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    for path in [pipe.as_path(), Path::new("/dev/zero")] {
        let error = AdapterFile::read(path).unwrap_err().to_string();
        assert!(error.contains("a device or a pipe"), "{error}");
    }
    small_base(temporary.path(), 1);
    std::fs::rename(&pipe, temporary.path().join("preprocessor_config.json")).unwrap();
    let error = load(temporary.path()).unwrap_err().to_string();
    assert!(error.contains("preprocessor_config.json"), "{error}");
}

/// What the public API is given by mistake is an error, not a panic or a mask of zeros.
#[test]
fn states_and_images_of_the_wrong_form_are_errors() {
    for name in ["clipseg/tiny_refined", "biomedclipseg/tiny", "san", "cris"] {
        let base = load(&folder("../../fixtures").join(name)).unwrap();
        let side = base.preprocessing.image_size;
        let model = Model::new(&base, MethodConfig::zero_shot(), 0).unwrap();
        let pixels = Tensor::<4>::ones([1, 3, side, side], &Device::flex());
        let features = model.encode_image(pixels.clone()).unwrap();
        let text = model.tokens(&[[2, 4, 3]]).unwrap();
        let text = model.encode_text(&text).unwrap();
        assert!(model.decode(&features, text.clone()).is_ok(), "{name}");
        let mut more = features.clone();
        more.push(features[0].clone());
        for wrong in [&[], &features[1..], &more] {
            assert!(model.decode(wrong, text.clone()).is_err(), "{name}");
        }
        assert!(model.decode(&features, Vec::new()).is_err(), "{name}");
        assert!(model.features(Vec::new()).is_err(), "{name}");
        assert!(model.condition_text(Vec::new()).is_err(), "{name}");
        let oblong = pixels.narrow(2, 0, side / 2);
        assert!(model.encode_image(oblong).is_err(), "{name}");
        assert!(model.output_size(0).is_err(), "{name}");

        let engine = Engine::new(base, EngineConfig::default()).unwrap();
        for (width, height, values) in [(10, 10, 299), (0, 10, 0), (usize::MAX, 2, 6)] {
            let mut image = RgbImage::filled(1, 1, [0; 3]);
            (image.width, image.height) = (width, height);
            image.data = vec![0; values];
            let encoded = engine.encode_one(engine.zero_shot(), &image, side);
            assert!(encoded.is_err(), "{name}: {width} x {height}");
        }
    }
    let zero = EngineConfig {
        decoder_batch: 0,
        ..EngineConfig::default()
    };
    let base = load(&folder("../../fixtures/san")).unwrap();
    assert!(Engine::new(base, zero).is_err());
}
