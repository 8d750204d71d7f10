//! What can go wrong with a model's files and settings.

use std::path::PathBuf;

use crate::hub::HubError;
use crate::tensor_file::TensorFileError;
use crate::tokenizer::TokenizerError;

/// An error of this crate; its message names the file, the field and the fix.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// No builtin base has this name.
    #[error("there is no base `{name}`; the builtin ones are: {known}")]
    Builtin {
        /// The name as given.
        name: String,
        /// The names of the builtin bases.
        known: String,
    },
    /// A file could not be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error("cannot write `{}`: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A value could not be serialised.
    #[error("cannot write {what} as JSON: {source}")]
    Serialise {
        /// What was to be written.
        what: String,
        /// Why.
        source: serde_json::Error,
    },
    /// A `config.json` does not describe a model that can be built.
    #[error("model configuration `{}`: {message}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A file of weights alone whose tensors belong to no known model.
    #[error("cannot recognise the model in `{}` (first tensor: `{first}`); a single file can be a SAN, a CRIS, or a CLIP with ViT-B/16 or RN50; the decoder of CLIPSeg's original release is given with its towers, as `ViT-B-16.pt+rd64-uni.pth`; for other models give the folder with `config.json`", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The name of its first tensor.
        first: String,
    },
    /// Tensors of a file do not fit the model.
    #[error("weights `{}` do not fit the model: {message}", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// The tensors that are missing, extra or of another shape.
        message: String,
    },
    /// An adapter file that cannot be used.
    #[error("adapter `{}`: {message}", path.display())]
    Adapter {
        /// The file.
        path: PathBuf,
        /// What is wrong and how to fix it.
        message: String,
    },
    /// A method that does not fit the model.
    #[error("method: {0}")]
    Method(String),
    /// A precision that does not go with the base, its device or the method.
    #[error("precision: {0}")]
    Precision(String),
    /// An image size that the model cannot take.
    #[error("image size {size}: {message}")]
    ImageSize {
        /// Side in pixels.
        size: usize,
        /// What is wrong.
        message: String,
    },
    /// A device that this build or machine does not have.
    #[error("device `{name}`: {message}")]
    Device {
        /// The name given.
        name: String,
        /// Why it cannot be used, and the fix.
        message: String,
    },
    /// An image that cannot be encoded.
    #[error("image: {0}")]
    Image(String),
    /// Hidden states of another model, or an incomplete set of them.
    #[error(
        "{what}: got {found} states, but the model needs {expected}; use states from the same model"
    )]
    States {
        /// Name of the states in the message.
        what: String,
        /// The number that the model needs.
        expected: usize,
        /// The number that was given.
        found: usize,
    },
    /// A hidden state whose length is not that of a square map.
    #[error(
        "{what} has {length} positions, which do not form a square map; use states from the same model"
    )]
    StateLength {
        /// Name of the state in the message.
        what: String,
        /// Its number of positions.
        length: usize,
    },
    /// An image that was encoded for another base.
    #[error(
        "the image was encoded for base `{image}`, but the base here is `{base}`; encode it for this base"
    )]
    ForeignImage {
        /// The base that it was encoded for.
        image: String,
        /// The base that the image was used with.
        base: String,
    },
    /// An engine that cannot do what is asked.
    #[error("engine: {0}")]
    Engine(String),
    /// Tiles that no image can be cut into.
    #[error("tiles: {0}")]
    Tiles(String),
    /// A model that has no ONNX graph here.
    #[error("ONNX: {0}")]
    Onnx(String),
    /// A model computed a logit that is infinite or not a number.
    #[error(
        "the model computed a logit of {0}, so it has no answer; use weights of another checkpoint, or another device"
    )]
    Logits(f32),
    /// A prompt that the text tower cannot take.
    #[error("prompt tokens: {0}")]
    Tokens(String),
    /// An error in a tensor file.
    #[error(transparent)]
    TensorFile(#[from] TensorFileError),
    /// A folder could not be written.
    #[error(transparent)]
    Folder(#[from] vlsm_image::ImageError),
    /// A base that cannot be found.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// An error in a vocabulary.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

/// A result with this crate's error.
pub type Result<T> = std::result::Result<T, ModelError>;

impl ModelError {
    /// Adds the name of what was to be written to an error of `serde_json`.
    pub(crate) fn serialise(what: &str) -> impl FnOnce(serde_json::Error) -> Self {
        move |source| Self::Serialise {
            what: what.to_owned(),
            source,
        }
    }
}
