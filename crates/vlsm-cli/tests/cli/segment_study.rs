//! `vlsm study` of recipes of `vlsm segments train`.

use std::path::Path;

use vlsm_train::study::{SegmentStudy, State};

use crate::segments::StopAfter;
use crate::semantic::make_streets;
use crate::support::Workshop;

const STUDY: &str = r#"
kind = "segments"
seeds = [1, 2]

[recipe]
base = "base"
stage1 = { epochs = 1, batch_size = 4, method = { kind = "vpt", tokens = 2 } }
stage2 = { epochs = 2, batch_size = 5, method = { kind = "coop", depth = 2 } }

[[method]]
name = "both"
title = "both stages"

[[method]]
name = "lora"
stage1.method = { kind = "lora", towers = "vl", bottleneck = 2, layers = [0, 1], text_layers = [0, 1] }
stage2.epochs = 0

[[data]]
name = "streets"
title = "Drawn & small"
data.root = "streets"
novel = ["sign"]
"#;

fn shop() -> Workshop {
    let shop = Workshop::new();
    make_streets(&shop);
    shop.write("grid.toml", STUDY);
    shop
}

#[test]
fn recipes_of_segments_are_compared_in_tables() {
    let shop = shop();
    let plan = shop.ok(&["study", "grid.toml", "--dry-run"]);
    assert!(
        plan.contains("open     streets/lora/seed2") && plan.contains("4 runs: 4 open"),
        "{plan}"
    );
    let error = shop.fails(&["study", "grid.toml", "--table"]);
    assert!(error.contains("no run is finished"), "{error}");
    let text = shop.ok(&["study", "grid.toml"]);
    for part in [
        "Drawn & small",
        "zero-shot",
        "both stages",
        "N-F1",
        "peak MB",
    ] {
        assert!(text.contains(part), "{text}");
    }
    for (file, part) in [
        ("table.md", "| zero-shot |"),
        ("table.tex", "Drawn \\& small"),
        ("table.html", "<td class=\"text\">both stages</td>"),
        ("costs.md", "| both stages |"),
    ] {
        let text = String::from_utf8(shop.read(&format!("runs/grid/{file}"))).unwrap();
        assert!(text.contains(part), "{file}: {text}");
    }
    // The base and two stages of `both`, one of `lora`, for each seed.
    assert_eq!(shop.lines("runs/grid/results.csv"), 1 + 2 * (3 + 2));

    // The table has the mean of the runs.
    let json = shop.ok_json(&["study", "grid.toml", "--table"]);
    let runs = json["runs"].as_array().unwrap();
    let of = |run: usize, stage: usize, score: &str| {
        runs[run]["summary"]["stages"][stage]["test"][score]
            .as_f64()
            .unwrap()
    };
    let mean = 50.0 * (of(0, 2, "weighted_f1") + of(1, 2, "weighted_f1"));
    let row = text.lines().find(|line| line.contains("both stages"));
    assert!(
        row.unwrap().contains(&format!("{mean:.2} ±")),
        "{mean} {text}"
    );
    let zero_shot = text.lines().find(|line| line.contains("zero-shot"));
    let base = format!("{:.2}", 100.0 * of(0, 0, "base_f1"));
    assert!(zero_shot.unwrap().contains(&base), "{base} {text}");

    // A finished study runs nothing, and other values are refused.
    let table = shop.read("runs/grid/table.md");
    shop.ok(&["study", "grid.toml"]);
    assert_eq!(shop.read("runs/grid/table.md"), table);
    let plan = shop.ok(&["study", "grid.toml", "--dry-run"]);
    assert!(plan.contains("nothing is left to train"), "{plan}");
    let error = shop.fails(&["study", "grid.toml", "--set", "recipe.stage2.margin=0.1"]);
    assert!(
        error.contains("stage2.margin") && error.contains("streets/both/seed1"),
        "{error}"
    );
}

#[test]
fn an_interrupted_study_continues_and_a_failed_run_stops_no_other() {
    let shop = shop();
    let here = |name: &str| shop.path(name).display().to_string();
    let study = |out: &str| {
        let set = [
            format!("out={}", here(out)),
            format!("recipe.base={}", here("base")),
            format!("data.streets.data.root={}", here("streets")),
        ];
        let path = shop.path("grid.toml");
        SegmentStudy::read(&path, &set).unwrap().unwrap()
    };
    let parts = study("parts");
    // 9 segments: 3 steps in stage 1, then 2 in each epoch of stage 2.
    assert!(parts.run(&mut StopAfter(5)).is_err());
    assert_eq!(parts.plan().unwrap().cells[0].1, State::Begun);
    assert!(parts.run(&mut ()).unwrap().is_empty());
    let whole = study("whole");
    whole.run(&mut ()).unwrap();
    parts.write_results().unwrap();
    whole.write_results().unwrap();
    assert_eq!(
        shop.read("parts/results.csv"),
        shop.read("whole/results.csv")
    );

    let set = "method.both.stage2.method={ kind = \"coop\", depth = 9 }";
    let arguments = ["study", "grid.toml", "-o", "failed", "--set", set];
    let error = shop.fails(&arguments);
    assert!(
        error.contains("runs that failed: 2") && error.contains("depth"),
        "{error}"
    );
    let table = String::from_utf8(shop.read("failed/table.md")).unwrap();
    assert!(
        table.contains("both stages (0/2)") && table.contains("| lora |"),
        "{table}"
    );
}

#[test]
fn the_study_in_this_repository_can_be_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../studies/opendas.toml");
    let study = SegmentStudy::read(&path, &[]).unwrap().unwrap();
    assert_eq!(study.cells.len(), 2 * 13 * 3);
}
