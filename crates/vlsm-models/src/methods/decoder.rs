//! Training of the decoder alone. For CLIPSeg this is what the published table calls end-to-end.

use burn::module::Module;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::statistics::{Statistics, expect_batch_norm};
use super::{Adaptation, BaseShape, Method, Profile, Touches};
use crate::error::Result;

/// Method `decoder`: the pretrained decoder is trained and the towers are frozen. For a SAN this is its side network, for a
/// CRIS all but CLIP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecoderConfig {
    /// Which arithmetic is used: `paper` reproduces the published code, `default` fixes its faults. Default `"default"`.
    pub profile: Profile,
    /// CRIS: what batch normalisation uses in training, `batch` or `running` statistics. Default `"running"`, in profile
    /// `paper` `"batch"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statistics: Option<Statistics>,
}

impl Default for DecoderConfig {
    fn default() -> Self {
        Self {
            profile: Profile::Default,
            statistics: None,
        }
    }
}

impl DecoderConfig {
    pub(super) fn build(
        &self,
        base: &BaseShape,
        _seed: u64,
        _device: &Device,
    ) -> Result<TrainedDecoder> {
        expect_batch_norm(self.statistics, base)?;
        Ok(TrainedDecoder)
    }
}

impl Method for DecoderConfig {
    fn profile(&self) -> Profile {
        self.profile
    }

    fn label(&self) -> String {
        "decoder".into()
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

/// A trained decoder. Adds no parameters to the base.
#[derive(Module, Debug)]
pub struct TrainedDecoder;

impl Adaptation for TrainedDecoder {
    fn touches(&self) -> Touches {
        Touches {
            decoder: true,
            ..Touches::default()
        }
    }
}
