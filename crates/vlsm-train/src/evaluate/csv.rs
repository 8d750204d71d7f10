//! The metrics of every sample and prompt as a CSV file.

use std::path::Path;

use serde::Deserialize;
use vlsm_image::write_atomic_bytes;

use super::{Oracle, SampleScores};
use crate::error::{Result, TrainError};

/// The columns.
pub(crate) const COLUMNS: [&str; 10] = [
    "sample",
    "group",
    "subject",
    "prompt_set",
    "oracle",
    "prompt",
    "dice",
    "iou",
    "hd95",
    "one_empty",
];

/// A row's values in the order of the columns.
pub(crate) fn record(row: &SampleScores) -> [String; 10] {
    [
        row.sample.clone(),
        row.group.clone(),
        row.subject.clone(),
        row.set.clone(),
        row.oracle.name().to_owned(),
        row.prompt.clone(),
        row.dice.to_string(),
        row.iou.to_string(),
        row.hd95.to_string(),
        row.one_empty.to_string(),
    ]
}

/// A line of the file.
#[derive(Deserialize)]
struct Line {
    sample: String,
    group: String,
    subject: String,
    prompt_set: String,
    oracle: Oracle,
    prompt: String,
    dice: f64,
    iou: f64,
    hd95: f64,
    one_empty: bool,
}

/// Writes a table, whole or not at all.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn write_table<R, F>(
    path: &Path,
    header: &[&str],
    records: impl IntoIterator<Item = R>,
) -> Result<()>
where
    R: IntoIterator<Item = F>,
    F: AsRef<[u8]>,
{
    let write = || {
        let mut table = csv::Writer::from_writer(Vec::new());
        table.write_record(header)?;
        for record in records {
            table.write_record(record)?;
        }
        table
            .into_inner()
            .map_err(|error| error.into_error().into())
    };
    let bytes: Vec<u8> = write().map_err(|error: csv::Error| TrainError::Write {
        path: path.into(),
        source: error.into(),
    })?;
    Ok(write_atomic_bytes(path, &bytes)?)
}

/// Writes the rows of an evaluation: `sample`, `group`, `subject`, `prompt_set`, `oracle` (`yes`, `no` or
/// `unknown`), `prompt`, `dice`, `iou`, `hd95`, `one_empty`.
///
/// # Errors
/// If the file cannot be written.
pub fn write_scores(path: &Path, rows: &[SampleScores]) -> Result<()> {
    write_table(path, &COLUMNS, rows.iter().map(record))
}

/// Reads a file of [`write_scores`]; numbers are equal bit for bit.
///
/// # Errors
/// If the file cannot be read or is not such a table.
pub fn read_scores(path: &Path) -> Result<Vec<SampleScores>> {
    let wrong = |error: csv::Error| TrainError::Run {
        path: path.into(),
        message: format!("{error}; delete the file, so that it is written again"),
    };
    let mut table = csv::Reader::from_path(path).map_err(wrong)?;
    let lines = table.deserialize::<Line>();
    let row = |line: Line| SampleScores {
        sample: line.sample,
        group: line.group,
        subject: line.subject,
        set: line.prompt_set,
        oracle: line.oracle,
        prompt: line.prompt,
        dice: line.dice,
        iou: line.iou,
        hd95: line.hd95,
        one_empty: line.one_empty,
    };
    lines.map(|line| line.map(row).map_err(wrong)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_scores_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores.csv");
        let row = |sample: &str, dice| SampleScores {
            sample: sample.into(),
            group: String::new(),
            subject: "images/a.png".into(),
            set: "p6".into(),
            oracle: Oracle::Unknown,
            prompt: "one \"red\", round polyp".into(),
            dice,
            iou: 0.1 + 0.2,
            hd95: 1.0 / 3.0,
            one_empty: true,
        };
        let rows = [row("a/1", 1.0), row("b", 1e-17)];
        write_scores(&path, &rows).unwrap();
        assert_eq!(read_scores(&path).unwrap(), rows);
        std::fs::write(&path, "sample,dice\na,b\n").unwrap();
        let error = read_scores(&path).unwrap_err().to_string();
        assert!(error.contains("scores.csv"), "{error}");
    }
}
