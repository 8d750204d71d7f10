//! Both towers in step, for methods in which the states of images and prompts depend on each other.

use burn::tensor::Tensor;

use super::ClipSeg;
use crate::clip::TokenBatch;
use crate::contract::{HiddenStates, concatenate, select};
use crate::error::{ModelError, Result};
use crate::methods::{Adaptation, Draws, Tower};

/// The token of OpenAI's padding of texts.
const PADDING: u32 = 0;

/// A CLIPSeg whose towers run in step.
pub(super) struct InStep<'a> {
    pub(super) clipseg: &'a ClipSeg,
    pub(super) method: &'a dyn Adaptation,
    /// Whether texts are padded to the context and the padding is read, as in the published code.
    pub(super) padded: bool,
    /// In training: the step's seed and the number of the first pair among the step's.
    pub(super) draws: Option<(u64, usize)>,
}

impl InStep<'_> {
    /// The tapped vision states `[pairs, tokens, width]` in the configuration's order and the text embeddings `[pairs, projection]`,
    /// of the states of each pair's image: the tapped ones before the first layer that the method changes, and that which enters it.
    ///
    /// # Errors
    /// If these are not as many as the model computes.
    pub(super) fn forward(
        &self,
        images: &[Tensor<3>],
        tokens: &TokenBatch,
    ) -> Result<(HiddenStates, Tensor<2>)> {
        let config = &self.clipseg.config;
        let first = self.method.first_vision_layer();
        let before = config.extract_layers.iter().filter(|tap| **tap + 1 < first);
        let (expected, found) = (before.count() + 1, images.len());
        if found != expected {
            return Err(ModelError::States {
                what: "CLIPSeg's features".into(),
                expected,
                found,
            });
        }
        let pairs: Vec<usize> = (0..tokens.len()).collect();
        if self.padded {
            let context = config.text_config.max_position_embeddings;
            return self.of_one_length(images, &pairs, &tokens.padded(context, PADDING));
        }
        // Nothing is computed for padding, nor read of it: each group of texts of one length has a pass of its own.
        let mut lengths = tokens.ends().to_vec();
        lengths.sort_unstable();
        lengths.dedup();
        let mut order = Vec::with_capacity(pairs.len());
        let (mut tapped, mut texts) = (Vec::new(), Vec::new());
        for length in lengths {
            let mut group = pairs.clone();
            group.retain(|pair| tokens.ends()[*pair] == length);
            let own = select(images, &group);
            let (states, text) = self.of_one_length(&own, &group, &tokens.select(&group))?;
            tapped.push(states);
            texts.push(text);
            order.extend(group);
        }
        let mut rows = vec![0; order.len()];
        for (row, pair) in order.into_iter().enumerate() {
            rows[pair] = row;
        }
        tapped.iter_mut().zip(texts).for_each(|(states, text)| {
            states.push(text.unsqueeze_dim(1));
        });
        let mut all = select(&concatenate(tapped), &rows);
        let text = all.pop().map(|text| text.squeeze_dim(1));
        let text = text.ok_or_else(|| ModelError::Tokens("there are no prompts".into()))?;
        Ok((all, text))
    }

    /// [`forward`](Self::forward) of `pairs`, by their numbers, with texts of equal length.
    fn of_one_length(
        &self,
        images: &[Tensor<3>],
        pairs: &[usize],
        tokens: &TokenBatch,
    ) -> Result<(HiddenStates, Tensor<2>)> {
        let (clip, taps) = (&self.clipseg.clip, &self.clipseg.config.extract_layers);
        let draws = self.draws.map(|(seed, first)| Draws {
            seed,
            numbers: pairs.iter().map(|pair| first + pair).collect(),
        });
        let first = self.method.first_vision_layer();
        let layers = &clip.vision_model.layers()[..=self.clipseg.config.last_tap()];
        let missing = || ModelError::States {
            what: "CLIPSeg's features".into(),
            expected: 1,
            found: 0,
        };
        let (mut vision, before) = match images.split_last() {
            Some((last, before)) => (last.clone(), before),
            None => return Err(missing()),
        };
        let mut before = before.iter();
        let mut states: Vec<Option<Tensor<3>>> = taps
            .iter()
            .map(|tap| (tap + 1 < first).then(|| before.next().cloned()).flatten())
            .collect();
        let mut keep = |number: usize, state: &Tensor<3>| {
            for (slot, tap) in states.iter_mut().zip(taps) {
                if tap + 1 == number {
                    *slot = Some(state.clone());
                }
            }
        };
        keep(first, &vision);
        let mut text = clip.text_model.input(tokens);
        for index in 0..clip.text_model.depth().max(layers.len()) {
            if index >= first {
                (vision, text) = self.method.exchange(index, vision, text, draws.as_ref());
                if let Some(layer) = layers.get(index) {
                    let adapters = self.method.layer(Tower::Vision, index);
                    vision = layer.forward(vision, false, adapters);
                    keep(index + 1, &vision);
                }
            }
            if index < clip.text_model.depth() {
                text = clip.text_model.layer(index, text, self.method);
            }
        }
        let pooled = clip.text_model.pooled(text, tokens);
        let states: HiddenStates = states.into_iter().flatten().collect();
        match states.len() == taps.len() {
            true => Ok((states, clip.text_projection.forward(pooled))),
            false => Err(missing()),
        }
    }
}
