//! `vlsm predict`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use vlsm::image::{RgbImage, read_image, read_mask, write_png_rgb};
use vlsm::models::tensor_file::{read, write_safetensors};

use crate::support::{SIZE, Workshop, train_args};

#[test]
fn each_prompt_gives_three_files_at_the_images_own_size() {
    let shop = Workshop::new();
    let arguments = [
        "predict",
        "--base",
        "base",
        "data/images/test0.png",
        "data/images/test1.png",
    ];
    let prompts = [
        "--prompt",
        "disc",
        "--prompt",
        "a bright disc",
        "-o",
        "out/deep",
    ];
    let printed = shop.ok(&[&arguments[..], &prompts].concat());
    let names = shop.names("out/deep");
    assert_eq!(names.len(), 14);
    for prompt in ["disc", "a-bright-disc"] {
        assert!(printed.contains(&format!("test0.{prompt}.mask.png")));
        for what in ["mask", "prob", "overlay"] {
            let name = format!("test0.{prompt}.{what}.png");
            assert!(names.contains(&name), "{names:?}");
            let picture = read_image(&shop.path("out/deep").join(name)).unwrap();
            assert_eq!((picture.width, picture.height), SIZE);
        }
    }
    assert!(printed.contains("% of the image") || printed.contains("nothing found"));
    let levels = read_image(&shop.path("out/deep/test0.disc.mask.png")).unwrap();
    assert!(levels.data.iter().all(|level| *level == 0 || *level == 255));
}

#[test]
fn predict_writes_the_mask_that_eval_scores() {
    let shop = Workshop::new();
    shop.ok(&train_args("run", &["trainer.epochs=2"]));
    shop.ok(&["eval", "run", "--prompt-set", "p1", "--masks", "masks"]);
    let adapter = [
        "--adapter",
        "run/adapter.safetensors",
        "--prompt",
        "disc",
        "-o",
        "out",
    ];
    let image = ["predict", "--base", "base", "data/images/test2.png"];
    shop.ok(&[&image[..], &adapter].concat());
    let mask = |path: &str| read_mask(&shop.path(path)).unwrap();
    let predicted = mask("out/test2.disc.mask.png");
    assert!(predicted.foreground() > 0, "nothing to compare");
    assert_eq!(predicted, mask("masks/p1/test2.png"));
}

#[test]
fn images_of_any_size_and_equal_names_are_handled() {
    let shop = Workshop::new();
    for (folder, size) in [("a", (70, 20)), ("b", (1, 3))] {
        std::fs::create_dir_all(shop.path(folder)).unwrap();
        let image = RgbImage::new(size.0, size.1, vec![90; size.0 * size.1 * 3]).unwrap();
        write_png_rgb(&shop.path(folder).join("x.png"), &image).unwrap();
    }
    let arguments = [
        "predict", "--base", "base", "a/x.png", "b/x.png", "-o", "out",
    ];
    shop.ok(&[&arguments[..], &["--prompt", "?", "--image-size", "48"]].concat());
    let size = |name: &str| {
        let mask = read_mask(&shop.path("out").join(name)).unwrap();
        (mask.width, mask.height)
    };
    assert_eq!(size("a-x.png.empty.mask.png"), (70, 20));
    assert_eq!(size("b-x.png.empty.mask.png"), (1, 3));
    let error = shop.fails(&[&arguments[..], &["--prompt", "x", "--image-size", "50"]].concat());
    assert!(
        error.contains("image size 50") && error.contains("48"),
        "{error}"
    );
}

#[test]
fn a_bad_image_does_not_stop_the_others() {
    let shop = Workshop::new();
    shop.write("cut.png", &shop.read("data/images/test0.png")[..200]);
    let images = ["cut.png", "gone.png", "data/images/test1.png"];
    let options = ["--base", "base", "--prompt", "disc", "-o", "out"];
    let error = shop.fails(&[&["predict"][..], &images, &options].concat());
    assert!(
        error.contains("cut.png") && error.contains("gone.png"),
        "{error}"
    );
    assert!(error.contains("2 of 3 images failed"), "{error}");
    assert_eq!(shop.names("out").len(), 5);
}

/// The rows of a folder's list of predictions.
fn rows(shop: &Workshop, folder: &str) -> Vec<Vec<String>> {
    let path = shop.path(folder).join("predictions.csv");
    let mut table = csv::Reader::from_path(path).unwrap();
    let header: Vec<String> = table.headers().unwrap().iter().map(String::from).collect();
    let columns = [
        "image",
        "prompt",
        "file",
        "found",
        "area_pixels",
        "area_share",
        "mean_probability",
        "parts",
        "threshold",
        "cleanup",
        "base",
        "adapter",
        "image_size",
        "tile",
        "overlap",
        "warning",
    ];
    assert_eq!(header, columns);
    let row = |row: csv::Result<csv::StringRecord>| row.unwrap().iter().map(String::from).collect();
    table.records().map(row).collect()
}

#[test]
fn a_list_says_what_each_mask_is_and_nothing_is_overwritten() {
    let shop = Workshop::new();
    let options = ["--base", "base", "-o", "out"];
    let predict = |image: &'static str, prompt: &'static str| {
        [&["predict", image, "--prompt", prompt], &options[..]].concat()
    };
    let one = predict("data/images/test0.png", "a disc");
    shop.ok(&one);
    shop.ok(&predict("data/images/test0.png", "ring"));
    shop.ok(&predict("data/images/test1.png", "a disc"));
    // Once more, with the same inputs: the row is replaced.
    shop.ok(&one);
    let found = rows(&shop, "out");
    let images = found.iter().map(|row| Path::new(&row[0]));
    let expected = ["test0", "test1", "test0"].map(|name| format!("data/images/{name}.png"));
    assert_eq!(found.len(), 3);
    for (image, expected) in images.zip(expected) {
        assert!(
            image.is_absolute() && image.ends_with(&expected),
            "{image:?}"
        );
    }
    for row in &found {
        assert!(shop.path("out").join(&row[2]).is_file());
        let mask = read_mask(&shop.path("out").join(&row[2])).unwrap();
        let share = mask.foreground() as f64 / mask.data.len() as f64;
        assert_eq!(row[5].parse::<f64>().unwrap(), share);
        assert_eq!(row[4], mask.foreground().to_string());
        assert_eq!(row[3], (share > 0.0).to_string());
        assert_eq!(row[6].is_empty(), share == 0.0);
        assert_eq!((row[10].as_str(), row[12].as_str()), ("base", "32"));
    }
    // Another image of that name, another prompt with that file name, another base.
    std::fs::create_dir(shop.path("other")).unwrap();
    shop.write("other/test0.png", shop.read("data/images/test1.png"));
    shop.make_base("base2", 5);
    let before = shop.read("out/test0.a-disc.mask.png");
    let base2 = ["--prompt", "a disc", "--base", "base2", "-o", "out"];
    for arguments in [
        predict("other/test0.png", "a disc"),
        predict("data/images/test0.png", "a-disc"),
        [&["predict", "data/images/test0.png"], &base2[..]].concat(),
    ] {
        let error = shop.fails(&arguments);
        for part in [
            "out/test0.a-disc.mask.png",
            "data/images/test0.png`",
            "--force",
        ] {
            assert!(error.contains(part), "{error}");
        }
    }
    assert!(shop.read("out/test0.a-disc.mask.png") == before);
    assert_eq!(rows(&shop, "out"), found);
    shop.ok(&[&predict("other/test0.png", "a disc")[..], &["--force"]].concat());
    assert!(shop.read("out/test0.a-disc.mask.png") != before);
    let images: Vec<String> = rows(&shop, "out")
        .into_iter()
        .map(|row| row[0].clone())
        .collect();
    let replaced = images
        .iter()
        .filter(|image| image.ends_with("other/test0.png"));
    assert_eq!((replaced.count(), images.len()), (1, 3));
}

#[test]
fn a_run_is_an_adapter_and_other_folders_are_not() {
    let shop = Workshop::new();
    shop.ok(&train_args("run", &["trainer.max_steps=2"]));
    let predict = [
        "predict",
        "--base",
        "base",
        "--prompt",
        "disc",
        "data/images/test0.png",
    ];
    let with = |adapter: &'static str, out: &'static str| {
        [&predict[..], &["--adapter", adapter, "-o", out]].concat()
    };
    shop.ok(&with("run", "one"));
    shop.ok(&with("run/adapter.safetensors", "two"));
    let mask = |out: &str| shop.read(&format!("{out}/test0.disc.prob.png"));
    assert!(mask("one") == mask("two"));
    assert_eq!(rows(&shop, "one"), rows(&shop, "two"));
    let error = shop.fails(&with("data", "three"));
    assert!(
        error.contains("--adapter data") && error.contains("not that of a run"),
        "{error}"
    );
}

#[test]
fn names_of_prompts_are_no_words() {
    let shop = Workshop::new();
    let predict = [
        "predict",
        "--base",
        "base",
        "data/images/test0.png",
        "-o",
        "out",
    ];
    for name in ["p1", "P6", "p12", "random"] {
        let error = shop.fails(&[&predict[..], &["--prompt", name]].concat());
        assert!(error.contains(&format!("text:{name}")), "{error}");
    }
    assert!(!shop.path("out").exists());
    shop.ok(&[
        &predict[..],
        &["--prompt", "text:p1", "--prompt", "p1 cell"],
    ]
    .concat());
    assert!(shop.path("out/test0.p1.mask.png").is_file());
    assert!(shop.path("out/test0.p1-cell.mask.png").is_file());
}

#[test]
fn a_prompt_that_is_cut_gives_a_warning() {
    let shop = Workshop::new();
    let long = "a small round polyp ".repeat(150);
    let predict = [
        "predict",
        "--base",
        "base",
        "data/images/test0.png",
        "-o",
        "out",
    ];
    for (prompt, cut) in [(long.as_str(), true), ("a small round polyp", false)] {
        let warning = shop.says(&[&predict[..], &["--prompt", prompt]].concat());
        assert_eq!(warning.contains("752 tokens"), cut, "{warning}");
        assert_eq!(warning.contains("reads 77"), cut, "{warning}");
        assert_eq!(warning.lines().count(), usize::from(cut), "{warning}");
    }
}

/// A base without a decoder gets a random one, whose masks mean nothing.
#[test]
fn a_random_decoder_is_warned_of() {
    let shop = Workshop::new();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/biomedclipseg/tiny");
    let weights = "open_clip_model.safetensors";
    for name in ["open_clip_config.json", "tokenizer.json"] {
        shop.write(
            &format!("towers/{name}"),
            std::fs::read(fixture.join(name)).unwrap(),
        );
    }
    let mut tensors = read(&fixture.join(weights)).unwrap().tensors;
    tensors.retain(|name, _| !name.starts_with("decoder."));
    write_safetensors(
        &shop.path("towers").join(weights),
        &tensors,
        &BTreeMap::new(),
    )
    .unwrap();
    let predict = [
        "predict",
        "--base",
        "towers",
        "--prompt",
        "polyp",
        "data/images/test0.png",
    ];
    let warning = shop.says(&[&predict[..], &["-o", "out"]].concat());
    assert_eq!(
        warning.matches("no decoder of its own").count(),
        1,
        "{warning}"
    );
    assert_eq!(rows(&shop, "out")[0][15], "random decoder");
    let eval = ["eval", "--base", "towers", "--data", "data", "--json"];
    let output = shop.run(&eval);
    let warning = String::from_utf8(output.stderr).unwrap();
    assert!(warning.contains("no decoder of its own"), "{warning}");
    let scores: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(scores["random"], "decoder");
    let error = shop.fails(&train_args(
        "run",
        &["model.base=towers", "method.kind=dense"],
    ));
    assert!(error.contains("`train_decoder = true`"), "{error}");
}

#[test]
fn large_images_are_cut_into_tiles_and_the_list_says_so() {
    let shop = Workshop::new();
    let scene = RgbImage::from_fn(150, 100, |x, y| [(x * 3 / 2) as u8, (y * 2) as u8, 90]);
    write_png_rgb(&shop.path("large.png"), &scene).unwrap();
    let arguments = [
        "predict",
        "--base",
        "base",
        "--prompt",
        "disc",
        "large.png",
        "-o",
        "out",
    ];
    let with = |options: &[&'static str]| [&arguments[..], options].concat();
    shop.ok(&with(&["--tile", "64", "--overlap", "20"]));
    let mask = read_mask(&shop.path("out/large.disc.mask.png")).unwrap();
    assert_eq!((mask.width, mask.height), (150, 100));
    let list: Value = serde_json::from_slice(&shop.read("out/predictions.json")).unwrap();
    assert_eq!(
        (&list[0]["tile"], &list[0]["overlap"]),
        (&64.into(), &20.into())
    );
    // Other tiles are another input.
    let error = shop.fails(&with(&["--tile", "64"]));
    assert!(
        error.contains("tiles of 64 pixels with overlap 20") && error.contains("--force"),
        "{error}"
    );
    for (options, reason) in [
        (&["--tile", "8"][..], "at least 32"),
        (&["--tile", "64", "--overlap", "40"], "at most 32"),
    ] {
        let error = shop.fails(&with(options));
        assert!(error.contains(reason), "{options:?}: {error}");
    }
    for options in [&["--overlap", "40"][..], &["--tile", "64", "--semantic"]] {
        let code = shop.run(&with(options)).status.code();
        assert_eq!(code, Some(2), "{options:?}");
    }
}
