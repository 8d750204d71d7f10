//! `vlsm model`.

use std::path::Path;

use serde_json::Value;
use vlsm::models::tensor_file::read;

use crate::support::{Workshop, fixtures, train_args};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The greatest difference between the logits of two files.
fn difference(found: &Path, expected: &Path) -> f32 {
    let (found, expected) = (read(found).unwrap(), read(expected).unwrap());
    let (found, expected) = (&found.tensors["logits"], &expected.tensors["logits"]);
    assert_eq!(found.shape, expected.shape);
    let pairs = found.data.iter().zip(&expected.data);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn forward_agrees_with_the_published_code() {
    let shop = Workshop::new();
    let adapters = [
        "dense_v",
        "dense_vl",
        "dense_vlc",
        "shallow_v",
        "shallow_vl",
        "shallow_vlc",
    ];
    for fixture in fixtures() {
        // The numbers of `tiny` are themselves up to 2.2e-4 from f64 (vlsm-train/tests/parity.rs, which holds each to its own).
        let bound = if fixture.ends_with("tiny") {
            5e-4
        } else {
            1e-4
        };
        let batch = fixture.join("batch.safetensors");
        let forward = [
            "model",
            "forward",
            "--base",
            text(&fixture),
            "--batch",
            text(&batch),
        ];
        let forward = [&forward[..], &["--out", "out.safetensors", "--force"]].concat();
        shop.ok(&forward);
        let base = fixture.join("base.expected.safetensors");
        let found = difference(&shop.path("out.safetensors"), &base);
        assert!(found < 1e-4, "{}: base: {found}", fixture.display());
        for name in adapters {
            let init = fixture.join(format!("{name}.init.safetensors"));
            shop.ok(&[&forward[..], &["--adapter", text(&init)]].concat());
            let expected = fixture.join(format!("{name}.expected.safetensors"));
            let found = difference(&shop.path("out.safetensors"), &expected);
            assert!(found < bound, "{}: {name}: {found}", fixture.display());
        }
    }
}

#[test]
fn forward_names_what_is_wrong_with_a_batch() {
    let shop = Workshop::new();
    let forward = [
        "model",
        "forward",
        "--base",
        "base",
        "--out",
        "out.safetensors",
        "--batch",
    ];
    let error = shop.fails(&[&forward[..], &["base/model.safetensors"]].concat());
    assert!(
        error.contains("pixel_values") && error.contains("base/model.safetensors"),
        "{error}"
    );
    // The fixtures' batches have other sizes than this base, but any multiple of a patch will do.
    let batch = fixtures()[0].join("batch.safetensors");
    shop.ok(&[&forward[..], &[text(&batch)]].concat());
}

#[test]
fn a_checkpoint_of_the_published_code_is_imported_and_exported() {
    let shop = Workshop::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let checkpoint = root.join("tests/data/dense_v.ckpt");
    let fixture = root.join("../../fixtures/clipseg/tiny_refined");
    let import = [
        "model",
        "import",
        text(&checkpoint),
        "-o",
        "adapter.safetensors",
        "--base",
    ];
    shop.ok(&[&import[..], &[text(&fixture)]].concat());
    let info: Value = shop.ok_json(&["model", "info", "adapter.safetensors"]);
    assert_eq!(info["kind"], "adapter");
    assert_eq!(info["method"]["kind"], "dense");
    assert_eq!(info["method"]["towers"], "v");
    assert_eq!(info["method"]["bottleneck"], 8);
    assert_eq!(info["method"]["profile"], "paper");
    assert_eq!(info["total_parameters"], 4944);
    let base: Value = shop.ok_json(&["model", "info", text(&fixture)]);
    assert_eq!(info["base"]["fingerprint"], base["fingerprint"]);

    shop.ok(&[
        "model",
        "export",
        "adapter.safetensors",
        "-o",
        "bare.safetensors",
    ]);
    let bare = read(&shop.path("bare.safetensors")).unwrap();
    assert!(bare.metadata.keys().all(|key| key == "format"));
    let init = read(&fixture.join("dense_v.init.safetensors")).unwrap();
    assert_eq!(bare.tensors, init.tensors);

    // A base of other widths is refused and, after the import, also another base of the same widths.
    let error = shop.fails(&[&import[..4], &["wrong.safetensors", "--base", "base"]].concat());
    assert!(error.contains("v_attn_adapters.0.fc1.weight"), "{error}");
    assert!(!shop.path("wrong.safetensors").exists());
}

#[test]
fn an_adapter_of_another_base_is_refused() {
    let shop = Workshop::new();
    shop.make_base("other", 2);
    shop.ok(&train_args(
        "run",
        &["trainer.max_steps=1", "method.kind=dense"],
    ));
    let adapter = ["--adapter", "run/adapter.safetensors"];
    let eval = ["eval", "--base", "other", "--data", "data"];
    let predict = [
        "predict",
        "--base",
        "other",
        "--prompt",
        "x",
        "-o",
        "out",
        "data/images/test0.png",
    ];
    for arguments in [&eval[..], &predict] {
        let error = shop.fails(&[arguments, &adapter].concat());
        assert!(error.contains("run/adapter.safetensors"), "{error}");
        assert!(
            error.contains("`other`") && error.contains("use the base"),
            "{error}"
        );
    }
    assert!(!shop.path("out").exists());
}

#[test]
fn init_depends_only_on_the_seed_and_overwrites_nothing() {
    let shop = Workshop::new();
    shop.make_base("same", 1);
    shop.make_base("other", 2);
    let weights = |base: &str| shop.read(&format!("{base}/model.safetensors"));
    assert!(weights("base") == weights("same"));
    assert!(weights("base") != weights("other"));
    let metadata = read(&shop.path("base/model.safetensors")).unwrap().metadata;
    assert_eq!(metadata["format"], "pt");
    assert_eq!(
        shop.json("base/preprocessor_config.json")["size"]["height"],
        32
    );

    let again = [
        "model",
        "init",
        "--config",
        "config.json",
        "--seed",
        "2",
        "-o",
        "base",
    ];
    assert!(shop.fails(&again).contains("--force"));
    assert!(weights("base") == weights("same"));
    shop.ok(&[&again[..], &["--force"]].concat());
    assert!(weights("base") == weights("other"));

    let error = shop.fails(&["model", "init", "--config", "tinny", "-o", "x"]);
    assert!(error.contains("tinny"), "{error}");
    assert!(!shop.path("x").exists());
}

#[test]
fn info_counts_every_parameter() {
    let shop = Workshop::new();
    let info: Value = shop.ok_json(&["model", "info", "base"]);
    let parts = info["parameters"].as_object().unwrap();
    let sum: u64 = parts.values().map(|count| count.as_u64().unwrap()).sum();
    let file = read(&shop.path("base/model.safetensors")).unwrap();
    let counts = file.tensors.values().map(|tensor| tensor.data.len() as u64);
    assert_eq!(info["total_parameters"], sum);
    assert_eq!(sum, counts.sum::<u64>());
    assert_eq!(info["taps"], serde_json::json!([0, 1, 2]));
    let text = shop.ok(&["model", "info", "base"]);
    for word in [
        "fingerprint",
        "32 x 32",
        "built in",
        "vision tower",
        "decoder",
    ] {
        assert!(text.contains(word), "{text}");
    }
}

/// A base in open_clip's format is created, described, trained with the published taps, merged, and used for prediction.
#[test]
fn all_commands_work_with_a_biomedclipseg() {
    let shop = Workshop::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = root.join("../../fixtures/biomedclipseg/tiny/open_clip_config.json");
    shop.ok(&["model", "init", "--config", text(&config), "-o", "biomed"]);
    let info = |base: &str| -> Value { shop.ok_json(&["model", "info", base]) };
    let made = info("biomed");
    assert_eq!(made["architecture"], "BiomedCLIPSeg");
    assert_eq!(made["vision_layers"], 11);
    assert_eq!(made["context_length"], 16);
    assert_eq!(made["vocabulary"], 20);
    assert_eq!(made["taps"], serde_json::json!([3, 6, 9]));

    let set = [
        "model.base=biomed",
        "method.kind=decoder",
        "method.profile=paper",
        "trainer.epochs=2",
    ];
    shop.ok(&train_args("run", &set));
    let merge = [
        "model",
        "merge",
        "run/adapter.safetensors",
        "--base",
        "biomed",
    ];
    shop.ok(&[&merge[..], &["-o", "merged"]].concat());
    assert_eq!(info("merged")["taps"], serde_json::json!([4, 7, 10]));
    let scores = |arguments: &[&str]| -> Value {
        let all = [&["eval"], arguments, &["--json"]].concat();
        serde_json::from_str(&shop.ok(&all)).unwrap()
    };
    let run = scores(&["run"]);
    let merged = scores(&["--base", "merged", "--data", "data"]);
    assert_eq!(run["prompts"], merged["prompts"]);
    assert!(!run["prompts"].is_null(), "{run}");
}

/// LoRA and the decoder, trained together: described, measured, and merged into a base that scores the same.
#[test]
fn lora_is_merged_into_its_base() {
    let shop = Workshop::new();
    let train = |run: &str, towers: &str| {
        shop.ok(&train_args(
            run,
            &[
                "method.kind=lora",
                towers,
                "method.train_decoder=true",
                "method.bottleneck=[1, 2, 4]",
                "method.projections=[\"query\", \"fc2\"]",
            ],
        ))
    };
    train("run", "method.towers=vl");
    let adapter = "run/adapter.safetensors";
    let info = shop.ok(&["model", "info", adapter]);
    for part in [
        "bottleneck [1, 2, 4]",
        "projections [query, fc2]",
        "train_decoder true",
        "v_lora",
        "l_lora",
    ] {
        assert!(info.contains(part), "{info}");
    }
    let report = String::from_utf8(shop.read("run/report.html")).unwrap();
    assert!(report.contains("train decoder true"));
    let merge = |adapter, out| ["model", "merge", adapter, "--base", "base", "-o", out];
    shop.ok(&merge(adapter, "merged"));
    let scores = |arguments: &[&str]| -> Value {
        let eval = ["eval", "--data", "data", "--json", "--base"];
        serde_json::from_str(&shop.ok(&[&eval[..], arguments].concat())).unwrap()
    };
    let separate = scores(&["base", "--adapter", adapter]);
    assert_eq!(separate["prompts"], scores(&["merged"])["prompts"]);
    assert_ne!(separate["prompts"], scores(&["base"])["prompts"]);

    train("blocks", "method.towers=vlc");
    let error = shop.fails(&merge("blocks/adapter.safetensors", "never"));
    assert!(error.contains("\"vl\" none"), "{error}");
    assert!(!shop.path("never").exists());
}
