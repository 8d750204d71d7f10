//! Full fine-tuning.

use burn::module::Module;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::statistics::{Statistics, expect_batch_norm};
use super::{Adaptation, BaseShape, Method, Part, Profile, Touches};
use crate::error::Result;

/// Method `full`: everything that the logits depend on is trained, except running statistics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FullConfig {
    /// Which arithmetic is used: `paper` reproduces the published code, `default` fixes its faults. Default `"default"`.
    pub profile: Profile,
    /// CRIS: what batch normalisation uses in training, `batch` or `running` statistics. Default `"running"`, in profile
    /// `paper` `"batch"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statistics: Option<Statistics>,
}

impl Default for FullConfig {
    fn default() -> Self {
        Self {
            profile: Profile::Default,
            statistics: None,
        }
    }
}

impl FullConfig {
    pub(super) fn build(
        &self,
        base: &BaseShape,
        _seed: u64,
        _device: &Device,
    ) -> Result<TrainedNetwork> {
        expect_batch_norm(self.statistics, base)?;
        Ok(TrainedNetwork)
    }
}

impl Method for FullConfig {
    fn profile(&self) -> Profile {
        self.profile
    }

    fn label(&self) -> String {
        "full fine-tuning".into()
    }

    fn statistics(&self) -> Statistics {
        Statistics::or_default(self.statistics, self.profile)
    }

    fn trains_decoder(&self) -> bool {
        true
    }

    fn as_published(&self) -> bool {
        true
    }
}

/// A network that is trained as a whole. Adds no parameters to the base.
#[derive(Module, Debug)]
pub struct TrainedNetwork;

impl Adaptation for TrainedNetwork {
    fn touches(&self) -> Touches {
        Touches {
            vision: true,
            text: true,
            decoder: true,
        }
    }

    fn trains(&self, part: Part, _name: &str) -> bool {
        part != Part::Untrained
    }
}
