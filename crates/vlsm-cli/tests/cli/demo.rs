//! `vlsm demo`, `vlsm data generate`, and the builtin base.

use serde_json::Value;

use crate::snapshots::{assert_snapshot, without_numbers};
use crate::support::Workshop;

/// The first number of the line that starts with `name`.
fn cell(text: &str, name: &str) -> f64 {
    let line = text
        .lines()
        .find(|line| line.trim_start().starts_with(name));
    let cells: Vec<&str> = line.unwrap()[name.len()..].split_whitespace().collect();
    cells[0].parse().unwrap()
}

#[test]
fn the_quick_demo_trains_and_resumes() {
    let shop = Workshop::new();
    let arguments = ["demo", "--quick", "--out", "demo"];
    let text = shop.ok(&arguments);
    assert!(
        cell(&text, "dense") > cell(&text, "zero-shot") + 0.15,
        "{text}"
    );
    let page = std::fs::read_to_string(shop.path("demo/report.html")).unwrap();
    for part in ["zero-shot", "dense", "shallow", "decoder", "polyp"] {
        assert!(page.contains(part), "{part}");
    }
    assert_snapshot("demo", &without_numbers(&text));
    // Trained already: only evaluated again, with the same result.
    let again = shop.ok(&arguments);
    assert_eq!(cell(&again, "dense"), cell(&text, "dense"));
}

#[test]
fn the_quick_demo_of_llm_wrapper_beats_the_segmenter_alone() {
    let shop = Workshop::new();
    let arguments = [
        "demo",
        "--system",
        "llm-wrapper",
        "--quick",
        "--out",
        "demo",
    ];
    let text = shop.ok(&arguments);
    let alone = cell(&text, "segmenter's own mask");
    let chosen = cell(&text, "language model");
    assert!(chosen > alone + 15.0, "{text}");
    assert!(cell(&text, "best candidates") >= chosen, "{text}");
    let page = std::fs::read_to_string(shop.path("demo/report.html")).unwrap();
    assert!(page.contains("segmenter alone") && page.contains("data:image/jpeg"));
    // Trained already.
    assert_eq!(shop.ok(&arguments), text);
}

#[test]
fn the_quick_demo_of_opendas_shows_names_before_and_after() {
    let shop = Workshop::new();
    let arguments = ["demo", "--system", "opendas", "--quick", "--out", "demo"];
    let text = shop.ok(&arguments);
    // Trained on segments, not at chance among 99 names before.
    assert!(cell(&text, "the CLIP alone") > 30.0, "{text}");
    let trained = |stage: &str| {
        let line = text.lines().find(|line| line.starts_with(stage)).unwrap();
        line.split_whitespace().last().unwrap().to_owned()
    };
    assert_eq!(trained("after stage 1"), "2,560");
    assert_eq!(trained("after stage 2"), "1,280");
    let page = std::fs::read_to_string(shop.path("demo/report.html")).unwrap();
    assert_eq!(page.matches("data:image/jpeg").count(), 4 * 6);
    for part in [
        "the image",
        "the true names",
        "before: ",
        "after: ",
        "image 6",
    ] {
        assert!(page.contains(part), "{part}");
    }
    // Trained already.
    assert_eq!(shop.ok(&arguments), text);
}

#[test]
fn a_generated_data_set_scores_like_the_drawings() {
    let shop = Workshop::new();
    shop.ok(&[
        "data", "generate", "street", "-o", "street", "--train", "0", "--val", "0", "--test", "3",
    ]);
    let error = shop.fails(&["data", "generate", "street", "-o", "street"]);
    assert!(error.contains("not empty"), "{error}");
    let eval = |data: &str, set: &[&str]| {
        let mut arguments = vec!["eval", "--base", "builtin:tiny", "--data", data, "--json"];
        arguments.extend(set);
        let json: Value = serde_json::from_str(&shop.ok(&arguments)).unwrap();
        json
    };
    let written = eval("street", &[]);
    let sizes = ["train=0", "val=0", "test=3"].map(|size| format!("data.generate.{size}"));
    let set: Vec<&str> = sizes.iter().flat_map(|size| ["--set", size]).collect();
    assert_eq!(written, eval("builtin:street", &set));
    let groups = written["prompts"]["p1"]["groups"].as_object().unwrap();
    assert!(groups.contains_key("road") && groups.contains_key("sky"));
}

#[test]
fn errors_for_unknown_builtins_name_the_known_ones() {
    let shop = Workshop::new();
    let error = shop.fails(&["model", "info", "builtin:huge"]);
    assert!(error.contains("builtin:tiny"), "{error}");
    let error = shop.fails(&["eval", "--base", "base", "--data", "builtin:moon"]);
    assert!(error.contains("builtin:endoscopy"), "{error}");
    let error = shop.fails(&[
        "eval",
        "--base",
        "base",
        "--data",
        "builtin:street",
        "--set",
        "data.generate.side=8",
    ]);
    assert!(error.contains("data.generate.side"), "{error}");
}

/// On scenes that it was not trained on; its README has scores on more of them.
#[test]
fn the_builtin_base_follows_its_prompts() {
    let shop = Workshop::new();
    let text = shop.ok(&[
        "eval",
        "--base",
        "builtin:tiny",
        "--data",
        "builtin:scenes",
        "--set",
        "data.generate.seed=999",
        "--set",
        "data.generate.test=20",
    ]);
    let dice = |group: &str| {
        let line = text.lines().find(|line| line.trim().starts_with(group));
        let line = line.unwrap().trim().strip_prefix(group).unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<f64>()
            .unwrap()
    };
    assert!(dice("everything") > 0.9, "{text}");
    assert!(dice("colour ") > 0.9, "{text}");
    assert!(dice("place") > 0.9, "{text}");
    assert!(dice("shape") > 0.75, "{text}");
    assert!(dice("exchanged") > 0.7, "{text}");
    assert!(dice("p6") > 0.8, "{text}");
}
