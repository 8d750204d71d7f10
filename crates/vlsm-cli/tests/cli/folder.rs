//! From a plain folder of images and masks to masks of other images, in two commands.

use serde_json::Value;
use vlsm::image::{Mask, read_mask, write_png_mask};
use vlsm::models::AdapterFile;

use crate::support::Workshop;

/// A training of a plain folder.
const TRAIN: [&str; 13] = [
    "train",
    "--data",
    "scans",
    "--class",
    "disc",
    "--base",
    "base",
    "--method",
    "full",
    "--epochs",
    "4",
    "--set",
    "optim.lr=3e-3",
];

/// The images and masks of the training split as a plain folder, `scans`, and those of the test split in `new`.
fn shop() -> Workshop {
    let shop = Workshop::new();
    for name in shop.names("data/images") {
        let image = shop.read(&format!("data/images/{name}"));
        if name.starts_with("train") {
            shop.write(&format!("scans/images/{name}"), image);
            let mask = shop.read(&format!("data/masks/{name}"));
            shop.write(&format!("scans/masks/{name}"), mask);
        } else if name.starts_with("test") {
            shop.write(&format!("new/{name}"), image);
        }
    }
    shop
}

#[test]
fn two_commands_lead_from_a_folder_to_masks() {
    let shop = shop();
    let printed = shop.ok(&TRAIN);
    assert!(
        printed.contains("vlsm predict runs/scans IMAGE... -o OUT"),
        "{printed}"
    );
    assert_eq!(shop.names("scans"), ["images", "masks"]);
    let printed = shop.ok(&["predict", "runs/scans", "new", "-o", "out"]);
    assert!(printed.contains("of 5 masks"), "{printed}");
    let list = shop.json("out/predictions.json");
    let rows = list.as_array().unwrap();
    assert_eq!(rows.len(), 5);
    for row in rows {
        let file = row["file"].as_str().unwrap();
        let mask = read_mask(&shop.path("out").join(file)).unwrap();
        assert_eq!(row["area_pixels"], mask.foreground());
        assert_eq!(row["found"], mask.foreground() > 0);
        assert_eq!(row["prompt"], "disc");
        assert_eq!(row["warning"], "");
        let overlay = file.replace(".mask.", ".overlay.");
        assert!(shop.path("out").join(overlay).is_file());
    }
    // The masks are those that the long way gives, and the adapter file alone is enough.
    let long = [
        "predict",
        "--base",
        "base",
        "--adapter",
        "runs/scans",
        "--prompt",
        "disc",
        "new",
        "-o",
        "long",
    ];
    shop.ok(&long);
    shop.ok(&[
        "predict",
        "runs/scans/adapter.safetensors",
        "new/*.png",
        "-o",
        "file",
    ]);
    for name in shop
        .names("out")
        .iter()
        .filter(|name| name.ends_with(".png"))
    {
        for other in ["long", "file"] {
            assert!(
                shop.read(&format!("out/{name}")) == shop.read(&format!("{other}/{name}")),
                "{name}"
            );
        }
    }
    let adapter = AdapterFile::read(&shop.path("runs/scans/adapter.safetensors")).unwrap();
    assert_eq!(adapter.inference.prompt.as_deref(), Some("disc"));
    assert_eq!(adapter.inference.prompts[0], "disc");
}

#[test]
fn the_recipe_of_a_folder_repeats_and_continues_the_run() {
    let shop = shop();
    shop.ok(&TRAIN);
    shop.ok(&["train", "runs/scans/recipe.toml", "-o", "again"]);
    shop.assert_same_results("runs/scans", "again");
    // Stopped after two epochs, and continued by the run's folder alone.
    let short: Vec<&str> = TRAIN
        .iter()
        .map(|word| if *word == "4" { "2" } else { word })
        .collect();
    shop.ok(&[&short[..], &["-o", "short"]].concat());
    shop.ok(&["train", "short", "--epochs", "4", "--resume"]);
    shop.assert_same_results("runs/scans", "short");
    let error = shop.fails(&["train", "scans"]);
    assert!(error.contains("--data scans --class"), "{error}");
    let error = shop.fails(&["train", "--data", "scans", "--base", "base"]);
    assert!(error.contains("--class polyp"), "{error}");
    assert!(!shop.path("scans/anns").exists());
    let error = shop.fails(&["train"]);
    assert!(error.contains("--data and --class"), "{error}");
}

#[test]
fn masks_can_be_thresholded_and_cleaned() {
    let shop = shop();
    shop.ok(&TRAIN);
    let summary = shop.json("runs/scans/summary.json");
    let chosen = summary["threshold"]["value"].as_f64().unwrap();
    let at_half = summary["threshold"]["val_dice_at_half"].as_f64().unwrap();
    assert!(summary["threshold"]["val_dice"].as_f64().unwrap() >= at_half);
    let row = |options: &[&str], out: &str| -> Value {
        let predict = [
            "predict",
            "runs/scans",
            "new/test0.png",
            "-o",
            out,
            "--json",
        ];
        let printed = shop.ok(&[&predict[..], options].concat());
        assert_eq!(printed.lines().count(), 1, "{printed}");
        serde_json::from_str(&printed).unwrap()
    };
    assert_eq!(
        row(&["--threshold", "auto"], "auto")["threshold"]
            .as_f64()
            .unwrap() as f32,
        chosen as f32
    );
    let area = |options: &[&str], out: &str| row(options, out)["area_pixels"].as_u64().unwrap();
    let low = area(&["--threshold", "0.01"], "low");
    let high = area(&["--threshold", "0.9"], "high");
    assert!(low > high, "{low} {high}");
    let prob = vlsm::image::read_image(&shop.path("high/test0.disc.prob.png")).unwrap();
    let mask = read_mask(&shop.path("high/test0.disc.mask.png")).unwrap();
    for (level, mask) in prob.data.iter().step_by(3).zip(&mask.data) {
        // 0.9 is level 229.5, and levels are rounded.
        assert!(
            matches!((*level, *mask), (0..=230, 0) | (229..=255, 1)),
            "{level} {mask}"
        );
    }
    let cleaned = row(
        &["--threshold", "0.3", "--largest", "--fill-holes"],
        "clean",
    );
    assert_eq!(cleaned["parts"], 1);
    assert_eq!(cleaned["cleanup"], "fill-holes, largest");
    let nothing = row(&["--min-area", "100000"], "nothing");
    assert_eq!(
        (&nothing["found"], &nothing["parts"]),
        (&Value::Bool(false), &Value::from(0))
    );
    assert_eq!(nothing["mean_probability"], Value::Null);
    // Other options are other inputs.
    let predict = ["predict", "runs/scans", "new/test0.png", "-o", "low"];
    let error = shop.fails(&predict);
    assert!(error.contains("threshold 0.01"), "{error}");
    // A base has no threshold of its own.
    let base = [
        "predict",
        "--base",
        "base",
        "--prompt",
        "disc",
        "new",
        "-o",
        "x",
        "--threshold",
        "auto",
    ];
    assert!(shop.fails(&base).contains("--threshold auto"));
}

#[test]
fn a_run_gives_a_notice_of_words_that_it_does_not_know() {
    let shop = shop();
    let train = [
        "train",
        "--data",
        "scans",
        "--class",
        "disc",
        "--base",
        "builtin:tiny",
        "--epochs",
        "1",
    ];
    shop.ok(&train);
    let predict = |prompt: &'static str| {
        [
            "predict",
            "runs/scans",
            "new/test0.png",
            "-o",
            "out",
            "--prompt",
            prompt,
        ]
    };
    assert_eq!(shop.says(&predict("disc")), "");
    assert_eq!(shop.says(&predict("one disc")), "");
    let note = shop.says(&predict("happy birthday to you"));
    assert!(
        note.contains("`happy birthday to you`") && note.contains("training prompt"),
        "{note}"
    );
    let list = shop.json("out/predictions.json");
    let warnings: Vec<&str> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["warning"].as_str().unwrap())
        .collect();
    assert_eq!(warnings, ["", "", "unfamiliar prompt"]);
}

#[test]
fn what_is_no_model_or_no_image_is_named() {
    let shop = shop();
    let error = shop.fails(&["predict", "new", "-o", "out"]);
    assert!(
        error.contains("`new` is neither the folder of a run nor an adapter file"),
        "{error}"
    );
    shop.ok(&TRAIN);
    let error = shop.fails(&["predict", "runs/scans", "-o", "out"]);
    assert!(error.contains("no images are given"), "{error}");
    let error = shop.fails(&["predict", "runs/scans", "scans", "-o", "out"]);
    assert!(error.contains("give `scans/images`"), "{error}");
    let error = shop.fails(&["predict", "runs/scans", "new", "-o", "new"]);
    assert!(error.contains("folder of the results"), "{error}");
    assert!(!shop.path("out").exists());
    let error = shop.fails(&["predict", "--base", "base", "new", "-o", "out"]);
    assert!(error.contains("add --prompt"), "{error}");
    // A run that was validated under one prompt of all its samples has that prompt.
    shop.ok(&[
        "train",
        "recipe.toml",
        "-o",
        "many",
        "--set",
        "data.eval_prompt=p6",
        "--set",
        "trainer.max_steps=1",
    ]);
    shop.ok(&["predict", "many", "new", "-o", "p6"]);
}

#[test]
fn a_study_needs_no_file_either() {
    let shop = shop();
    let mask = Mask::from_fn(44, 36, |x, y| u8::from(x > 5 && y > 5 && x < 20 && y < 20));
    write_png_mask(&shop.path("scans/masks/train0.png"), &mask).unwrap();
    let study = [
        "study",
        "--data",
        "scans",
        "--class",
        "disc",
        "--base",
        "base",
        "--epochs",
        "1",
        "--methods",
        "dense,decoder",
    ];
    let planned = shop.ok(&[&study[..], &["--dry-run"]].concat());
    assert!(
        planned.contains("2 runs") && !shop.path("runs").exists(),
        "{planned}"
    );
    let printed = shop.ok(&study);
    assert!(printed.contains("runs/scans-study/table.html"), "{printed}");
    // The file that it wrote is the same study, which is done.
    let plan = shop.ok(&["study", "runs/scans-study/study.toml", "--dry-run"]);
    assert!(plan.contains("2 runs: 2 done"), "{plan}");
    let error = shop.fails(&["study", "runs/scans-study/study.toml", "--epochs", "3"]);
    assert!(
        error.contains("--epochs is for a study without a file"),
        "{error}"
    );
}
