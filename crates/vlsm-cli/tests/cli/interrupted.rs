//! Runs that are stopped, fail to start, are started twice, or are resumed after something changed.

use std::fs::File;
use std::process::Stdio;

use crate::support::{Workshop, train_args};

#[cfg(unix)]
#[test]
fn a_signal_stops_a_run_which_says_how_to_continue() {
    let shop = Workshop::new();
    let set = ["trainer.epochs=30", "data.prompt=one disc"];
    shop.ok(&train_args("whole", &set));
    let arguments = train_args("run", &set);
    for signal in ["INT", "TERM"] {
        let child = shop
            .command(&arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        while shop.lines("run/metrics.jsonl") < 10 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let pid = child.id().to_string();
        let kill = std::process::Command::new("kill")
            .args(["-s", signal, &pid])
            .status()
            .unwrap();
        assert!(kill.success());
        let output = child.wait_with_output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(130), "{error}");
        let line = error.lines().last().unwrap().trim();
        let command = shlex::split(line).unwrap();
        assert_eq!((&*command[0], &*command[1]), ("vlsm", "train"), "{error}");
        // The command that it prints continues the run.
        let command: Vec<&str> = command[1..].iter().map(String::as_str).collect();
        shop.ok(&command);
        shop.assert_same_results("run", "whole");
        std::fs::remove_dir_all(shop.path("run")).unwrap();
    }
}

#[test]
fn a_failed_start_leaves_nothing() {
    let shop = Workshop::new();
    for wrong in [
        "data.prompt=p9",
        "data.eval_prompt=p9",
        "model.base=absent",
        "model.image_size=33",
        "data.root=absent",
    ] {
        shop.fails(&train_args("runs/a/b", &[wrong]));
        assert!(!shop.path("runs").exists(), "{wrong}");
    }
    // A folder that was there before stays, and can be used.
    std::fs::create_dir(shop.path("mine")).unwrap();
    shop.fails(&train_args("mine", &["data.prompt=p9"]));
    assert!(shop.names("mine").is_empty());
    shop.ok(&train_args("mine", &["trainer.max_steps=1"]));
}

/// A run that was killed before its first checkpoint has nothing to lose.
#[test]
fn what_a_start_left_is_no_run() {
    let shop = Workshop::new();
    shop.write("run/recipe.toml", shop.read("recipe.toml"));
    shop.write("run/metrics.jsonl", "{}\n");
    shop.write("run/checkpoint/.vlsm-x.part", "half");
    let arguments = train_args("run", &["trainer.epochs=1", "optim.lr=1e-4"]);
    shop.ok(&arguments);
    assert_eq!(shop.names("run/checkpoint"), ["state.safetensors"]);
    shop.ok(&train_args("other", &["trainer.epochs=1", "optim.lr=1e-4"]));
    shop.assert_same_results("run", "other");
}

#[test]
fn one_process_at_a_time_trains_a_run() {
    let shop = Workshop::new();
    let arguments = train_args("run", &["trainer.epochs=1"]);
    shop.ok(&arguments);
    let lock = File::create(shop.path("run/run.lock")).unwrap();
    lock.lock().unwrap();
    let before = shop.read("run/summary.json");
    let error = shop.fails(&[&arguments[..], &["--resume"]].concat());
    assert!(error.contains("another process"), "{error}");
    assert!(shop.read("run/summary.json") == before);
    drop(lock);
    shop.ok(&[&arguments[..], &["--resume"]].concat());
}

#[test]
fn a_run_is_resumed_on_the_same_base_and_samples_only() {
    let shop = Workshop::new();
    let arguments = train_args("run", &["trainer.epochs=1"]);
    shop.ok(&arguments);
    let resume = [&arguments[..], &["--resume", "--set", "trainer.epochs=2"]].concat();
    let state = shop.read("run/checkpoint/state.safetensors");

    let weights = shop.read("base/model.safetensors");
    shop.make_base("other", 9);
    shop.write(
        "base/model.safetensors",
        shop.read("other/model.safetensors"),
    );
    let error = shop.fails(&resume);
    assert!(
        error.contains("other weights") && error.contains("model.base"),
        "{error}"
    );
    shop.write("base/model.safetensors", weights);

    let annotations = shop.read("data/anns/train.json");
    let text = String::from_utf8(annotations.clone()).unwrap();
    for (changed, said) in [
        (text.replace("\"disc\"", "\"disk\""), "names, prompts"),
        (
            text.replacen("train3.png", "train4.png", 2),
            "names, prompts",
        ),
    ] {
        shop.write("data/anns/train.json", changed);
        let error = shop.fails(&resume);
        assert!(
            error.contains("other samples") && error.contains(said),
            "{error}"
        );
    }
    shop.write("data/anns/train.json", &annotations);
    let image = shop.read("data/images/train3.png");
    shop.write("data/images/train3.png", [&image[..], b"x"].concat());
    assert!(shop.fails(&resume).contains("other samples"));
    shop.write("data/images/train3.png", image);

    // Lines that an editor changed are noticed too.
    let metrics = shop.read("run/metrics.jsonl");
    let text = String::from_utf8(metrics.clone()).unwrap();
    shop.write(
        "run/metrics.jsonl",
        text.replacen("\"step\":1", "\"step\":7", 1),
    );
    assert!(shop.fails(&resume).contains("metrics.jsonl"));
    shop.write("run/metrics.jsonl", metrics);

    assert!(shop.read("run/checkpoint/state.safetensors") == state);
    // The data set may have moved.
    std::fs::rename(shop.path("data"), shop.path("moved")).unwrap();
    shop.ok(&[&resume[..], &["--set", "data.root=moved"]].concat());
    std::fs::rename(shop.path("moved"), shop.path("data")).unwrap();
    shop.ok(&train_args("whole", &["trainer.epochs=2"]));
    shop.assert_same_results("run", "whole");
}

#[test]
fn a_finished_run_that_is_resumed_keeps_its_timings() {
    let shop = Workshop::new();
    let arguments = train_args("run", &["trainer.epochs=2"]);
    shop.ok(&arguments);
    let first = shop.json("run/summary.json");
    shop.ok(&[&arguments[..], &["--resume"]].concat());
    let second = shop.json("run/summary.json");
    for key in ["epoch_seconds", "images_per_second", "seconds_per_epoch"] {
        assert!(!first[key].is_null() && first[key] == second[key], "{key}");
    }
}

#[test]
fn early_stopping_says_so_when_a_run_is_resumed() {
    let shop = Workshop::new();
    let set = ["trainer.patience=1", "optim.lr=1e-9", "trainer.epochs=9"];
    let arguments = train_args("run", &set);
    shop.ok(&arguments);
    let epochs = |run: &str| shop.json(&format!("{run}/summary.json"))["epochs"].clone();
    assert_eq!(epochs("run"), 2);
    let resume = [&arguments[..], &["--resume"]].concat();
    let said = shop.says(&resume);
    assert!(
        said.contains("early stopping") && said.contains("trainer.patience"),
        "{said}"
    );
    shop.ok(&[&resume[..], &["--set", "trainer.patience=3"]].concat());
    assert_eq!(epochs("run"), 4);
}

#[test]
fn a_failed_test_loses_nothing_of_the_training() {
    let shop = Workshop::new();
    let image = shop.read("data/images/test2.png");
    // As long as the image, so that it is the same sample.
    shop.write("data/images/test2.png", vec![0; image.len()]);
    let arguments = train_args("run", &["trainer.epochs=1"]);
    let error = shop.fails(&arguments);
    assert!(
        error.contains("training is complete") && error.contains("test2.png"),
        "{error}"
    );
    let summary = shop.json("run/summary.json");
    assert!(summary["test"].is_null() && summary["steps"] == 12);
    shop.write("data/images/test2.png", image);
    shop.ok(&[&arguments[..], &["--resume"]].concat());
    assert_eq!(shop.json("run/summary.json")["test"]["samples"], 5);
}

#[test]
fn a_run_is_evaluated_from_any_folder() {
    let shop = Workshop::new();
    shop.ok(&train_args("run", &["trainer.max_steps=1"]));
    let elsewhere = tempfile::tempdir().unwrap();
    let run = shop.path("run");
    let output = shop
        .command(&["eval", run.to_str().unwrap()])
        .current_dir(elsewhere.path())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// `2>/dev/full`, and a pipe whose reader has gone, as in `2>&1 | head -1`.
#[cfg(target_os = "linux")]
#[test]
fn a_training_survives_the_loss_of_standard_error() {
    let shop = Workshop::new();
    let arguments = train_args("whole", &["trainer.epochs=2"]);
    shop.ok(&arguments);
    let study = ["study", "grid.toml", "--out", "s", "--set", "seeds=[1]"];
    shop.write(
        "grid.toml",
        "[recipe.trainer]\nepochs = 1\n[[model]]\nname = \"a\"\nmodel.base = \"base\"\n[[method]]\nname = \"m\"\n\
         method.kind = \"decoder\"\n[[data]]\nname = \"d\"\ndata.root = \"data\"\n",
    );
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    for (run, stderr) in [("full", full()), ("closed", closed())] {
        let arguments = train_args(run, &["trainer.epochs=2"]);
        let mut child = shop.command(&arguments);
        let status = child.stdout(Stdio::null()).stderr(stderr).status().unwrap();
        assert!(status.success(), "{run}: {status}");
        shop.assert_same_results(run, "whole");
    }
    for stderr in [full(), closed()] {
        let mut child = shop.command(&study);
        let status = child.stdout(Stdio::null()).stderr(stderr).status().unwrap();
        assert!(status.success());
        assert!(shop.path("s/results.csv").is_file());
        std::fs::remove_dir_all(shop.path("s")).unwrap();
    }
}

/// What the settings cannot do is said before the training.
#[test]
fn settings_without_effect_are_named() {
    let shop = Workshop::new();
    let said = |run: &str, set: &[&str]| {
        let set = [&["trainer.max_steps=1"], set].concat();
        shop.says(&train_args(run, &set))
    };
    let full = said("a", &["optim.lr=1e-3"]);
    assert!(
        full.contains("`optim.lr`") && full.contains("full"),
        "{full}"
    );
    let plateau = [
        "trainer.validate=false",
        "optim.schedule=plateau",
        "optim.lr=1e-5",
    ];
    let plateau = said("b", &plateau);
    assert!(
        plateau.contains("plateau") && plateau.contains("no early stopping"),
        "{plateau}"
    );
    let warm_up = said("c", &["optim.warmup_steps=9", "optim.lr=1e-5"]);
    assert!(warm_up.contains("`optim.warmup_steps`"), "{warm_up}");
    let few = said("d", &["optim.lr=1e-5"]);
    assert!(few.contains("only 5 test images"), "{few}");
}
