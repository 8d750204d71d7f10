//! The model that is trained, evaluated and asked.

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::adapter::{AdapterFile, Adapters};
use crate::base::Base;
use crate::clip::{TextStates, TokenBatch};
use crate::clipseg::ClipSeg;
use crate::config::ClipSegConfig;
use crate::error::{ModelError, Result};
use crate::init;
use crate::method::MethodConfig;
use crate::preprocess::check_image_size;
use crate::weights::{self, for_each_parameter};

/// What training, evaluation and prediction need of a model, whatever its architecture.
///
/// The work is split so that an image is encoded once for all its prompts and a prompt once for
/// all its images, and each encoding once more: into a tower's states, which a method may leave as
/// they are in the base, so that they need not be computed again in each epoch
/// ([`frozen_vision`](Self::frozen_vision), [`frozen_text`](Self::frozen_text)), and what is made
/// of them for the decoder.
pub trait SegmentationModel: Module {
    /// What is kept of a batch of images.
    type Features: Clone;

    /// Pixels `[batch, 3, side, side]`, normalised, to the vision tower's states, each
    /// `[batch, tokens, width]`.
    fn vision_states(&self, pixels: Tensor<4>) -> Vec<Tensor<3>>;

    /// For inputs of a side, the shapes `[tokens, width]` of an image's
    /// [`vision_states`](Self::vision_states), if nothing that they depend on is trained.
    fn frozen_vision(&self, image_size: usize) -> Option<Vec<[usize; 2]>>;

    /// Vision states to features.
    fn features(&self, states: Vec<Tensor<3>>) -> Self::Features;

    /// Pixels `[batch, 3, side, side]`, normalised, to features.
    fn encode_image(&self, pixels: Tensor<4>) -> Self::Features {
        self.features(self.vision_states(pixels))
    }

    /// The features of some images of a batch, by index, repeated as often as they are named: an
    /// image is encoded once and decoded for each of its prompts.
    fn select_features(&self, features: &Self::Features, images: &[usize]) -> Self::Features;

    /// The most tokens a prompt can have.
    fn context_length(&self) -> usize;

    /// Makes the batch of tokens that [`encode_text`](Self::encode_text) takes.
    ///
    /// # Errors
    /// If a prompt is too long or has an id outside the vocabulary.
    fn tokens<P: AsRef<[u32]>>(&self, prompts: &[P]) -> Result<TokenBatch>;

    /// Tokens to the text tower's states, each `[prompts, width]`.
    fn text_states(&self, tokens: &TokenBatch) -> Vec<Tensor<2>>;

    /// Whether nothing that [`text_states`](Self::text_states) depend on is trained.
    fn frozen_text(&self) -> bool;

    /// Text states to conditional embeddings `[prompts, projection]`.
    fn condition(&self, states: Vec<Tensor<2>>) -> Tensor<2>;

    /// Tokens to conditional embeddings `[prompts, projection]`.
    fn encode_text(&self, tokens: &TokenBatch) -> Tensor<2> {
        self.condition(self.text_states(tokens))
    }

    /// Features of a batch and as many conditional embeddings to logits `[batch, side, side]`.
    fn decode(&self, features: &Self::Features, text: Tensor<2>) -> Tensor<3>;

    /// Side of the logits for an input side, in pixels.
    ///
    /// # Errors
    /// If the model cannot take that input side; names one it can.
    fn output_size(&self, image_size: usize) -> Result<usize>;

    /// Whether the parameter of that name is trained.
    fn trains(&self, name: &str) -> bool;

    /// The device that inputs belong on, without autodiff.
    fn device(&self) -> Device {
        let device = self.devices().first().cloned().unwrap_or_default();
        device.without_autodiff()
    }
}

/// A CLIPSeg with the adapters of a method. Its parameters have the published names: those of the
/// base start with `clipseg.`.
#[derive(Module, Debug)]
pub struct AdaptedClipSeg {
    clipseg: ClipSeg,
    adapters: Option<Adapters>,
    #[module(skip)]
    config: ClipSegConfig,
    #[module(skip)]
    method: MethodConfig,
}

impl AdaptedClipSeg {
    /// A base with fresh adapters, initialised by `seed`.
    ///
    /// # Errors
    /// If the method does not go with the base.
    pub fn new(base: &Base, method: MethodConfig, seed: u64) -> Result<Self> {
        let device = base.clipseg.devices().first().cloned().unwrap_or_default();
        let adapters = Adapters::new(&method, &base.config, &device)?;
        Ok(Self {
            clipseg: base.clipseg.clone(),
            adapters: init::adapters(adapters, method.profile, seed),
            config: base.config.clone(),
            method,
        })
    }

    /// A base with the trained parameters of an adapter file.
    ///
    /// # Errors
    /// If the file is for another base or does not fit this one.
    pub fn with_adapter(base: &Base, adapter: AdapterFile) -> Result<Self> {
        adapter.check_base(&base.identity)?;
        Self::new(base, adapter.method.clone(), 0)?.load(adapter)
    }

    /// Puts the parameters of an adapter file in place of the trained ones.
    ///
    /// # Errors
    /// If a tensor is missing, extra or of another shape.
    pub fn load(self, adapter: AdapterFile) -> Result<Self> {
        let AdapterFile {
            path,
            tensors,
            method,
            ..
        } = adapter;
        if method.kind != self.method.kind {
            return Err(ModelError::Adapter {
                path,
                message: format!(
                    "was made by method {:?}, but {:?} is wanted; set `method.kind` to what made it",
                    method.kind, self.method.kind
                ),
            });
        }
        let (model, misfits) = weights::import(self.clone(), tensors, |name| self.trains(name));
        if misfits.is_empty() {
            Ok(model)
        } else {
            Err(ModelError::Weights {
                path,
                message: misfits.describe(),
            })
        }
    }

    /// The same model with the trained parameters tracked for gradients and all others constant.
    pub fn for_training(self) -> Self {
        self.tracked(true)
    }

    /// The same model with all parameters constant.
    pub fn for_inference(self) -> Self {
        self.tracked(false)
    }

    fn tracked(self, training: bool) -> Self {
        struct Track(Vec<ParamId>);
        impl ModuleMapper for Track {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                weights::with_tracking(param.id, param.val(), self.0.contains(&param.id))
            }
        }
        let mut trained = Vec::new();
        weights::for_each_parameter_id(&self, |name, id| {
            if training && self.trains(name) {
                trained.push(id);
            }
        });
        self.map(&mut Track(trained))
    }

    /// The method.
    pub fn method(&self) -> &MethodConfig {
        &self.method
    }

    /// The base's configuration.
    pub fn config(&self) -> &ClipSegConfig {
        &self.config
    }

    /// Number of trained parameters.
    pub fn trained_parameters(&self) -> usize {
        let mut count = 0;
        for_each_parameter(self, |name, shape| {
            if self.trains(name) {
                count += shape.iter().product::<usize>();
            }
        });
        count
    }
}

impl SegmentationModel for AdaptedClipSeg {
    type Features = Vec<Tensor<3>>;

    fn vision_states(&self, pixels: Tensor<4>) -> Vec<Tensor<3>> {
        let tower = &self.clipseg.clip.vision_model;
        tower.forward(pixels, &self.config.extract_layers, |layer| {
            self.adapters.as_ref()?.vision_layer(layer)
        })
    }

    fn frozen_vision(&self, image_size: usize) -> Option<Vec<[usize; 2]>> {
        let vision = &self.config.vision_config;
        let tokens = (image_size / vision.patch_size).pow(2) + 1;
        let taps = self.config.extract_layers.len();
        (!self.method.trains_vision_tower()).then(|| vec![[tokens, vision.hidden_size]; taps])
    }

    fn features(&self, states: Vec<Tensor<3>>) -> Self::Features {
        let states = match &self.adapters {
            Some(adapters) => adapters.adapt_taps(states),
            None => states,
        };
        self.clipseg.decoder.reduce(states)
    }

    fn select_features(&self, features: &Self::Features, images: &[usize]) -> Self::Features {
        let indices: Vec<i64> = images.iter().map(|image| *image as i64).collect();
        features
            .iter()
            .map(|state| {
                let indices = TensorData::new(indices.clone(), [images.len()]);
                let indices = Tensor::<1, Int>::from_data(indices, &state.device());
                state.clone().select(0, indices)
            })
            .collect()
    }

    fn context_length(&self) -> usize {
        self.config.text_config.max_position_embeddings
    }

    fn tokens<P: AsRef<[u32]>>(&self, prompts: &[P]) -> Result<TokenBatch> {
        TokenBatch::new(prompts, &self.config.text_config)
    }

    /// The projected embedding, and behind it the tapped states that the adapters want.
    fn text_states(&self, tokens: &TokenBatch) -> Vec<Tensor<2>> {
        let clip = &self.clipseg.clip;
        let taps = self.adapters.as_ref().map_or(&[][..], Adapters::text_taps);
        let TextStates { pooled, tapped } = clip.text_model.forward(tokens, taps, |layer| {
            self.adapters.as_ref()?.text_layer(layer)
        });
        let mut states = vec![clip.text_projection.forward(pooled)];
        states.extend(tapped);
        states
    }

    fn frozen_text(&self) -> bool {
        !self.method.trains_text_tower()
    }

    fn condition(&self, mut states: Vec<Tensor<2>>) -> Tensor<2> {
        let tapped = states.split_off(1);
        let embedding = states.swap_remove(0);
        match &self.adapters {
            Some(adapters) => adapters.adapt_text(embedding, tapped),
            None => embedding,
        }
    }

    fn decode(&self, features: &Self::Features, text: Tensor<2>) -> Tensor<3> {
        self.clipseg.decoder.forward(features, text)
    }

    fn output_size(&self, image_size: usize) -> Result<usize> {
        check_image_size(image_size, &self.config)?;
        Ok(self.config.output_size(image_size))
    }

    fn trains(&self, name: &str) -> bool {
        self.method.trains(name, &self.config)
    }
}
