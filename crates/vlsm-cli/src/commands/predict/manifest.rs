//! The list of predictions in a folder: what each file was made of.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use vlsm_image::write_atomic_bytes;

use crate::commands::shared::to_json;
use crate::output::print;

/// The name of the list.
const FILE: &str = "predictions.csv";
/// The name of the same list as JSON.
const JSON: &str = "predictions.json";

/// A prediction: what it is made of and what came out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    /// The image, with its whole path.
    pub(super) image: String,
    /// The prompt; for labels of a whole image, the names of the classes.
    pub(super) prompt: String,
    /// The file of the mask or of the labels, in this folder.
    pub(super) file: String,
    /// Whether anything was found.
    pub(super) found: bool,
    /// Number of pixels that were found.
    pub(super) area_pixels: usize,
    /// Share of the image that was found, from 0 to 1.
    pub(super) area_share: f64,
    /// Mean probability inside the mask; none without a mask.
    pub(super) mean_probability: Option<f64>,
    /// Number of connected parts of the mask; none for labels.
    pub(super) parts: Option<usize>,
    /// The minimum probability of foreground, if one was given.
    pub(super) threshold: Option<f32>,
    /// What was done to the mask, as options.
    pub(super) cleanup: String,
    pub(super) base: String,
    pub(super) adapter: String,
    /// Side of the model's input, in pixels.
    pub(super) image_size: usize,
    /// Side of the tiles that the image was cut into, in its pixels.
    pub(super) tile: Option<usize>,
    /// Smallest overlap of these tiles.
    pub(super) overlap: Option<usize>,
    /// Why the answer means nothing, if it does.
    pub(super) warning: String,
}

impl Row {
    /// Whether another row is made of the same inputs.
    fn is_again(&self, other: &Self) -> bool {
        let inputs = |row: &Self| {
            let texts = [
                &row.file,
                &row.image,
                &row.prompt,
                &row.cleanup,
                &row.base,
                &row.adapter,
            ];
            let threshold = row.threshold.map(f32::to_bits);
            let tiles = (row.tile, row.overlap);
            (texts.map(String::clone), row.image_size, threshold, tiles)
        };
        inputs(self) == inputs(other)
    }
}

/// A prediction that is about to be made.
pub(super) struct Planned {
    /// What it is made of.
    pub(super) row: Row,
    /// The image.
    pub(super) image: PathBuf,
    /// The files that will be written.
    pub(super) files: Vec<PathBuf>,
}

/// The list of a folder, to which a call adds its predictions.
pub(super) struct Manifest {
    path: PathBuf,
    json: PathBuf,
    writer: csv::Writer<File>,
    /// Whether rows are printed as JSON too, one on each line.
    prints: bool,
}

impl Manifest {
    /// Opens the list of a folder, without the predictions that are about to be made again.
    ///
    /// # Errors
    /// If a file is there that was made of other inputs, unless `force` is set; and if the list cannot be read or written.
    pub(super) fn open(
        folder: &Path,
        planned: &[Planned],
        force: bool,
        prints: bool,
    ) -> Result<Self> {
        let path = folder.join(FILE);
        let mut rows = match read(&path) {
            Ok(rows) => rows,
            Err(_) if force => Vec::new(),
            Err(error) => return Err(error),
        };
        for Planned { row, files, .. } in planned {
            let earlier = rows.iter().find(|earlier| earlier.file == row.file);
            if force || earlier.is_some_and(|earlier| earlier.is_again(row)) {
                continue;
            }
            if let Some(file) = files.iter().find(|file| file.exists()) {
                bail!(
                    "`{}` is there already{}; choose another folder with --output, or overwrite it with --force",
                    file.display(),
                    earlier.map_or_else(String::new, origin)
                );
            }
        }
        rows.retain(|row| !planned.iter().any(|planned| planned.row.file == row.file));
        let mut writer = csv::Writer::from_writer(Vec::new());
        for row in &rows {
            writer.serialize(row)?;
        }
        let bytes = writer
            .into_inner()
            .context("cannot finish the list of predictions")?;
        write_atomic_bytes(&path, &bytes)?;
        let file = OpenOptions::new().append(true).open(&path);
        let file = file.with_context(|| format!("cannot write `{}`", path.display()))?;
        let writer = csv::WriterBuilder::new()
            .has_headers(rows.is_empty())
            .from_writer(file);
        Ok(Self {
            path,
            json: folder.join(JSON),
            writer,
            prints,
        })
    }

    /// Adds a prediction. Returns whether it was printed.
    pub(super) fn add(&mut self, row: &Row) -> Result<bool> {
        let mut write = || -> csv::Result<()> {
            self.writer.serialize(row)?;
            Ok(self.writer.flush()?)
        };
        write().with_context(|| format!("cannot write `{}`", self.path.display()))?;
        if self.prints {
            print(&(serde_json::to_string(row)? + "\n"))?;
        }
        Ok(self.prints)
    }

    /// Writes the list as JSON too, and returns the number of all its predictions.
    pub(super) fn finish(self) -> Result<usize> {
        drop(self.writer);
        let rows = read(&self.path)?;
        write_atomic_bytes(&self.json, to_json(&rows)?.as_bytes())?;
        Ok(rows.len())
    }
}

/// The rows of a list; none if there is no list.
fn read(path: &Path) -> Result<Vec<Row>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let malformed = || {
        format!(
            "`{}` is not a list that `vlsm predict` wrote; choose another folder with --output, or overwrite it with --force",
            path.display()
        )
    };
    let mut reader = csv::Reader::from_path(path).with_context(malformed)?;
    let mut rows = Vec::new();
    let mut records = reader.deserialize().peekable();
    while let Some(row) = records.next() {
        match row {
            Ok(row) => rows.push(row),
            // A call that was killed can leave the last line cut off.
            Err(_) if records.peek().is_none() && !rows.is_empty() => {}
            Err(error) => return Err(error).with_context(malformed),
        }
    }
    Ok(rows)
}

/// What a file was made of.
fn origin(row: &Row) -> String {
    let adapter = match row.adapter.as_str() {
        "" => String::new(),
        adapter => format!(", adapter `{adapter}`"),
    };
    let mut rule = String::new();
    if let Some(threshold) = row.threshold {
        rule += &format!(", threshold {threshold}");
    }
    if !row.cleanup.is_empty() {
        rule += &format!(", {}", row.cleanup);
    }
    if let (Some(tile), Some(overlap)) = (row.tile, row.overlap) {
        rule += &format!(", tiles of {tile} pixels with overlap {overlap}");
    }
    format!(
        " and was made of other inputs (image `{}`, prompt `{}`, base `{}`{adapter}, {} pixels{rule})",
        row.image, row.prompt, row.base, row.image_size
    )
}
