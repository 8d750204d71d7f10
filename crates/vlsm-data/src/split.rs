//! The three parts of a data set.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A part of a data set.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Trains the weights.
    Train,
    /// Chooses the best epoch.
    Val,
    /// Gives the reported metrics.
    Test,
}

/// A text that is not the name of a split.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
#[error("`{0}` is not a split; use train, val or test")]
pub struct UnknownSplit(String);

impl Split {
    /// All three, in order.
    pub const ALL: [Self; 3] = [Self::Train, Self::Val, Self::Test];

    /// `train`, `val` or `test`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Split {
    type Err = UnknownSplit;

    fn from_str(text: &str) -> Result<Self, UnknownSplit> {
        let found = Self::ALL.into_iter().find(|split| split.name() == text);
        found.ok_or_else(|| UnknownSplit(text.to_string()))
    }
}
