//! Reads JSON and text files, with errors that name line and column.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::{ImageError, Result};
use crate::fs::read_bytes;

/// Reads a JSON file.
///
/// # Errors
/// [`ImageError::Read`], [`ImageError::Encoding`], or [`ImageError::Json`] with the line and column of the fault.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = read_text(path)?;
    serde_json::from_str(&text).map_err(|e| {
        let message = e.to_string();
        // serde_json repeats line and column at the end of its message.
        let reason = message
            .rsplit_once(" at line ")
            .map_or(message.as_str(), |(reason, _)| reason);
        ImageError::Json {
            path: path.to_path_buf(),
            line: e.line().max(1),
            column: e.column().max(1),
            reason: reason.to_string(),
        }
    })
}

/// Reads a UTF-8 file and removes the byte order mark that some editors add.
///
/// # Errors
/// [`ImageError::Read`] or [`ImageError::Encoding`].
pub fn read_text(path: &Path) -> Result<String> {
    let bytes = read_bytes(path)?;
    let text = String::from_utf8(bytes).map_err(|e| {
        let valid = e.utf8_error().valid_up_to();
        let before = &e.as_bytes()[..valid];
        let line_start = before
            .iter()
            .rposition(|&b| b == b'\n')
            .map_or(0, |at| at + 1);
        ImageError::Encoding {
            path: path.to_path_buf(),
            line: before.iter().filter(|&&b| b == b'\n').count() + 1,
            column: valid - line_start + 1,
            byte: e.as_bytes().get(valid).copied().unwrap_or(0),
        }
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_string(),
        None => text,
    })
}
