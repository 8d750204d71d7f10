//! What can be wrong with a data set, said so that the reader knows which file it is and what to do about it.

use std::path::{Path, PathBuf};

use vlsm_image::ImageError;

use crate::split::Split;

/// Result of everything in this crate that can fail.
pub type Result<T, E = DataError> = std::result::Result<T, E>;

/// A fault of a file, of a data set or of the `[data]` section of a recipe.
///
/// Every message names the file (or recipe key), the field and the fix. The error is `Clone` because one broken file
/// can be the answer to several requests of a [`Loader`](crate::Loader).
#[derive(thiserror::Error, Debug, Clone)]
#[non_exhaustive]
pub enum DataError {
    /// A fault of a single file or array.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Image and mask of a pair differ in size (width, height).
    #[error(
        "mask `{mask}` is {}x{} but image `{image}` is {}x{}; resize the mask or drop the pair",
        .mask_size.0, .mask_size.1, .image_size.0, .image_size.1
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
    /// A mask holds a class id that has no name.
    #[error(
        "mask `{mask}` holds class id {id}, but `{classes}` names only {named} (ids 0 to {}); add its name there, or \
         make it the `ignore_index`",
        .named.saturating_sub(1)
    )]
    UnnamedClass {
        /// The mask.
        mask: PathBuf,
        /// The id without a name.
        id: u8,
        /// The file with the class names.
        classes: PathBuf,
        /// How many names there are.
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
    /// An annotation entry names a file that is not there.
    #[error(
        "`{list}`, entry {entry}: `{file}` does not exist; restore the file or remove the entry"
    )]
    MissingFile {
        /// The annotation file.
        list: PathBuf,
        /// Index of the entry, from 0.
        entry: usize,
        /// The file that is not there.
        file: PathBuf,
    },
    /// A folder that the data set's format needs is not there, or holds no image.
    #[error("{what} `{path}` {fault}; {fix}")]
    Layout {
        /// What it is: "image folder".
        what: &'static str,
        /// The folder.
        path: PathBuf,
        /// "does not exist", "holds no image".
        fault: &'static str,
        /// What to do about it.
        fix: &'static str,
    },
    /// Images without a mask, or masks without an image.
    #[error(
        "{} images without a mask and {} masks without an image ({}); add what is missing or remove what is left over \
         (a mask has the image's stem, or the stem and `_mask`, `_segmentation`, `_seg` or `_gt`)",
        .images.len(), .masks.len(), first_few(.images, .masks)
    )]
    Unpaired {
        /// All images without a mask.
        images: Vec<PathBuf>,
        /// All masks without an image.
        masks: Vec<PathBuf>,
    },
    /// Two files of one folder stand for the same stem.
    #[error("`{first}` and `{second}` both stand for `{stem}`; keep one of them")]
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
        /// The content of the line.
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
    /// A sample has no prompts, but the recipe asks for one of them.
    #[error("sample `{sample}` has no prompts{origin}; {fix}")]
    NoPrompts {
        /// The sample's name.
        sample: String,
        /// Where they were looked for (" in `FILE`, entry 3"), or nothing.
        origin: String,
        /// What to do about it.
        fix: &'static str,
    },
    /// A sample has no prompt of the wanted name.
    #[error(
        "sample `{sample}` has no prompt `{name}` (it has {there}); choose one of these, or give the prompt as text"
    )]
    PromptName {
        /// The sample's name.
        sample: String,
        /// The name that was asked for.
        name: String,
        /// The names there are.
        there: String,
    },
    /// Evaluation was asked to draw prompts at random.
    #[error(
        "`data.eval_prompt = \"random\"`: evaluation prompts are fixed; choose p1, p2, ... or give the prompt as text"
    )]
    RandomEval,
    /// A key of the recipe's `[data]` section has a value that cannot be used.
    #[error("`{field}`: {reason}")]
    Config {
        /// The key: `data.split.val`.
        field: &'static str,
        /// What is wrong and what to do about it.
        reason: String,
    },
    /// Two arrays that must agree in size do not: a mistake of the caller.
    #[error("{what}: {reason}")]
    Shape {
        /// What was asked for.
        what: &'static str,
        /// The sizes.
        reason: String,
    },
    /// A [`Request`](crate::Request) names a sample that is not there: a mistake of the caller.
    #[error("request for sample {sample} of {samples}; sample indices start at 0")]
    Request {
        /// The index that was asked for.
        sample: usize,
        /// How many samples there are.
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
    /// The same error, naming `sample` where it speaks of a sample's prompts.
    pub(crate) fn in_sample(mut self, name: &str) -> Self {
        if let Self::NoPrompts { sample, .. } | Self::PromptName { sample, .. } = &mut self {
            *sample = name.to_string();
        }
        self
    }

    /// The file that is at fault, where there is one.
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
            | Self::Config { .. }
            | Self::Shape { .. }
            | Self::Request { .. }
            | Self::Source { .. } => None,
        }
    }
}

/// The first few of the unpaired files, for a message that must stay readable.
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
