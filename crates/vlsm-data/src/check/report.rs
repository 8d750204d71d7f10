//! The result of a check.

use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use crate::config::Format;
use crate::finding::{Finding, Severity};

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
    #[serde(serialize_with = "lossy")]
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
        self.count(Severity::Error)
    }

    /// Number of warnings.
    pub fn warnings(&self) -> usize {
        self.count(Severity::Warning)
    }

    fn count(&self, severity: Severity) -> usize {
        let of_severity = |finding: &&Finding| finding.severity == severity;
        self.findings.iter().filter(of_severity).count()
    }

    /// Whether there are no errors.
    pub fn is_usable(&self) -> bool {
        self.errors() == 0
    }
}

/// JSON cannot hold a path that is not Unicode: what is not becomes U+FFFD.
fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}
