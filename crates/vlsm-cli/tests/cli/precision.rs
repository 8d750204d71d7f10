//! `model.precision` and `--precision`.

use crate::support::{Workshop, train_args};

#[test]
fn a_training_in_int8_is_resumed_evaluated_and_used() {
    let shop = Workshop::new();
    let (int8, dense) = ("model.precision='int8'", "method.kind='dense'");
    shop.ok(&train_args("whole", &[int8, dense, "trainer.epochs=2"]));
    shop.ok(&train_args("parts", &[int8, dense, "trainer.epochs=1"]));
    let longer = train_args("parts", &[int8, dense, "trainer.epochs=2"]);
    shop.ok(&[&longer[..], &["--resume"]].concat());
    shop.assert_same_results("whole", "parts");
    shop.ok(&train_args("f32", &[dense, "trainer.epochs=2"]));
    assert!(shop.read("f32/adapter.safetensors") != shop.read("whole/adapter.safetensors"));

    let dice = |arguments: &[&str]| {
        let result = shop.ok_json(arguments);
        result.to_string()
    };
    // The run's own precision, unless another is given.
    let own = dice(&["eval", "whole", "--prompt-set", "p1"]);
    assert_eq!(
        own,
        dice(&["eval", "whole", "--prompt-set", "p1", "--precision", "int8"])
    );
    assert!(own != dice(&["eval", "whole", "--prompt-set", "p1", "--precision", "f32"]));

    let predict = |precision: &str| {
        let image = [
            "predict",
            "--base",
            "base",
            "--adapter",
            "whole",
            "data/images/test0.png",
        ];
        let rest = [
            "--prompt",
            "disc",
            "-o",
            precision,
            "--precision",
            precision,
        ];
        shop.ok(&[&image[..], &rest].concat());
        shop.read(&format!("{precision}/test0.disc.prob.png"))
    };
    assert!(predict("int8") != predict("f32"));
}

#[test]
fn int8_with_a_method_that_changes_matrices_is_an_error() {
    let shop = Workshop::new();
    let set = ["model.precision='int8'", "method.kind='full'"];
    let said = shop.fails(&train_args("run", &set));
    assert!(said.contains("int8") && said.contains("frozen"), "{said}");
    assert!(!shop.path("run").exists());
    let said = shop.fails(&train_args("run", &["model.precision='int4'"]));
    assert!(
        said.contains("precision") && said.contains("int8"),
        "{said}"
    );
}

#[test]
fn bf16_on_the_cpu_is_an_error() {
    let shop = Workshop::new();
    let said = shop.fails(&train_args("run", &["model.precision='bf16'"]));
    assert!(
        said.contains("`bf16`") && said.contains("accelerators"),
        "{said}"
    );
    assert!(!shop.path("run").exists());
}
