//! Models other than CLIPSeg: whole commands on small ones.

use std::collections::BTreeMap;

use serde_json::Value;
use vlsm::models::tensor_file::{read, write_safetensors};

use crate::support::{Workshop, train_args};

/// A SAN with CLIP's vocabulary.
pub(crate) const SAN: &str = r#"{
    "model_type": "san", "projection_dim": 16, "recognition_layer": 2, "fusion": [[0, 0], [1, 1]],
    "text_config": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
                    "num_attention_heads": 2},
    "vision_config": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
                      "num_attention_heads": 2, "image_size": 32, "patch_size": 8},
    "side_config": {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2,
                    "num_attention_heads": 2, "image_size": 64, "patch_size": 8, "num_queries": 6,
                    "embed_dim": 16, "mlp_dim": 16}
}"#;

/// A CRIS with CLIP's vocabulary.
const CRIS: &str = r#"{
    "model_type": "cris", "projection_dim": 32, "fpn_out": [16, 32, 32], "decoder_layers": 1,
    "decoder_heads": 2, "decoder_hidden": 64, "image_size": 64,
    "text_config": {"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 2,
                    "num_attention_heads": 2, "pad_token_id": 49407},
    "vision_config": {"layers": [1, 1, 1, 1], "width": 4, "image_size": 64, "heads": 2}
}"#;

/// Creates a base, trains its decoder with the given settings, stops and resumes, evaluates, predicts and merges. Returns the
/// output of `vlsm model info`.
fn goes_through_all_commands(shop: &Workshop, config: &str, method: &[&str]) -> Value {
    shop.write("other.json", config);
    shop.ok(&["model", "init", "--config", "other.json", "-o", "other"]);
    let json = |arguments: &[&str]| -> Value {
        serde_json::from_str(&shop.ok(&[arguments, &["--json"]].concat())).unwrap()
    };
    let info = json(&["model", "info", "other"]);
    let file = read(&shop.path("other/model.safetensors")).unwrap();
    let count: usize = file.tensors.values().map(|tensor| tensor.data.len()).sum();
    assert_eq!(info["total_parameters"], count);
    let text = shop.ok(&["model", "info", "other"]);
    assert!(
        text.contains("64 x 64 pixels") && text.contains("built in"),
        "{text}"
    );

    let set = |kind| [&["model.base=other", "trainer.epochs=2"], method, &[kind]].concat();
    let train = |run: &str, more: &[&str]| {
        let arguments = train_args(run, &set("method.kind=decoder"));
        shop.ok(&[&arguments[..], more].concat());
    };
    train("run", &[]);
    // Stopped within the second epoch.
    train("halted", &["--set", "trainer.max_steps=17"]);
    train("halted", &["--resume"]);
    for file in ["adapter.safetensors", "adapter_last.safetensors"] {
        let [one, other] = ["run", "halted"].map(|run| shop.read(&format!("{run}/{file}")));
        assert!(one == other, "{file} differs");
    }
    let losses: Vec<f64> = shop
        .metrics("run")
        .iter()
        .filter_map(|line| line["train_loss"].as_f64())
        .collect();
    assert!(losses[1] < losses[0], "{losses:?}");

    let adapter = "run/adapter.safetensors";
    let trained = json(&["model", "info", adapter]);
    let summary = shop.json("run/summary.json");
    // If running statistics are updated, the file holds them too.
    let [saved, trained] = [
        &trained["total_parameters"],
        &summary["trainable_parameters"],
    ];
    let moved = method.iter().any(|one| one.contains("statistics"));
    assert_eq!(saved != trained, moved, "{saved} {trained}");
    let eval = ["eval", "--base", "other", "--data", "data"];
    let scores = json(&[&eval[..], &["--adapter", adapter]].concat());
    assert!(!scores["prompts"].is_null(), "{scores}");
    assert_eq!(scores["prompts"], json(&["eval", "run"])["prompts"]);
    let merge = ["model", "merge", adapter, "--base", "other", "-o", "merged"];
    shop.ok(&merge);
    let merged = json(&["eval", "--base", "merged", "--data", "data"]);
    assert_eq!(scores["prompts"], merged["prompts"]);
    let predict = [
        "predict",
        "--base",
        "other",
        "--adapter",
        adapter,
        "--prompt",
        "disc",
    ];
    shop.ok(&[&predict[..], &["-o", "out", "data/images/test0.png"]].concat());
    assert!(shop.path("out/test0.disc.mask.png").is_file());

    let error = shop.fails(&["model", "info", "base+other"]);
    assert!(error.contains("other/model.safetensors"), "{error}");
    info
}

/// Trains adapters on the base `other` with a method, stops and resumes. Returns the adapter file.
fn adapters_train_and_resume(shop: &Workshop, run: &str, method: &[&str]) -> String {
    let set = [&["model.base=other", "trainer.epochs=2"], method].concat();
    let halted = format!("{run}_halted");
    let train = |run: &str, more: &[&str]| {
        shop.ok(&[&train_args(run, &set)[..], more].concat());
    };
    train(run, &[]);
    train(&halted, &["--set", "trainer.max_steps=17"]);
    train(&halted, &["--resume"]);
    for file in ["adapter.safetensors", "adapter_last.safetensors"] {
        let [one, other] = [run, &halted].map(|run| shop.read(&format!("{run}/{file}")));
        assert!(one == other, "{run}: {file} differs");
    }
    let adapter = format!("{run}/adapter.safetensors");
    let eval = ["eval", "--base", "other", "--data", "data", "--json"];
    let of_file = shop.ok(&[&eval[..], &["--adapter", &adapter]].concat());
    let of_run = shop.ok(&["eval", run, "--json"]);
    let [of_file, of_run] = [of_file, of_run].map(|text| -> Value {
        let scores: Value = serde_json::from_str(&text).unwrap();
        scores["prompts"].clone()
    });
    assert!(!of_file.is_null());
    assert_eq!(of_file, of_run);
    adapter
}

/// LoRA trained on the base `other` can be merged into it.
fn lora_is_merged(shop: &Workshop, towers: &str) {
    let all = "method.projections=[\"query\", \"key\", \"value\", \"output\", \"fc1\", \"fc2\"]";
    let method = ["method.kind=lora", towers, "method.text_layers=[0, 1]", all];
    let adapter = adapters_train_and_resume(shop, "lora", &method);
    let merge = [
        "model",
        "merge",
        &adapter,
        "--base",
        "other",
        "-o",
        "lora_merged",
    ];
    shop.ok(&merge);
    let scores = |arguments: &[&str]| -> Value {
        let eval = ["eval", "--data", "data", "--json", "--base"];
        serde_json::from_str(&shop.ok(&[&eval[..], arguments].concat())).unwrap()
    };
    let apart = scores(&["other", "--adapter", &adapter]);
    assert_eq!(apart["prompts"], scores(&["lora_merged"])["prompts"]);
}

#[test]
fn all_commands_work_with_a_san() {
    let shop = Workshop::new();
    let info = goes_through_all_commands(&shop, SAN, &[]);
    lora_is_merged(&shop, "method.towers=vl");
    let dense = ["method.kind=dense", "method.text_layers=[0, 1]"];
    adapters_train_and_resume(&shop, "dense", &dense);
    adapters_train_and_resume(
        &shop,
        "shallow",
        &["method.kind=shallow", "method.towers=v"],
    );
    assert_eq!(info["architecture"], "SAN");
    assert_eq!(info["side_layers"], 2);
    assert_eq!(info["context_length"], 77);
    assert_eq!(info["fresh_side_network"], false);
    let trained = shop.json("run/summary.json")["trainable_parameters"].clone();
    assert_eq!(info["parameters"]["side network"], trained);
    shop.ok(&train_args(
        "full",
        &["model.base=other", "trainer.max_steps=1"],
    ));
    let error = shop.fails(&train_args(
        "size",
        &["model.base=other", "model.image_size=72"],
    ));
    assert!(error.contains("try 80"), "{error}");
}

#[test]
fn all_commands_work_with_a_cris() {
    let shop = Workshop::new();
    let info = goes_through_all_commands(&shop, CRIS, &[]);
    lora_is_merged(&shop, "method.towers=l");
    adapters_train_and_resume(&shop, "dense", &["method.kind=dense", "method.towers=lc"]);
    assert_eq!(info["architecture"], "CRIS");
    assert_eq!(info["decoder_width"], 32);
    assert_eq!(info["fresh_decoder"], false);
    shop.ok(&train_args(
        "full",
        &["model.base=other", "trainer.max_steps=1"],
    ));

    // A single file is recognised by its names and shapes, except for the number of the decoder's heads, which is taken to be 8.
    let file = read(&shop.path("other/model.safetensors")).unwrap();
    write_safetensors(
        &shop.path("alone.safetensors"),
        &file.tensors,
        &BTreeMap::new(),
    )
    .unwrap();
    let alone = shop.ok(&["model", "info", "alone.safetensors", "--json"]);
    let alone: Value = serde_json::from_str(&alone).unwrap();
    assert_eq!(alone["architecture"], "CRIS");
    assert_eq!(alone["image_size"], 416);
    assert_eq!(alone["fingerprint"], info["fingerprint"]);
    assert_eq!(alone["parameters"], info["parameters"]);
}

/// Batch statistics update the running ones; dropout depends on the step's number.
#[test]
fn a_cris_trains_with_batch_statistics() {
    let shop = Workshop::new();
    let batch = "method.statistics=batch";
    goes_through_all_commands(&shop, CRIS, &[batch]);
    let file = read(&shop.path("run/adapter.safetensors")).unwrap();
    let before = read(&shop.path("other/model.safetensors")).unwrap();
    let moved = file
        .tensors
        .iter()
        .filter(|(name, _)| name.ends_with("running_mean"));
    let mut count = 0;
    for (name, tensor) in moved {
        count += 1;
        assert_ne!(tensor, &before.tensors[name.strip_prefix("cris.").unwrap()]);
    }
    assert!(count > 0);
    let decoder = "method.kind=decoder";
    let set = [
        "model.base=other",
        decoder,
        batch,
        "trainer.data_parallel=2",
    ];
    let error = shop.fails(&train_args("never", &set));
    assert!(
        error.contains("`trainer.data_parallel` must be 1"),
        "{error}"
    );
    let error = shop.fails(&train_args("never", &[batch, "model.base=base"]));
    assert!(error.contains("`statistics` is for models"), "{error}");
}
