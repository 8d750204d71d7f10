//! Errors of language models.

use std::path::PathBuf;

/// An error of this crate; its message names the file, the field and the fix.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LanguageError {
    /// A file of a model that cannot be used.
    #[error("`{}`: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong and the fix.
        message: String,
    },
    /// A LoRA that cannot be trained on the model.
    #[error("lora: {0}")]
    Lora(String),
    /// A text that is too long for the model.
    #[error("the text has {tokens} tokens, and the model takes at most {most}")]
    TooLong {
        /// Tokens of the text.
        tokens: usize,
        /// Tokens that the model takes, its answer included.
        most: usize,
    },
    /// A text that the tokenizer cannot encode or decode.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// A server that does not answer, or refuses.
    #[error("`{url}`: {message}")]
    Endpoint {
        /// The address, without a key.
        url: String,
        /// What happened and the fix.
        message: String,
    },
    /// One prompt that a server does not answer, such as one that is too long for the model.
    #[error("a prompt is refused: {0}")]
    Refused(String),
    /// A file that cannot be read.
    #[error(transparent)]
    Read(#[from] vlsm_image::ImageError),
    /// A file of tensors that cannot be read.
    #[error(transparent)]
    Tensors(#[from] vlsm_models::tensor_file::TensorFileError),
}

/// The result of this crate.
pub type Result<T> = std::result::Result<T, LanguageError>;
