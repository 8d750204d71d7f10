//! `vlsm study`.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use burn::tensor::Device;
use vlsm::models::{Adapters, ClipSegConfig, Profile};
use vlsm_train::Study;

use crate::snapshots::{assert_snapshot, without_numbers};
use crate::support::{Workshop, train_args};

const STUDY: &str = r#"
seeds = [1, 2]

[recipe.data.generate]
side = 64
train = 6
val = 2
test = 3

[recipe.trainer]
epochs = 2
batch_size = 2
checkpoint_every = 2

[[model]]
name = "small"
model.base = "base"

[[method]]
name = "zero-shot"
method.kind = "zero-shot"

[[method]]
name = "decoder"
method.kind = "decoder"

[[method]]
name = "dense"
method.kind = "dense"
method.bottleneck = 4

[[data]]
name = "discs"
title = "Bright discs"
data.root = "data"

[[data]]
name = "pooled"
data.pool = ["data", "builtin:endoscopy"]
"#;

/// With a study of ten runs in `grid.toml`.
fn workshop() -> Workshop {
    let shop = Workshop::new();
    shop.write("grid.toml", STUDY);
    shop
}

const FILES: [&str; 5] = [
    "results.csv",
    "table.html",
    "table.md",
    "table.tex",
    "tests.csv",
];

#[test]
fn a_killed_and_shared_study_gives_the_same_results() {
    let shop = workshop();
    let plan = shop.ok(&["study", "grid.toml", "--dry-run"]);
    assert!(
        plan.contains("10 runs: 10 open; no estimate yet for 8 runs"),
        "{plan}"
    );
    assert!(!shop.path("runs").exists());

    shop.ok(&["study", "grid.toml", "--out", "whole"]);
    let run = ["study", "grid.toml", "--out", "cut"];
    let second = "cut/runs/discs/small/decoder/random/seed2";
    let metrics = format!("{second}/metrics.jsonl");
    let summary = shop.path(second).join("summary.json");
    let in_the_second = || shop.lines(&metrics) >= 4;
    let remove = || std::fs::remove_dir_all(shop.path("cut")).unwrap();
    // If the poll is late, the second run is already complete.
    for attempt in 0.. {
        shop.kill_when(&run, in_the_second, remove);
        if !summary.exists() {
            break;
        }
        assert!(attempt < 20, "the second run was always complete");
        remove();
    }
    let plan = shop.ok(&[&run[..], &["--dry-run"]].concat());
    assert!(
        plan.contains("done     discs/small/decoder/random/seed1"),
        "{plan}"
    );
    assert!(
        plan.contains("begun    discs/small/decoder/random/seed2"),
        "{plan}"
    );
    assert!(
        plan.contains("2 done, 1 begun, 7 open; less than a minute"),
        "{plan}"
    );

    let spawn = || {
        let mut command = shop.command(&run);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    for child in [spawn(), spawn()] {
        let output = child.wait_with_output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}");
    }
    for file in FILES {
        let [cut, whole] = ["cut", "whole"].map(|out| shop.read(&format!("{out}/{file}")));
        assert!(
            cut == whole,
            "{file} differs from that of an unbroken study"
        );
    }
    let adapter = "runs/pooled/small/dense/random/seed2/adapter.safetensors";
    assert!(shop.read(&format!("cut/{adapter}")) == shop.read(&format!("whole/{adapter}")));

    // 5 runs x 5 discs, and of the pool 5 discs and 3 drawings; under p0, p1, p2 and p6.
    let csv = String::from_utf8(shop.read("whole/results.csv")).unwrap();
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 1 + 5 * 4 * (5 + 5 + 3));
    assert_eq!(
        lines[0],
        "data,test_data,model,method,train_prompt,fold,seed,sample,group,subject,prompt_set,oracle,prompt,dice,iou,hd95,one_empty"
    );
    assert!(
        lines[1]
            .starts_with("discs,discs,small,zero-shot,random,,,test0,,images/test0.png,p1,no,disc")
    );
    let pooled = "pooled,endoscopy,small,dense,random,,2,";
    assert!(lines.iter().any(|line| line.starts_with(pooled)));

    let table = shop.ok(&["study", "grid.toml", "--out", "whole", "--table"]);
    assert_snapshot("study", &without_numbers(&table));
}

#[test]
fn runs_of_a_changed_study_are_refused() {
    let shop = workshop();
    let one = [
        "study",
        "grid.toml",
        "--out",
        "s",
        "--set",
        "seeds=[1]",
        "--set",
        "method.dense.trainer.max_steps=1",
    ];
    shop.ok(&one);
    for (set, key) in [
        ("method.dense.optim.lr=0.5", "optim.lr"),
        ("recipe.trainer.epochs=3", "trainer.epochs"),
    ] {
        for last in ["--table", "--dry-run"] {
            let error = shop.fails(&[&one[..], &["--set", set, last]].concat());
            let cell = "discs/small/dense/random/seed1";
            assert!(error.contains(key) && error.contains(cell), "{error}");
        }
    }
    // More seeds are the same study.
    let plan = shop.ok(&[&one[..], &["--set", "seeds=[1, 5]", "--dry-run"]].concat());
    assert!(plan.contains("10 runs: 6 done, 4 open"), "{plan}");
}

#[test]
fn failed_and_locked_runs_do_not_stop_the_others() {
    let shop = workshop();
    let run = [
        "study",
        "grid.toml",
        "--out",
        "s",
        "--set",
        "seeds=[1]",
        "--set",
        "data.pooled.data.root=nowhere",
    ];
    let cell = "s/runs/discs/small/dense/random/seed1";
    std::fs::create_dir_all(shop.path(cell)).unwrap();
    let file = File::create(shop.path(cell).join("run.lock")).unwrap();
    file.lock().unwrap();
    let plan = shop.ok(&[&run[..], &["--dry-run"]].concat());
    assert!(plan.contains("running  discs/small/dense"), "{plan}");
    let output = shop.run(&run);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("error: runs that failed: 3"), "{error}");
    assert!(
        error.contains("pooled/small/dense/random/seed1") && error.contains("nowhere"),
        "{error}"
    );
    assert!(error.contains("runs in other processes: 1"), "{error}");
    let table = String::from_utf8(shop.read("s/table.md")).unwrap();
    assert!(table.contains("2 of 6 runs are done"), "{table}");
    drop(file);
    shop.run(&run);
    assert!(shop.path(cell).join("scores.csv").is_file());
}

#[test]
fn errors_in_the_file_name_the_key() {
    let shop = workshop();
    shop.write("bad.toml", STUDY.replace("data.root", "data.rot"));
    let error = shop.fails(&["study", "bad.toml", "--dry-run"]);
    for part in ["bad.toml", "[[data]] discs", "`data.rot`", "`data.root`"] {
        assert!(error.contains(part), "{error}");
    }
    let error = shop.fails(&["study", "absent.toml"]);
    assert!(error.contains("absent.toml"), "{error}");
}

/// A pool is an ordinary data set for the other commands.
#[test]
fn a_pooled_run_is_evaluated_by_data_set() {
    let shop = Workshop::new();
    let pool = "data.pool=[\"data\", \"builtin:endoscopy\"]";
    shop.ok(&train_args(
        "run",
        &[
            pool,
            "trainer.max_steps=2",
            "data.generate.train=2",
            "data.generate.val=1",
            "data.generate.test=2",
            "data.generate.side=64",
        ],
    ));
    let json: serde_json::Value = shop.ok_json(&["eval", "run"]);
    assert_eq!(json["samples"], 7);
    let groups = json["prompts"]["p1"]["groups"].as_object().unwrap();
    assert_eq!(
        groups.keys().collect::<Vec<_>>(),
        ["data", "endoscopy/polyp"]
    );
    let one: serde_json::Value = shop.ok_json(&["eval", "run", "--data", "data"]);
    assert_eq!(one["samples"], 5);
}

/// The studies in this repository.
#[test]
fn studies_in_this_repository_can_be_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../studies");
    let cells = |name: &str, profile: Profile| {
        let study = Study::read(&folder.join(format!("{name}.toml")), &[]).unwrap();
        for cell in &study.cells {
            if cell.recipe.model.base.starts_with("CIDAS/") {
                let method = &cell.recipe.method.config;
                let base = ClipSegConfig::rd64_refined().shape(method.profile());
                Adapters::new(method, &base, 0, &Device::flex()).unwrap();
            }
        }
        let own = |cell: &vlsm_train::study::Cell| cell.recipe.method.config.profile();
        assert!(
            study.cells.iter().all(|cell| own(cell) == profile),
            "{name}"
        );
        study.cells.len()
    };
    assert_eq!(cells("table1", Profile::Paper), 8 * 5 * 3);
    assert_eq!(cells("medvlsm", Profile::Paper), 4 * 10 * (3 + 4));
    assert_eq!(cells("adapters_bottleneck", Profile::Default), 2 * 8 * 3);
    assert_eq!(cells("adapters_towers", Profile::Default), 2 * 6 * 3);
    assert_eq!(cells("adapters_layers", Profile::Default), 2 * 6 * 3);
    assert_eq!(cells("adapters_placement", Profile::Default), 2 * 8 * 3);
    assert_eq!(cells("adapters_form", Profile::Default), 2 * 5 * 3);
    assert_eq!(cells("adapters_depth", Profile::Default), 2 * 4 * 3);
    assert_eq!(cells("adapters_lora", Profile::Default), 2 * 7 * 3);
    assert_eq!(cells("builtin", Profile::Default), 3 * (4 * 3 + 1));
    assert_eq!(cells("phantoms", Profile::Default), 2 * 5);
    assert_eq!(cells("precision", Profile::Default), 4 * 6 * 3);
    assert_eq!(cells("augment", Profile::Default), 3 * 3);
    assert_eq!(cells("peft", Profile::Default), 3 * (38 * 3 + 1));
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 15);
}
