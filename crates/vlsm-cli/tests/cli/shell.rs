//! What the commands print, and what helps to type them.

use serde_json::Value;

use crate::support::{Workshop, train_args};

#[test]
fn shells_complete_the_commands_and_each_has_a_manual_page() {
    let shop = Workshop::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let text = shop.ok(&["completions", shell]);
        assert!(
            text.contains("predict") && text.contains("threshold"),
            "{shell}"
        );
    }
    shop.ok(&["man", "-o", "man/man1"]);
    let pages = shop.names("man/man1");
    for name in [
        "vlsm",
        "vlsm-train",
        "vlsm-predict",
        "vlsm-data-check",
        "vlsm-model-info",
    ] {
        assert!(pages.contains(&format!("{name}.1")), "{pages:?}");
    }
    let page = String::from_utf8(shop.read("man/man1/vlsm-data-check.1")).unwrap();
    assert!(
        page.contains(".SH SYNOPSIS") && page.contains("vlsm\\-data\\-check"),
        "{page}"
    );
}

#[test]
fn json_is_all_that_standard_output_has() {
    let shop = Workshop::new();
    let train = train_args("run", &["trainer.max_steps=2"]);
    let output = shop.run(&[&train[..], &["--json"]].concat());
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&summary["steps"], &summary["run"]),
        (&Value::from(2), &Value::from("run"))
    );
    assert_eq!(summary["report"], "run/report.html");
    assert!(summary["test"]["dice"]["mean"].is_number());
    assert_eq!(summary["test_prompt"], "p1");
    shop.write("study.toml", STUDY);
    let study = shop.ok_json(&["study", "study.toml", "-o", "study"]);
    let runs = study["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2);
    assert_eq!(
        (&runs[0]["method"], &runs[0]["seed"]),
        (&Value::from("zero-shot"), &Value::Null)
    );
    assert!(runs[1]["prompts"]["p1"]["dice"]["mean"].is_number());
    assert_eq!(study["failed"], Value::Array(vec![]));
    // From finished runs alone.
    assert_eq!(
        shop.ok_json(&["study", "study.toml", "-o", "study", "--table"]),
        study
    );
}

#[test]
fn quiet_prints_no_progress_and_verbose_what_is_computed() {
    let shop = Workshop::new();
    let train = train_args("run", &["trainer.max_steps=2"]);
    let said = shop.says(&[&train[..], &["-q"]].concat());
    // Warnings remain: of the learning rate, and of the few test images.
    let warnings: Vec<&str> = said.lines().collect();
    assert!(
        warnings.len() == 2
            && warnings[0].starts_with("`optim.lr`")
            && warnings[1].starts_with("warning"),
        "{said}"
    );
    let predict = [
        "predict",
        "run",
        "data/images/test0.png",
        "--prompt",
        "a yellow car",
        "--output",
        "out",
    ];
    assert!(shop.says(&predict).contains("note: "));
    assert_eq!(shop.says(&[&predict[..], &["--quiet"]].concat()), "");
    let said = shop.says(&[&predict[..], &["-v"]].concat());
    assert!(
        said.contains("vision pass") && said.contains("text pass"),
        "{said}"
    );
    // The name that the option had.
    let old = ["predict", "run", "data/images/test0.png", "--out", "old"];
    shop.ok(&old);
    assert!(shop.path("old/predictions.csv").is_file());
}

const STUDY: &str = r#"
seeds = [41]
[recipe.trainer]
max_steps = 1
[[model]]
name = "m"
model.base = "base"
[[method]]
name = "zero-shot"
method.kind = "zero-shot"
[[method]]
name = "full"
method.kind = "full"
[[data]]
name = "d"
data.root = "data"
"#;
