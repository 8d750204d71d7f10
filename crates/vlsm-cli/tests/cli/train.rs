//! `vlsm train`.

use std::collections::BTreeMap;

use serde_json::Value;
use vlsm::models::tensor_file::{read, write_safetensors};

use crate::support::{Workshop, train_args};

const TRAIN: [&str; 4] = ["train", "recipe.toml", "--out", "run"];

fn number(line: &Value, key: &str) -> f64 {
    line[key]
        .as_f64()
        .unwrap_or_else(|| panic!("no `{key}` in {line}"))
}

#[test]
fn a_run_learns_and_writes_its_files() {
    let shop = Workshop::new();
    let longer = [&TRAIN[..], &["--set", "trainer.epochs=10"]].concat();
    let printed = shop.ok(&longer);
    assert!(printed.contains("test Dice") && printed.contains("run/adapter.safetensors"));
    assert_eq!(
        shop.names("run"),
        [
            "adapter.safetensors",
            "adapter_last.safetensors",
            "checkpoint",
            "metrics.jsonl",
            "recipe.toml",
            "report.html",
            "run.lock",
            "summary.json"
        ]
    );
    let lines = shop.metrics("run");
    let (epochs, steps): (Vec<_>, Vec<_>) =
        lines.iter().partition(|line| line.get("epoch").is_some());
    assert_eq!((epochs.len(), steps.len()), (10, 120));
    for (index, line) in steps.iter().enumerate() {
        assert_eq!(line["step"], index as u64 + 1);
        assert_eq!(number(line, "lr"), 3e-3);
        assert!(number(line, "loss") > 0.0 && number(line, "grad_norm") > 0.0);
    }
    let mean = |lines: &[&Value]| -> f64 {
        lines.iter().map(|line| number(line, "loss")).sum::<f64>() / lines.len() as f64
    };
    assert!(
        mean(&steps[108..]) < 0.6 * mean(&steps[..12]),
        "the loss does not fall"
    );
    let best = epochs
        .iter()
        .map(|line| number(line, "val_dice"))
        .fold(0.0, f64::max);
    assert!(
        best > number(epochs[0], "val_dice") + 0.1,
        "validation Dice does not rise"
    );

    let summary = shop.json("run/summary.json");
    assert_eq!(summary["steps"], 120);
    assert_eq!(number(&summary, "best_val_dice"), best);
    assert_eq!(summary["test"]["samples"], 5);
    assert_eq!(summary["test_prompt"], "p1");
    assert!(number(&summary, "trainable_parameters") < number(&summary, "total_parameters"));
    for key in ["seconds_per_epoch", "images_per_second"] {
        assert!(number(&summary, key) > 0.0);
    }
    let recipe = String::from_utf8(shop.read("run/recipe.toml")).unwrap();
    assert!(
        recipe.contains("epochs = 10") && recipe.contains("seed = 42"),
        "{recipe}"
    );
}

#[test]
fn two_runs_are_equal_bit_for_bit() {
    let shop = Workshop::new();
    for kind in ["dense", "shallow", "lora", "decoder"] {
        let kind = format!("method.kind={kind}");
        for run in ["a", "b"] {
            shop.ok(&train_args(run, &[&kind, "trainer.epochs=2"]));
        }
        shop.assert_same_results("a", "b");
        for run in ["a", "b"] {
            std::fs::remove_dir_all(shop.path(run)).unwrap();
        }
    }
}

/// Kills a run in its second epoch, resumes it, and compares it with one that was not killed.
fn killed_and_resumed(set: &[&str]) {
    let shop = Workshop::new();
    shop.ok(&train_args("whole", set));

    let arguments = train_args("run", set);
    // An epoch has 12 lines for its steps and one for itself.
    let in_the_second_epoch = || shop.lines("run/metrics.jsonl") >= 18;
    let remove = || std::fs::remove_dir_all(shop.path("run")).unwrap();
    shop.kill_when(&arguments, in_the_second_epoch, remove);
    assert!(
        !shop.path("run/summary.json").exists(),
        "ended before it was killed"
    );

    shop.ok(&[&arguments[..], &["--resume"]].concat());
    shop.assert_same_results("run", "whole");
    let (run, whole) = (
        shop.json("run/summary.json"),
        shop.json("whole/summary.json"),
    );
    for key in ["test", "best_epoch", "best_val_dice", "steps"] {
        assert_eq!(run[key], whole[key], "{key}");
    }
}

#[test]
fn a_killed_run_resumes_from_the_start_of_its_epoch() {
    killed_and_resumed(&["trainer.checkpoint_every=0"]);
}

#[test]
fn a_killed_run_resumes_within_its_epoch() {
    killed_and_resumed(&["trainer.checkpoint_every=2"]);
}

#[test]
fn a_killed_run_with_muon_resumes() {
    killed_and_resumed(&["method.kind=full", "optim.muon=true"]);
}

#[test]
fn a_killed_run_with_cached_features_resumes() {
    killed_and_resumed(&["method.kind=shallow", "cache.dtype=f16"]);
}

#[test]
fn a_killed_run_whose_texts_depend_on_images_resumes() {
    killed_and_resumed(&["method.kind=cocoop", "trainer.data_parallel=2"]);
}

#[test]
fn a_killed_run_that_draws_values_resumes() {
    killed_and_resumed(&[
        "method.kind=pvl",
        "method.bottleneck=4",
        "trainer.data_parallel=2",
    ]);
}

#[test]
fn a_run_stops_after_max_steps_and_continues_with_more() {
    let shop = Workshop::new();
    shop.ok(&[&TRAIN[..], &["--set", "trainer.max_steps=5"]].concat());
    let steps = |run: &str| {
        let lines = shop.metrics(run);
        lines
            .iter()
            .filter(|line| line.get("epoch").is_none())
            .count()
    };
    assert_eq!(steps("run"), 5);
    let five = shop.read("run/adapter_last.safetensors");
    shop.ok(&[&TRAIN[..], &["--resume", "--set", "trainer.max_steps=9"]].concat());
    assert_eq!(steps("run"), 9);
    assert!(shop.read("run/adapter_last.safetensors") != five);
    shop.ok(&train_args("nine", &["trainer.max_steps=9"]));
    assert!(
        shop.read("run/adapter_last.safetensors") == shop.read("nine/adapter_last.safetensors")
    );
}

/// An epoch that `max_steps` cut short leaves no trace in a run that is then extended.
#[test]
fn an_extended_run_equals_an_uninterrupted_one() {
    let shop = Workshop::new();
    let steps = |run: &str, steps: &str, more: &[&str]| {
        let set = format!("trainer.max_steps={steps}");
        let arguments = train_args(run, &[&set]);
        shop.ok(&[&arguments, more].concat());
    };
    steps("cut", "17", &[]);
    steps("cut", "24", &["--resume"]);
    steps("whole", "24", &[]);
    shop.assert_same_results("cut", "whole");
}

#[test]
fn a_run_starts_from_an_adapter_file() {
    let shop = Workshop::new();
    let (dense, short) = ("method.kind=dense", "trainer.max_steps=3");
    shop.ok(&train_args("run", &[dense, short]));
    let from = "method.init_from=run/adapter_last.safetensors";
    shop.ok(&train_args("b", &[from, dense, short]));
    let (first, second) = (shop.metrics("run"), shop.metrics("b"));
    assert!(first[0]["loss"] != second[0]["loss"]);
    // The bare file holds the same numbers, but its profile is `paper` and its layers are that
    // profile's.
    let adapter = read(&shop.path("run/adapter_last.safetensors")).unwrap();
    let bare = shop.path("bare.safetensors");
    write_safetensors(&bare, &adapter.tensors, &BTreeMap::new()).unwrap();
    let from = "method.init_from=bare.safetensors";
    let error = shop.fails(&train_args("c", &[from, dense, short]));
    assert!(
        error.contains("bare.safetensors") && error.contains("do not fit"),
        "{error}"
    );
}

#[test]
fn a_folder_with_another_run_is_not_changed() {
    let shop = Workshop::new();
    let short = [&TRAIN[..], &["--set", "trainer.max_steps=1"]].concat();
    shop.ok(&short);
    let before = shop.read("run/metrics.jsonl");
    assert!(shop.fails(&short).contains("--resume"));
    let error = shop.fails(&[&short[..], &["--resume", "--set", "optim.lr=1e-4"]].concat());
    assert!(
        error.contains("optim.lr") && error.contains("--out"),
        "{error}"
    );
    assert_eq!(shop.read("run/metrics.jsonl"), before);
}

#[test]
fn the_run_is_named_after_the_recipe_by_default() {
    let shop = Workshop::new();
    shop.ok(&["train", "recipe.toml", "--set", "trainer.max_steps=1"]);
    assert!(shop.path("runs/recipe/summary.json").is_file());
}

#[test]
fn without_a_validation_split_the_last_state_is_kept() {
    let shop = Workshop::new();
    std::fs::remove_file(shop.path("data/anns/val.json")).unwrap();
    shop.ok(&TRAIN);
    let (best, last) = ("run/adapter.safetensors", "run/adapter_last.safetensors");
    assert_eq!(shop.read(best), shop.read(last));
    // A file without samples is an error, unlike a missing file.
    shop.write("data/anns/val.json", "[]");
    let error = shop.fails(&train_args("other", &[]));
    assert!(error.contains("anns/val.json"), "{error}");
}

#[test]
fn force_starts_over_and_leaves_other_files() {
    let shop = Workshop::new();
    shop.ok(&train_args("run", &["trainer.epochs=2"]));
    shop.write("run/notes.txt", "mine");
    let error = shop.fails(&train_args("run", &["trainer.epochs=1"]));
    assert!(
        error.contains("--resume") && error.contains("--force"),
        "{error}"
    );

    // Nothing is deleted before the data set is found.
    let force = |set: &[&'static str]| [&train_args("run", set)[..], &["--force"]].concat();
    shop.fails(&force(&["data.root=gone"]));
    assert!(shop.path("run/summary.json").is_file());

    shop.ok(&force(&["trainer.epochs=1"]));
    let epochs = shop
        .metrics("run")
        .into_iter()
        .filter(|line| line.get("epoch").is_some());
    assert_eq!(epochs.count(), 1);
    assert_eq!(shop.read("run/notes.txt"), b"mine");
    let both = [&force(&[])[..], &["--resume"]].concat();
    assert_eq!(shop.run(&both).status.code(), Some(2));
}
