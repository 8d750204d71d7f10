//! `vlsm eval`.

use serde_json::Value;

use crate::support::{SIZE, Workshop, train_args};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn eval_of_a_run_equals_its_summary() {
    let shop = Workshop::new();
    shop.ok(&train_args("run", &["trainer.epochs=2"]));
    let summary = shop.json("run/summary.json");
    let result = shop.ok_json(&["eval", "run"]);
    assert_eq!(result["samples"], 5);
    for metric in ["dice", "iou", "hd95"] {
        assert_eq!(result[metric], summary["test"][metric]);
        assert!(result[metric]["mean"].is_f64() && result[metric]["std"].is_f64());
    }
    assert_eq!(result["one_empty"], summary["test"]["one_empty"]);
    let prompts = result["prompts"].as_object().unwrap();
    assert_eq!(prompts.keys().collect::<Vec<_>>(), ["p1"]);
    assert_eq!(prompts["p1"], summary["test"]);

    // The same in parts, and with an adapter of method `full` by its file.
    let adapter = "run/adapter.safetensors";
    let parts = [
        "eval",
        "--base",
        "base",
        "--adapter",
        adapter,
        "--data",
        "data",
        "--json",
    ];
    let again = json(&shop.ok(&[&parts[..], &["--batch-size", "3"]].concat()));
    assert_eq!(again, result);
    let zero_shot = shop.ok_json(&["eval", "--base", "base", "--data", "data"]);
    assert!(zero_shot["dice"] != result["dice"]);
}

#[test]
fn one_call_evaluates_several_prompts() {
    let shop = Workshop::new();
    let arguments = [
        "eval", "--base", "base", "--data", "data", "--split", "val", "--limit", "4",
    ];
    let prompts = [
        "--prompt-set",
        "p1",
        "--prompt",
        "a, \"disc\"",
        "--prompt-set",
        "p2",
        "--prompt-set",
        "p1",
    ];
    let files = ["--csv", "new/rows.csv", "--masks", "masks", "--json"];
    let result = json(&shop.ok(&[&arguments[..], &prompts, &files].concat()));
    assert_eq!(result["samples"], 4);
    let sets = result["prompts"].as_object().unwrap();
    assert_eq!(sets.keys().collect::<Vec<_>>(), ["p1", "p2", "a, \"disc\""]);
    let mean = |value: &Value| value["dice"]["mean"].as_f64().unwrap();
    let over_sets = sets.values().map(mean).sum::<f64>() / 3.0;
    assert!((mean(&result) - over_sets).abs() < 1e-12);

    // One of them alone gives the same.
    let alone = json(&shop.ok(&[&arguments[..], &["--prompt-set", "p2", "--json"]].concat()));
    for metric in ["dice", "iou", "hd95"] {
        assert_eq!(alone[metric], sets["p2"][metric]);
    }

    let mut table = csv::Reader::from_path(shop.path("new/rows.csv")).unwrap();
    let header: Vec<String> = table.headers().unwrap().iter().map(String::from).collect();
    let columns = [
        "sample",
        "group",
        "subject",
        "prompt_set",
        "oracle",
        "prompt",
        "dice",
        "iou",
        "hd95",
        "one_empty",
    ];
    assert_eq!(header, columns);
    let rows: Vec<csv::StringRecord> = table.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 12);
    let of_p2: Vec<&csv::StringRecord> = rows.iter().filter(|row| &row[3] == "p2").collect();
    assert!(
        of_p2
            .iter()
            .all(|row| &row[4] == "unknown" && &row[5] == "bright disc")
    );
    let dice: f64 = of_p2.iter().map(|row| row[6].parse::<f64>().unwrap()).sum();
    assert!((dice / 4.0 - mean(&sets["p2"])).abs() < 1e-12);

    assert_eq!(shop.names("masks"), ["a---disc", "p1", "p2"]);
    let mask = vlsm::image::read_mask(&shop.path("masks/p1/val0.png")).unwrap();
    assert_eq!((mask.width, mask.height), SIZE);
}

#[test]
fn a_text_prompt_works_for_data_without_prompts() {
    let shop = Workshop::new();
    std::fs::remove_dir_all(shop.path("data/anns")).unwrap();
    let arguments = ["eval", "--base", "base", "--data", "data", "--json"];
    let error = shop.fails(&arguments);
    assert!(error.contains("prompt"), "{error}");
    let set = ["--prompt", "a disc", "--set", "data.split.test=0.2"];
    let result = json(&shop.ok(&[&arguments[..], &set].concat()));
    assert_eq!(result["samples"], 7);
    assert!(result["prompts"]["a disc"].is_object());
}

#[test]
fn prompts_with_the_same_mask_folder_are_refused() {
    let shop = Workshop::new();
    let arguments = [
        "eval", "--base", "base", "--data", "data", "--masks", "masks",
    ];
    let prompts = ["--prompt", "a disc", "--prompt", "a-disc"];
    let error = shop.fails(&[&arguments[..], &prompts].concat());
    assert!(
        error.contains("a disc") && error.contains("a-disc"),
        "{error}"
    );
    assert!(!shop.path("masks").exists());
}

#[test]
fn usage_errors_exit_with_2() {
    let shop = Workshop::new();
    for arguments in [
        &["eval"][..],
        &["eval", "--base", "base"],
        &[
            "eval", "--base", "base", "--data", "data", "--split", "tests",
        ],
        &["predict", "--adapter", "run", "x.png", "-o", "out"],
        &["model"],
    ] {
        assert_eq!(shop.run(arguments).status.code(), Some(2), "{arguments:?}");
    }
    let zero = [
        "eval",
        "--base",
        "base",
        "--data",
        "data",
        "--batch-size",
        "0",
    ];
    assert!(shop.fails(&zero).contains("--batch-size"));
    let other = [
        "eval",
        "--base",
        "base",
        "--data",
        "data",
        "--set",
        "optim.lr=1",
    ];
    assert!(shop.fails(&other).contains("only keys of `data`"));
}

/// The run's report is about the run's own data and model.
#[test]
fn other_data_do_not_replace_the_report_of_a_run() {
    let shop = Workshop::new();
    shop.ok(&train_args("run", &["trainer.max_steps=2"]));
    shop.ok(&["eval", "run"]);
    let report = shop.read("run/eval.html");
    for other in [
        &["--data", "data"][..],
        &["--base", "base"],
        &["--adapter", "run/adapter_last.safetensors"],
    ] {
        let printed = shop.ok(&[&["eval", "run", "--prompt-set", "p1"], other].concat());
        assert!(!printed.contains("report:"), "{printed}");
        assert!(shop.read("run/eval.html") == report);
    }
    let named = ["--data", "data", "--report", "other.html"];
    shop.ok(&[&["eval", "run"][..], &named].concat());
    assert!(shop.path("other.html").is_file());
    assert!(shop.read("run/eval.html") == report);
}

#[test]
fn an_unfinished_run_is_said_to_be_so() {
    let shop = Workshop::new();
    shop.ok(&train_args("run", &["trainer.max_steps=2"]));
    assert_eq!(shop.says(&["eval", "run"]), "");
    std::fs::remove_file(shop.path("run/summary.json")).unwrap();
    let warning = shop.says(&["eval", "run"]);
    assert!(
        warning.contains("has not ended") && warning.contains("--resume"),
        "{warning}"
    );
    std::fs::remove_file(shop.path("run/adapter.safetensors")).unwrap();
    let error = shop.fails(&["eval", "run"]);
    assert!(error.contains("no epoch of it was completed"), "{error}");
}

#[test]
fn files_of_an_earlier_call_are_overwritten_with_force_alone() {
    let shop = Workshop::new();
    let files = [
        "--csv",
        "rows.csv",
        "--report",
        "page.html",
        "--masks",
        "masks",
    ];
    let call = |options: &[&'static str]| {
        let base = ["eval", "--base", "base", "--data", "data", "--limit", "2"];
        [&base[..], options].concat()
    };
    shop.ok(&call(&files));
    for pair in files.chunks(2) {
        let error = shop.fails(&call(pair));
        assert!(
            error.contains(pair[1]) && error.contains("--force"),
            "{error}"
        );
    }
    shop.ok(&call(&[&files[..], &["--force"]].concat()));
}
