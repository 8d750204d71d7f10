//! What can be wrong with a data set, by name.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The data set cannot be used as it is, or metrics on it are misleading.
    Error,
    /// Possibly a mistake.
    Warning,
    /// Not a mistake, but something to know.
    Notice,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// A key of the recipe's `[data]` section.
    Config,
    /// A folder is missing or empty.
    Layout,
    /// A file cannot be read or decoded: no permission, corrupt, truncated, or not an image.
    Unreadable,
    /// Image and mask of a pair differ in size.
    SizeMismatch,
    /// An annotation names a file that does not exist.
    MissingFile,
    /// A JSON file is invalid, has an unexpected structure, or is not UTF-8.
    Malformed,
    /// A field of an annotation entry is missing or wrong, or a line of a split list is wrong.
    Entry,
    /// A split without samples.
    EmptySplit,
    /// An image without a mask, a mask without an image, or two files with the same stem.
    Unpaired,
    /// The same image, as one file or as copies, in more than one split.
    SharedImage,
    /// A subject, such as a patient, in more than one split.
    SharedSubject,
    /// Masks without foreground, or without any named class.
    EmptyMask,
    /// The same pair or the same image content more than once in a split.
    Duplicate,
    /// A sample lacks the prompt that the recipe asks for.
    Prompt,
    /// A class id without a name.
    UnnamedClass,
    /// Images with masks that no annotation file lists.
    Unlisted,
    /// The levels of the masks do not say what is foreground.
    Levels,
    /// The only level above 0 is neither 1 nor white.
    SingleLevel,
    /// The alpha channel of a mask is not constant.
    Alpha,
    /// A mask that looks like a photograph or an overlay.
    Picture,
    /// The image folder has the masks, and the mask folder the images.
    Exchanged,
    /// Most masks are foreground for the most part.
    Inverted,
    /// Most masks have next to no foreground.
    Tiny,
    /// Most masks have many separate parts.
    Parts,
    /// Images with an EXIF orientation.
    Orientation,
    /// 16-bit images that use a small part of the range.
    Window,
    /// A file with several pages or frames.
    MultiPage,
}

impl FindingKind {
    /// The kinds that `data.accept` and `--accept` can name.
    pub const ACCEPTABLE: [Self; 14] = [
        Self::Alpha,
        Self::EmptyMask,
        Self::Exchanged,
        Self::Inverted,
        Self::Levels,
        Self::MultiPage,
        Self::Orientation,
        Self::Parts,
        Self::Picture,
        Self::SharedImage,
        Self::SharedSubject,
        Self::SingleLevel,
        Self::Tiny,
        Self::Unlisted,
    ];
}

/// The name, such as `size-mismatch`.
impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// A name that is not one of [`FindingKind::ACCEPTABLE`].
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
#[error("`{0}` cannot be accepted; use one of {names}", names = names())]
pub struct NotAcceptable(String);

fn names() -> String {
    let names = FindingKind::ACCEPTABLE.map(|kind| kind.to_string());
    names.join(", ")
}

/// Reads the name of one of [`FindingKind::ACCEPTABLE`].
impl FromStr for FindingKind {
    type Err = NotAcceptable;

    fn from_str(text: &str) -> Result<Self, NotAcceptable> {
        let found = Self::ACCEPTABLE
            .into_iter()
            .find(|kind| kind.to_string() == text);
        found.ok_or_else(|| NotAcceptable(text.to_string()))
    }
}

/// One fault or observation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub kind: FindingKind,
    /// The first file at fault, if there is one.
    #[serde(serialize_with = "lossy")]
    pub path: Option<PathBuf>,
    /// All files at fault, if there are several.
    #[serde(serialize_with = "all_lossy", skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<PathBuf>,
    /// What is wrong, and the fix.
    pub message: String,
}

/// JSON cannot hold a path that is not Unicode: what is not becomes U+FFFD.
fn lossy<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    let path = path.as_ref().map(|path| path.to_string_lossy());
    path.serialize(serializer)
}

fn all_lossy<S: Serializer>(files: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(files.iter().map(|file| file.to_string_lossy()))
}
