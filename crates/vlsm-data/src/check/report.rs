//! What a check finds, and the error that each kind of fault is.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::Format;
use crate::error::DataError;
use vlsm_image::ImageError;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The data set cannot be used as it is, or numbers measured on it mislead.
    Error,
    /// Worth a look.
    Warning,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// A key of the recipe's `[data]` section.
    Config,
    /// A folder is missing or holds nothing.
    Layout,
    /// A file cannot be read or decoded: missing rights, corrupt, truncated, of another kind.
    Unreadable,
    /// Image and mask of a pair differ in size.
    SizeMismatch,
    /// An annotation names a file that is not there.
    MissingFile,
    /// A file is not JSON of the expected form, or not UTF-8.
    Malformed,
    /// A field of an annotation entry is missing or wrong, or a line of a split list.
    Entry,
    /// A split without samples.
    EmptySplit,
    /// An image without a mask, a mask without an image, or two files of one stem.
    Unpaired,
    /// The same image, by file or by content, in more than one split.
    SharedImage,
    /// A mask without foreground, or without any class that has a name.
    EmptyMask,
    /// The same pair or the same image content twice in one split.
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
    /// The file at fault, where there is one.
    pub path: Option<PathBuf>,
    /// What is wrong, and the fix.
    pub message: String,
}

/// How much a split holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SplitCounts {
    /// Pairs of image and mask.
    pub pairs: usize,
    /// Samples: as many as pairs, or with class-id masks one for each class in each image.
    pub samples: usize,
}

/// The findings about a data set.
#[derive(Clone, Debug, Serialize)]
pub struct CheckReport {
    /// Folder of the data set.
    pub root: PathBuf,
    /// Its format.
    pub format: Format,
    /// What the training split holds, apart from what is at fault in the listing. `data.limit` is not applied.
    pub train: SplitCounts,
    /// The same for validation.
    pub val: SplitCounts,
    /// The same for the test.
    pub test: SplitCounts,
    /// All findings, in an order that depends on the data set alone.
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

    /// Whether there is no error.
    pub fn is_usable(&self) -> bool {
        self.errors() == 0
    }
}

/// Findings as they are gathered.
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

    /// An error of the listing or of a file. A list of unpaired files becomes a finding for each.
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
