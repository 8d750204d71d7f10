//! Errors of data sets. Each message names the file and the fix.

use std::path::{Path, PathBuf};

use vlsm_image::ImageError;

use crate::split::Split;

/// Result with this crate's error.
pub type Result<T, E = DataError> = std::result::Result<T, E>;

/// A fault in a file, in a data set or in a recipe's `[data]` section.
///
/// Every message names the file (or recipe key), the field and the fix. The error is `Clone` because one broken file
/// can fail several requests of a [`Loader`](crate::Loader).
#[derive(thiserror::Error, Debug, Clone)]
#[non_exhaustive]
pub enum DataError {
    /// A fault in a single file or array.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Image and mask of a pair differ in size (width, height).
    #[error(
        "mask `{mask}` is {}x{} but image `{image}` is {}x{}; {}",
        .mask_size.0, .mask_size.1, .image_size.0, .image_size.1, size_fix(*.image_size, *.mask_size)
    )]
    SizeMismatch {
        /// The image.
        image: PathBuf,
        /// Its width and height.
        image_size: (usize, usize),
        /// The mask.
        mask: PathBuf,
        /// Its width and height.
        mask_size: (usize, usize),
    },
    /// A mask contains a class id that has no name.
    #[error(
        "mask `{mask}` contains class id {id}, but `{classes}` names only {named} classes (ids 0 to {}); add a name for the \
         id or make it the `ignore_index`",
        .named.saturating_sub(1)
    )]
    UnnamedClass {
        /// The mask.
        mask: PathBuf,
        /// The id without a name.
        id: u8,
        /// The file with the class names.
        classes: PathBuf,
        /// Number of named classes.
        named: usize,
    },
    /// A field of an annotation entry is missing or wrong.
    #[error("`{path}`, entry {entry}: field `{field}` {reason}; add or correct it")]
    Field {
        /// The annotation file.
        path: PathBuf,
        /// Index of the entry, from 0.
        entry: usize,
        /// Name of the field.
        field: &'static str,
        /// What is wrong: "is missing", "is not a string".
        reason: String,
    },
    /// An annotation entry names a file that does not exist.
    #[error(
        "`{list}`, entry {entry}: `{file}` does not exist; restore the file or remove the entry"
    )]
    MissingFile {
        /// The annotation file.
        list: PathBuf,
        /// Index of the entry, from 0.
        entry: usize,
        /// The missing file.
        file: PathBuf,
    },
    /// A folder that the data set's format needs does not exist, or contains no image.
    #[error("{what} `{path}` {fault}; {fix}")]
    Layout {
        /// Kind of folder: "image folder".
        what: &'static str,
        /// The folder.
        path: PathBuf,
        /// "does not exist", "contains no image".
        fault: &'static str,
        /// What to do about it.
        fix: &'static str,
    },
    /// Images without a mask, or masks without an image.
    #[error(
        "{} images without a mask and {} masks without an image ({}); add the missing files or remove the unpaired ones \
         (a mask is named like its image, optionally with `_mask`, `_segmentation`, `_seg` or `_gt` after the stem)",
        .images.len(), .masks.len(), first_few(.images, .masks)
    )]
    Unpaired {
        /// All images without a mask.
        images: Vec<PathBuf>,
        /// All masks without an image.
        masks: Vec<PathBuf>,
    },
    /// Two files of one folder have the same stem.
    #[error("`{first}` and `{second}` have the same stem `{stem}`; keep one of them")]
    Ambiguous {
        /// The stem.
        stem: String,
        /// One of the files.
        first: PathBuf,
        /// The other one.
        second: PathBuf,
    },
    /// A line of a split list cannot be used.
    #[error("`{path}`, line {line}: `{entry}` {reason}; correct or remove the line")]
    List {
        /// The list.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The line's text.
        entry: String,
        /// Why it cannot be used.
        reason: String,
    },
    /// A split that is needed has no samples.
    #[error("the {split} split of `{root}` is empty; {fix}")]
    EmptySplit {
        /// The split.
        split: Split,
        /// Root of the data set.
        root: PathBuf,
        /// What to do about it.
        fix: &'static str,
    },
    /// A sample has no prompts, but the recipe needs one.
    #[error("sample `{sample}` has no prompts{origin}; {fix}")]
    NoPrompts {
        /// The sample's name.
        sample: String,
        /// Where prompts were expected (" in `FILE`, entry 3"), or empty.
        origin: String,
        /// What to do about it.
        fix: &'static str,
    },
    /// A sample has no prompt with the requested name.
    #[error(
        "sample `{sample}` has no prompt `{name}` (it has {available}); choose one of these or write the prompt's text"
    )]
    PromptName {
        /// The sample's name.
        sample: String,
        /// The requested name.
        name: String,
        /// The names of the sample's prompts.
        available: String,
    },
    /// The recipe asks for random prompts in evaluation.
    #[error(
        "`data.eval_prompt = \"random\"`: evaluation prompts are fixed; choose p1, p2, ... or write the prompt's text"
    )]
    RandomEval,
    /// What the guards on masks and images found.
    #[error("{messages}")]
    Guard {
        /// The messages of all errors, one per line.
        messages: String,
    },
    /// A key of the recipe's `[data]` section has a value that cannot be used.
    #[error("`{field}`: {reason}")]
    Config {
        /// The key: `data.split.val`.
        field: &'static str,
        /// What is wrong and what to do about it.
        reason: String,
    },
    /// Two arrays that must have the same size differ: a mistake in the calling code.
    #[error("{what}: {reason}")]
    Shape {
        /// The operation.
        what: &'static str,
        /// The sizes.
        reason: String,
    },
    /// A [`Request`](crate::Request) has an index out of range: a mistake in the calling code.
    #[error("request for sample {sample} of {samples}; use an index below {samples}")]
    Request {
        /// The requested index.
        sample: usize,
        /// Number of samples.
        samples: usize,
    },
    /// A [`Source`](crate::Source) cannot be read.
    #[error("`{id}` cannot be read: {reason}")]
    Source {
        /// Id of the image or mask.
        id: String,
        /// What is wrong.
        reason: String,
    },
}

impl DataError {
    /// The same error with the sample's name, if it is about a sample's prompts.
    pub(crate) fn in_sample(mut self, name: &str) -> Self {
        if let Self::NoPrompts { sample, .. } | Self::PromptName { sample, .. } = &mut self {
            *sample = name.to_string();
        }
        self
    }

    /// The file at fault, if there is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Image(fault) => fault.path(),
            Self::Field { path, .. } | Self::Layout { path, .. } | Self::List { path, .. } => {
                Some(path)
            }
            Self::SizeMismatch { mask, .. } | Self::UnnamedClass { mask, .. } => Some(mask),
            Self::MissingFile { file, .. } => Some(file),
            Self::Ambiguous { second, .. } => Some(second),
            Self::EmptySplit { root, .. } => Some(root),
            Self::Unpaired { images, masks } => {
                images.first().or(masks.first()).map(PathBuf::as_path)
            }
            Self::NoPrompts { .. }
            | Self::PromptName { .. }
            | Self::RandomEval
            | Self::Guard { .. }
            | Self::Config { .. }
            | Self::Shape { .. }
            | Self::Request { .. }
            | Self::Source { .. } => None,
        }
    }
}

/// What to do about a mask of another size.
fn size_fix(image: (usize, usize), mask: (usize, usize)) -> &'static str {
    if image == (mask.1, mask.0) {
        "width and height are exchanged, as in a mask drawn without the image's EXIF orientation; turn the mask, or \
         remove the orientation from the image"
    } else {
        "resize the mask or drop the pair"
    }
}

/// The first few unpaired files; a message with all of them could be unreadably long.
fn first_few(images: &[PathBuf], masks: &[PathBuf]) -> String {
    const SHOWN: usize = 5;
    let mut text: Vec<String> = images
        .iter()
        .chain(masks)
        .take(SHOWN)
        .map(|path| format!("`{}`", path.display()))
        .collect();
    if images.len() + masks.len() > SHOWN {
        text.push("...".to_string());
    }
    text.join(", ")
}
