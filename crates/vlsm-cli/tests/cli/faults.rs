//! Bad input: the command fails, names the file, and leaves no partly written file.

use std::process::Command;

use serde_json::{Value, json};
use vlsm::image::{Mask, write_png_mask};
use vlsm::models::tensor_file::{read, write_safetensors};

use crate::support::{Workshop, train_args};

/// Checks that training fails and names `file`, and that `vlsm data check` reports it.
fn expect_reported(shop: &Workshop, file: &str) {
    let train = train_args("run", &["trainer.epochs=1"]);
    let error = shop.fails(&train);
    assert!(error.contains(file), "train: {error}");
    assert!(!shop.path("run/adapter.safetensors").exists());
    assert!(!shop.path("run/summary.json").exists());
    check_finds(shop, file);
}

fn check_finds(shop: &Workshop, file: &str) {
    let output = shop.run(&["data", "check", "data"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    let reported = |line: &str| line.starts_with("error: ") && line.contains(file);
    assert!(text.lines().any(reported), "check: {text}");
}

#[test]
fn a_truncated_image_is_reported() {
    let shop = Workshop::new();
    let image = shop.read("data/images/train5.png");
    shop.write("data/images/train5.png", &image[..image.len() / 2]);
    expect_reported(&shop, "train5.png");
}

#[test]
fn a_file_that_is_no_image_is_reported() {
    let shop = Workshop::new();
    shop.write("data/images/val2.png", "not an image");
    expect_reported(&shop, "val2.png");
}

#[test]
fn a_mask_of_another_size_is_reported() {
    let shop = Workshop::new();
    let mask = Mask::new(8, 4, vec![1; 32]).unwrap();
    write_png_mask(&shop.path("data/masks/train3.png"), &mask).unwrap();
    expect_reported(&shop, "train3.png");
    let error = shop.fails(&train_args("other", &[]));
    assert!(error.contains("8x4") && error.contains("44x36"), "{error}");
}

#[test]
fn a_missing_file_of_an_annotation_is_reported() {
    let shop = Workshop::new();
    std::fs::remove_file(shop.path("data/masks/test1.png")).unwrap();
    expect_reported(&shop, "test1.png");
    let error = shop.fails(&["eval", "--base", "base", "--data", "data"]);
    assert!(error.contains("test1.png"), "{error}");
}

#[test]
fn malformed_annotations_are_reported() {
    let shop = Workshop::new();
    let whole = shop.read("data/anns/val.json");
    shop.write("data/anns/val.json", &whole[..whole.len() / 2]);
    expect_reported(&shop, "val.json");
    shop.write("data/anns/val.json", b"[{\"img_name\": \"\xff\"}]");
    expect_reported(&shop, "val.json");
}

#[test]
fn an_empty_split_is_an_error() {
    let shop = Workshop::new();
    shop.write("data/anns/train.json", "[]");
    let error = shop.fails(&train_args("run", &[]));
    assert!(error.contains("train"), "{error}");
    assert!(!shop.path("run").exists());
    shop.write("data/anns/test.json", "[]");
    let error = shop.fails(&["eval", "--base", "base", "--data", "data"]);
    assert!(error.contains("test"), "{error}");
}

#[test]
fn a_missing_prompt_is_an_error() {
    let shop = Workshop::new();
    let eval = |option: &'static str, value: &'static str| {
        ["eval", "--base", "base", "--data", "data", option, value]
    };
    let error = shop.fails(&eval("--prompt-set", "p9"));
    assert!(error.contains("p9") && error.contains("test0"), "{error}");
    // Names and texts are never taken for each other.
    for (option, value, fix) in [
        ("--prompt", "p1", "--prompt-set p1"),
        ("--prompt", "P6", "--prompt-set p6"),
        ("--prompt", "random", "text:random"),
        ("--prompt-set", "a disc", "--prompt \"a disc\""),
    ] {
        let output = shop.run(&eval(option, value));
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(fix), "{error}");
    }
}

#[test]
fn malformed_weights_are_reported() {
    let shop = Workshop::new();
    let eval = ["eval", "--base", "base", "--data", "data"];
    shop.write("adapter.safetensors", "{}");
    let adapter = ["--adapter", "adapter.safetensors"];
    assert!(
        shop.fails(&[&eval[..], &adapter].concat())
            .contains("adapter.safetensors")
    );
    assert!(
        shop.fails(&["model", "info", "adapter.safetensors"])
            .contains("adapter.safetensors")
    );
    let gone = ["--adapter", "gone.safetensors"];
    assert!(
        shop.fails(&[&eval[..], &gone].concat())
            .contains("gone.safetensors")
    );
    let weights = shop.read("base/model.safetensors");
    shop.write("base/model.safetensors", &weights[..weights.len() - 10]);
    assert!(shop.fails(&eval).contains("model.safetensors"));
    assert!(
        shop.fails(&["model", "info", "nowhere"])
            .contains("nowhere")
    );
}

#[test]
fn the_error_for_an_unknown_key_names_a_similar_key() {
    let shop = Workshop::new();
    let set = ["train", "recipe.toml", "--set"];
    let error = shop.fails(&[&set[..], &["trainer.batchsize=2"]].concat());
    assert!(
        error.contains("trainer.batchsize") && error.contains("trainer.batch_size"),
        "{error}"
    );
    let error = shop.fails(&["data", "check", "data", "--set", "data.promt=p1"]);
    assert!(error.contains("data.prompt"), "{error}");
    assert!(shop.fails(&["train", "gone.toml"]).contains("gone.toml"));
    assert!(!shop.path("runs").exists());
}

#[test]
fn a_loss_that_is_not_a_number_stops_the_training() {
    let shop = Workshop::new();
    let train = ["train", "recipe.toml", "--out", "run", "--set"];
    let error = shop.fails(&[&train[..], &["optim.lr=1e30"]].concat());
    assert!(
        error.contains("step 2") && error.contains("optim.lr"),
        "{error}"
    );
    assert!(!shop.path("run/summary.json").exists());
    assert!(!shop.path("run/adapter.safetensors").exists());
}

#[test]
fn the_last_good_checkpoint_is_kept_when_the_loss_diverges() {
    let shop = Workshop::new();
    let train = train_args("run", &["trainer.epochs=1"]);
    shop.ok(&train);
    // A checkpoint with a NaN parameter makes the resumed training fail.
    let path = "run/checkpoint/state.safetensors";
    let mut state = read(&shop.path(path)).unwrap();
    let film = "p.clipseg.decoder.film_mul.weight";
    state.tensors.get_mut(film).unwrap().data[0] = f32::NAN;
    write_safetensors(&shop.path(path), &state.tensors, &state.metadata).unwrap();
    let checkpoint = shop.read(path);
    let adapter = shop.read("run/adapter.safetensors");
    let error = shop.fails(&[&train[..4], &["--resume", "--set", "trainer.epochs=2"]].concat());
    assert!(
        error.contains("step 13") && error.contains("last good checkpoint"),
        "{error}"
    );
    assert!(shop.read(path) == checkpoint);
    assert!(shop.read("run/adapter.safetensors") == adapter);
}

#[test]
fn check_reports_as_json_and_accepts_a_good_data_set() {
    let shop = Workshop::new();
    let check = ["data", "check", "data", "--json"];
    let report: Value = serde_json::from_str(&shop.ok(&check)).unwrap();
    assert_eq!(report["errors"], 0);
    assert_eq!(report["format"], "annotations");
    assert_eq!(report["train"], json!({"pairs": 24, "samples": 24}));
    // An empty mask is a warning.
    let empty = Mask::new(44, 36, vec![0; 44 * 36]).unwrap();
    write_png_mask(&shop.path("data/masks/val0.png"), &empty).unwrap();
    let report: Value = serde_json::from_str(&shop.ok(&check)).unwrap();
    assert_eq!(
        (&report["errors"], &report["warnings"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(report["findings"][0]["kind"], "empty-mask");
    // An image in two splits is an error.
    shop.write("data/images/test0.png", shop.read("data/images/train0.png"));
    let output = shop.run(&check);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["errors"], 1);
    let gone = shop.run(&["data", "check", "nowhere"]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(String::from_utf8(gone.stdout).unwrap().contains("nowhere"));
}

/// Runs the program with a file size limit of some KiB, to simulate a full disk.
#[cfg(unix)]
fn on_a_small_disk(shop: &Workshop, kib: usize, arguments: &[&str]) -> String {
    // `ulimit -f` counts blocks of 512 bytes in POSIX shells, of 1024 in some.
    let script = format!("trap '' XFSZ; ulimit -f {kib}; exec \"$@\"");
    let output = Command::new("sh")
        .args(["-c", &script, "sh", env!("CARGO_BIN_EXE_vlsm")])
        .args(arguments)
        .current_dir(shop.path(""))
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    error
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_no_partly_written_file() {
    let shop = Workshop::new();
    let init = ["model", "init", "--config", "config.json", "-o", "big"];
    let error = on_a_small_disk(&shop, 16, &init);
    assert!(error.contains("model.safetensors"), "{error}");
    assert_eq!(
        shop.names("big"),
        ["config.json", "preprocessor_config.json"]
    );

    let train = train_args("run", &["trainer.epochs=1"]);
    let error = on_a_small_disk(&shop, 64, &train);
    assert!(error.contains("safetensors"), "{error}");
    assert_eq!(
        shop.names("run"),
        ["checkpoint", "metrics.jsonl", "recipe.toml", "run.lock"]
    );
    assert!(shop.names("run/checkpoint").is_empty());

    let predict = [
        "predict",
        "--base",
        "base",
        "--prompt",
        "x",
        "-o",
        "out",
        "data/images/test0.png",
    ];
    on_a_small_disk(&shop, 0, &predict);
    assert_eq!(shop.names("out"), ["predictions.csv"]);
    assert!(shop.read("out/predictions.csv").is_empty());
    // The list is no obstacle once there is space.
    shop.ok(&predict);
}
