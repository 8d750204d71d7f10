//! `model.resize`.

use vlsm::image::read_mask;

use crate::support::{SIZE, Workshop, train_args};

const PADDED: &str = "model.resize=pad";

#[test]
fn a_model_trained_on_padded_images_predicts_as_it_was_scored() {
    let shop = Workshop::new();
    shop.ok(&train_args("run", &["trainer.epochs=2", PADDED]));
    shop.ok(&["eval", "run", "--prompt-set", "p1", "--masks", "masks"]);
    let image = "data/images/test2.png";
    let predict = |out: &str| shop.ok(&["predict", "run", image, "--prompt", "disc", "-o", out]);
    predict("out");
    let mask = |path: &str| read_mask(&shop.path(path)).unwrap();
    let predicted = mask("out/test2.disc.mask.png");
    assert_eq!((predicted.width, predicted.height), SIZE);
    assert!(predicted.foreground() > 0, "nothing to compare");
    assert_eq!(predicted, mask("masks/p1/test2.png"));

    // The same parameters answer otherwise about a squashed image.
    shop.ok(&train_args("squashed", &["trainer.epochs=2"]));
    let steps = |run: &str| shop.metrics(run)[0]["loss"].clone();
    assert_ne!(steps("run"), steps("squashed"));
}

#[test]
fn padding_goes_into_files_that_can_say_so_alone() {
    let shop = Workshop::new();
    shop.ok(&train_args("run", &["trainer.epochs=1", PADDED]));
    let adapter = "run/adapter.safetensors";
    shop.ok(&[
        "model", "export", adapter, "--onnx", "-o", "run.onnx", "--prompt", "disc",
    ]);
    let graph = shop.read("run.onnx");
    assert!(graph.windows(11).any(|bytes| bytes == b"vlsm.resize"));
    let error = shop.fails(&["model", "export", adapter, "-o", "published.safetensors"]);
    assert!(error.contains("model.resize"), "{error}");
    let error = shop.fails(&train_args("paper", &["method.profile=paper", PADDED]));
    assert!(error.contains("squashes images"), "{error}");
}
