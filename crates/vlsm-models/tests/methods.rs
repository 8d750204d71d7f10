//! Methods compared with reference outputs, see `fixtures/methods`.
// Long because: one list of cases for all methods in each of its tests.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::{Value, json};
use vlsm_models::clipseg::ClipSegModel;
use vlsm_models::tensor_file::{self, HostTensor, TensorFile};
use vlsm_models::weights::{self, to_host};
use vlsm_models::{AdapterFile, Base, ClipSegConfig, MethodConfig, Model, SegmentationModel};

use crate::common::tested;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

fn base() -> Base {
    let folder = fixtures().join("clipseg/tiny_refined");
    Base::load(folder.to_str().unwrap(), &tested()).unwrap()
}

/// The tensors of a file whose names start with `prefix`, without it.
fn with_prefix(file: &TensorFile, prefix: &str) -> Vec<(String, HostTensor)> {
    let tensors = file.tensors.iter();
    let tensors = tensors.filter_map(|(name, tensor)| {
        let name = name.strip_prefix(prefix)?;
        Some((name.to_owned(), tensor.clone()))
    });
    tensors.collect()
}

/// Logits of the first two images and prompts of the base's batch.
fn logits(model: &Model) -> Tensor<3> {
    let batch = fixtures().join("clipseg/tiny_refined/batch.safetensors");
    let batch = tensor_file::read(&batch).unwrap();
    let pixels = batch.tensors["pixel_values"].data[..2 * 3 * 64 * 64].to_vec();
    let pixels = TensorData::new(pixels, [2, 3, 64, 64]);
    let pixels = Tensor::<4>::from_data(pixels, &tested());
    let ids = batch.ints["input_ids"].data.chunks(12);
    let ids = ids.take(2).map(|ids| ids[..7].iter().map(|id| *id as u32));
    let ids: Vec<Vec<u32>> = ids.map(Iterator::collect).collect();
    let text = model.encode_text(&model.tokens(&ids).unwrap()).unwrap();
    model
        .decode(&model.encode_image(pixels).unwrap(), text)
        .unwrap()
}

fn norm(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}

fn spread(values: &[f32]) -> f32 {
    let largest = values.iter().copied().fold(f32::MIN, f32::max);
    largest - values.iter().copied().fold(f32::MAX, f32::min)
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().zip(b);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// What a method computes equals the reference: logits within 1e-4 of their spread, each gradient within 1e-3 of its norm.
/// With the changes of parameters merged, at load or into the base, the model computes the same to the bit.
fn compare(name: &str) {
    let file = tensor_file::read(&fixtures().join(format!("methods/{name}.safetensors"))).unwrap();
    let method: MethodConfig = serde_json::from_str(&file.metadata["method"]).unwrap();
    let base = base();
    let adapter = AdapterFile {
        tensors: with_prefix(&file, "param.").into_iter().collect(),
        method,
        ..AdapterFile::default()
    };
    let model = Model::with_adapter(&base, adapter.clone()).unwrap();
    let expected = &file.tensors["logits"].data;
    let noise = &file.tensors["noise"].data;
    let model = model.for_training();
    let output = logits(&model);
    let found = to_host(output.clone());
    let off = distance(&found, expected) / spread(expected);
    assert!(off < 1e-4, "{name}: {off}, noise {}", noise[0]);

    let weights = (0..found.len()).map(|i| ((i / 97 % 7) as f32 - 2.0) / 4.0);
    let weights = TensorData::new(weights.collect::<Vec<f32>>(), output.dims());
    let sum = (output * Tensor::from_data(weights, &tested())).sum();
    let gradients = weights::take_gradients(&model, &mut sum.backward());
    let expected = with_prefix(&file, "grad.");
    assert_eq!(gradients.len(), expected.len(), "{name}");
    let norms = expected.iter().map(|(_, g)| norm(g.data.iter().copied()));
    let largest = norms.fold(0.0, f64::max);
    let mut worst = (0.0, "");
    for (parameter, expected) in &expected {
        let found = gradients[parameter].to_file();
        assert_eq!(found.shape, expected.shape, "{name}: {parameter}");
        let pairs = found.data.iter().zip(&expected.data);
        let off = norm(pairs.map(|(a, b)| a - b));
        // Some gradients, such as that of a key's bias, are zero but for rounding.
        let size = norm(expected.data.iter().copied()).max(1e-3 * largest);
        if off / size > worst.0 {
            worst = (off / size, parameter);
        }
    }
    assert!(worst.0 < 1e-3, "{name}: {worst:?}, noise {}", noise[1]);

    let model = model.for_inference();
    let found = to_host(logits(&model));
    assert!(distance(&found, &file.tensors["logits"].data) / spread(&found) < 1e-4);
    assert_eq!(to_host(logits(&model.merged())), found, "{name}");
    if let Ok(merged) = base.merge(adapter) {
        let merged = Model::new(&merged, MethodConfig::zero_shot(), 0).unwrap();
        assert_eq!(to_host(logits(&merged)), found, "{name}");
    }
}

macro_rules! compared {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            compare(stringify!($name));
        })*

        /// A method without a test here is not compared.
        #[test]
        fn every_reference_is_compared() {
            let files = std::fs::read_dir(fixtures().join("methods")).unwrap();
            for file in files {
                let path = file.unwrap().path();
                if path.extension().is_some_and(|end| end == "safetensors") {
                    let name = path.file_stem().unwrap().to_str().unwrap();
                    assert!([$(stringify!($name)),*].contains(&name), "{name}");
                }
            }
        }
    };
}

compared!(
    lora,
    lora_biases,
    dora,
    ia3,
    ssf,
    bitfit,
    layer_norm,
    adaptformer,
    coop,
    cocoop,
    head,
    vpt,
    vpt_shallow,
    maple,
    shared_separate,
    shared_attn,
    shared_attn_paper,
    pvl,
    pvl_paper,
);

/// Trained parameters at the full size of CLIPSeg. Its vision tower is 768 wide and has 12 layers, of which 10 are run; the text
/// tower is 512 wide and has 12; hidden units are four times as many.
#[test]
fn counts_at_full_size() {
    let (v, l) = (10 * 768, 12 * 512);
    let cases = [
        // Per layer of width w: 2w for each of two norms.
        (json!({ "kind": "layer-norm" }), 4 * (v + l)),
        (json!({ "kind": "layer-norm", "towers": "v" }), 4 * v),
        // Scale and shift of two norms, four matrices of the attention, 4w hidden units and w outputs of the MLP.
        (json!({ "kind": "ssf" }), 2 * 11 * (v + l)),
        (json!({ "kind": "ssf", "towers": "v" }), 168_960),
        // Keys, values and 4w hidden units.
        (json!({ "kind": "ia3" }), 6 * (v + l)),
        (json!({ "kind": "ia3", "towers": "l" }), 36_864),
        // Rank 8 on queries and values of the same 10 layers in both towers; DoRA adds the length of each of their columns.
        (
            json!({ "kind": "lora", "towers": "vl" }),
            2 * 8 * 2 * 10 * (768 + 512),
        ),
        (json!({ "kind": "dora" }), 409_600 + 2 * 10 * (768 + 512)),
        // The biases of these layers: two norms, four matrices of the attention, 4w hidden units and w outputs of the MLP.
        (
            json!({ "kind": "lora", "towers": "vl", "train_biases": true }),
            409_600 + 11 * 10 * (768 + 512),
        ),
        // Blocks with 64 hidden units in the MLP's sublayer: all 12 layers of the vision tower would have 1,189,632, those of the text tower 793,344.
        (
            json!({ "kind": "dense", "towers": "vl", "sublayers": "mlp", "connection": "parallel", "scale": 0.1 }),
            (1_189_632 + 793_344) / 12 * 10,
        ),
        // Four tokens of a tower's width in each layer.
        (json!({ "kind": "coop" }), 2048),
        (json!({ "kind": "coop", "depth": 12 }), 2048 * 12),
        // The output head: a kernel of 5x5 from 64 to 1, its bias, and the share.
        (
            json!({ "kind": "coop", "head": true }),
            2048 + 64 * 25 + 1 + 1,
        ),
        // The tokens, and an MLP from the embedding's 512 over 64 to 512 with one bias and a norm's scale in each layer.
        (
            json!({ "kind": "cocoop" }),
            2048 + 512 * 64 + 64 + 64 * 512 + 512,
        ),
        (json!({ "kind": "cocoop", "depth": 11 }), 68_160 * 11),
        // Ten adapters: to 256 from 768 and from 512 and back; in each direction queries and outputs, keys and values of twice the
        // width, two norms and a gate.
        (
            json!({ "kind": "pvl" }),
            10 * (2 * 256 * (768 + 512) + 2 * (6 * 256 * 257 + 4 * 256 + 1)),
        ),
        (json!({ "kind": "pvl", "layers": [0, 10] }), 14_469_140 / 5),
        (json!({ "kind": "vpt", "depth": 1 }), 3072),
        (json!({ "kind": "vpt" }), 3072 * 10),
        // The tokens, and an MLP from 512 over 64 to 768 with a norm in each layer.
        (json!({ "kind": "maple" }), 85_568),
        (json!({ "kind": "maple", "depth": 9 }), 85_568 * 9),
        // Four tokens 64 wide, and projections to 512 and to 768 in each layer.
        (json!({ "kind": "shared-separate" }), 83_200 + 256),
        (
            json!({ "kind": "shared-separate", "depth": 9 }),
            (83_200 + 256) * 9,
        ),
        // Four tokens 1280 wide, and a transformer layer of that width with 1536 hidden units.
        (
            json!({ "kind": "shared-attn" }),
            4 * 1280 + 4 * 1280 * 1281 + 2 * 1280 * 1536 + 1536 + 1280 + 4 * 1280,
        ),
    ];
    let clipseg = ClipSegConfig::rd64_refined().init(&Device::flex());
    for (keys, expected) in cases {
        let method: MethodConfig = serde_json::from_value(keys.clone()).unwrap();
        let model = ClipSegModel::new(&clipseg, method, 0).unwrap();
        assert_eq!(model.trained_parameters(), expected, "{keys}");
    }
}

/// The decoder, or an output head, can be trained along with every method that leaves the decoder frozen, and adds all of its
/// parameters to what is trained.
#[test]
fn the_decoder_or_a_head_is_trained_along_with_any_method() {
    let base = base();
    let count = |kind: &str, train_decoder: bool, head: bool| {
        let mut keys = json!({ "kind": kind });
        if train_decoder {
            keys["train_decoder"] = true.into();
        }
        if head {
            keys["head"] = true.into();
        }
        if kind == "shared-attn" {
            keys["heads"] = 4.into();
        }
        let method: MethodConfig = serde_json::from_value(keys).unwrap();
        assert!(
            !train_decoder || method.trains_decoder(),
            "{kind} does not say so"
        );
        Model::new(&base, method, 0).unwrap().trained_parameters()
    };
    let decoder = count("decoder", false, false);
    for kind in MethodConfig::KINDS {
        if ["decoder", "full", "zero-shot"].contains(&kind) {
            continue;
        }
        let alone = count(kind, false, false);
        assert_eq!(count(kind, true, false), alone + decoder, "{kind}");
        // The small decoder is 16 wide.
        assert_eq!(count(kind, false, true), alone + 16 * 25 + 2, "{kind}");
    }
}

/// A method starts as published: DoRA and IA3 as the base to the bit, SSF near it.
#[test]
fn methods_start_as_published() {
    let base = base();
    let start = |keys: Value| {
        let method: MethodConfig = serde_json::from_value(keys).unwrap();
        to_host(logits(&Model::new(&base, method, 3).unwrap()))
    };
    let plain = start(json!({ "kind": "zero-shot" }));
    for kind in ["dora", "ia3", "layer-norm", "bitfit"] {
        assert_eq!(start(json!({ "kind": kind })), plain, "{kind}");
    }
    let off = distance(&start(json!({ "kind": "ssf" })), &plain) / spread(&plain);
    assert!(off > 0.01 && off < 0.5, "{off}");
    let method: MethodConfig = serde_json::from_value(json!({ "kind": "ssf" })).unwrap();
    let model = Model::new(&base, method, 3).unwrap();
    let parameters = weights::export(&model, |name| model.trains(name));
    for (end, mean) in [(".scale", 1.0), (".shift", 0.0)] {
        let of_kind = parameters.iter().filter(|(name, _)| name.ends_with(end));
        let values: Vec<f32> = of_kind
            .flat_map(|(_, tensor)| tensor.data.clone())
            .collect();
        let count = values.len() as f64;
        let found = values.iter().map(|x| f64::from(*x)).sum::<f64>() / count;
        let deviation = norm(values.iter().map(|x| x - mean)) / count.sqrt();
        assert!((found - f64::from(mean)).abs() < 2e-3, "{end}: {found}");
        assert!((deviation - 0.02).abs() < 1e-3, "{end}: {deviation}");
    }
}

/// A method that does not fit is an error that names the key and what is possible.
#[test]
fn methods_that_do_not_fit_say_why() {
    let base = base();
    let biomed = fixtures().join("biomedclipseg/tiny");
    let biomed = Base::load(biomed.to_str().unwrap(), &Device::flex()).unwrap();
    let san = Base::load(fixtures().join("san").to_str().unwrap(), &Device::flex()).unwrap();
    let cris = Base::load(fixtures().join("cris").to_str().unwrap(), &Device::flex()).unwrap();
    for (base, keys, parts) in [
        (
            &base,
            json!({ "kind": "ssf", "towers": "vlc" }),
            ["`towers` is \"vlc\"", "\"vl\""],
        ),
        (
            &base,
            json!({ "kind": "layer-norm", "towers": "lc" }),
            ["no norm", "\"l\""],
        ),
        (
            &base,
            json!({ "kind": "dora", "towers": "vlc" }),
            ["`towers`", "\"vl\""],
        ),
        (
            &base,
            json!({ "kind": "ia3", "layers": [4] }),
            ["`layers` has layer 4", "tapped layer 3"],
        ),
        (
            &base,
            json!({ "kind": "ssf", "text_layers": [4] }),
            ["layer 4", "has 4 layers"],
        ),
        (
            &base,
            json!({ "kind": "ia3", "projections": [] }),
            ["`projections`", "fc2"],
        ),
        (
            &base,
            json!({ "kind": "dora", "scale": 0.0 }),
            ["`scale`", "other than 0"],
        ),
        (
            &base,
            json!({ "kind": "dora", "bottleneck": 0 }),
            ["`bottleneck`", "at least 1"],
        ),
        (
            &cris,
            json!({ "kind": "ssf" }),
            ["a ResNet", "`towers = \"l\"`"],
        ),
        (
            &cris,
            json!({ "kind": "cocoop" }),
            ["a text for each image", "`kind = \"coop\"`"],
        ),
        (
            &san,
            json!({ "kind": "cocoop" }),
            ["a SAN cannot", "`kind = \"coop\"`"],
        ),
        (
            &cris,
            json!({ "kind": "pvl" }),
            ["a text for each image", "`kind = \"dense\"`"],
        ),
        (
            &san,
            json!({ "kind": "pvl" }),
            ["a SAN cannot", "`kind = \"dense\"`"],
        ),
        (
            &base,
            json!({ "kind": "pvl", "layers": [2, 4] }),
            ["`layers` is [2, 4]", "from 0 to 3"],
        ),
        (
            &base,
            json!({ "kind": "pvl", "layers": [2, 1] }),
            ["`layers` is [2, 1]", "ascending"],
        ),
        (
            &biomed,
            json!({ "kind": "pvl", "profile": "paper" }),
            ["`profile` is \"paper\"", "a BERT"],
        ),
        (
            &base,
            json!({ "kind": "cocoop", "depth": 5 }),
            ["`depth` is 5", "at most 4"],
        ),
        (
            &base,
            json!({ "kind": "cocoop", "bottleneck": 0 }),
            ["`bottleneck`", "at least 1"],
        ),
        (
            &cris,
            json!({ "kind": "coop", "head": true }),
            ["`head`", "`train_decoder = true`"],
        ),
        (
            &cris,
            json!({ "kind": "layer-norm", "towers": "v" }),
            ["a ResNet", "`towers = \"l\"`"],
        ),
    ] {
        let method: MethodConfig = serde_json::from_value(keys.clone()).unwrap();
        let error = Model::new(base, method, 0).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "{keys}: {error}");
        }
    }
    // Learnt tokens leave less of the context to a prompt.
    let context = |kind: &str| {
        let method: MethodConfig = serde_json::from_value(json!({ "kind": kind })).unwrap();
        let model = Model::new(&base, method, 0).unwrap();
        assert_eq!(model.context_length(), 8, "{kind}");
        model
    };
    context("cocoop");
    let model = context("coop");
    let error = model
        .tokens(&[[1, 1, 1, 1, 1, 1, 1, 1, 511]])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("takes 8") || error.contains("9 tokens"),
        "{error}"
    );
    // An adapter file of another method.
    let method = |kind| serde_json::from_value::<MethodConfig>(json!({ "kind": kind })).unwrap();
    let model = Model::new(&base, method("ia3"), 0).unwrap();
    let file = AdapterFile {
        tensors: weights::export(&model, |name| model.trains(name)),
        method: method("ssf"),
        ..AdapterFile::default()
    };
    let error = Model::with_adapter(&base, file.clone())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("missing `vision.0.layer_norm1.scale`"),
        "{error}"
    );
    let error = model.load(file).unwrap_err().to_string();
    assert!(
        error.contains("\"ssf\"") && error.contains("\"ia3\""),
        "{error}"
    );
}

/// The first layer's text tokens start from words, all others near zero.
#[test]
fn prompts_start_from_words() {
    let base = Base::load("builtin:tiny", &Device::flex()).unwrap();
    let table = "clip.text_model.embeddings.token_embedding.weight";
    let table = weights::export(&base.network, |name| name == table);
    let table = table.into_values().next().unwrap();
    let width = table.shape[1];
    for kind in ["coop", "cocoop", "maple"] {
        let keys = json!({ "kind": kind, "depth": 2, "tokens": 5 });
        let method: MethodConfig = serde_json::from_value(keys).unwrap();
        let model = Model::new(&base, method, 1).unwrap();
        let name = "context_learner.context_vectors";
        let vectors = weights::export(&model, |own| own == name);
        let vectors = &vectors[name];
        assert_eq!(vectors.shape, [2, 5, width]);
        let ids = base.tokenizer.encode("a photo of a", 77).unwrap();
        assert_eq!(ids.len(), 6);
        for (index, id) in ids[1..5].iter().enumerate() {
            let word = &table.data[*id as usize * width..][..width];
            assert_eq!(&vectors.data[index * width..][..width], word);
        }
        let random = &vectors.data[4 * width..];
        let deviation = norm(random.iter().copied()) / (random.len() as f64).sqrt();
        assert!((deviation - 0.02).abs() < 3e-3, "{deviation}");
    }
}

/// Learnt prompts on other architectures: gradients reach every parameter, and the towers that are left alone stay.
#[test]
fn prompts_go_with_other_architectures() {
    for (name, kinds) in [
        (
            "san",
            &["coop", "vpt", "maple", "shared-separate", "shared-attn"][..],
        ),
        ("cris", &["coop"]),
        ("biomedclipseg/tiny", &["coop", "cocoop", "vpt", "maple"]),
    ] {
        let base = Base::load(fixtures().join(name).to_str().unwrap(), &tested()).unwrap();
        let side = base.preprocessing.image_size;
        for kind in kinds {
            let mut keys = json!({ "kind": kind, "tokens": 2, "train_decoder": true });
            if *kind == "shared-attn" {
                keys["heads"] = 2.into();
            }
            let method: MethodConfig = serde_json::from_value(keys).unwrap();
            let model = Model::new(&base, method, 1).unwrap().for_training();
            let pixels = Tensor::<4>::ones([1, 3, side, side], &tested());
            // Start, a word, end.
            let ids = if name.contains("biomed") {
                [2, 4, 3]
            } else {
                [38, 4, 39]
            };
            let text = model.tokens(&[ids]).unwrap();
            let text = model.encode_text(&text).unwrap();
            let logits = model
                .decode(&model.encode_image(pixels).unwrap(), text)
                .unwrap();
            let out = model.output_size(side).unwrap();
            let weights = (0..out * out).map(|i| (i as f32 * 0.1).sin());
            let weights = TensorData::new(weights.collect::<Vec<f32>>(), [1, out, out]);
            let sum = (logits * Tensor::from_data(weights, &tested())).sum();
            let gradients = weights::take_gradients(&model, &mut sum.backward());
            let own = gradients
                .iter()
                .filter(|(name, _)| name.starts_with("context_learner."));
            let mut count = 0;
            for (parameter, gradient) in own {
                let gradient = gradient.to_file();
                assert!(
                    norm(gradient.data.iter().copied()) > 0.0,
                    "{name} {kind}: {parameter}"
                );
                count += 1;
            }
            assert!(count > 0, "{name} {kind}");
            assert_eq!(
                model.frozen_vision(side).is_some(),
                ["coop", "cocoop"].contains(kind),
                "{name} {kind}"
            );
            // The text states of CoCoOp are the tokens.
            assert_eq!(
                model.frozen_text(),
                ["vpt", "cocoop"].contains(kind),
                "{name} {kind}"
            );
        }
    }
}
