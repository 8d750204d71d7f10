//! A CLIPSeg with adapters.

use burn::module::Module;
use burn::tensor::Tensor;

use super::{ClipSeg, part, random_decoder};
use crate::clip::{Stages, TextStates, TokenBatch, adapted_embedding, embedding_states};
use crate::contract::{HiddenStates, SegmentationModel, expect_states};
use crate::error::Result;
use crate::methods::{Adaptation, Adapters, MethodConfig, OutputHead, extra_tokens, merged};
use crate::preprocess::check_image_size;
use crate::weights;

/// A CLIPSeg with the adapters of a method. Its parameters have the published names: those of the
/// base start with `clipseg.`.
#[derive(Module, Debug)]
pub struct ClipSegModel {
    clipseg: ClipSeg,
    adapters: Adapters,
    head: Option<OutputHead>,
    #[module(skip)]
    method: MethodConfig,
}

impl ClipSegModel {
    /// See [`EncoderLayer::set_recompute`](crate::clip::EncoderLayer::set_recompute).
    pub fn set_recompute(&mut self, recompute: bool) {
        self.clipseg.set_recompute(recompute);
    }

    /// A CLIPSeg with fresh adapters, initialised by `seed`.
    ///
    /// # Errors
    /// If the method does not fit the base.
    pub fn new(clipseg: &ClipSeg, method: MethodConfig, seed: u64) -> Result<Self> {
        let mut clipseg = clipseg.clone();
        clipseg.config.extract_layers = clipseg.config.taps(method.profile()).to_vec();
        let device = clipseg.devices().first().cloned().unwrap_or_default();
        let shape = clipseg.config.shape(method.profile());
        let adapters = Adapters::new(&method, &shape, seed, &device)?;
        let width = clipseg.config.reduce_dim;
        let head = method
            .has_head()
            .then(|| OutputHead::new(width, seed, &device));
        if clipseg.config.fresh_decoder && adapters.hooks().touches().decoder {
            let decoder = random_decoder(&clipseg.config, seed);
            clipseg = weights::import(clipseg, decoder, |name| name.starts_with("decoder.")).0;
        }
        // Layers after the last tap are never run. They are two of twelve and take a tenth of a
        // base's memory.
        clipseg
            .clip
            .vision_model
            .truncate(clipseg.config.last_tap());
        Ok(Self {
            clipseg,
            adapters,
            head,
            method,
        })
    }

    fn stages(&self) -> Stages {
        let taps = self.clipseg.config.extract_layers.iter();
        let wanted: Vec<usize> = taps.map(|layer| layer + 1).collect();
        Stages::new(&wanted, self.adaptation())
    }
}

impl SegmentationModel for ClipSegModel {
    fn method(&self) -> &MethodConfig {
        &self.method
    }

    fn adaptation(&self) -> &dyn Adaptation {
        self.adapters.hooks()
    }

    /// The states that the decoder sees, or those of them before the first layer that the method changes and what enters it.
    fn vision_states(&self, pixels: Tensor<4>) -> HiddenStates {
        let tower = &self.clipseg.clip.vision_model;
        tower.forward(pixels, self.stages().first(), self.adaptation())
    }

    fn frozen_vision(&self, image_size: usize) -> Option<Vec<[usize; 2]>> {
        let config = &self.clipseg.config;
        let tokens = (image_size / config.vision_config.patch_size).pow(2) + 1;
        let shape = [tokens, config.vision_config.hidden_size];
        let stages = self.stages();
        stages.frozen.then(|| vec![shape; stages.first().len()])
    }

    /// The tapped layers can differ between profiles of one base, and the others between methods.
    fn wanted_vision_states(&self) -> String {
        format!("{:?}", self.stages().first())
    }

    fn features(&self, states: HiddenStates) -> Result<HiddenStates> {
        let (tower, hooks) = (&self.clipseg.clip.vision_model, self.adaptation());
        let what = "CLIPSeg's vision states";
        let states = self.stages().complete(tower, states, hooks, what)?;
        let states = self.clipseg.config.extract_layers.iter().zip(states);
        let states = states.map(|(tap, state)| hooks.tap(*tap, state));
        Ok(self.clipseg.decoder.reduce(states.collect()))
    }

    fn context_length(&self) -> usize {
        let most = self.clipseg.config.text_config.max_position_embeddings;
        most.saturating_sub(extra_tokens(self.adaptation()))
    }

    fn tokens<P: AsRef<[u32]>>(&self, prompts: &[P]) -> Result<TokenBatch> {
        let tokens = TokenBatch::new(prompts, &self.clipseg.config.text_config)?;
        tokens.expect_at_most(self.context_length())
    }

    /// The projected embedding, then the tapped states that the adapters read.
    fn text_states(&self, tokens: &TokenBatch) -> HiddenStates {
        let clip = &self.clipseg.clip;
        let TextStates { pooled, tapped } = clip.text_model.forward(tokens, self.adaptation());
        embedding_states(clip.text_projection.forward(pooled), tapped)
    }

    /// The layers that the adapters tap.
    fn wanted_text_states(&self) -> String {
        format!("{:?}", self.adaptation().text_taps())
    }

    fn frozen_text(&self) -> bool {
        !self.adaptation().touches().text
    }

    /// The conditional embedding, `[prompts, 1, projection]`.
    fn condition_text(&self, states: HiddenStates) -> Result<HiddenStates> {
        let embedding = adapted_embedding(states, self.adaptation(), "CLIPSeg's text states")?;
        Ok(vec![embedding.unsqueeze_dim(1)])
    }

    fn decode(&self, features: &[Tensor<3>], text: HiddenStates) -> Result<Tensor<3>> {
        let [text] = expect_states(text, "CLIPSeg's conditional embedding")?;
        let decoder = &self.clipseg.decoder;
        decoder.forward(features, text.squeeze_dim(1), self.head.as_ref())
    }

    fn output_size(&self, image_size: usize) -> Result<usize> {
        let config = &self.clipseg.config;
        check_image_size(image_size, config.vision_config.patch_size)?;
        Ok(config.output_size(image_size))
    }

    fn merged(self) -> Self {
        let shape = self.clipseg.config.shape(self.method.profile());
        let (clipseg, adapters) = merged(self.clipseg, &shape, self.adapters);
        Self {
            clipseg,
            adapters,
            ..self
        }
    }

    fn trains(&self, name: &str) -> bool {
        match name.strip_prefix("clipseg.") {
            Some(name) => self.adaptation().trains(part(name), name),
            None => true,
        }
    }
}
