//! Errors of images, masks and other files. Each message names the file and the fix.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Result with this crate's error.
pub type Result<T, E = ImageError> = std::result::Result<T, E>;

/// A fault in a file or an array. Every message names the file, the fault and the fix.
///
/// The error is `Clone` because one broken file can fail several requests.
#[derive(thiserror::Error, Debug, Clone)]
#[non_exhaustive]
pub enum ImageError {
    /// A file or folder could not be read.
    #[error("cannot read `{path}`: {source}; check that it exists and is readable")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's error.
        source: Arc<io::Error>,
    },
    /// A file could not be written. The previous file of that name, if any, is unchanged.
    #[error("cannot write `{path}`: {source}; {fix} (no incomplete file was written)")]
    Write {
        /// The final name of the file.
        path: PathBuf,
        /// The operating system's error.
        source: Arc<io::Error>,
        /// What to do about it.
        fix: &'static str,
    },
    /// An image or mask cannot be decoded: it is corrupt, truncated, or of an unsupported kind.
    #[error("cannot decode `{path}`: {reason}; replace the file or drop it from the data set")]
    Image {
        /// The image or mask.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A mask does not contain class ids, as it should.
    #[error("`{path}` cannot be read as class ids: {reason}; {fix}")]
    ClassMap {
        /// The mask.
        path: PathBuf,
        /// What it contains instead.
        reason: String,
        /// What to do about it.
        fix: &'static str,
    },
    /// A file has several pages or frames, but one image is expected.
    #[error(
        "`{path}` has several pages; save the page you mean as its own file, or read the first page with \
         `multi-page` in `data.accept` or `--accept multi-page`"
    )]
    Pages {
        /// The image or mask.
        path: PathBuf,
    },
    /// A mask's levels do not say what is foreground.
    #[error("mask `{path}`: {reason}")]
    Levels {
        /// The mask.
        path: PathBuf,
        /// What is wrong and what to do about it.
        reason: String,
    },
    /// A decoder panicked on a file.
    #[error(
        "decoding `{path}` failed inside the decoder: {reason}; replace the file and report it as a bug"
    )]
    Decoder {
        /// The image or mask.
        path: PathBuf,
        /// The panic's message.
        reason: String,
    },
    /// A file is not valid JSON, or its structure is unexpected.
    #[error("`{path}`, line {line}, column {column}: {reason}; correct the JSON at this position")]
    Json {
        /// The JSON file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// The parser's message.
        reason: String,
    },
    /// A text file is not UTF-8.
    #[error(
        "`{path}`, line {line}, column {column}: byte 0x{byte:02x} is not UTF-8; save the file in UTF-8 encoding"
    )]
    Encoding {
        /// The text file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in bytes, from 1.
        column: usize,
        /// The first invalid byte.
        byte: u8,
    },
    /// Class names or the background threshold cannot be used.
    #[error("`{field}`: {reason}")]
    Classes {
        /// The key: `data.classes`, `background`.
        field: &'static str,
        /// What is wrong and what to do about it.
        reason: String,
    },
    /// The length of an array does not match its size: a mistake in the calling code.
    #[error("{what}: {reason}")]
    Shape {
        /// The function.
        what: &'static str,
        /// The sizes.
        reason: String,
    },
}

impl ImageError {
    /// The error for a file or folder that cannot be read.
    pub fn read(path: &Path, source: io::Error) -> Self {
        Self::Read {
            path: path.to_path_buf(),
            source: Arc::new(source),
        }
    }

    /// The error for a file or folder that cannot be written, with a fix for the cause.
    pub fn write(path: &Path, source: io::Error) -> Self {
        let fix = match source.kind() {
            io::ErrorKind::StorageFull => "free some disk space and run again",
            io::ErrorKind::QuotaExceeded => {
                "your disk quota is used up; free some space and run again"
            }
            io::ErrorKind::NotFound => "create the folder first",
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                "choose a folder with write permission"
            }
            _ => "check the disk and the folder",
        };
        Self::Write {
            path: path.to_path_buf(),
            source: Arc::new(source),
            fix,
        }
    }

    /// The error for an image or mask that cannot be decoded.
    pub fn image(path: &Path, reason: impl Into<String>) -> Self {
        Self::Image {
            path: path.to_path_buf(),
            reason: reason.into(),
        }
    }

    /// The file at fault, if there is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Read { path, .. }
            | Self::Write { path, .. }
            | Self::Image { path, .. }
            | Self::ClassMap { path, .. }
            | Self::Pages { path }
            | Self::Levels { path, .. }
            | Self::Decoder { path, .. }
            | Self::Json { path, .. }
            | Self::Encoding { path, .. } => Some(path),
            Self::Classes { .. } | Self::Shape { .. } => None,
        }
    }
}
