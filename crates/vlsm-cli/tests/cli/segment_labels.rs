//! Labels of whole images by a segmenter and a CLIP: `--proposals` of `vlsm segments`.

use serde_json::{Value, json};
use vlsm::image::read_class_map;

use crate::semantic::make_streets;
use crate::support::{SIZE, Workshop, train_args};

const EVAL: [&str; 6] = ["segments", "eval", "--base", "base", "--data", "streets"];

const NAMES: [&str; 6] = ["--name", "disc", "--name", "noise", "--name", "sky"];

fn shop() -> Workshop {
    let shop = Workshop::new();
    make_streets(&shop);
    shop
}

/// A mean of the IoUs of some classes.
fn mean_iou(scores: &Value, wanted: &[&str]) -> f64 {
    let classes = scores["classes"].as_array().unwrap().iter();
    let classes = classes.filter(|class| wanted.contains(&class["name"].as_str().unwrap()));
    let values: Vec<f64> = classes.filter_map(|class| class["iou"].as_f64()).collect();
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn the_segmenter_alone_scores_as_in_eval_and_names_change_its_labels() {
    let shop = shop();
    shop.ok(&train_args(
        "run",
        &["data.root=streets", "trainer.epochs=1"],
    ));
    let whole = [
        &EVAL[..],
        &["--proposals-adapter", "run", "--background", "0"],
        &["--min-area", "9", "--novel", "car", "--novel", "sign"],
    ]
    .concat();
    let scores = shop.ok_json(&whole);
    let alone = shop.ok_json(&["eval", "run", "--semantic", "--background", "0"]);
    for key in ["miou", "classes", "images", "pixels"] {
        assert_eq!(scores["segmenter"][key], alone[key], "{key}");
    }
    assert!(scores["proposals"].as_u64().unwrap() > 0);
    assert_ne!(scores["named"]["classes"], scores["segmenter"]["classes"]);
    for kind in ["segmenter", "named"] {
        let scores = &scores[kind];
        let (base, novel) = (["road", "sky"], ["car", "sign"]);
        assert_eq!(
            scores["base_miou"].as_f64().unwrap(),
            mean_iou(scores, &base)
        );
        assert_eq!(
            scores["novel_miou"].as_f64().unwrap(),
            mean_iou(scores, &novel)
        );
    }
    let text = shop.ok(&whole);
    assert!(
        text.contains("novel mIoU") && text.contains("with CLIP"),
        "{text}"
    );

    // Parts that are too small keep the segmenter's labels; so do pixels of no class.
    let none = [
        &EVAL[..],
        &["--proposals-adapter", "run", "--min-area", "9999"],
    ]
    .concat();
    let scores = shop.ok_json(&none);
    assert_eq!(scores["named"], scores["segmenter"]);
    assert_eq!(scores["images_without_proposals"], 5);
    assert!(shop.run(&none).status.success());

    // An adapter of the CLIP changes the names, not the segmenter.
    shop.write(
        "clip.toml",
        "base = \"base\"\ndata.root = \"streets\"\nstage2.epochs = 0\n[stage1]\nepochs = 4\noptim.lr = 0.01\n\
         method = { kind = \"full\" }\n",
    );
    shop.ok(&["segments", "train", "clip.toml"]);
    let whole = [&whole[..], &["--clip-weight", "1"]].concat();
    let first = shop.ok_json(&whole);
    let adapted = shop.ok_json(&[&whole[..], &["--adapter", "runs/clip"]].concat());
    assert_eq!(adapted["segmenter"], first["segmenter"]);
    assert_ne!(adapted["named"], first["named"]);
}

/// A SAN's masks are the proposals. With the CLIP left out, the sum over them is SAN's own.
#[test]
fn the_masks_of_a_san_are_named() {
    let shop = shop();
    let names = json!({"classes": ["road", "sky", "car", "sign", "wall"], "ignore_index": 11});
    shop.write("streets/classes.json", names.to_string());
    shop.write("san.json", crate::models::SAN);
    shop.ok(&["model", "init", "--config", "san.json", "-o", "san"]);
    let whole = [&EVAL[..], &["--proposals", "san"]].concat();
    let own = shop.ok_json(&["eval", "--base", "san", "--data", "streets", "--semantic"]);
    let named = shop.ok_json(&whole);
    assert_eq!(named["segmenter"]["classes"], own["classes"]);
    assert!((1..=5 * 6).contains(&named["proposals"].as_u64().unwrap()));
    assert_ne!(named["named"], named["segmenter"]);
    let without = shop.ok_json(&[&whole[..], &["--clip-weight", "0"]].concat());
    assert_eq!(without["named"], without["segmenter"]);
}

#[test]
fn an_image_is_labelled_without_a_map_of_its_parts() {
    let shop = Workshop::new();
    let image = "data/images/test0.png";
    let predict = [
        "segments",
        "predict",
        image,
        "--base",
        "base",
        "--proposals",
        "base",
    ];
    let whole = [&predict[..], &NAMES, &["--min-area", "5", "-o", "out"]].concat();
    let found = shop.ok_json(&whole);
    let labels = read_class_map(&shop.path("out/test0.labels.png")).unwrap();
    assert_eq!((labels.width, labels.height), SIZE);
    assert!(labels.data.iter().all(|id| *id < 3));
    for label in found["labels"].as_array().unwrap() {
        let share = labels.count(label["id"].as_u64().unwrap() as u8) as f64;
        let share = share / labels.data.len() as f64;
        assert!((label["share"].as_f64().unwrap() - share).abs() < 1e-12);
    }
    let parts = found["proposals"].as_array().unwrap();
    assert!(!parts.is_empty());
    for part in parts {
        assert!(part["pixels"].as_u64().unwrap() >= 5);
        let probability = part["clip"]["probability"].as_f64().unwrap();
        assert!(probability > 1.0 / 3.0 && probability <= 1.0, "{part}");
    }
    assert!(shop.path("out/test0.labels-overlay.png").is_file());
    assert!(shop.fails(&whole).contains("--force"));
    let text = shop.ok(&[&whole[..], &["--force"]].concat());
    assert!(
        text.contains("segmenter %") && text.contains("out/test0.labels.png"),
        "{text}"
    );

    // Without a part that is large enough the labels are the segmenter's.
    let none = [&predict[..], &NAMES, &["--min-area", "9999", "-o", "none"]].concat();
    assert_eq!(shop.ok_json(&none)["proposals"], json!([]));
    shop.write("classes.json", r#"{"classes": ["disc", "noise", "sky"]}"#);
    let classes = ["--classes", "classes.json", "-o", "own"];
    shop.ok(&[&["predict", "--base", "base", image][..], &classes].concat());
    assert_eq!(
        shop.read("none/test0.labels.png"),
        shop.read("own/test0.labels.png")
    );
}

#[test]
fn what_cannot_be_labelled_is_an_error() {
    let shop = shop();
    let predict = [
        "segments",
        "predict",
        "streets/test/images/0.png",
        "--base",
        "base",
    ];
    let whole = [&predict[..], &["--proposals", "base"]].concat();
    let fails = |arguments: &[&'static str]| shop.fails(&[&whole[..], arguments].concat());
    assert!(fails(&["--name", "car"]).contains("at least two"));
    assert!(fails(&["--name", "car", "--name", "Car"]).contains("twice"));
    let error = fails(&[&NAMES[..], &["--clip-weight", "1.5"]].concat());
    assert!(error.contains("1.5"), "{error}");
    let error = fails(&[&NAMES[..], &["--proposals-adapter", "absent"]].concat());
    assert!(error.contains("absent"), "{error}");
    // The folder of results is not made by a call that fails.
    fails(&["--name", "car", "-o", "out"]);
    assert!(!shop.path("out").exists());
    for wrong in [
        // A map of parts and a segmenter, or neither.
        &[&whole[..], &NAMES, &["parts.png"]].concat()[..],
        &[&predict[..], &NAMES].concat(),
        &[&predict[..], &NAMES, &["parts.png", "-o", "out"]].concat(),
        &[&predict[..], &NAMES, &["parts.png", "--min-area", "3"]].concat(),
        &[&EVAL[..], &["--proposals", "base", "--csv", "names.csv"]].concat(),
    ] {
        assert_eq!(shop.run(wrong).status.code(), Some(2), "{wrong:?}");
    }
    let one = json!({"classes": ["road", null, null, null, null], "ignore_index": 11});
    shop.write("streets/classes.json", one.to_string());
    let error = shop.fails(&[&EVAL[..], &["--proposals", "base"]].concat());
    assert!(error.contains("only class"), "{error}");
}

/// The builtin base is segmenter and CLIP at once.
#[test]
fn drawn_objects_are_labelled_with_the_builtin_base() {
    let shop = Workshop::new();
    let generate = ["data", "generate", "scenes", "--classes", "-o", "objects"];
    let counts = ["--train", "1", "--val", "1", "--test", "2"];
    shop.ok(&[&generate[..], &counts].concat());
    let tiny = ["--base", "builtin:tiny", "--proposals", "builtin:tiny"];
    let eval = ["segments", "eval", "--data", "objects"];
    let scores = shop.ok_json(&[&eval[..], &tiny].concat());
    let alone = [
        "eval",
        "--base",
        "builtin:tiny",
        "--data",
        "objects",
        "--semantic",
    ];
    let alone = shop.ok_json(&alone);
    assert_eq!(scores["segmenter"]["miou"], alone["miou"]);
    assert_eq!(scores["named"]["images"], 2);
    assert!(scores["proposals"].as_u64().unwrap() > 2);
}
