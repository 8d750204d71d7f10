//! A SAN with a method.

use burn::module::Module;
use burn::tensor::Tensor;

use super::{San, SanFeatures};
use crate::clip::TokenBatch;
use crate::contract::{HiddenStates, SegmentationModel, expect_states};
use crate::error::{ModelError, Result};
use crate::method::{MethodConfig, MethodKind, Profile};

/// A SAN, of which a method trains the side network (`decoder`), everything (`full`), or nothing. Names of its parameters
/// start with `san.`.
#[derive(Module, Debug)]
pub struct SanModel {
    san: San,
    #[module(skip)]
    method: MethodConfig,
}

impl SanModel {
    /// See [`EncoderLayer::set_recompute`](crate::clip::EncoderLayer::set_recompute).
    pub fn set_recompute(&mut self, recompute: bool) {
        self.san.set_recompute(recompute);
    }

    /// A SAN with the arithmetic of the method's profile; a side network that was not in the base's files is initialised by
    /// `seed`.
    ///
    /// # Errors
    /// If the method is one of adapters, or trains CLIP in profile `paper`.
    pub fn new(san: &San, method: MethodConfig, seed: u64) -> Result<Self> {
        method.expect_no_statistics()?;
        if method.has_adapters() {
            return Err(ModelError::Method(
                "SAN's side network is its adapter; set `method.kind` to \"decoder\", which \
                 trains it"
                    .into(),
            ));
        }
        if method.kind == MethodKind::Full && method.profile == Profile::Paper {
            return Err(ModelError::Method(
                "the published code trains nothing but SAN's side network; set `method.kind` to \
                 \"decoder\", or `method.profile` to \"default\""
                    .into(),
            ));
        }
        let san = san.clone().restarted(seed).with_profile(method.profile);
        Ok(Self { san, method })
    }

    fn trains_clip(&self) -> bool {
        self.method.kind == MethodKind::Full
    }
}

impl SegmentationModel for SanModel {
    fn method(&self) -> &MethodConfig {
        &self.method
    }

    fn vision_states(&self, pixels: Tensor<4>) -> HiddenStates {
        self.san.vision_states(pixels)
    }

    fn frozen_vision(&self, image_size: usize) -> Option<Vec<[usize; 2]>> {
        (!self.trains_clip()).then(|| self.san.vision_state_shapes(image_size))
    }

    /// The parts of [`SanFeatures`], in order.
    fn features(&self, states: HiddenStates) -> Result<HiddenStates> {
        let features = self.san.features(states)?;
        Ok(vec![features.queries, features.pixels, features.embeddings])
    }

    fn context_length(&self) -> usize {
        self.san.config().text_config.max_position_embeddings
    }

    fn tokens<P: AsRef<[u32]>>(&self, prompts: &[P]) -> Result<TokenBatch> {
        TokenBatch::new(prompts, &self.san.config().text_config)
    }

    fn text_states(&self, tokens: &TokenBatch) -> HiddenStates {
        vec![self.san.encode_text(tokens).unsqueeze_dim(1)]
    }

    fn frozen_text(&self) -> bool {
        !self.trains_clip()
    }

    fn condition_text(&self, states: HiddenStates) -> Result<HiddenStates> {
        Ok(expect_states::<1>(states, "SAN's text states")?.into())
    }

    fn decode(&self, features: &[Tensor<3>], text: HiddenStates) -> Result<Tensor<3>> {
        let [queries, pixels, embeddings] = expect_states(features.to_vec(), "SAN's features")?;
        let [text] = expect_states(text, "SAN's text")?;
        let features = SanFeatures {
            queries,
            pixels,
            embeddings,
        };
        Ok(self.san.decode(&features, text.squeeze_dim(1)))
    }

    fn output_size(&self, image_size: usize) -> Result<usize> {
        self.san.config().check_image_size(image_size)?;
        Ok(image_size)
    }

    /// In profile `paper` the parameters of the attention biases count as trained, as in the published code, but have no
    /// gradient.
    fn trains(&self, name: &str) -> bool {
        // What the binary output does not depend on.
        let dead = ["san.bg_embed", "san.clip.logit_scale"];
        match self.method.kind {
            MethodKind::Decoder => name.strip_prefix("san.").is_some_and(San::is_side),
            MethodKind::Full => !dead.contains(&name),
            MethodKind::Dense | MethodKind::Shallow | MethodKind::Lora | MethodKind::ZeroShot => {
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::san::SanConfig;

    #[test]
    fn methods_that_do_not_go_say_what_does() {
        let san = SanConfig::default().init(&Device::flex());
        for (kind, profile) in [
            (MethodKind::Dense, Profile::Default),
            (MethodKind::Shallow, Profile::Paper),
            (MethodKind::Full, Profile::Paper),
        ] {
            let method = MethodConfig {
                kind,
                profile,
                ..MethodConfig::default()
            };
            let error = SanModel::new(&san, method, 0).unwrap_err();
            assert!(error.to_string().contains("\"decoder\""), "{error}");
        }
    }

    #[test]
    fn the_side_network_is_trained() {
        let san = SanConfig::default().init(&Device::flex());
        let method = MethodConfig {
            kind: MethodKind::Decoder,
            ..MethodConfig::default()
        };
        let mut model = SanModel { san, method };
        assert_eq!(model.trained_parameters(), 8_219_058);
        model.method.kind = MethodKind::ZeroShot;
        assert_eq!(model.trained_parameters(), 0);
    }
}
