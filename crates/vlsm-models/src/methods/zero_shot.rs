//! The unchanged base.

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::{BaseShape, Method, Profile, Unadapted};
use crate::error::Result;

/// Method `zero-shot`: nothing is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ZeroShotConfig {
    /// Which arithmetic is used: `paper` reproduces the published code, `default` fixes its faults. Default
    /// `"default"`.
    pub profile: Profile,
}

impl Default for ZeroShotConfig {
    fn default() -> Self {
        Self {
            profile: Profile::Default,
        }
    }
}

impl ZeroShotConfig {
    pub(super) fn build(
        &self,
        _base: &BaseShape,
        _seed: u64,
        _device: &Device,
    ) -> Result<Unadapted> {
        Ok(Unadapted)
    }
}

impl Method for ZeroShotConfig {
    fn profile(&self) -> Profile {
        self.profile
    }

    fn label(&self) -> String {
        "zero-shot".into()
    }

    fn as_published(&self) -> bool {
        true
    }
}
