//! `vlsm model export` and `vlsm model import`.

use vlsm::models::tensor_file::read;

use crate::support::{Workshop, train_args};

/// What the published code has a module for is exported under its names; anything else is refused.
#[test]
fn export_writes_published_names_or_refuses() {
    let shop = Workshop::new();
    let export = |from: &str| -> Vec<String> {
        ["model", "export", from, "-o", "out.safetensors"]
            .map(str::to_owned)
            .into()
    };
    let names = |file: &str| -> Vec<String> {
        let file = read(&shop.path(file)).unwrap();
        file.tensors.into_keys().collect()
    };
    let arguments = export("base");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    shop.ok(&arguments);
    let (exported, own) = (
        read(&shop.path("out.safetensors")).unwrap(),
        read(&shop.path("base/model.safetensors")).unwrap(),
    );
    assert!(exported.tensors == own.tensors);
    // Nothing is overwritten without --force.
    assert!(shop.fails(&arguments).contains("--force"));
    shop.ok(&[&arguments[..], &["--force"]].concat());

    for (method, profile) in [
        ("dense", "default"),
        ("decoder", "default"),
        ("full", "paper"),
    ] {
        let run = format!("run_{method}");
        let set = [
            "trainer.max_steps=1".to_owned(),
            format!("method.kind={method}"),
            format!("method.profile={profile}"),
        ];
        let set: Vec<&str> = set.iter().map(String::as_str).collect();
        shop.ok(&train_args(&run, &set));
        let arguments = [
            export(&format!("{run}/adapter.safetensors")),
            vec!["--force".into()],
        ];
        let arguments: Vec<&str> = arguments.iter().flatten().map(String::as_str).collect();
        if method == "dense" {
            let error = shop.fails(&arguments);
            for part in ["run_dense/adapter.safetensors", "method.profile=paper"] {
                assert!(error.contains(part), "{error}");
            }
            continue;
        }
        shop.ok(&arguments);
        assert_eq!(names("out.safetensors"), names("base/model.safetensors"));
    }
    // Imported again, the decoder is the trained one.
    let adapter = "run_decoder/adapter.safetensors";
    shop.ok(&[
        "model",
        "export",
        adapter,
        "-o",
        "out.safetensors",
        "--force",
    ]);
    let import = [
        "model",
        "import",
        "out.safetensors",
        "-o",
        "again.safetensors",
        "--base",
        "base",
    ];
    shop.ok(&import);
    let tensors = |file: &str| read(&shop.path(file)).unwrap().tensors;
    assert!(tensors("again.safetensors") == tensors(adapter));
    assert!(shop.fails(&import).contains("--force"));
    // A model trained as a whole is no adapter, since its towers are not the base's.
    shop.ok(&[
        "model",
        "export",
        "run_full/adapter.safetensors",
        "-o",
        "out.safetensors",
        "--force",
    ]);
    let predict = [
        "predict",
        "--base",
        "base",
        "--prompt",
        "disc",
        "-o",
        "p",
        "data/images/test0.png",
    ];
    let error = shop.fails(&[&predict[..], &["--adapter", "out.safetensors"]].concat());
    assert!(
        error.contains("whole model") && error.contains("--base"),
        "{error}"
    );
}

/// A run becomes a graph with its prompt in it; the text tower is a graph of its own.
#[test]
fn a_run_is_exported_to_onnx() {
    let shop = Workshop::new();
    shop.ok(&train_args(
        "run",
        &["trainer.max_steps=1", "method.kind=dense"],
    ));
    let export = ["model", "export", "run", "--onnx", "-o", "model.onnx"];
    let text = ["--prompt", "disc", "--text-tower", "text.onnx"];
    let printed = shop.ok(&[&export[..], &text[..]].concat());
    for part in ["model.onnx: ONNX", "text.onnx: ONNX"] {
        assert!(printed.contains(part), "{printed}");
    }
    let graph = std::fs::read(shop.path("model.onnx")).unwrap();
    for part in [
        "vlsm.preprocessing",
        r#"["disc"]"#,
        "v_attn_adapters.0.fc1.weight",
    ] {
        let found = graph
            .windows(part.len())
            .any(|bytes| bytes == part.as_bytes());
        assert!(found, "{part}");
    }
    assert!(shop.fails(&export).contains("--force"));
    // Without --prompt it is the run's own.
    let own = ["model", "export", "run", "--onnx", "-o", "own.onnx"];
    shop.ok(&own);
    assert_eq!(std::fs::read(shop.path("own.onnx")).unwrap(), graph);
    let error = shop.fails(&["model", "export", "data", "-o", "x.safetensors"]);
    assert!(
        error.contains("neither a run") && error.contains("config.json"),
        "{error}"
    );
    let same = ["--text-tower", "model.onnx", "--force"];
    let error = shop.fails(&[&export[..], &same[..]].concat());
    assert!(error.contains("same file"), "{error}");
}

/// A run with LoRA goes to a folder for peft and comes back.
#[test]
fn a_run_is_exported_to_peft_and_imported() {
    let shop = Workshop::new();
    let train = |run: &str, method: &str| {
        let set = ["trainer.max_steps=1", method, "method.towers=vl"];
        shop.ok(&train_args(run, &set));
    };
    train("run", "method.kind=lora");
    let export = ["model", "export", "run", "--peft", "-o", "peft"];
    let printed = shop.ok(&export);
    assert!(printed.contains("parameters"), "{printed}");
    let mut names = shop.names("peft");
    names.sort();
    assert_eq!(names, ["adapter_config.json", "adapter_model.safetensors"]);
    // The folder is not empty now.
    assert!(shop.fails(&export).contains("peft"));
    let import = ["model", "import", "peft", "-o", "again.safetensors"];
    let error = shop.fails(&import);
    assert!(error.contains("--base"), "{error}");
    shop.ok(&[&import[..], &["--base", "base"]].concat());
    let tensors = |file: &str| read(&shop.path(file)).unwrap().tensors;
    assert!(tensors("again.safetensors") == tensors("run/adapter.safetensors"));

    train("blocks", "method.kind=dense");
    let error = shop.fails(&["model", "export", "blocks", "--peft", "-o", "p"]);
    for part in ["blocks/adapter.safetensors", "`lora`"] {
        assert!(error.contains(part), "{error}");
    }
    let error = shop.fails(&["model", "export", "base", "--peft", "-o", "p"]);
    assert!(error.contains("is a base"), "{error}");
    let error = shop.fails(&["model", "export", "data", "--peft", "-o", "p"]);
    assert!(error.contains("neither a run"), "{error}");
}
