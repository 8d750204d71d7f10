//! What commands print, compared with files of this folder.
//!
//! `UPDATE_SNAPSHOTS=1 cargo test -p vlsm-cli` writes the files again.

use std::path::Path;

use crate::support::Workshop;

/// Compares a text with the file of this name.
pub(crate) fn assert_snapshot(name: &str, text: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/snapshots");
    let path = folder.join(name).with_extension("txt");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        text == expected,
        "{} has:\n{expected}\nand the command printed:\n{text}\nIf this is right, write the file \
         again: UPDATE_SNAPSHOTS=1 cargo test -p vlsm-cli",
        path.display()
    );
}

/// A text without what depends on the processor and the time: numbers become `N`, the marks of the
/// best values and the width of columns are dropped.
pub(crate) fn without_numbers(text: &str) -> String {
    let mut lines = String::new();
    for line in text.lines() {
        let words: Vec<String> = line.split_whitespace().map(without_number).collect();
        lines += words.join(" ").trim_end();
        lines.push('\n');
    }
    lines
}

/// A word, or `N` for a number, such as `1,234`, `*0.5` or `<0.001`.
fn without_number(word: &str) -> String {
    let number = word.trim_start_matches(['*', '<', '-', '+']);
    let is_number = number.starts_with(|first: char| first.is_ascii_digit())
        && number
            .chars()
            .all(|one| one.is_ascii_digit() || ".,e-".contains(one));
    if is_number {
        "N".to_owned()
    } else {
        word.to_owned()
    }
}

#[test]
fn numbers_are_recognised() {
    assert_eq!(
        without_numbers("p6   *0.125 ±  1,234\n\n  3e-5, p < <0.001\n"),
        "p6 N ± N\n\nN p < N\n"
    );
}

#[test]
fn eval_prints_a_table() {
    let shop = Workshop::new();
    let text = shop.ok(&[
        "eval",
        "--base",
        "builtin:tiny",
        "--data",
        "data",
        "--prompt-set",
        "p1",
        "--prompt-set",
        "p6",
    ]);
    assert_snapshot("eval", &text);
}

#[test]
fn eval_prints_a_table_by_data_set() {
    let shop = Workshop::new();
    let text = shop.ok(&[
        "eval",
        "--base",
        "builtin:tiny",
        "--data",
        "builtin:street",
        "--prompt-set",
        "p1",
        "--set",
        "data.generate.test=2",
        "--set",
        "data.generate.train=0",
        "--set",
        "data.generate.val=0",
    ]);
    assert_snapshot("eval_groups", &text);
}
