//! `vlsm segments`.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use serde_json::{Value, json};
use vlsm::image::{RgbImage, write_png_gray, write_png_rgb};
use vlsm_train::segments::{SegmentRecipe, train_segments};
use vlsm_train::{Observer, StepReport, TrainError};

use crate::semantic::make_streets;
use crate::support::Workshop;

/// A recipe of both stages for the small base, whose towers have three layers.
pub(crate) const RECIPE: &str = r#"
base = "base"
novel = ["sign"]
negatives = "negatives.json"
data.root = "streets"
[stage1]
epochs = 2
batch_size = 4
optim.lr = 0.02
method = { kind = "vpt", tokens = 2 }
[stage2]
epochs = 3
batch_size = 5
optim.lr = 0.02
method = { kind = "coop", depth = 2 }
"#;

fn shop() -> Workshop {
    let shop = Workshop::new();
    make_streets(&shop);
    shop.write("recipe.toml", RECIPE);
    let negatives = json!({"car": ["toy car", "car park"], "sky": ["blue wall"], "sign": ["logo"]});
    shop.write("negatives.json", negatives.to_string());
    shop
}

const EVAL: [&str; 6] = ["segments", "eval", "--base", "base", "--data", "streets"];

#[test]
fn scores_are_those_of_the_written_names() {
    let shop = shop();
    let arguments = [
        "--novel",
        "car",
        "--novel",
        "SIGN",
        "--csv",
        "new/names.csv",
    ];
    let scores = shop.ok_json(&[&EVAL[..], &arguments].concat());
    let names = shop.read("new/names.csv");
    let mut names = csv::Reader::from_reader(&names[..]);
    let rows: Vec<BTreeMap<String, String>> = names.deserialize().map(Result::unwrap).collect();
    assert_eq!(scores["segments"], rows.len());
    let right = rows.iter().filter(|row| row["class"] == row["named"]);
    let accuracy = right.count() as f64 / rows.len() as f64;
    assert!((scores["accuracy"].as_f64().unwrap() - accuracy).abs() < 1e-12);
    let of = |class: &str, column: &str| rows.iter().filter(|row| row[column] == class).count();
    for class in scores["classes"].as_array().unwrap() {
        let name = class["name"].as_str().unwrap();
        assert_eq!(class["novel"], ["car", "sign"].contains(&name));
        assert_eq!(class["segments"], of(name, "class"), "{name}");
        assert_eq!(class["named"], of(name, "named"), "{name}");
    }
    assert!(scores["base_f1"].is_f64() && scores["novel_f1"].is_f64());
    // Without novel classes there is no F1 of them; other sentences give other probabilities.
    let templates = ["--templates", "vild", "--csv", "other.csv"];
    let other = shop.ok_json(&[&EVAL[..], &templates].concat());
    assert_eq!(other["novel_f1"], Value::Null);
    assert_ne!(shop.read("new/names.csv"), shop.read("other.csv"));
    let text = shop.ok(&EVAL);
    assert!(
        text.contains("weighted F1") && text.contains("road"),
        "{text}"
    );
}

#[test]
fn wrong_data_and_models_are_refused() {
    let shop = shop();
    let with = |arguments: &[&'static str]| shop.fails(&[&EVAL[..], arguments].concat());
    let error = with(&["--novel", "bus"]);
    assert!(
        error.contains("bus") && error.contains("road, sky, car, sign"),
        "{error}"
    );
    let error = shop.fails(&["segments", "eval", "--base", "base", "--data", "data"]);
    assert!(error.contains("data.format"), "{error}");
    let error = shop.fails(&["segments", "eval", "--base", "absent", "--data", "streets"]);
    assert!(error.contains("absent"), "{error}");
    shop.write(
        "streets/classes.json",
        json!({"classes": ["car", "sky", "Car", "sign", null], "ignore_index": 11}).to_string(),
    );
    let error = with(&[]);
    assert!(
        error.contains("data.classes") && error.contains("Car"),
        "{error}"
    );
}

#[test]
fn segments_of_a_mask_are_named() {
    let shop = shop();
    let image = RgbImage::from_fn(40, 30, |x, y| [x as u8 * 6, y as u8 * 8, 90]);
    write_png_rgb(&shop.path("image.png"), &image).unwrap();
    let mut ids = vec![0; 40 * 30];
    ids[40 * 3 + 5..40 * 3 + 15].fill(2);
    ids[40 * 20..].fill(7);
    write_png_gray(&shop.path("mask.png"), 40, 30, &ids).unwrap();
    let predict = [
        "segments",
        "predict",
        "image.png",
        "mask.png",
        "--base",
        "base",
    ];
    let named = [
        &predict[..],
        &["--name", "car", "--name", "the sky", "--name", "a sign"],
    ]
    .concat();
    let found = shop.ok_json(&named);
    assert_eq!(found.as_array().unwrap().len(), 2);
    assert_eq!((&found[0]["id"], &found[1]["id"]), (&json!(2), &json!(7)));
    assert_eq!(found[0]["box"], json!([5, 3, 15, 4]));
    assert_eq!(found[1]["pixels"], 400);
    for segment in found.as_array().unwrap() {
        let names = segment["names"].as_array().unwrap();
        let sum: f64 = names
            .iter()
            .map(|name| name["probability"].as_f64().unwrap())
            .sum();
        assert!(names.len() == 3 && (sum - 1.0).abs() < 1e-5, "{segment}");
        assert!(names[0]["probability"].as_f64() >= names[1]["probability"].as_f64());
    }
    assert!(shop.ok(&named).contains("5,3 to 15,4"));
    let classes = [
        &predict[..],
        &["--classes", "streets/classes.json", "--ignore", "7"],
    ]
    .concat();
    // The background is a segment unless it is ignored.
    assert_eq!(shop.ok_json(&classes).as_array().unwrap().len(), 2);

    let all = [
        &named[..],
        &["--ignore", "0", "--ignore", "2", "--ignore", "7"],
    ]
    .concat();
    assert!(shop.fails(&all).contains("is empty"));
    let twice = [&predict[..], &["--name", "car", "--name", "Car"]].concat();
    assert!(shop.fails(&twice).contains("twice"));
    write_png_gray(&shop.path("mask.png"), 30, 40, &ids).unwrap();
    assert!(shop.fails(&named).contains("30x40"));
}

#[test]
fn both_stages_are_trained_and_the_file_gives_their_scores() {
    let shop = shop();
    let train = ["segments", "train", "recipe.toml"];
    let summary = shop.ok_json(&[&train[..], &["--set", "blend=0.5"]].concat());
    assert_eq!(summary["negatives"], 3);
    let stages = summary["stages"].as_array().unwrap();
    assert_eq!(stages[0]["trained"], "zero-shot");
    let parameters = |stage: usize| stages[stage]["trained_parameters"].as_u64().unwrap();
    assert_eq!([0, 1, 2, 3].map(parameters), [0, 3 * 2 * 32, 2 * 4 * 16, 0]);
    let lines = shop.metrics("runs/recipe");
    let loss = |epoch: u64| {
        let line = lines.iter().find(|line| line["epoch"] == epoch).unwrap();
        line["train_loss"].as_f64().unwrap()
    };
    assert!(loss(2) < loss(1) && loss(5) < loss(3), "{lines:?}");
    let eval = [
        "segments",
        "eval",
        "--data",
        "streets",
        "--novel",
        "sign",
        "--adapter",
        "runs/recipe",
    ];
    assert_eq!(shop.ok_json(&eval), stages[3]["test"]);
    for (blend, stage) in [("0", 0), ("0.5", 3), ("1", 2)] {
        let scores = shop.ok_json(&[&eval[..], &["--blend", blend]].concat());
        assert_eq!(scores, stages[stage]["test"], "{blend}");
    }
    let wrong = shop.run(&[&eval[..], &["--blend", "1.1"]].concat());
    assert_eq!(wrong.status.code(), Some(2));
    let zero_shot = [&EVAL[..], &["--novel", "sign"]].concat();
    assert_eq!(shop.ok_json(&zero_shot), stages[0]["test"]);

    // The same recipe again gives the same bytes; another seed does not.
    let blended = ["--set", "blend=0.5", "-o", "again"];
    shop.ok(&[&train[..], &blended].concat());
    let adapter = |run: &str| shop.read(&format!("{run}/adapter.safetensors"));
    assert_eq!(adapter("runs/recipe"), adapter("again"));
    assert_eq!(
        shop.read("runs/recipe/metrics.jsonl"),
        shop.read("again/metrics.jsonl")
    );
    shop.ok(&[
        "segments",
        "train",
        "recipe.toml",
        "-o",
        "other",
        "--set",
        "seed=7",
    ]);
    assert_ne!(adapter("other"), adapter("again"));
    let error = shop.fails(&["segments", "train", "recipe.toml", "-o", "again"]);
    assert!(error.contains("already holds a run"), "{error}");
    let resumed = [&train[..], &blended, &["--resume"]].concat();
    let error = shop.fails(&[&resumed[..], &["--set", "stage2.margin=0.1"]].concat());
    assert!(error.contains("stage2.margin"), "{error}");
    // A complete run is only measured again.
    shop.ok(&resumed);
    assert_eq!(adapter("runs/recipe"), adapter("again"));
}

/// Stops after that many steps of this process.
pub(crate) struct StopAfter(pub(crate) usize);

impl Observer for StopAfter {
    fn step(&mut self, _: &StepReport) -> ControlFlow<()> {
        self.0 -= 1;
        match self.0 {
            0 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

#[test]
fn an_interrupted_training_ends_with_the_same_bytes() {
    let shop = shop();
    let here = |name: &str| shop.path(name).display().to_string();
    let overrides = [
        format!("base={}", here("base")),
        format!("data.root={}", here("streets")),
        format!("negatives={}", here("negatives.json")),
    ];
    let recipe = SegmentRecipe::read(&shop.path("recipe.toml"), &overrides).unwrap();
    train_segments(&recipe, &shop.path("whole"), false, &mut ()).unwrap();
    // 9 segments: 3 steps an epoch in stage 1, which ends after step 6, and 2 in stage 2.
    let mut steps = Vec::new();
    for (count, resume) in [(2, false), (4, true), (1, true), (2, true)] {
        let run = shop.path("parts");
        let stopped = train_segments(&recipe, &run, resume, &mut StopAfter(count));
        assert!(matches!(stopped, Err(TrainError::Stopped)), "{stopped:?}");
        steps.push(shop.lines("parts/metrics.jsonl"));
    }
    assert!(steps.is_sorted(), "{steps:?}");
    train_segments(&recipe, &shop.path("parts"), true, &mut ()).unwrap();
    for file in ["metrics.jsonl", "adapter.safetensors"] {
        let same = shop.read(&format!("whole/{file}")) == shop.read(&format!("parts/{file}"));
        assert!(same, "{file}");
    }
}

#[test]
fn recipes_and_negatives_that_are_wrong_leave_nothing() {
    let shop = shop();
    shop.write("wrong.json", json!({"car": ["sign"]}).to_string());
    for (set, fault) in [
        ("negatives=wrong.json", "sign"),
        ("novel=[\"bus\"]", "bus"),
        ("stage2.method.depth=9", "depth"),
        ("stage2.method.kind=vpt", "vision tower"),
        ("stage1.method.kind=decoder", "decoder"),
        ("stage1.epoch=3", "epoch"),
        ("data.root=data", "data.format"),
    ] {
        let error = shop.fails(&["segments", "train", "recipe.toml", "--set", set]);
        assert!(error.contains(fault), "{set}: {error}");
        assert!(!shop.path("runs").exists(), "{set}");
    }
    // Other methods take the whole model in one stage.
    for kind in ["maple", "lora", "full"] {
        let method = format!("stage1.method={{ kind = \"{kind}\" }}");
        let out = format!("runs/{kind}");
        let arguments = ["segments", "train", "recipe.toml", "--set", &method];
        let arguments = [&arguments[..], &["--set", "stage2.epochs=0", "-o", &out]].concat();
        let summary = shop.ok_json(&arguments);
        assert_eq!(summary["stages"].as_array().unwrap().len(), 2, "{kind}");
    }
}

/// A run that changes the CLIP's own weights becomes a CLIP, which names as base and run together do.
#[test]
fn a_run_is_merged_into_a_clip() {
    let shop = shop();
    let lora = r#"stage1.method={ kind = "lora", towers = "vl", bottleneck = 2, layers = [0, 1], text_layers = [0, 1] }"#;
    let train = ["segments", "train", "recipe.toml", "-o", "run", "--set"];
    shop.ok(&[&train[..], &[lora, "--set", "stage2.epochs=0"]].concat());
    let merge = [
        "model",
        "merge",
        "run/adapter.safetensors",
        "--base",
        "base",
        "-o",
        "merged",
    ];
    shop.ok(&merge);
    let error = shop.fails(&merge);
    assert!(error.contains("--force"), "{error}");
    let names = |model: [&str; 2]| {
        let csv = format!("{}.csv", model[1]);
        shop.ok(&[
            "segments", "eval", "--data", "streets", "--csv", &csv, model[0], model[1],
        ]);
        shop.read(&csv)
    };
    assert_eq!(names(["--base", "merged"]), names(["--adapter", "run"]));
}

/// Its README has 84.9 and 98.8 % for more images.
#[test]
fn the_builtin_clip_names_drawings() {
    let shop = Workshop::new();
    for (domain, least) in [("scenes", 0.7), ("street", 0.9)] {
        let counts = ["--classes", "--train", "0", "--val", "0", "--test", "12"];
        shop.ok(&[&["data", "generate", domain, "-o", domain], &counts[..]].concat());
        let eval = ["segments", "eval", "--base", "builtin:tiny-clip", "--data"];
        let scores = shop.ok_json(&[&eval[..], &[domain]].concat());
        assert!(scores["accuracy"].as_f64().unwrap() > least, "{scores}");
    }
}
