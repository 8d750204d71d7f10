//! `vlsm predict`.

use vlsm::image::{RgbImage, read_image, read_mask, write_png_rgb};

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
    assert_eq!(names.len(), 12);
    for prompt in ["disc", "a-bright-disc"] {
        for what in ["mask", "prob", "overlay"] {
            let name = format!("test0.{prompt}.{what}.png");
            assert!(names.contains(&name), "{names:?}");
            assert!(printed.contains(&name));
            let picture = read_image(&shop.path("out/deep").join(name)).unwrap();
            assert_eq!((picture.width, picture.height), SIZE);
        }
    }
    assert!(printed.contains("% of the image"));
    let levels = read_image(&shop.path("out/deep/test0.disc.mask.png")).unwrap();
    assert!(levels.data.iter().all(|level| *level == 0 || *level == 255));
}

#[test]
fn predict_writes_the_mask_that_eval_scores() {
    let shop = Workshop::new();
    shop.ok(&train_args("run", &["trainer.epochs=2"]));
    shop.ok(&["eval", "run", "--prompt", "p1", "--masks", "masks"]);
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
    assert_eq!(size("x.empty.mask.png"), (70, 20));
    assert_eq!(size("x.empty-2.mask.png"), (1, 3));
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
    assert_eq!(shop.names("out").len(), 3);
}
