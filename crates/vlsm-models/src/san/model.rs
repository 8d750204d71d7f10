//! A SAN with a method.

use burn::module::Module;
use burn::tensor::Tensor;

use super::{San, SanFeatures, TEMPLATES, part};
use crate::clip::{TokenBatch, adapted_embedding, embedding_states};
use crate::contract::{HiddenStates, SegmentationModel, VocabularyMasks, expect_states};
use crate::error::{ModelError, Result};
use crate::methods::{Adaptation, Adapters, MethodConfig, Profile, merged};

/// A SAN with the adapters of a method. Names of the base's parameters start with `san.`.
#[derive(Module, Debug)]
pub struct SanModel {
    san: San,
    adapters: Adapters,
    #[module(skip)]
    method: MethodConfig,
}

impl SanModel {
    /// See [`EncoderLayer::set_recompute`](crate::clip::EncoderLayer::set_recompute).
    pub fn set_recompute(&mut self, recompute: bool) {
        self.san.set_recompute(recompute);
    }

    /// A SAN with the arithmetic of the method's profile, and with what the method adds, initialised by `seed`; so is a side
    /// network that is trained and was not in the base's files.
    ///
    /// # Errors
    /// If the method does not fit the base, or trains more than the side network in profile `paper`.
    pub fn new(san: &San, method: MethodConfig, seed: u64) -> Result<Self> {
        let profile = method.profile();
        let published = matches!(method, MethodConfig::Decoder(_) | MethodConfig::ZeroShot(_));
        if profile == Profile::Paper && !published {
            return Err(ModelError::Method(
                "the published code trains nothing but SAN's side network; set `method.kind` to \
                 \"decoder\", or `method.profile` to \"default\""
                    .into(),
            ));
        }
        let device = san.devices().first().cloned().unwrap_or_default();
        method.without_head("SAN")?;
        let adapters = Adapters::new(&method, &san.config().shape(profile), seed, &device)?;
        let hooks = adapters.hooks();
        let san = san.clone().with_profile(profile);
        let san = san.restarted(seed, |name| hooks.trains(part(name), name));
        Ok(Self {
            san,
            adapters,
            method,
        })
    }
}

impl SegmentationModel for SanModel {
    fn method(&self) -> &MethodConfig {
        &self.method
    }

    fn adaptation(&self) -> &dyn Adaptation {
        self.adapters.hooks()
    }

    fn vision_states(&self, pixels: Tensor<4>) -> HiddenStates {
        self.san.vision_states(pixels, self.adaptation())
    }

    fn frozen_vision(&self, image_size: usize) -> Option<Vec<[usize; 2]>> {
        let (san, hooks) = (&self.san, self.adaptation());
        let frozen = san.stages(hooks).frozen;
        frozen.then(|| san.vision_state_shapes(image_size, hooks))
    }

    fn wanted_vision_states(&self) -> String {
        let first = self.san.stages(self.adaptation()).first().to_vec();
        format!("{:?} {first:?}", self.method.profile())
    }

    /// The parts of [`SanFeatures`], in order.
    fn features(&self, states: HiddenStates) -> Result<HiddenStates> {
        let features = self.san.features(states, self.adaptation())?;
        Ok(vec![features.queries, features.pixels, features.embeddings])
    }

    fn context_length(&self) -> usize {
        let most = self.san.config().text_config.max_position_embeddings;
        most.saturating_sub(self.adaptation().extra_tokens())
    }

    fn tokens<P: AsRef<[u32]>>(&self, prompts: &[P]) -> Result<TokenBatch> {
        let tokens = TokenBatch::new(prompts, &self.san.config().text_config)?;
        tokens.expect_at_most(self.context_length())
    }

    /// The projected embedding, then the tapped states that the adapters read.
    fn text_states(&self, tokens: &TokenBatch) -> HiddenStates {
        let (embedding, tapped) = self.san.encode_text(tokens, self.adaptation());
        embedding_states(embedding, tapped)
    }

    /// Those of the profile, and the layers that the adapters tap.
    fn wanted_text_states(&self) -> String {
        format!(
            "{:?} {:?}",
            self.method.profile(),
            self.adaptation().text_taps()
        )
    }

    fn frozen_text(&self) -> bool {
        !self.adaptation().touches().text
    }

    fn condition_text(&self, states: HiddenStates) -> Result<HiddenStates> {
        let embedding = adapted_embedding(states, self.adaptation(), "SAN's text states")?;
        Ok(vec![embedding.unsqueeze_dim(1)])
    }

    fn decode(&self, features: &[Tensor<3>], text: HiddenStates) -> Result<Tensor<3>> {
        let features = san_features(features)?;
        let [text] = expect_states(text, "SAN's text")?;
        Ok(self.san.decode(&features, text.squeeze_dim(1)))
    }

    /// SAN's, as long as nothing of it was trained with single prompts, which is another task.
    fn templates(&self) -> &'static [&'static str] {
        match self.method {
            MethodConfig::ZeroShot(_) if !self.san.is_fresh() => &TEMPLATES,
            _ => &[],
        }
    }

    fn vocabulary_masks(
        &self,
        features: &[Tensor<3>],
        classes: HiddenStates,
    ) -> Result<VocabularyMasks> {
        let features = san_features(features)?;
        let [text] = expect_states(classes, "SAN's text")?;
        let [rows, _, projection] = text.dims();
        let templates = TEMPLATES.len();
        let text = text.reshape([rows / templates, templates, projection]);
        let text = (0..templates).map(|index| text.clone().narrow(1, index, 1).squeeze_dim(1));
        let classes = self.san.class_embeddings(text.collect());
        Ok(self.san.vocabulary_masks(&features, classes))
    }

    fn output_size(&self, image_size: usize) -> Result<usize> {
        self.san.config().check_image_size(image_size)?;
        Ok(image_size)
    }

    fn merged(self) -> Self {
        let shape = self.san.config().shape(self.method.profile());
        let (san, adapters) = merged(self.san, &shape, self.adapters);
        Self {
            san,
            adapters,
            ..self
        }
    }

    /// In profile `paper` the parameters of the attention biases count as trained, as in the published code, but have no
    /// gradient.
    fn trains(&self, name: &str) -> bool {
        match name.strip_prefix("san.") {
            Some(name) => self.adaptation().trains(part(name), name),
            None => true,
        }
    }
}

/// The parts of [`SanFeatures`].
fn san_features(features: &[Tensor<3>]) -> Result<SanFeatures> {
    let [queries, pixels, embeddings] = expect_states(features.to_vec(), "SAN's features")?;
    Ok(SanFeatures {
        queries,
        pixels,
        embeddings,
    })
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::methods::{DecoderConfig, DenseConfig, FullConfig, ShallowConfig};
    use crate::san::SanConfig;

    #[test]
    fn the_published_code_trains_the_side_network_alone() {
        let san = SanConfig::default().init(&Device::flex());
        let profile = Profile::Paper;
        let shallow = ShallowConfig {
            profile,
            ..ShallowConfig::default()
        };
        let dense = DenseConfig {
            profile,
            ..DenseConfig::default()
        };
        let full = FullConfig {
            profile,
            ..FullConfig::default()
        };
        for method in [shallow.into(), dense.into(), full.into()] {
            let error = SanModel::new(&san, method, 0).unwrap_err();
            assert!(error.to_string().contains("\"decoder\""), "{error}");
        }
    }

    #[test]
    fn the_side_network_is_trained() {
        let san = SanConfig::default().init(&Device::flex());
        let model = |method| SanModel::new(&san, method, 0).unwrap();
        let decoder = model(DecoderConfig::default().into());
        assert_eq!(decoder.trained_parameters(), 8_219_058);
        assert_eq!(model(MethodConfig::zero_shot()).trained_parameters(), 0);
    }
}
