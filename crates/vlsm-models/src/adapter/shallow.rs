//! Shallow adapters: blocks between the untouched towers and the decoder.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::{AdapterBlock, conditional_block, conditioned};
use crate::clipseg::ClipSegConfig;
use crate::method::MethodConfig;

/// A block on each tapped vision state; blocks on tapped text states, whose outputs are added to
/// the text embedding; one block on that embedding. Field names as published.
#[derive(Module, Debug)]
pub struct ShallowAdapters {
    vision_extract_adapters: Vec<AdapterBlock>,
    text_extract_adapters: Vec<AdapterBlock>,
    cond_adapter: Option<AdapterBlock>,
    // For each vision block, the place of its tap among the tapped states.
    #[module(skip)]
    places: Vec<usize>,
    #[module(skip)]
    text_taps: Vec<usize>,
}

impl ShallowAdapters {
    pub(super) fn new(method: &MethodConfig, base: &ClipSegConfig, device: &Device) -> Self {
        let taps = method.vision_places(base);
        let text_taps = method.text_places(base);
        let make = |taps: &[(usize, usize)], width| {
            let widths = taps.iter().map(|(_, bottleneck)| *bottleneck);
            widths
                .map(|bottleneck| AdapterBlock::new(width, bottleneck, method, device))
                .collect()
        };
        Self {
            vision_extract_adapters: make(&taps, base.vision_config.hidden_size),
            text_extract_adapters: make(&text_taps, base.text_config.hidden_size),
            cond_adapter: conditional_block(method, base, device),
            places: taps
                .iter()
                .filter_map(|(tap, _)| base.extract_layers.iter().position(|layer| layer == tap))
                .collect(),
            text_taps: text_taps.into_iter().map(|(tap, _)| tap).collect(),
        }
    }

    /// The text layers whose states are wanted.
    pub fn text_taps(&self) -> &[usize] {
        &self.text_taps
    }

    /// The tapped vision states, each `[batch, tokens, width]`.
    pub fn adapt_taps(&self, mut tapped: Vec<Tensor<3>>) -> Vec<Tensor<3>> {
        for (place, block) in self.places.iter().zip(&self.vision_extract_adapters) {
            tapped[*place] = block.forward(tapped[*place].clone());
        }
        tapped
    }

    /// The projected text embedding, `[prompts, projection]`, given the tapped text states.
    pub fn adapt_text(&self, embedding: Tensor<2>, tapped: Vec<Tensor<2>>) -> Tensor<2> {
        let embedding = conditioned(&self.cond_adapter, embedding);
        self.text_extract_adapters
            .iter()
            .zip(tapped)
            .fold(embedding, |sum, (block, state)| {
                sum + block.contribution(state)
            })
    }
}
