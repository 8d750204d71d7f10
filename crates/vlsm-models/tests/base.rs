//! Bases and adapters from files: what fits, what does not, and what the errors say.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::json;
use vlsm_models::clipseg::random_weights;
use vlsm_models::tensor_file::{self, HostTensor};
use vlsm_models::weights::{self, to_host};
use vlsm_models::{
    AdapterFile, Adapters, Base, ClipSegConfig, HiddenStates, MethodConfig, Model, Network,
    Profile, SegmentationModel, contract::select,
};

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn load(folder: &Path) -> vlsm_models::Result<Base> {
    Base::load(folder.to_str().unwrap(), &Device::flex())
}

fn config(base: &Base) -> &ClipSegConfig {
    let Network::ClipSeg(clipseg) = &base.network else {
        panic!("not a CLIPSeg");
    };
    &clipseg.config
}

/// A base of a few thousand parameters in a folder of its own.
fn small_base(folder: &Path, seed: u64) -> ClipSegConfig {
    let path = self::folder("tests/data/odd_base/config.json");
    std::fs::copy(path, folder.join("config.json")).unwrap();
    let config = ClipSegConfig::read(&folder.join("config.json")).unwrap();
    write(folder, &random_weights(&config, seed));
    config
}

fn write(folder: &Path, tensors: &BTreeMap<String, HostTensor>) {
    let path = folder.join("model.safetensors");
    tensor_file::write_safetensors(&path, tensors, &BTreeMap::new()).unwrap();
}

/// `scripts/reference/make_odd_base.py`: Transformers' logits of an unusual model in PyTorch's own
/// format.
#[test]
fn unusual_configuration_from_pytorch_file() {
    let folder = folder("tests/data/odd_base");
    let base = load(&folder).unwrap();
    assert_eq!(config(&base).extract_layers, [0, 2, 1]);
    let batch = tensor_file::read(&folder.join("batch.safetensors")).unwrap();
    let pixels = &batch.tensors["pixel_values"];
    let pixels = TensorData::new(pixels.data.clone(), [3, 3, 48, 48]);
    let pixels = Tensor::<4>::from_data(pixels, &Device::flex());
    let ids: Vec<u32> = batch.ints["input_ids"]
        .data
        .iter()
        .map(|id| *id as u32)
        .collect();
    let prompts: Vec<&[u32]> = ids.chunks(6).collect();
    let model = Model::new(&base, MethodConfig::zero_shot(), 0).unwrap();
    let text = model.encode_text(&model.tokens(&prompts).unwrap()).unwrap();
    let logits = to_host(
        model
            .decode(&model.encode_image(pixels).unwrap(), text)
            .unwrap(),
    );
    let expected = &batch.tensors["logits"].data;
    assert_eq!(logits.len(), expected.len());
    for (value, expected) in logits.iter().zip(expected) {
        assert!((value - expected).abs() < 1e-4, "{value} {expected}");
    }
}

#[test]
fn misfitting_weights_are_named() {
    let temporary = tempfile::tempdir().unwrap();
    let config = small_base(temporary.path(), 1);
    let mut tensors = random_weights(&config, 1);
    tensors.remove("decoder.film_add.bias");
    let extra = tensors["decoder.film_mul.bias"].clone();
    tensors.insert("decoder.film_sub.bias".into(), extra);
    let reshaped = tensors.get_mut("clip.text_projection.weight").unwrap();
    reshaped.shape = vec![16, 12];
    write(temporary.path(), &tensors);
    let error = load(temporary.path()).unwrap_err().to_string();
    for part in [
        "model.safetensors",
        "missing `decoder.film_add.bias`",
        "extra `decoder.film_sub.bias`",
        "`clip.text_projection.weight` (is [16, 12], the model has [12, 16])",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

/// What goes in comes out, names, shapes and bits.
fn method(keys: serde_json::Value) -> MethodConfig {
    serde_json::from_value(keys).unwrap()
}

#[test]
fn weights_survive_the_module() {
    let temporary = tempfile::tempdir().unwrap();
    let config = small_base(temporary.path(), 2);
    let base = load(temporary.path()).unwrap();
    let exported = weights::export(&base.network, |_| true);
    let written = random_weights(&config, 2);
    assert_eq!(exported.len(), written.len());
    for (name, tensor) in &written {
        assert_eq!(exported[name].shape, tensor.shape, "{name}");
        assert_eq!(exported[name].data, tensor.data, "{name}");
    }
}

#[test]
fn adapters_go_back_on_their_base_only() {
    let temporary = tempfile::tempdir().unwrap();
    let (one, two) = (temporary.path().join("one"), temporary.path().join("two"));
    for (folder, seed) in [(&one, 1), (&two, 2)] {
        std::fs::create_dir(folder).unwrap();
        small_base(folder, seed);
    }
    let (one, two) = (load(&one).unwrap(), load(&two).unwrap());
    let method = method(json!({ "towers": "vl", "bottleneck": 5 }));
    let model = Model::new(&one, method.clone(), 7).unwrap();
    let file = AdapterFile {
        path: PathBuf::new(),
        tensors: weights::export(&model, |name| model.trains(name)),
        method: method.clone(),
        base: Some(one.identity.clone()),
        image_size: Some(48),
        ..AdapterFile::default()
    };
    let path = temporary.path().join("adapter.safetensors");
    file.write(&path).unwrap();
    let read = AdapterFile::read(&path).unwrap();
    assert_eq!(read.method, method);
    assert_eq!(read.image_size, Some(48));
    let restored = Model::with_adapter(&one, read.clone()).unwrap();
    let again = weights::export(&restored, |name| restored.trains(name));
    for (name, tensor) in &file.tensors {
        assert_eq!(again[name].data, tensor.data, "{name}");
    }
    let error = Model::with_adapter(&two, read).unwrap_err().to_string();
    for part in [
        "adapter.safetensors",
        "one",
        "two",
        "use the base it was trained on",
    ] {
        assert!(error.contains(part), "{error}");
    }
    // Without metadata: kind, towers and bottleneck from names and shapes, profile `paper`. The
    // `default` profile has a block more in each tower, so that the files do not fit each other.
    tensor_file::write_safetensors(&path, &file.tensors, &BTreeMap::new()).unwrap();
    let bare = AdapterFile::read(&path).unwrap();
    let published = json!({ "kind": "dense", "towers": "vl", "bottleneck": 5, "profile": "paper" });
    assert_eq!(bare.method, self::method(published));
    let error = Model::with_adapter(&one, bare).unwrap_err().to_string();
    assert!(
        error.contains("extra `l_attn_adapters.2.fc1.bias`"),
        "{error}"
    );
}

/// A small base that all methods go with: shallow text adapters need the text width to be the projection width.
fn base_for_all_methods() -> Base {
    let temporary = tempfile::tempdir().unwrap();
    let mut config = small_base(temporary.path(), 3);
    config.projection_dim = config.text_config.hidden_size;
    let json = config.to_json().unwrap().to_string();
    std::fs::write(temporary.path().join("config.json"), json).unwrap();
    write(temporary.path(), &random_weights(&config, 3));
    load(temporary.path()).unwrap()
}

/// The `default` profile starts as the base itself, the `paper` profile does not.
#[test]
fn default_adapters_start_as_the_identity() {
    let base = base_for_all_methods();
    let pixels = Tensor::<4>::ones([1, 3, 32, 32], &Device::flex());
    let logits = |method: MethodConfig| {
        let model = Model::new(&base, method, 1).unwrap();
        let text = model
            .encode_text(&model.tokens(&[[60, 4, 63]]).unwrap())
            .unwrap();
        to_host(
            model
                .decode(&model.encode_image(pixels.clone()).unwrap(), text)
                .unwrap(),
        )
    };
    let plain = logits(MethodConfig::zero_shot());
    for kind in ["dense", "shallow"] {
        for towers in ["v", "l", "vl", "lc", "vlc"] {
            let of =
                |profile| method(json!({ "kind": kind, "towers": towers, "profile": profile }));
            assert_eq!(logits(of("default")), plain);
            assert_ne!(logits(of("paper")), plain);
        }
    }
}

/// What is kept of an image or a prompt is the same whatever it was encoded with.
#[test]
fn states_do_not_depend_on_the_batch() {
    let base = Base::load("builtin:tiny", &Device::flex()).unwrap();
    let model = Model::new(&base, method(json!({ "kind": "shallow" })), 1).unwrap();
    let texts = [
        "a",
        "a red disc",
        "the small grey ring to the left of the blue square",
        "a disc",
    ];
    let ids = texts.map(|text| base.tokenizer.encode(text, 77).unwrap());
    let together = model.text_states(&model.tokens(&ids).unwrap());
    for (place, ids) in ids.iter().enumerate() {
        let alone = model.text_states(&model.tokens(&[ids]).unwrap());
        for (alone, together) in alone.into_iter().zip(&together) {
            let own = together.clone().narrow(0, place, 1);
            assert_eq!(to_host(alone), to_host(own), "{}", texts[place]);
        }
    }
    let noise = burn::tensor::Distribution::Normal(0.0, 1.0);
    let pixels = Tensor::<4>::random([5, 3, 168, 168], noise, &Device::flex());
    let together = model.vision_states(pixels.clone());
    for (start, count) in [(0, 1), (4, 1), (1, 3)] {
        let some = model.vision_states(pixels.clone().narrow(0, start, count));
        for (some, together) in some.into_iter().zip(&together) {
            let own = together.clone().narrow(0, start, count);
            assert_eq!(to_host(some), to_host(own), "{count} images");
        }
    }
}

/// A tower is called frozen exactly if its states stay as they are when all trained parameters move.
#[test]
fn frozen_towers_do_not_see_what_is_trained() {
    let base = base_for_all_methods();
    let pixels = Tensor::<4>::ones([2, 3, 32, 32], &Device::flex());
    let values = |states: HiddenStates| states.into_iter().map(to_host).collect::<Vec<_>>();
    for kind in MethodConfig::KINDS {
        for towers in ["v", "l", "vl", "lc", "vlc"] {
            let keys = json!({ "kind": kind, "towers": towers });
            let Ok(method) = serde_json::from_value::<MethodConfig>(keys) else {
                continue;
            };
            let Ok(before) = Model::new(&base, method, 1) else {
                continue;
            };
            let moved = weights::update(before.clone(), |name, value| {
                let trained = before.trains(name);
                if trained { value + 0.1 } else { value }
            });
            let tokens = before.tokens(&[[60, 4, 63]]).unwrap();
            let text = [&before, &moved].map(|model| values(model.text_states(&tokens)));
            assert_eq!(text[0] == text[1], before.frozen_text(), "{kind} {towers}");

            let states = [&before, &moved].map(|model| model.vision_states(pixels.clone()));
            if let Some(shapes) = before.frozen_vision(32) {
                let found = states[0].iter().map(|state| state.dims());
                let claimed = shapes.into_iter().map(|[tokens, width]| [2, tokens, width]);
                assert!(found.eq(claimed));
            }
            let vision = states.map(values);
            assert_eq!(
                vision[0] == vision[1],
                before.frozen_vision(32).is_some(),
                "{kind} {towers}"
            );
        }
    }
}

#[test]
fn methods_that_do_not_fit_say_why() {
    let base = ClipSegConfig::rd64_refined().shape(Profile::Default);
    for (layers, kind, part) in [
        (vec![10], "dense", "last tapped layer 9"),
        (vec![4], "shallow", "[3, 6, 9]"),
        (vec![2, 1], "dense", "ascending"),
        (vec![], "dense", "empty"),
    ] {
        let method = method(json!({ "kind": kind, "layers": layers }));
        let adapters = Adapters::new(&method, &base, 0, &Device::flex());
        let error = adapters.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

/// An image that several prompts share is encoded once, and its weights get the gradients of all of them.
#[test]
fn gradients_through_shared_images() {
    let folder = tempfile::tempdir().unwrap();
    let config = small_base(folder.path(), 5);
    let base = load(folder.path()).unwrap();
    let model = Model::new(&base, method(json!({ "kind": "full" })), 0).unwrap();
    let side = config.vision_config.image_size;
    let wave = |shape: &[usize], step: f32| {
        let values = (0..shape.iter().product()).map(|at: usize| (at as f32 * step).sin());
        TensorData::new(values.collect::<Vec<f32>>(), shape.to_vec())
    };
    let pixels = wave(&[2, 3, side, side], 0.37);
    let pixels = Tensor::<4>::from_data(pixels, &Device::flex());
    let output = config.output_size(side);
    let weights = wave(&[4, output, output], 0.11);
    let weights = Tensor::<3>::from_data(weights, &Device::flex());
    let tokens = [[0, 4, 7, 9], [0, 5, 9, 9], [0, 6, 4, 9], [0, 3, 3, 9]];
    let tokens = model.tokens(&tokens).unwrap();
    let training = model.for_training();
    let gradients = |features: HiddenStates| {
        let logits = training
            .decode(&features, training.encode_text(&tokens).unwrap())
            .unwrap();
        let mut gradients = (logits * weights.clone()).sum().backward();
        weights::take_gradients(&training, &mut gradients)
    };
    let features = training.encode_image(pixels.clone()).unwrap();
    let shared = gradients(select(&features, &[0, 0, 1, 0]));
    let each = [0, 0, 1, 0].map(|at| pixels.clone().narrow(0, at, 1));
    let repeated = gradients(training.encode_image(Tensor::cat(each.into(), 0)).unwrap());
    assert_eq!(shared.len(), repeated.len());
    for (name, gradient) in &shared {
        let (a, b) = (gradient.to_file().data, repeated[name].to_file().data);
        let norm = b.iter().map(|x| x * x).sum::<f32>().sqrt();
        let off = a.iter().zip(&b).map(|(a, b)| (a - b).powi(2));
        let off = off.sum::<f32>().sqrt();
        // A key's bias has no gradient but rounding.
        assert!(off < 1e-5 * norm + 1e-5, "{name}: {off} of {norm}");
    }
}
