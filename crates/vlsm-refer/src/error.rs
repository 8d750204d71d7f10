//! Errors of referring expressions.

use std::path::PathBuf;

/// An error of this crate; its message names the file, the field and the fix.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReferError {
    /// A line of a file of queries that cannot be used.
    #[error("`{}`, line {line}: {message}", path.display())]
    Query {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key and the fix.
        message: String,
    },
    /// Candidates that the published prompt cannot list.
    #[error("candidates: {0}")]
    Candidates(String),
    /// A language model that cannot be used, or that does not answer.
    #[error(transparent)]
    Language(#[from] vlsm_language::LanguageError),
    /// A file that cannot be read or written.
    #[error(transparent)]
    Image(#[from] vlsm_image::ImageError),
    /// A base, an adapter or an image that a segmenter cannot use.
    #[error(transparent)]
    Segmenter(#[from] vlsm::Error),
}

/// The result of this crate.
pub type Result<T> = std::result::Result<T, ReferError>;
