//! Tests of tables, on scores computed by hand.

use super::*;
use crate::evaluate::Oracle;
use crate::study::{Cell, Study};

const STUDY: &str = r#"
seeds = [1, 2]
[[model]]
name = "m"
model.base = "b"
[[method]]
name = "zero-shot"
method.kind = "zero-shot"
[[method]]
name = "dense"
[[data]]
name = "kvasir"
title = "Kvasir-SEG"
data.root = "d"
"#;

fn row(sample: usize, set: &str, dice: f64) -> (String, SampleScores) {
    let row = SampleScores {
        sample: format!("s{sample}"),
        group: String::new(),
        subject: format!("s{sample}"),
        set: set.into(),
        oracle: Oracle::No,
        prompt: String::new(),
        dice,
        iou: dice / 2.0,
        hd95: 10.0 - 10.0 * dice,
        one_empty: dice == 0.0,
    };
    ("kvasir".into(), row)
}

/// Four samples under p6 and, with half the Dice, p1.
fn run<'a>(cell: &'a Cell, dice: [f64; 4]) -> ScoredRun<'a> {
    let rows = dice.iter().enumerate();
    let rows =
        rows.flat_map(|(sample, dice)| [row(sample, "p6", *dice), row(sample, "p1", dice / 2.0)]);
    ScoredRun {
        cell,
        trained: if cell.seed.is_some() { 1234 } else { 0 },
        step_ms: cell.seed.map(|seed| 80.0 + 10.0 * seed as f64),
        peak_memory: cell.seed.map(|seed| 200_000_000 + 1_000_000 * seed),
        rows: rows.collect(),
    }
}

fn results(study: &Study) -> Results<'_> {
    Results {
        study,
        runs: vec![
            run(&study.cells[0], [0.0, 0.2, 0.4, 0.6]),
            run(&study.cells[1], [0.5, 0.6, 0.7, 0.8]),
            run(&study.cells[2], [0.7, 0.6, 0.7, 1.0]),
        ],
    }
}

fn texts(sheet: &Sheet, row: usize) -> Vec<String> {
    let text = |cell: &SheetCell| format!("{}{}", if cell.bold { "*" } else { "" }, cell.text);
    sheet.rows[row].iter().map(text).collect()
}

#[test]
fn scores_are_means_over_samples_and_seeds() {
    let study = Study::parse(STUDY, "s", &[]).unwrap();
    let results = results(&study);
    let document = Tables::of(&results).document();
    assert_eq!(document.lead, "3 runs. Profile default.");
    let sheet = &document.sheets[0];
    assert_eq!(sheet.header, ["data", "metric", "zero-shot", "dense"]);
    // Means of the seeds: 65 and 75; their standard deviation is 10 / sqrt 2.
    assert_eq!(
        texts(sheet, 0),
        ["Kvasir-SEG", "DSC", "30.00", "*70.00 ± 7.07"]
    );
    assert_eq!(
        texts(sheet, 1),
        ["", "95 % interval", "10.00 to 50.00", "60.00 to 82.50"]
    );
    assert_eq!(texts(sheet, 2), ["", "IoU", "15.00", "*35.00 ± 3.54"]);
    assert_eq!(texts(sheet, 4), ["", "HD95", "7.00", "*3.00 ± 0.71"]);
    assert_eq!(texts(sheet, 6), ["", "one empty", "25.0", "0.0 ± 0.0"]);
    assert_eq!(texts(sheet, 7), ["trained parameters", "", "0", "1,234"]);
    assert!(sheet.note.contains("prompt p6"));
    let class = &document.sheets[1];
    assert!(class.note.contains("prompt p1"));
    assert_eq!(
        texts(class, 0),
        ["Kvasir-SEG", "DSC", "15.00", "*35.00 ± 3.54"]
    );
}

#[test]
fn prompts_are_compared() {
    let study = Study::parse(STUDY, "s", &[]).unwrap();
    let results = results(&study);
    let document = Tables::of(&results).document();
    let sheet = &document.sheets[2];
    assert_eq!(sheet.header, ["data", "method", "p1", "p6"]);
    assert_eq!(
        texts(sheet, 0),
        ["Kvasir-SEG", "zero-shot", "15.00", "*30.00"]
    );
    assert_eq!(
        texts(sheet, 1),
        ["", "dense", "35.00 ± 3.54", "*70.00 ± 7.07"]
    );
}

/// Differences -60, -40, -30, -30: all of one sign, two equal, so the normal approximation: W = 0, mean 5, variance 30 / 4 less
/// 6 / 48; z = -5 / sqrt 7.375, p = 0.0656.
#[test]
fn tests_are_over_samples_with_means_over_seeds() {
    let study = Study::parse(STUDY, "s", &[]).unwrap();
    let results = results(&study);
    let document = Tables::of(&results).document();
    let sheet = &document.sheets[3];
    let row = texts(sheet, 0);
    assert_eq!(
        &row[..5],
        ["Kvasir-SEG", "zero-shot", "dense", "4", "-40.00"]
    );
    assert_eq!(row[8], "+4.00");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tests.csv");
    Tables::of(&results).write_tests(&path).unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!(text.lines().count(), 4);
    let line: Vec<&str> = text.lines().nth(1).unwrap().split(',').collect();
    assert_eq!(
        &line[..8],
        [
            "kvasir",
            "kvasir",
            "random",
            "p6",
            "m/zero-shot",
            "m/dense",
            "dice",
            "4"
        ]
    );
}

#[test]
fn missing_runs_are_marked() {
    let study = Study::parse(STUDY, "s", &[]).unwrap();
    let mut results = results(&study);
    results.runs.truncate(2);
    let document = Tables::of(&results).document();
    assert!(document.lead.starts_with("2 of 3 runs are done."));
    assert_eq!(texts(&document.sheets[0], 0)[3], "*65.00 (1/2)");
    results.runs.clear();
    let document = Tables::of(&results).document();
    assert_eq!(texts(&document.sheets[0], 0)[2..], ["-", "-"]);
    assert_eq!(document.sheets.len(), 1);
}
