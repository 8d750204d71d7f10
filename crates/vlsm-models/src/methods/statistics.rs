//! What batch normalisation uses in training.

use serde::{Deserialize, Serialize};

use super::{BaseShape, Profile, error};
use crate::error::Result;

/// What batch normalisation uses in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Statistics {
    /// The batch's statistics, which also update the running ones. Dropout is on. As published.
    Batch,
    /// The base's running statistics, which are not changed. Dropout is off.
    Running,
}

impl Statistics {
    /// The recipe's value, or the default of its profile.
    pub(super) fn or_default(statistics: Option<Self>, profile: Profile) -> Self {
        statistics.unwrap_or(match profile {
            Profile::Paper => Self::Batch,
            Profile::Default => Self::Running,
        })
    }
}

/// Refuses the key `statistics` for a base without batch normalisation.
pub(super) fn expect_batch_norm(statistics: Option<Statistics>, base: &BaseShape) -> Result<()> {
    if statistics.is_some() && !base.batch_norm {
        return error(format!(
            "`statistics` is for models with batch normalisation (CRIS), and {} has none; leave it out",
            base.name
        ));
    }
    Ok(())
}
