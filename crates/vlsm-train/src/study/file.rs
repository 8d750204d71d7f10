//! Reading a study's file.

use std::path::Path;

use crate::error::{Result, TrainError};

/// A value, or a message that names the key.
pub(super) type Parsed<T> = std::result::Result<T, String>;

/// Reads a file by a parser of its text and the name of the study, which is the file's.
pub(super) fn read_file<T>(path: &Path, parse: impl FnOnce(&str, &str) -> Parsed<T>) -> Result<T> {
    let text = std::fs::read_to_string(path).map_err(|source| TrainError::Read {
        path: path.into(),
        source,
    })?;
    let name = path.file_stem().unwrap_or("study".as_ref());
    parse(&text, &name.to_string_lossy()).map_err(|message| TrainError::Study {
        path: path.into(),
        message,
    })
}
