//! The reports that `vlsm train` and `vlsm eval` write.

use crate::support::{Workshop, train_args};

fn page(shop: &Workshop, name: &str) -> String {
    let page = String::from_utf8(shop.read(name)).unwrap();
    for outside in ["http://", "https://", "<link", "@import"] {
        assert!(!page.contains(outside), "{outside}");
    }
    page
}

/// Three cases of three pictures each.
fn shows_cases(page: &str) {
    let sources: Vec<&str> = page.split("src=\"").skip(1).collect();
    assert_eq!(sources.len(), 9);
    let inside = |source: &&str| source.starts_with("data:image/jpeg;base64,");
    assert!(sources.iter().all(inside));
    for kind in ["best", "median", "worst"] {
        assert!(page.contains(&format!("<strong>{kind}</strong>")), "{kind}");
    }
}

#[test]
fn a_training_writes_a_report() {
    let shop = Workshop::new();
    let printed = shop.ok(&train_args("run", &["trainer.epochs=2"]));
    assert!(printed.contains("run/report.html"), "{printed}");
    let page = page(&shop, "run/report.html");
    let summary = shop.json("run/summary.json");
    let dice = &summary["test"]["dice"];
    let cell = format!(
        "{:.3}<span class=\"spread\"> ± {:.3}",
        dice["mean"].as_f64().unwrap(),
        dice["std"].as_f64().unwrap()
    );
    // In the table of results, and again under its prompt's name.
    let (results, prompts) = page.split_once("<h2>Dice by prompt").unwrap();
    assert_eq!(results.matches(&cell).count(), 1, "{cell}");
    assert!(prompts.contains(&cell), "{cell}");
    assert_eq!(summary["test"]["samples"], 5);
    shows_cases(&page);
    for prompt in ["p0", "p1", "p2", "p6"] {
        assert!(
            page.contains(&format!("<th scope=\"row\">{prompt}")),
            "{prompt}"
        );
    }
    // The data set does not say which prompts were read from the masks.
    assert!(page.contains("p6<sup>") && !page.contains("p1<sup>"));
    for curve in ["Loss", "Validation Dice", "Learning rate"] {
        assert!(
            page.contains(&format!("<figcaption>{curve}</figcaption>")),
            "{curve}"
        );
    }

    let printed = shop.ok(&["eval", "run", "--split", "val", "--prompt-set", "p1"]);
    assert!(printed.ends_with("report: run/eval.html\n"), "{printed}");
    shows_cases(&self::page(&shop, "run/eval.html"));
    assert_eq!(
        self::page(&shop, "run/report.html"),
        page,
        "the training's page is left alone"
    );
}

#[test]
fn without_a_test_split_the_report_shows_the_validation_split() {
    let shop = Workshop::new();
    std::fs::remove_file(shop.path("data/anns/test.json")).unwrap();
    shop.ok(&train_args("run", &["trainer.epochs=2"]));
    assert!(shop.json("run/summary.json")["test"].is_null());
    let page = page(&shop, "run/report.html");
    assert!(page.contains("on 6 validation samples"));
    shows_cases(&page);
}

#[test]
fn without_a_test_the_report_has_curves_and_facts() {
    let shop = Workshop::new();
    shop.ok(&train_args(
        "run",
        &["trainer.epochs=2", "trainer.test=false"],
    ));
    let page = page(&shop, "run/report.html");
    assert!(page.contains("<figcaption>Loss</figcaption>") && page.contains("<dt>Seed</dt>"));
    assert!(!page.contains("src=") && !page.contains("Results"));
}

#[test]
fn a_run_is_complete_even_if_its_report_fails() {
    let shop = Workshop::new();
    // A folder with the name of the report.
    shop.write("run/report.html/x", "");
    let output = shop.run(&train_args("run", &["trainer.epochs=2"]));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{error}");
    assert!(
        error.contains("the run is complete, but its report"),
        "{error}"
    );
    assert!(!String::from_utf8_lossy(&output.stdout).contains("report.html"));
    assert!(shop.path("run/summary.json").is_file());
}

#[test]
fn eval_writes_the_report_to_the_given_file() {
    let shop = Workshop::new();
    let arguments = ["eval", "--base", "base", "--data", "data", "--json"];
    shop.ok(&arguments);
    assert_eq!(
        shop.names("."),
        ["base", "config.json", "data", "recipe.toml"]
    );
    let prompts = ["--prompt", "a <b> disc", "--report", "new/page.html"];
    shop.ok(&[&arguments[..], &prompts].concat());
    let page = page(&shop, "new/page.html");
    shows_cases(&page);
    assert!(page.contains("Zero-shot on data") && page.contains("“a &lt;b&gt; disc”"));
}

/// The page that `scripts/check_report.py` opens.
#[test]
#[ignore = "takes a minute: cargo test --workspace --test cli -- --ignored report_of_2000"]
fn a_report_of_2000_cases_is_below_60_megabytes() {
    let shop = Workshop::new();
    let page = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("report_2000.html");
    let report = page.to_str().unwrap();
    let data = [
        "--data",
        "builtin:endoscopy",
        "--prompt-set",
        "p1",
        "--force",
    ];
    let sizes = ["train=1", "val=1", "test=2000"].map(|size| format!("data.generate.{size}"));
    let sizes = sizes.iter().flat_map(|size| ["--set", size.as_str()]);
    let eval = ["eval", "--base", "builtin:tiny", "--report", report];
    shop.ok(&[&eval[..], &data, &sizes.collect::<Vec<_>>()].concat());
    let bytes = std::fs::metadata(&page).unwrap().len();
    println!("{report}: {:.1} MB", bytes as f64 / 1e6);
    assert!(bytes < 60_000_000);
}
