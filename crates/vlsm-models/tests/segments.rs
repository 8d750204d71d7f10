//! CLIP's embeddings, OVSeg's crops and OpenDAS's learnt tokens compared with `scripts/reference/make_clip.py`, and those of open_clip
//! with `make_open_clip.py`.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::json;
use vlsm_image::{Mask, RgbImage, read_class_map, read_image};
use vlsm_models::clip::openai;
use vlsm_models::segments::{ClipBase, SegmentFile, SegmentModel, crop, crops};
use vlsm_models::tensor_file::{self, HostTensor, TensorFile};
use vlsm_models::weights::{self, to_host};
use vlsm_models::{CoopConfig, MethodConfig, Preprocessing, TokenBatch, VptConfig};

use crate::common::tested;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/clip")
}

fn read(name: &str) -> TensorFile {
    tensor_file::read(&folder().join(name)).unwrap()
}

fn base() -> ClipBase {
    ClipBase::load(folder().to_str().unwrap(), &tested()).unwrap()
}

fn tensor<const D: usize>(tensor: &HostTensor) -> Tensor<D> {
    let shape: [usize; D] = tensor.shape.clone().try_into().unwrap();
    Tensor::from_data(TensorData::new(tensor.data.clone(), shape), &tested())
}

fn pixels() -> Tensor<4> {
    tensor(&read("batch.safetensors").tensors["pixel_values"])
}

fn tokens(base: &ClipBase) -> TokenBatch {
    token_batch(base, &read("batch.safetensors"))
}

fn token_batch(base: &ClipBase, batch: &TensorFile) -> TokenBatch {
    let ids = &batch.ints["input_ids"];
    let prompts = ids.data.chunks(ids.shape[1]);
    let prompts: Vec<Vec<u32>> = prompts
        .map(|row| row.iter().map(|id| *id as u32).collect())
        .collect();
    TokenBatch::new(&prompts, &base.config().text_config).unwrap()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().zip(b);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Rows of length 1.
fn unit(rows: &HostTensor) -> Vec<f32> {
    let rows = rows.data.chunks(rows.shape[1]);
    rows.flat_map(|row| {
        let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        row.iter().map(move |x| x / norm)
    })
    .collect()
}

#[test]
fn embeddings_are_those_of_transformers() {
    let base = base();
    let model = SegmentModel::new(&base, &[], 0).unwrap();
    let expected = read("expected.safetensors").tensors;
    let images = model.embed_crops(pixels());
    let texts = model.embed_tokens(&tokens(&base));
    for (found, name) in [(&images, "image_embeddings"), (&texts, "text_embeddings")] {
        let off = largest_difference(&to_host(found.clone()), &unit(&expected[name]));
        assert!(off < 1e-5, "{name}: {off}");
    }
    let logits = images.matmul(texts.transpose()) * model.scale().unsqueeze::<2>();
    let off = largest_difference(&to_host(logits), &expected["logits_per_image"].data);
    assert!(off < 1e-4, "{off}");
}

/// A small one; with `VLSM_OPEN_CLIP` also that of a folder which `make_open_clip.py` wrote, such as one of the full size.
#[test]
fn embeddings_are_those_of_open_clip() {
    let given = std::env::var_os("VLSM_OPEN_CLIP").map(PathBuf::from);
    for folder in [folder().join("../open_clip")].into_iter().chain(given) {
        let read = |name: &str| tensor_file::read(&folder.join(name)).unwrap();
        let base = ClipBase::load(folder.to_str().unwrap(), &tested()).unwrap();
        let model = SegmentModel::new(&base, &[], 0).unwrap();
        let batch = read("batch.safetensors");
        let expected = read("expected.safetensors").tensors;
        let images = model.embed_crops(tensor(&batch.tensors["pixel_values"]));
        let texts = model.embed_tokens(&token_batch(&base, &batch));
        let found = [("image_embeddings", images), ("text_embeddings", texts)];
        for (name, embedded) in found {
            let off = largest_difference(&to_host(embedded), &expected[name].data);
            println!("{}: {name} differ by at most {off:e}", folder.display());
            assert!(off < 1e-5, "{}: {name}: {off}", folder.display());
        }
        let scale = largest_difference(&to_host(model.scale()), &expected["logit_scale"].data);
        assert!(scale < 1e-5, "{scale}");
    }
}

#[test]
fn the_names_of_openai_give_the_same_network() {
    let own = base();
    let path = folder().join("model.safetensors");
    let tensors = tensor_file::read(&path).unwrap().tensors;
    let copy = tempfile::tempdir().unwrap();
    let renamed = openai::from_transformers(tensors);
    assert!(openai::is_named_so(&renamed));
    let file = copy.path().join("open_clip_model.safetensors");
    tensor_file::write_safetensors(&file, &renamed, &tensor_file::pytorch_metadata()).unwrap();
    let config = json!({
        "model_cfg": {
            "embed_dim": 24, "quick_gelu": true,
            "vision_cfg": {
                "image_size": 32, "layers": 3, "width": 32, "patch_size": 8, "head_width": 16, "mlp_ratio": 1.5
            },
            "text_cfg": {
                "context_length": 16, "vocab_size": 60, "width": 24, "heads": 2, "layers": 3, "mlp_ratio": 40.0 / 24.0
            }
        },
        "preprocess_cfg": {"mean": [0.481_454_66, 0.457_827_5, 0.408_210_73], "std": [0.268_629_54, 0.261_302_6, 0.275_777_1]}
    });
    std::fs::write(
        copy.path().join("open_clip_config.json"),
        config.to_string(),
    )
    .unwrap();
    let other = ClipBase::load(copy.path().to_str().unwrap(), &tested()).unwrap();
    assert_eq!(other.config(), own.config());
    assert_eq!(other.preprocessing, own.preprocessing);
    let embed = |base: &ClipBase| {
        let model = SegmentModel::new(base, &[], 0).unwrap();
        to_host(model.embed_crops(pixels()))
    };
    assert_eq!(embed(&own), embed(&other));
}

#[test]
fn a_clipseg_has_a_clip() {
    let base = ClipBase::load("builtin:tiny", &Device::flex()).unwrap();
    assert_eq!(base.config().projection_dim, 64);
    assert_eq!(base.preprocessing.image_size, 168);
    let model = SegmentModel::new(&base, &[], 0).unwrap();
    let names = ["red circle", "car"].map(str::to_owned);
    let embedded = model.embed_names(&base.tokenizer, &names, &["a {}", "the {}"]);
    let embedded = to_host(embedded.unwrap());
    for row in embedded.chunks(64) {
        let norm = row.iter().map(|x| x * x).sum::<f32>();
        assert!((norm - 1.0).abs() < 1e-5, "{norm}");
    }
    let san = folder().join("../san");
    let error = ClipBase::load(san.to_str().unwrap(), &Device::flex()).unwrap_err();
    assert!(error.to_string().contains("model_type"), "{error}");
}

#[test]
fn crops_follow_the_rule_of_ovseg() {
    let image = read_image(&folder().join("image.png")).unwrap();
    let labels = read_class_map(&folder().join("mask.png")).unwrap();
    let expected = read("crops.safetensors").tensors;
    let preprocessing = Preprocessing::clip(224);
    let masks: Vec<Mask> = (1..=5).map(|id| labels.mask_of(id, None)).collect();
    let segments: Vec<_> = masks.iter().map(|mask| (&image, mask)).collect();
    let all = crops(&segments, &preprocessing, &tested()).unwrap();
    assert_eq!(all.dims(), [5, 3, 224, 224]);
    let all = to_host(all);
    for (id, crop) in (1..=5).zip(all.chunks(3 * 224 * 224)) {
        let every_13th =
            (0..3 * 224 * 224).filter(|at| at % 224 % 13 == 0 && at / 224 % 224 % 13 == 0);
        let found: Vec<f32> = every_13th.map(|at| crop[at]).collect();
        let off = largest_difference(&found, &expected[&id.to_string()].data);
        assert!(off < 1e-4, "segment {id} is off by {off}");
    }
}

#[test]
fn a_mask_without_a_segment_is_refused() {
    let image = RgbImage::filled(4, 3, [9, 9, 9]);
    let preprocessing = Preprocessing::clip(8);
    for (mask, fault) in [
        (Mask::empty(4, 3), "empty"),
        (Mask::from_fn(4, 3, |_, _| Mask::IGNORE), "empty"),
        (Mask::from_fn(3, 4, |_, _| 1), "3x4"),
    ] {
        let error = crop(&image, &mask, &preprocessing).unwrap_err();
        assert!(error.to_string().contains(fault), "{error}");
    }
}

fn opendas() -> [MethodConfig; 2] {
    let vision = VptConfig {
        tokens: 2,
        depth: Some(2),
        ..VptConfig::default()
    };
    let text = CoopConfig {
        tokens: 2,
        depth: 2,
        words: String::new(),
        ..CoopConfig::default()
    };
    [vision.into(), text.into()]
}

fn file_of(model: &SegmentModel, base: &ClipBase, path: PathBuf) -> SegmentFile {
    SegmentFile {
        path,
        tensors: weights::export(model, |name| model.saves(name)),
        methods: model.methods().to_vec(),
        base: base.identity.clone(),
        templates: vec!["a {}".into()],
        blend: 1.0,
    }
}

#[test]
fn a_file_gives_the_same_model_and_only_to_its_base() {
    let base = base();
    let model = SegmentModel::new(&base, &opendas(), 3).unwrap();
    assert_eq!(
        [0, 1].map(|stage| model.trained_parameters(stage)),
        [2 * 2 * 32, 2 * 2 * 24]
    );
    let folder = tempfile::tempdir().unwrap();
    let file = file_of(&model, &base, folder.path().join("trained.safetensors"));
    assert_eq!(
        file.tensors.keys().collect::<Vec<_>>(),
        [
            "stages.0.context_learner.context_vectors",
            "stages.1.context_learner.context_vectors"
        ]
    );
    file.write().unwrap();
    let again = SegmentFile::read(&file.path).unwrap();
    assert_eq!(again.templates, ["a {}"]);
    let loaded = SegmentModel::with_file(&base, again.clone()).unwrap();
    let embed = |model: &SegmentModel| to_host(model.embed_tokens(&tokens(&base)));
    assert_eq!(embed(&model), embed(&loaded));
    let plain = SegmentModel::new(&base, &[], 0).unwrap();
    assert_ne!(embed(&model), embed(&plain));
    let other = ClipBase::load("builtin:tiny", &Device::flex()).unwrap();
    let error = SegmentModel::with_file(&other, again).unwrap_err();
    assert!(error.to_string().contains("was trained on"), "{error}");
}

/// A model whose saved parameters are not those that it starts with.
fn changed(base: &ClipBase, methods: &[MethodConfig], by: f32) -> SegmentModel {
    let model = SegmentModel::new(base, methods, 3).unwrap();
    let saved = model.clone();
    weights::update(model, |name, value| match saved.saves(name) {
        true => value.clone() + value.ones_like() * by,
        false => value,
    })
}

/// Segments' embeddings by the base are those of Transformers; `full` changes the CLIP's own parameters.
#[test]
fn a_blend_is_the_mean_with_the_base() {
    let base = base();
    let builtin = ClipBase::load("builtin:tiny", &Device::flex()).unwrap();
    let names = ["sky", "traffic sign"].map(str::to_owned);
    let of_names = |model: &SegmentModel| {
        let embedded = model.embed_names(&builtin.tokenizer, &names, &["a {}", "the {}"]);
        to_host(embedded.unwrap())
    };
    let full: MethodConfig = serde_json::from_value(json!({"kind": "full"})).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for methods in [opendas().to_vec(), vec![full]] {
        let [model, of_builtin] = [&base, &builtin].map(|base| changed(base, &methods, 0.02));
        let blended = |model: &SegmentModel, base: &ClipBase, share: f32| {
            let mut file = file_of(model, base, folder.path().join("blended.safetensors"));
            file.blend = share.into();
            file.write().unwrap();
            if share < 1.0 {
                let error = base.merge(file.clone()).unwrap_err().to_string();
                assert!(error.contains("blend"), "{error}");
            }
            SegmentModel::with_file(base, SegmentFile::read(&file.path).unwrap()).unwrap()
        };
        let plain = of_names(&SegmentModel::new(&builtin, &[], 0).unwrap());
        let names = (of_names(&of_builtin), plain);
        let plain = unit(&read("expected.safetensors").tensors["image_embeddings"]);
        let crops = (to_host(model.embed_crops(pixels())), plain);
        for share in [0.0, 0.3, 1.0] {
            let found_crops = to_host(blended(&model, &base, share).embed_crops(pixels()));
            let found_names = of_names(&blended(&of_builtin, &builtin, share));
            for (found, (adapted, plain), width) in
                [(found_crops, &crops, 24), (found_names, &names, 64)]
            {
                assert!(largest_difference(adapted, plain) > 0.01);
                let mean = adapted.iter().zip(plain);
                let mean = mean.map(|(a, b)| share * a + (1.0 - share) * b).collect();
                let shape = vec![found.len() / width, width];
                let expected = unit(&HostTensor { shape, data: mean });
                let off = largest_difference(&found, &expected);
                assert!(off < 1e-5, "{share}: {off}");
            }
        }
    }
}

/// Four tokens that start from "a photo of a" in front of a name are that sentence.
#[test]
fn text_prompts_start_from_the_template() {
    let base = ClipBase::load("builtin:tiny", &Device::flex()).unwrap();
    let names = ["sky", "traffic sign"].map(str::to_owned);
    let embed = |methods: &[MethodConfig]| {
        let model = SegmentModel::new(&base, methods, 0).unwrap();
        let template = vlsm_models::segments::ONE_TEMPLATE;
        to_host(
            model
                .embed_names(&base.tokenizer, &names, &[template])
                .unwrap(),
        )
    };
    let off = largest_difference(&embed(&[]), &embed(&[CoopConfig::default().into()]));
    assert!(off < 1e-6, "{off}");
}

#[test]
fn methods_that_do_not_go_together_are_refused() {
    let base = base();
    let method =
        |keys: serde_json::Value| -> MethodConfig { serde_json::from_value(keys).unwrap() };
    let coop = json!({"kind": "coop", "words": "", "tokens": 2});
    for (methods, fault) in [
        (vec![json!({"kind": "decoder"})], "decoder"),
        (vec![json!({"kind": "zero-shot"})], "nothing"),
        (
            vec![json!({"kind": "vpt", "train_decoder": true})],
            "decoder",
        ),
        (vec![coop.clone(), json!({"kind": "lora"})], "text tower"),
        (vec![json!({"kind": "vpt", "depth": 9})], "depth"),
    ] {
        let methods: Vec<_> = methods.into_iter().map(method).collect();
        let error = SegmentModel::new(&base, &methods, 0).unwrap_err();
        assert!(error.to_string().contains(fault), "{methods:?}: {error}");
    }
    for kind in ["lora", "full", "dense", "bitfit", "layer-norm"] {
        let model = SegmentModel::new(&base, &[method(json!({"kind": kind}))], 0);
        assert!(model.unwrap().trained_parameters(0) > 0, "{kind}");
    }
}

/// A merged CLIP that is written and read again names as base and file together do.
#[test]
fn changes_of_layers_are_merged_into_the_clip() {
    let base = base();
    for kind in ["lora", "bitfit", "full"] {
        let keys = match kind {
            "lora" => {
                json!({ "kind": kind, "towers": "vl", "bottleneck": 2, "layers": [0, 1, 2], "text_layers": [0, 2] })
            }
            _ => json!({ "kind": kind }),
        };
        let method: MethodConfig = serde_json::from_value(keys).unwrap();
        let model = changed(&base, &[method], 0.01);
        let folder = tempfile::tempdir().unwrap();
        let file = file_of(&model, &base, "adapter.safetensors".into());
        let merged = base.merge(file).unwrap();
        merged
            .write(folder.path(), tensor_file::WrittenAs::F32)
            .unwrap();
        let read = ClipBase::load(folder.path().to_str().unwrap(), &tested()).unwrap();
        assert_eq!(read.config(), base.config());
        assert_eq!(read.preprocessing, base.preprocessing);
        let embed = |base: &ClipBase, model: &SegmentModel| {
            let images = to_host(model.embed_crops(pixels()));
            [images, to_host(model.embed_tokens(&tokens(base)))].concat()
        };
        let expected = embed(&base, &model);
        assert_ne!(
            embed(&base, &SegmentModel::new(&base, &[], 0).unwrap()),
            expected,
            "{kind}"
        );
        let found = embed(&read, &SegmentModel::new(&read, &[], 0).unwrap());
        let off = largest_difference(&found, &expected);
        assert!(off < 1e-6, "{kind}: {off}");
    }
    let [vpt, _] = opendas();
    let model = SegmentModel::new(&base, &[vpt], 1).unwrap();
    let error = base.merge(file_of(&model, &base, "vpt.safetensors".into()));
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("context_learner") && error.contains("--adapter"),
        "{error}"
    );
}
