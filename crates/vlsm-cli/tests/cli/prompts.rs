//! `vlsm data prompts`.

use serde_json::{Value, json};
use vlsm::image::{Mask, RgbImage, write_png_mask, write_png_rgb};

use crate::support::{Workshop, train_args};

/// A workshop whose data set has lost its annotations: a folder of images and masks.
fn folder() -> Workshop {
    let shop = Workshop::new();
    std::fs::remove_dir_all(shop.path("data/anns")).unwrap();
    shop
}

/// The entries of a split's annotations.
fn entries(shop: &Workshop, file: &str) -> Vec<Value> {
    shop.json(file).as_array().unwrap().clone()
}

const PROMPTS: [&str; 5] = ["data", "prompts", "data", "--class", "disc"];

#[test]
fn a_folder_becomes_annotations_and_trains() {
    let shop = folder();
    // A picture whose every prompt word is known: two red squares, of 8 x 8 and 20 x 20 of 44 x 36 pixels.
    let inside = |at: usize| {
        let (x, y) = (at % 44, at / 44);
        (x < 8 && y < 8) || ((24..44).contains(&x) && y >= 16)
    };
    let pixels = (0..44 * 36).flat_map(|at| if inside(at) { [200, 0, 0] } else { [90; 3] });
    let image = RgbImage::new(44, 36, pixels.collect()).unwrap();
    let mask = (0..44 * 36).map(|at| u8::from(inside(at))).collect();
    write_png_rgb(&shop.path("data/images/train0.png"), &image).unwrap();
    let mask = Mask::new(44, 36, mask).unwrap();
    write_png_mask(&shop.path("data/masks/train0.png"), &mask).unwrap();
    let empty = Mask::new(44, 36, vec![0; 44 * 36]).unwrap();
    write_png_mask(&shop.path("data/masks/train1.png"), &empty).unwrap();

    let printed = shop.ok(&[&PROMPTS[..], &["--set", "data.split.test=0.2"]].concat());
    assert_eq!(
        shop.names("data/anns"),
        ["test.json", "train.json", "val.json"]
    );
    let splits = ["train", "val", "test"];
    let all: Vec<Value> = splits
        .iter()
        .flat_map(|split| entries(&shop, &format!("data/anns/{split}.json")))
        .collect();
    assert_eq!(all.len(), 35);
    assert_eq!(entries(&shop, "data/anns/test.json").len(), 7);
    let of = |name: &str| all.iter().find(|entry| entry["img_name"] == name).unwrap();
    assert_eq!(
        of("train0.png"),
        &json!({
            "img_name": "train0.png",
            "mask_name": "train0.png",
            "prompts": {
                "p0": "",
                "p1": "disc",
                "p2": "square disc",
                "p3": "red square disc",
                "p4": "small, medium red square disc",
                "p5": "two small, medium red square disc",
                "p6": "two small, medium red square disc, located in top left, bottom right of the image",
            },
            "bbox": [0, 0, 44, 36],
            "oracle": {
                "p2": ["shape"],
                "p3": ["colour", "shape"],
                "p4": ["size", "colour", "shape"],
                "p5": ["number", "size", "colour", "shape"],
                "p6": ["number", "size", "colour", "shape", "place"],
            },
        })
    );
    let nothing = of("train1.png");
    assert_eq!(nothing["prompts"]["p6"], "disc");
    assert_eq!(
        (&nothing["bbox"], &nothing["oracle"]),
        (&Value::Null, &json!({}))
    );
    let disc = of("val0.png")["prompts"]["p3"].as_str().unwrap();
    assert_eq!(disc, "white round disc");
    for line in [
        "train      24",
        "test        7",
        "round 33, square 1",
        "white 33, red 1",
    ] {
        assert!(printed.contains(line), "{printed}");
    }

    // The data set has the published format now, and its prompts are used.
    let report: Value = shop.ok_json(&["data", "check", "data"]);
    assert_eq!(report["format"], "annotations");
    assert_eq!(report["test"], json!({"pairs": 7, "samples": 7}));
    let train = train_args("run", &["trainer.epochs=1"]);
    shop.ok(&train);
    shop.ok(&["eval", "run", "--prompt-set", "p1", "--prompt-set", "p6"]);
}

#[test]
fn existing_annotations_are_kept_unless_forced() {
    let shop = Workshop::new();
    let before = shop.read("data/anns/val.json");
    let error = shop.fails(&PROMPTS);
    assert!(
        error.contains("data/anns/train.json") && error.contains("--force"),
        "{error}"
    );
    assert!(shop.read("data/anns/val.json") == before);
    // Writes to another folder, with the existing splits.
    let own = ["--set", "data.format=annotations", "-o", "own"];
    shop.ok(&[&PROMPTS[..], &own].concat());
    let names = |file: &str| -> Vec<Value> {
        let entries = entries(&shop, file);
        entries
            .iter()
            .map(|entry| entry["img_name"].clone())
            .collect()
    };
    assert_eq!(names("own/val.json"), names("data/anns/val.json"));
    assert!(shop.read("data/anns/val.json") == before);
    // A fault stops the command before it has replaced anything.
    let image = shop.read("data/images/train5.png");
    shop.write("data/images/train5.png", &image[..image.len() / 2]);
    let forced = [&PROMPTS[..], &["--force", "--set", "data.split.val=0"]].concat();
    assert!(shop.fails(&forced).contains("train5.png"));
    assert!(shop.read("data/anns/val.json") == before);
    shop.write("data/images/train5.png", image);
    // The folder is split again. A split that is now empty must have no file: an empty file is an error.
    shop.ok(&forced);
    assert_eq!(shop.names("data/anns"), ["test.json", "train.json"]);
    shop.ok(&["data", "check", "data"]);
}

/// As after a full disk or a kill between two of the files.
#[test]
fn a_replacement_that_fails_leaves_no_mixture_of_splits() {
    let shop = Workshop::new();
    // A folder cannot be replaced by a file.
    std::fs::remove_file(shop.path("data/anns/val.json")).unwrap();
    shop.write("data/anns/val.json/file", "");
    let forced = [
        &PROMPTS[..],
        &["--force", "--set", "data.format=folder"],
        &["--set", "data.split.val=0.3"],
    ]
    .concat();
    assert!(shop.fails(&forced).contains("val.json"));
    assert_eq!(shop.names("data/anns"), ["test.json", "val.json"]);
    std::fs::remove_dir_all(shop.path("data/anns/val.json")).unwrap();
    shop.ok(&forced);
    assert_eq!(
        shop.names("data/anns"),
        ["test.json", "train.json", "val.json"]
    );
}

#[test]
fn folders_of_splits_stay_splits() {
    let shop = folder();
    for (split, name) in [("train", "train0"), ("train", "train1"), ("test", "test0")] {
        for kind in ["images", "masks"] {
            let file = shop.read(&format!("data/{kind}/{name}.png"));
            let to = if kind == "masks" { "labels" } else { kind };
            shop.write(&format!("split/{split}/{to}/{name}.png"), file);
        }
    }
    let labels = ["--set", "data.masks=labels"];
    shop.ok(&[
        &["data", "prompts", "split", "--class", "disc"],
        &labels[..],
    ]
    .concat());
    assert_eq!(shop.names("split/anns"), ["test.json", "train.json"]);
    assert_eq!(
        entries(&shop, "split/anns/test.json")[0]["img_name"],
        "test0.png"
    );
    let check = [&["data", "check", "split", "--json"], &labels[..]].concat();
    let report: Value = serde_json::from_str(&shop.ok(&check)).unwrap();
    assert_eq!(report["format"], "annotations");
    assert_eq!(report["train"], json!({"pairs": 2, "samples": 2}));
}

#[test]
fn bad_input_is_refused_and_nothing_is_written() {
    let shop = folder();
    let without = shop.run(&PROMPTS[..3]);
    assert_eq!(without.status.code(), Some(2));
    assert!(
        String::from_utf8(without.stderr)
            .unwrap()
            .contains("--class")
    );
    assert!(
        shop.fails(&["data", "prompts", "data", "--class", " "])
            .contains("--class")
    );
    assert!(
        shop.fails(&["data", "prompts", "nowhere", "--class", "x"])
            .contains("nowhere")
    );
    let set = |key: &str| shop.fails(&[&PROMPTS[..], &["--set", key]].concat());
    assert!(set("data.masks=labels").contains("data/labels"));
    assert!(set("optim.lr=1").contains("optim.lr"));
    assert!(set("data.format=classes").contains("class ids"));
    // A mask of another size, a mask that is missing, class-id masks.
    let mask = shop.read("data/masks/train3.png");
    let other = Mask::new(8, 4, vec![1; 32]).unwrap();
    write_png_mask(&shop.path("data/masks/train3.png"), &other).unwrap();
    let error = shop.fails(&PROMPTS);
    assert!(error.contains("8x4") && error.contains("44x36"), "{error}");
    std::fs::remove_file(shop.path("data/masks/train3.png")).unwrap();
    assert!(shop.fails(&PROMPTS).contains("train3.png"));
    shop.write("data/masks/train3.png", mask);
    shop.write("data/classes.json", r#"{"classes": ["", "disc"]}"#);
    let error = shop.fails(&PROMPTS);
    assert!(
        error.contains("class ids") && error.contains("data.format=folder"),
        "{error}"
    );
    assert!(!shop.path("data/anns").exists());
    shop.ok(&[&PROMPTS[..], &["--set", "data.format=folder"]].concat());
}
