//! A CLIPSeg with adapters.

use burn::module::Module;
use burn::tensor::Tensor;

use super::{ClipSeg, random_decoder};
use crate::adapter::{self, Adapters, LayerAdapters};
use crate::clip::{TextStates, TokenBatch};
use crate::contract::{HiddenStates, SegmentationModel, expect_states};
use crate::error::{ModelError, Result};
use crate::method::{MethodConfig, Profile};
use crate::preprocess::check_image_size;
use crate::weights;

/// A CLIPSeg with the adapters of a method. Its parameters have the published names: those of the
/// base start with `clipseg.`.
#[derive(Module, Debug)]
pub struct ClipSegModel {
    clipseg: ClipSeg,
    adapters: Option<Adapters>,
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
    /// If the method does not go with the base.
    pub fn new(clipseg: &ClipSeg, method: MethodConfig, seed: u64) -> Result<Self> {
        method.expect_no_statistics()?;
        let mut clipseg = clipseg.clone();
        if let (Profile::Paper, Some(taps)) = (method.profile, &clipseg.config.published_taps) {
            clipseg.config.extract_layers.clone_from(taps);
        }
        if clipseg.config.fresh_decoder && method.trains_decoder() {
            let decoder = random_decoder(&clipseg.config, seed);
            clipseg = weights::import(clipseg, decoder, |name| name.starts_with("decoder.")).0;
        }
        // The layers after the last tap are never run: two of twelve, a tenth of a base's memory.
        clipseg
            .clip
            .vision_model
            .truncate(clipseg.config.last_tap());
        let device = clipseg.devices().first().cloned().unwrap_or_default();
        let adapters = Adapters::new(&method, &clipseg.config, &device)?;
        Ok(Self {
            clipseg,
            adapters: adapter::initialised(adapters, method.init(), seed),
            method,
        })
    }
}

impl SegmentationModel for ClipSegModel {
    fn method(&self) -> &MethodConfig {
        &self.method
    }

    fn vision_states(&self, pixels: Tensor<4>) -> HiddenStates {
        let tower = &self.clipseg.clip.vision_model;
        tower.forward(pixels, &self.clipseg.config.extract_layers, |layer| {
            let adapters = self.adapters.as_ref();
            adapters.map_or_else(LayerAdapters::default, |all| all.vision_layer(layer))
        })
    }

    fn frozen_vision(&self, image_size: usize) -> Option<Vec<[usize; 2]>> {
        let config = &self.clipseg.config;
        let tokens = (image_size / config.vision_config.patch_size).pow(2) + 1;
        let shape = [tokens, config.vision_config.hidden_size];
        (!self.method.trains_vision_tower()).then(|| vec![shape; config.extract_layers.len()])
    }

    fn features(&self, states: HiddenStates) -> Result<HiddenStates> {
        let taps = self.clipseg.config.extract_layers.len();
        if states.len() != taps {
            return Err(ModelError::States {
                what: "CLIPSeg's vision states".into(),
                expected: taps,
                found: states.len(),
            });
        }
        let states = match &self.adapters {
            Some(adapters) => adapters.adapt_taps(states),
            None => states,
        };
        Ok(self.clipseg.decoder.reduce(states))
    }

    fn context_length(&self) -> usize {
        self.clipseg.config.text_config.max_position_embeddings
    }

    fn tokens<P: AsRef<[u32]>>(&self, prompts: &[P]) -> Result<TokenBatch> {
        TokenBatch::new(prompts, &self.clipseg.config.text_config)
    }

    /// The projected embedding, then the tapped states that the adapters read.
    fn text_states(&self, tokens: &TokenBatch) -> HiddenStates {
        let clip = &self.clipseg.clip;
        let taps = self.adapters.as_ref().map_or(&[][..], Adapters::text_taps);
        let TextStates { pooled, tapped } = clip.text_model.forward(tokens, taps, |layer| {
            let adapters = self.adapters.as_ref();
            adapters.map_or_else(LayerAdapters::default, |all| all.text_layer(layer))
        });
        let mut states = vec![clip.text_projection.forward(pooled)];
        states.extend(tapped);
        states.into_iter().map(|one| one.unsqueeze_dim(1)).collect()
    }

    fn frozen_text(&self) -> bool {
        !self.method.trains_text_tower()
    }

    /// The conditional embedding, `[prompts, 1, projection]`.
    fn condition_text(&self, states: HiddenStates) -> Result<HiddenStates> {
        let taps = self.adapters.as_ref().map_or(&[][..], Adapters::text_taps);
        let (expected, found) = (1 + taps.len(), states.len());
        let mut states = states.into_iter().map(|state| state.squeeze_dim::<2>(1));
        let (true, Some(embedding)) = (found == expected, states.next()) else {
            return Err(ModelError::States {
                what: "CLIPSeg's text states".into(),
                expected,
                found,
            });
        };
        let tapped = states.collect();
        let embedding = match &self.adapters {
            Some(adapters) => adapters.adapt_text(embedding, tapped),
            None => embedding,
        };
        Ok(vec![embedding.unsqueeze_dim(1)])
    }

    fn decode(&self, features: &[Tensor<3>], text: HiddenStates) -> Result<Tensor<3>> {
        let [text] = expect_states(text, "CLIPSeg's conditional embedding")?;
        self.clipseg.decoder.forward(features, text.squeeze_dim(1))
    }

    fn output_size(&self, image_size: usize) -> Result<usize> {
        let config = &self.clipseg.config;
        check_image_size(image_size, config.vision_config.patch_size)?;
        Ok(config.output_size(image_size))
    }

    fn trains(&self, name: &str) -> bool {
        self.method.trains(name, &self.clipseg.config)
    }
}
