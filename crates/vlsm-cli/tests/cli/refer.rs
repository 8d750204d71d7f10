//! `vlsm refer`, with a local server in place of a language model. `crates/vlsm-refer/tests` has the server's faults.

use std::path::Path;

use serde_json::{Value, json};
use vlsm::image::read_mask;

use crate::endpoint::Endpoint;
use crate::support::{SIZE, Workshop};

/// A server that answers each prompt with the same text.
fn server(answer: &'static str) -> Endpoint {
    Endpoint::new(move |_, _| (200, answer.to_owned()))
}

/// A cup on each side; the expression means the second.
const QUERIES: &str = r#"
{"expression": "the right cup", "candidates": [{"box": [0, 0, 10, 10], "label": "Cup"}, {"box": [20, 0, 30, 10], "label": "cup"}], "truth_box": [20, 0, 30, 9], "fallback": [0, 0, 10, 10]}
{"expression": "the left cup", "candidates": [{"box": [0, 0, 10, 10], "label": "cup"}, {"box": [20, 0, 30, 10], "label": "cup"}], "truth_box": [0, 0, 10, 10]}
{"expression": "the only cup", "candidates": [{"box": [0, 0, 10, 10], "label": "cup"}], "truth_box": [0, 0, 10, 10]}
{"expression": "no cup", "candidates": [], "truth_box": [0, 0, 10, 10]}
"#;

fn lines(shop: &Workshop, name: &str) -> Vec<Value> {
    let text = String::from_utf8(shop.read(name)).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

#[test]
fn boxes_are_chosen_and_scored() {
    let shop = Workshop::new();
    shop.write("queries.jsonl", QUERIES);
    let server = server("Box 1.");
    let arguments = [
        "refer",
        "predict",
        "queries.jsonl",
        "--endpoint",
        &server.url,
        "--llm",
        "m",
        "-o",
        "out",
    ];
    let printed = shop.ok(&arguments);
    let line = printed.lines().find(|line| line.starts_with("P@1  "));
    assert!(line.unwrap().ends_with("  50.00 %"), "{printed}");
    let results = lines(&shop, "out/results.jsonl");
    let outcomes: Vec<&Value> = results.iter().map(|result| &result["outcome"]).collect();
    assert_eq!(
        outcomes,
        ["chosen", "chosen", "only_candidate", "no_candidates"]
    );
    assert_eq!(results[0]["box"], json!([20.0, 0.0, 30.0, 10.0]));
    assert_eq!(results[0]["iou"], 0.9);
    let summary = shop.json("out/summary.json");
    assert_eq!(summary["p_at_1"], 0.5);
    assert_eq!(summary["oracle_p_at_1"], 0.75);
    assert_eq!(summary["own_p_at_1"], 0.0);
    assert_eq!(summary["outcomes"]["chosen"], 2);
    assert_eq!(summary["mean_iou"], (0.9 + 0.0 + 1.0 + 0.0) / 4.0);

    // Again: nothing is asked, and the results are the same but for the seconds of requests.
    assert_eq!(server.prompts().len(), 2);
    let before = shop.read("out/results.jsonl");
    shop.ok(&arguments);
    assert_eq!(server.prompts().len(), 2);
    assert_eq!(shop.read("out/results.jsonl"), before);

    shop.write("queries.jsonl", QUERIES.replace("left", "far left"));
    let error = shop.fails(&arguments);
    assert!(
        error.contains("results of other queries") && error.contains("--force"),
        "{error}"
    );
    shop.ok(&[&arguments[..], &["--force"]].concat());
    assert_eq!(server.prompts().len(), 3);
}

#[test]
fn the_detectors_own_answer_stands_where_the_models_is_prose() {
    let shop = Workshop::new();
    shop.write("queries.jsonl", QUERIES);
    let server = server("I cannot tell.");
    let arguments = [
        "refer",
        "predict",
        "queries.jsonl",
        "--endpoint",
        &server.url,
        "--llm",
        "m",
        "-o",
        "out",
    ];
    let summary = shop.ok_json(&arguments);
    assert_eq!(summary["fallback_share"], 0.5);
    let results = lines(&shop, "out/results.jsonl");
    assert_eq!(results[0]["outcome"], "no_digits");
    assert_eq!(results[0]["box"], json!([0.0, 0.0, 10.0, 10.0]));
    // Without an own answer there is none, which counts as wrong.
    assert_eq!(results[1]["box"], Value::Null);
    assert_eq!(results[1]["iou"], 0.0);
}

#[test]
fn parts_of_masks_are_candidates() {
    let shop = Workshop::new();
    let query = json!({
        "image": "data/images/test0.png", "expression": "the bright disc",
        "prompts": ["disc", "noise"], "truth_mask": "data/masks/test0.png",
    });
    shop.write("queries.jsonl", query.to_string());
    let server = server("0");
    let arguments = [
        "refer",
        "predict",
        "queries.jsonl",
        "--base",
        "base",
        "--min-area",
        "1",
        "--endpoint",
        &server.url,
        "--llm",
        "m",
        "-o",
        "out",
    ];
    shop.ok(&arguments);
    let result = &lines(&shop, "out/results.jsonl")[0];
    let candidates = result["candidates"].as_u64().unwrap();
    match candidates {
        0 => assert_eq!(result["mask"], Value::Null),
        _ => {
            assert_eq!(result["index"], 0);
            let mask = read_mask(&shop.path("out/masks/1.png")).unwrap();
            assert_eq!((mask.width, mask.height), SIZE);
            let sides = mask.bounding_box().unwrap().map(|side| side as f64);
            assert_eq!(result["box"], json!(sides));
        }
    }
    assert!(result["dice"].is_number());
}

/// Random ones, whose answers are no index, or any.
#[test]
fn a_small_language_model_runs_in_the_program() {
    let shop = Workshop::new();
    shop.write("queries.jsonl", QUERIES);
    let fixture = |name: &str| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/language");
        root.join(name).to_str().unwrap().to_owned()
    };
    let (llama, neo) = (fixture("llama"), fixture("gpt_neo"));
    let arguments = [
        "refer",
        "predict",
        "queries.jsonl",
        "--llm",
        &llama,
        "-o",
        "out",
    ];
    let summary = shop.ok_json(&arguments);
    assert_eq!(summary["answers"], 2);
    assert!(
        summary["prompt_tokens"].as_u64().unwrap() > 600,
        "{summary}"
    );
    let before = shop.read("out/answers.jsonl");
    assert_eq!(shop.lines("out/answers.jsonl"), 2);
    assert_eq!(shop.ok_json(&arguments)["outcomes"], summary["outcomes"]);
    assert_eq!(shop.read("out/answers.jsonl"), before);

    // The prompts are longer than this model's 128 tokens.
    let summary = shop.ok_json(&[
        "refer",
        "predict",
        "queries.jsonl",
        "--llm",
        &neo,
        "-o",
        "neo",
    ]);
    assert_eq!(summary["outcomes"]["refused"], 2);
    assert_eq!(summary["fallback_share"], 0.5);

    let error = shop.fails(&[
        "refer",
        "predict",
        "queries.jsonl",
        "--llm",
        "none",
        "-o",
        "out",
    ]);
    assert!(
        error.contains("no such folder") && error.contains("--endpoint"),
        "{error}"
    );
    let error = shop.fails(&[&arguments[..], &["--frame", "chat"]].concat());
    assert!(error.contains("`plain`"), "{error}");
}

#[test]
fn training_sets_are_chats() {
    let shop = Workshop::new();
    shop.write("queries.jsonl", QUERIES);
    let arguments = ["refer", "chats", "queries.jsonl", "-o", "chats.jsonl"];
    let printed = shop.ok(&arguments);
    assert!(printed.contains("4 chats of 2 of 4 queries"), "{printed}");
    let chats = lines(&shop, "chats.jsonl");
    let first = &chats[0]["messages"];
    assert!(
        first[0]["content"]
            .as_str()
            .unwrap()
            .contains("best matching 'the right cup' ?")
    );
    assert_eq!(first[1], json!({ "role": "assistant", "content": "1" }));
    assert!(shop.fails(&arguments).contains("--force"));
}

/// Queries in which the right one of four cups is meant.
fn trainable_queries() -> String {
    let line = |at: usize| {
        let cup = |x: usize| json!({ "box": [x, 0, x + 10, 10], "label": "cup" });
        let boxes = [0, 1, 2, 3].map(|cup| 20 * ((cup + at) % 4) + at);
        let truth = boxes[at % 4];
        let query = json!({
            "expression": format!("cup {}", at % 4), "candidates": boxes.map(cup),
            "truth_box": [truth, 0, truth + 10, 10],
        });
        format!("{query}\n")
    };
    (0..6).map(line).collect()
}

#[test]
fn a_lora_is_trained_killed_resumed_and_used() {
    let shop = Workshop::new();
    shop.write("queries.jsonl", trainable_queries());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/language/llama");
    let llm = root.to_str().unwrap();
    let train = |out: &'static str| {
        let mut arguments = vec!["refer", "train", "queries.jsonl", "--llm", llm, "-o", out];
        for setting in [
            "lora.rank=4",
            "lora.alpha=8",
            "optim.lr=3e-2",
            "epochs=3",
            "checkpoint_every=2",
        ] {
            arguments.extend(["--set", setting]);
        }
        arguments
    };
    // The recipe's device counts unless --device names another.
    let elsewhere = [&train("none")[..], &["--set", "device=nowhere"]].concat();
    assert!(shop.fails(&elsewhere).contains("nowhere"));
    // Six queries in their order and in three others.
    let printed = shop.ok(&train("whole"));
    assert!(printed.contains("24 examples, 18 steps"), "{printed}");
    let metrics = lines(&shop, "whole/metrics.jsonl");
    let losses: Vec<f64> = metrics
        .iter()
        .filter_map(|line| line["train_loss"].as_f64())
        .collect();
    assert!(losses[2] < 0.7 * losses[0], "{losses:?}");

    let again = [&train("killed")[..], &["--resume"]].concat();
    shop.kill_when(
        &again,
        || shop.lines("killed/metrics.jsonl") > 8,
        || drop(std::fs::remove_dir_all(shop.path("killed"))),
    );
    assert!(shop.fails(&train("killed")).contains("--resume"));
    shop.ok(&again);
    for file in [
        "adapter_model.safetensors",
        "adapter_config.json",
        "metrics.jsonl",
    ] {
        let of = |run: &str| shop.read(&format!("{run}/{file}"));
        assert_eq!(of("killed"), of("whole"), "{file}");
    }
    let other = [&again[..], &["--set", "lora.rank=5"]].concat();
    assert!(shop.fails(&other).contains("`lora.rank`"));
    shop.write(
        "queries.jsonl",
        trainable_queries().replace("cup 3", "cup 4"),
    );
    assert!(shop.fails(&again).contains("other examples"));
    shop.write("queries.jsonl", trainable_queries());

    let predicted = |more: &[&str]| {
        let fixed = [
            "refer",
            "predict",
            "queries.jsonl",
            "--llm",
            llm,
            "-o",
            "out",
            "--force",
        ];
        shop.ok_json(&[&fixed[..], more].concat())
    };
    let before = predicted(&[]);
    let after = predicted(&["--llm-adapter", "whole"]);
    // The base often answers with something else than an index.
    assert_ne!(before["fallback_share"], 0.0, "{before}");
    assert_eq!(after["fallback_share"], 0.0, "{after}");
}

#[test]
fn bad_queries_name_the_line_and_the_key() {
    let shop = Workshop::new();
    let error = |queries: &str| {
        shop.write("queries.jsonl", queries);
        let endpoint = "http://127.0.0.1:9/v1";
        shop.fails(&[
            "refer",
            "predict",
            "queries.jsonl",
            "--endpoint",
            endpoint,
            "--llm",
            "m",
            "-o",
            "out",
        ])
    };
    let cup = r#"{"expression": "a cup", "candidates": []}"#;
    for (queries, part) in [
        ("", "the file has no query"),
        ("[1]", "line 1: is a list"),
        (
            &format!("{cup}\n{{}}"),
            "line 2: missing field `expression`",
        ),
        (
            r#"{"expression": "a", "boxes": []}"#,
            "unknown field `boxes`",
        ),
        (
            r#"{"expression": " ", "candidates": []}"#,
            "`expression` is empty",
        ),
        (r#"{"expression": "a"}"#, "give `candidates`, or an `image`"),
        (r#"{"expression": "a", "image": "x.png"}"#, "--base"),
        (
            r#"{"expression": "a", "candidates": [{"box": [5, 0, 4, 1], "label": "b"}]}"#,
            "[left, top, right, bottom]",
        ),
        (
            r#"{"expression": "a", "candidates": [{"box": [0, 0, 4, 1], "label": "b", "logit": 3}]}"#,
            "unknown field `logit`",
        ),
        (
            r#"{"expression": "a", "candidates": [], "truth_box": [0, 1]}"#,
            "line 1",
        ),
    ] {
        let error = error(queries);
        assert!(error.contains(part), "{error}");
    }
}
