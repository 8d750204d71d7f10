//! A CRIS with a method.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Tensor;

use super::{
    Cris, ImageFeatures, Mode, TextFeatures, TrainingPass, is_statistic, part, update_statistics,
};
use crate::clip::{TokenBatch, adapted_embedding, embedding_states};
use crate::contract::{HiddenStates, SegmentationModel, expect_states};
use crate::error::{ModelError, Result};
use crate::methods::{Adaptation, Adapters, MethodConfig, Statistics, merged};
use crate::preprocess::check_largest;

/// A CRIS with the adapters of a method. Names of the base's parameters start with `cris.`.
///
/// With [`Statistics::Batch`] a training step normalises by the batch's own statistics, which then move the running ones, and
/// drops out, as the published programs do; a CLIP that is not trained stays in evaluation mode. With [`Statistics::Running`]
/// training runs as evaluation does. Scales and shifts of normalisations are trained in both.
#[derive(Module, Debug)]
pub struct CrisModel {
    cris: Cris,
    adapters: Adapters,
    #[module(skip)]
    method: MethodConfig,
    /// The mode of the current training step.
    #[module(skip)]
    step: Option<Arc<TrainingPass>>,
}

impl CrisModel {
    /// See [`EncoderLayer::set_recompute`](crate::clip::EncoderLayer::set_recompute).
    pub fn set_recompute(&mut self, recompute: bool) {
        self.cris.set_recompute(recompute);
    }

    /// A CRIS with the masking of the method's profile, and with what the method adds, initialised by `seed`; so is what is
    /// trained and was not in the base's files.
    ///
    /// # Errors
    /// If the method does not fit the base.
    pub fn new(cris: &Cris, method: MethodConfig, seed: u64) -> Result<Self> {
        let device = cris.devices().first().cloned().unwrap_or_default();
        method.without_head("CRIS")?;
        let adapters = Adapters::new(&method, &cris.config().shape(), seed, &device)?;
        let hooks = adapters.hooks();
        let cris = cris.clone();
        let cris = cris.restarted(seed, |name| hooks.trains(part(name), name));
        Ok(Self {
            cris,
            adapters,
            method,
            step: None,
        })
    }

    fn mode(&self) -> Mode<'_> {
        self.step
            .as_deref()
            .map_or(Mode::Evaluation, Mode::Training)
    }
}

impl SegmentationModel for CrisModel {
    fn method(&self) -> &MethodConfig {
        &self.method
    }

    fn adaptation(&self) -> &dyn Adaptation {
        self.adapters.hooks()
    }

    /// The maps C3, C4 and C5.
    fn vision_states(&self, pixels: Tensor<4>) -> HiddenStates {
        let mode = if self.adaptation().touches().vision {
            self.mode()
        } else {
            Mode::Evaluation
        };
        self.cris.vision_states(pixels, mode).map(flat).into()
    }

    fn frozen_vision(&self, image_size: usize) -> Option<Vec<[usize; 2]>> {
        let (config, touched) = (self.cris.config(), self.adaptation().touches().vision);
        (!touched).then(|| config.state_shapes(image_size).to_vec())
    }

    /// The parts of [`ImageFeatures`], in order.
    fn features(&self, states: HiddenStates) -> Result<HiddenStates> {
        let [c3, c4, c5] = expect_states(states, "CRIS's vision states")?;
        let states = [map(c3)?, map(c4)?, map(c5)?];
        let ImageFeatures { low, middle, high } = self.cris.features(states, self.mode());
        Ok([low, middle, high].map(flat).into())
    }

    fn context_length(&self) -> usize {
        self.cris.context_length(self.adaptation())
    }

    fn tokens<P: AsRef<[u32]>>(&self, prompts: &[P]) -> Result<TokenBatch> {
        let tokens = self.cris.tokens(prompts)?;
        tokens.expect_at_most(self.context_length())
    }

    /// Words, for each token 1 where pixels attend to it and else 0, and the pooled state. Then the tapped states that the
    /// adapters read.
    fn text_states(&self, tokens: &TokenBatch) -> HiddenStates {
        let (profile, method) = (self.method.profile(), self.adaptation());
        let (text, tapped) = self.cris.encode_text(tokens, profile, method);
        let seen = text.mask.equal_elem(0.0).float();
        let mut states = vec![text.words, seen.unsqueeze_dim(2)];
        states.extend(embedding_states(text.state, tapped));
        states
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

    /// Words, the pooled state after the method's change, and what pixels attend to.
    fn condition_text(&self, mut states: HiddenStates) -> Result<HiddenStates> {
        let what = "CRIS's text states";
        let state = states.split_off(states.len().min(2));
        let [words, seen] = expect_states(states, what)?;
        let state = adapted_embedding(state, self.adaptation(), what)?;
        Ok(vec![words, state.unsqueeze_dim(1), seen])
    }

    fn decode(&self, features: &[Tensor<3>], text: HiddenStates) -> Result<Tensor<3>> {
        let [low, middle, high] = expect_states(features.to_vec(), "CRIS's features")?;
        let [words, state, seen] = expect_states(text, "CRIS's text")?;
        // As many tokens as a prompt can have, so that sums over them do not depend on the other prompts of the batch. Only
        // here, since a prompt's states are kept and most prompts are far shorter.
        let more = self.context_length().saturating_sub(words.dims()[1]);
        let [words, seen] = [words, seen].map(|x| x.pad([(0, 0), (0, more), (0, 0)], 0.0));
        let features = ImageFeatures {
            low: map(low)?,
            middle: map(middle)?,
            high: map(high)?,
        };
        let seen = seen.squeeze_dim::<2>(2);
        let text = TextFeatures {
            words,
            state: state.squeeze_dim(1),
            mask: seen
                .zeros_like()
                .mask_fill(seen.equal_elem(0.0), f32::NEG_INFINITY),
        };
        Ok(self.cris.decode(&features, &text, self.mode()))
    }

    fn output_size(&self, image_size: usize) -> Result<usize> {
        check_largest(image_size)?;
        self.cris.config().output_size(image_size)
    }

    fn merged(self) -> Self {
        let shape = self.cris.config().shape();
        let (cris, adapters) = merged(self.cris, &shape, self.adapters);
        Self {
            cris,
            adapters,
            ..self
        }
    }

    fn trains(&self, name: &str) -> bool {
        match name.strip_prefix("cris.") {
            Some(name) => self.adaptation().trains(part(name), name),
            None => true,
        }
    }

    fn saves(&self, name: &str) -> bool {
        let moves = |name: &str| {
            self.uses_batch_statistics()
                && is_statistic(name)
                && (self.adaptation().touches().vision || !name.starts_with("backbone."))
        };
        self.trains(name) || name.strip_prefix("cris.").is_some_and(moves)
    }

    fn uses_batch_statistics(&self) -> bool {
        self.method.statistics() == Statistics::Batch
    }

    fn begin_step(mut self, seed: u64) -> Self {
        self.step = self
            .uses_batch_statistics()
            .then(|| Arc::new(TrainingPass::new(seed)));
        self
    }

    fn end_step(mut self) -> Self {
        match self.step.take() {
            Some(step) => update_statistics(self, &step),
            None => self,
        }
    }
}

/// A map `[batch, channels, side, side]` as a state `[batch, channels, side * side]`, a view of the same values.
fn flat(map: Tensor<4>) -> Tensor<3> {
    let [batch, channels, rows, columns] = map.dims();
    map.reshape([batch, channels, rows * columns])
}

/// The square map of a state.
///
/// # Errors
/// If the state's length is not that of a square map.
fn map(state: Tensor<3>) -> Result<Tensor<4>> {
    let [batch, channels, length] = state.dims();
    let side = length.isqrt();
    if side * side != length {
        return Err(ModelError::StateLength {
            what: "CRIS's image state".into(),
            length,
        });
    }
    Ok(state.reshape([batch, channels, side, side]))
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::cris::CrisConfig;
    use crate::methods::{DecoderConfig, DenseConfig, FullConfig, ShallowConfig};

    #[test]
    fn methods_that_do_not_fit_say_what_does() {
        let cris = CrisConfig::tiny().init(&Device::flex());
        let dense = DenseConfig::default().into();
        let shallow = ShallowConfig::default().into();
        for (method, part) in [(dense, "`towers = \"l\"`"), (shallow, "\"dense\"")] {
            let error = CrisModel::new(&cris, method, 0).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    /// The states of an image have the shapes that are said, where they are frozen.
    #[test]
    fn states_are_as_said() {
        let cris = CrisConfig::tiny().init(&Device::flex());
        let model = |method| CrisModel::new(&cris, method, 0).unwrap();
        let full = model(FullConfig::default().into());
        assert_eq!(full.frozen_vision(64), None);
        let model = model(DecoderConfig::default().into());
        let said = model.frozen_vision(64).unwrap();
        let states = model.vision_states(Tensor::zeros([1, 3, 64, 64], &Device::flex()));
        let found: Vec<[usize; 2]> = states.iter().map(|x| [x.dims()[1], x.dims()[2]]).collect();
        assert_eq!(found, said);
    }
}
