//! A CLIPSeg with adapters.

use burn::module::Module;
use burn::tensor::Tensor;

use super::in_step::InStep;
use super::{ClipSeg, part, random_decoder};
use crate::clip::{Stages, TextStates, TokenBatch, adapted_embedding, embedding_states};
use crate::contract::{HiddenStates, SegmentationModel, expect_states};
use crate::error::{ModelError, Result};
use crate::methods::{
    Adaptation, Adapters, MethodConfig, OutputHead, Pairing, Profile, Unadapted, merged,
};
use crate::preprocess::check_image_size;
use crate::weights;

/// What messages call the text states.
const TEXT_STATES: &str = "CLIPSeg's text states";

/// A CLIPSeg with the adapters of a method. Its parameters have the published names: those of the
/// base start with `clipseg.`.
#[derive(Module, Debug)]
pub struct ClipSegModel {
    clipseg: ClipSeg,
    adapters: Adapters,
    head: Option<OutputHead>,
    #[module(skip)]
    method: MethodConfig,
    /// In a training step: its seed, and the number of the first example among the step's.
    #[module(skip)]
    draws: Option<(u64, usize)>,
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
        let bert = clipseg.config.text_config.bert.is_some();
        let adapters = Adapters::new(&method, &shape, seed, &device)?;
        if bert
            && method.profile() == Profile::Paper
            && adapters.hooks().pairing() == Pairing::Layers
        {
            return Err(ModelError::Method(format!(
                "`profile` is \"paper\", in which {} reads the padding of texts, which a BERT does not have here; use `profile = \
                 \"default\"`",
                method.label()
            )));
        }
        let width = clipseg.config.reduce_dim;
        let head = method
            .has_head()
            .then(|| OutputHead::new(width, seed, &device));
        if clipseg.config.fresh_decoder && adapters.hooks().touches().decoder {
            let decoder = random_decoder(&clipseg.config, seed);
            clipseg = weights::import(clipseg, decoder, |name| name.starts_with("decoder.")).0;
        }
        // Layers after the last tap are only run for CLIP's embedding of an image. They are two of twelve and take a tenth of a
        // base's memory.
        if adapters.hooks().pairing() != Pairing::Embedding {
            let last = clipseg.config.last_tap();
            clipseg.clip.vision_model.truncate(last);
        }
        Ok(Self {
            clipseg,
            adapters,
            head,
            method,
            draws: None,
        })
    }

    fn stages(&self) -> Stages {
        let taps = self.clipseg.config.extract_layers.iter();
        let wanted: Vec<usize> = taps.map(|layer| layer + 1).collect();
        Stages::new(&wanted, self.adaptation())
    }

    fn pairing(&self) -> Pairing {
        self.adaptation().pairing()
    }

    /// The numbers of the vision states to compute, each by the number of layers before it. For CLIP's embedding of the image, the last
    /// layer's is the last of them. Where both towers run in step, those of the images alone.
    fn first_stage(&self) -> Vec<usize> {
        let mut wanted = self.stages().first().to_vec();
        match self.pairing() {
            Pairing::None => {}
            Pairing::Embedding => wanted.push(self.clipseg.config.vision_config.num_hidden_layers),
            Pairing::Layers => {
                let first = self.adaptation().first_vision_layer();
                let taps = self.clipseg.config.extract_layers.iter();
                let before = taps.map(|tap| tap + 1).filter(|state| *state < first);
                wanted = before.chain([first]).collect();
            }
        }
        wanted
    }

    fn in_step(&self) -> InStep<'_> {
        InStep {
            clipseg: &self.clipseg,
            method: self.adaptation(),
            padded: self.method.profile() == Profile::Paper,
            draws: self.draws,
        }
    }

    /// Projected text embeddings `[prompts, projection]`, and the states that the method taps.
    fn embed_text(&self, tokens: &TokenBatch, hooks: &dyn Adaptation) -> HiddenStates {
        let clip = &self.clipseg.clip;
        let TextStates { pooled, tapped } = clip.text_model.forward(tokens, hooks);
        embedding_states(clip.text_projection.forward(pooled), tapped)
    }

    /// The conditional embeddings `[pairs, projection]` of prompts for images, given the images' embeddings `[pairs, 1, projection]`.
    fn condition_on_images(&self, prompts: Tensor<3>, images: Tensor<3>) -> Result<Tensor<2>> {
        let hooks = self.adaptation().for_images(images.squeeze_dim(1));
        let hooks = hooks.as_deref().unwrap_or(&Unadapted);
        let tokens = TokenBatch::from_state(prompts, &self.clipseg.config.text_config)?;
        adapted_embedding(self.embed_text(&tokens, hooks), hooks, TEXT_STATES)
    }
}

impl SegmentationModel for ClipSegModel {
    fn method(&self) -> &MethodConfig {
        &self.method
    }

    fn adaptation(&self) -> &dyn Adaptation {
        self.adapters.hooks()
    }

    /// The states that the decoder sees, or those of them before the first layer that the method changes and what enters it; then CLIP's
    /// embedding of the image, if the method needs it.
    fn vision_states(&self, pixels: Tensor<4>) -> HiddenStates {
        let tower = &self.clipseg.clip.vision_model;
        let mut states = tower.forward(pixels, &self.first_stage(), self.adaptation());
        if self.pairing() == Pairing::Embedding
            && let Some(last) = states.pop()
        {
            let class = tower.normalise_class(last.narrow(1, 0, 1));
            states.push(self.clipseg.clip.visual_projection.forward(class));
        }
        states
    }

    fn frozen_vision(&self, image_size: usize) -> Option<Vec<[usize; 2]>> {
        let config = &self.clipseg.config;
        let tokens = (image_size / config.vision_config.patch_size).pow(2) + 1;
        let shape = [tokens, config.vision_config.hidden_size];
        let stages = self.stages();
        let mut shapes = vec![shape; self.first_stage().len()];
        if self.pairing() == Pairing::Embedding
            && let Some(last) = shapes.last_mut()
        {
            *last = [1, config.projection_dim];
        }
        (stages.frozen || self.pairing() == Pairing::Layers).then_some(shapes)
    }

    /// The tapped layers can differ between profiles of one base, and the others between methods.
    fn wanted_vision_states(&self) -> String {
        match self.pairing() {
            Pairing::None | Pairing::Layers => format!("{:?}", self.first_stage()),
            Pairing::Embedding => format!("{:?} and the embedding", self.stages().first()),
        }
    }

    /// The reduced states, then CLIP's embedding of the image, if the method needs it. The states themselves where both towers run in
    /// step.
    fn features(&self, mut states: HiddenStates) -> Result<HiddenStates> {
        let (tower, hooks) = (&self.clipseg.clip.vision_model, self.adaptation());
        let embedding = match self.pairing() {
            Pairing::None => None,
            Pairing::Embedding => states.pop(),
            Pairing::Layers => return Ok(states),
        };
        let what = "CLIPSeg's vision states";
        let states = self.stages().complete(tower, states, hooks, what)?;
        let states = self.clipseg.config.extract_layers.iter().zip(states);
        let states = states.map(|(tap, state)| hooks.tap(*tap, state));
        let mut features = self.clipseg.decoder.reduce(states.collect());
        features.extend(embedding);
        Ok(features)
    }

    fn context_length(&self) -> usize {
        let most = self.clipseg.config.text_config.max_position_embeddings;
        most.saturating_sub(self.adaptation().extra_tokens())
    }

    fn tokens<P: AsRef<[u32]>>(&self, prompts: &[P]) -> Result<TokenBatch> {
        let tokens = TokenBatch::new(prompts, &self.clipseg.config.text_config)?;
        tokens.expect_at_most(self.context_length())
    }

    /// The projected embedding, then the tapped states that the adapters read; the tokens alone if the method needs the image too.
    fn text_states(&self, tokens: &TokenBatch) -> HiddenStates {
        match self.pairing() {
            Pairing::None => self.embed_text(tokens, self.adaptation()),
            Pairing::Embedding | Pairing::Layers => vec![tokens.state(&self.device())],
        }
    }

    /// The layers that the adapters tap. Prompts are cut to the model's context, which depends on the number of learnt tokens.
    fn wanted_text_states(&self) -> String {
        match self.pairing() {
            Pairing::None => format!("{:?}", self.adaptation().text_taps()),
            Pairing::Embedding | Pairing::Layers => {
                format!("at most {} tokens", self.context_length())
            }
        }
    }

    fn frozen_text(&self) -> bool {
        self.pairing() != Pairing::None || !self.adaptation().touches().text
    }

    /// The conditional embedding, `[prompts, 1, projection]`, or the tokens.
    fn condition_text(&self, states: HiddenStates) -> Result<HiddenStates> {
        if self.pairing() != Pairing::None {
            return Ok(Vec::from(expect_states::<1>(states, TEXT_STATES)?));
        }
        let embedding = adapted_embedding(states, self.adaptation(), TEXT_STATES)?;
        Ok(vec![embedding.unsqueeze_dim(1)])
    }

    fn decode(&self, features: &[Tensor<3>], text: HiddenStates) -> Result<Tensor<3>> {
        let [text] = expect_states(text, "CLIPSeg's conditional embedding")?;
        let (decoder, head) = (&self.clipseg.decoder, self.head.as_ref());
        match (self.pairing(), features.split_last()) {
            (Pairing::Embedding, Some((image, features))) => {
                let text = self.condition_on_images(text, image.clone())?;
                decoder.forward(features, text, head)
            }
            (Pairing::Layers, _) => {
                let tokens = TokenBatch::from_state(text, &self.clipseg.config.text_config)?;
                let (tapped, text) = self.in_step().forward(features, &tokens)?;
                decoder.forward(&decoder.reduce(tapped), text, head)
            }
            _ => decoder.forward(features, text.squeeze_dim(1), head),
        }
    }

    fn begin_step(mut self, seed: u64) -> Self {
        self.draws = (self.pairing() == Pairing::Layers).then_some((seed, 0));
        self
    }

    fn begin_part(mut self, first: usize) -> Self {
        self.draws = self.draws.map(|(seed, _)| (seed, first));
        self
    }

    fn end_step(mut self) -> Self {
        self.draws = None;
        self
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
