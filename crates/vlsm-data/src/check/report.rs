//! The findings of a check, and the kind of finding for each error.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::Format;
use crate::error::DataError;
use vlsm_image::ImageError;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The data set cannot be used as it is, or metrics on it are misleading.
    Error,
    /// Possibly a mistake.
    Warning,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
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
    /// A mask without foreground, or without any named class.
    EmptyMask,
    /// The same pair or the same image content more than once in a split.
    Duplicate,
    /// A sample lacks the prompt that the recipe asks for.
    Prompt,
    /// A class id without a name.
    UnnamedClass,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub kind: FindingKind,
    /// The file at fault, if there is one.
    pub path: Option<PathBuf>,
    /// What is wrong, and the fix.
    pub message: String,
}

/// Numbers of pairs and samples in a split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SplitCounts {
    /// Pairs of image and mask.
    pub pairs: usize,
    /// Samples: one for each pair or, with class-id masks, one for each class in each image.
    pub samples: usize,
}

/// The findings about a data set.
#[derive(Clone, Debug, Serialize)]
pub struct CheckReport {
    /// Folder of the data set.
    pub root: PathBuf,
    /// Its format.
    pub format: Format,
    /// The training split, without entries at fault. `data.limit` is not applied.
    pub train: SplitCounts,
    /// The validation split, likewise.
    pub val: SplitCounts,
    /// The test split, likewise.
    pub test: SplitCounts,
    /// All findings, in an order that depends only on the data set.
    pub findings: Vec<Finding>,
}

impl CheckReport {
    /// Number of errors.
    pub fn errors(&self) -> usize {
        self.findings
            .iter()
            .filter(|f| f.severity == Severity::Error)
            .count()
    }

    /// Number of warnings.
    pub fn warnings(&self) -> usize {
        self.findings.len() - self.errors()
    }

    /// Whether there are no errors.
    pub fn is_usable(&self) -> bool {
        self.errors() == 0
    }
}

/// Collects findings.
#[derive(Default)]
pub(super) struct Findings(pub(super) Vec<Finding>);

impl Findings {
    pub(super) fn add(
        &mut self,
        severity: Severity,
        kind: FindingKind,
        path: Option<&Path>,
        message: String,
    ) {
        self.0.push(Finding {
            severity,
            kind,
            path: path.map(Path::to_path_buf),
            message,
        });
    }

    pub(super) fn empty_mask(&mut self, mask: &Path, max_level: u16) {
        let name = mask.display();
        let message = if max_level == 0 {
            format!(
                "mask `{name}` is empty; drop the pair unless there is truly nothing to segment"
            )
        } else {
            format!(
                "mask `{name}` is empty once binarised at half: its largest level is {max_level}; save foreground as \
                 white, or, if levels are class ids, add a `classes.json`"
            )
        };
        self.add(
            Severity::Warning,
            FindingKind::EmptyMask,
            Some(mask),
            message,
        );
    }

    /// Adds an error. [`DataError::Unpaired`] becomes one finding for each file.
    pub(super) fn fault(&mut self, fault: DataError) {
        if let DataError::Unpaired { images, masks } = &fault {
            for image in images {
                let message = format!(
                    "image `{}` has no mask; add the mask or remove the image",
                    image.display()
                );
                self.add(Severity::Error, FindingKind::Unpaired, Some(image), message);
            }
            for mask in masks {
                let message = format!(
                    "mask `{}` has no image; add the image or remove the mask",
                    mask.display()
                );
                self.add(Severity::Error, FindingKind::Unpaired, Some(mask), message);
            }
            return;
        }
        self.add(
            Severity::Error,
            kind_of(&fault),
            fault.path(),
            fault.to_string(),
        );
    }
}

fn kind_of(fault: &DataError) -> FindingKind {
    match fault {
        DataError::Image(ImageError::Json { .. } | ImageError::Encoding { .. }) => {
            FindingKind::Malformed
        }
        DataError::Image(ImageError::Classes { .. } | ImageError::Shape { .. }) => {
            FindingKind::Config
        }
        DataError::Image(_) | DataError::Source { .. } => FindingKind::Unreadable,
        DataError::SizeMismatch { .. } => FindingKind::SizeMismatch,
        DataError::UnnamedClass { .. } => FindingKind::UnnamedClass,
        DataError::Field { .. } | DataError::List { .. } => FindingKind::Entry,
        DataError::MissingFile { .. } => FindingKind::MissingFile,
        DataError::Layout { .. } => FindingKind::Layout,
        DataError::Unpaired { .. } | DataError::Ambiguous { .. } => FindingKind::Unpaired,
        DataError::EmptySplit { .. } => FindingKind::EmptySplit,
        DataError::NoPrompts { .. } | DataError::PromptName { .. } => FindingKind::Prompt,
        DataError::RandomEval
        | DataError::Config { .. }
        | DataError::Shape { .. }
        | DataError::Request { .. } => FindingKind::Config,
    }
}
