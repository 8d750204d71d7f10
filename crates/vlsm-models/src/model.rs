//! The models that are trained, evaluated and asked, behind one door.

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::adapter::AdapterFile;
use crate::base::{Base, Network};
use crate::clip::TokenBatch;
use crate::clipseg::AdaptedClipSeg;
use crate::cris::AdaptedCris;
use crate::error::{ModelError, Result};
use crate::method::MethodConfig;
use crate::san::AdaptedSan;
use crate::weights::{self, for_each_parameter};

/// What a model keeps of images or of prompts: tensors `[rows, tokens, width]`, a row of each for an image or a prompt. What
/// has no tokens has one.
///
/// Where prompts have different numbers of tokens, the shorter ones are filled up with zeros at the end; a model that must
/// tell tokens from filling keeps a tensor that says so.
pub type States = Vec<Tensor<3>>;

/// Some rows of states, by index, repeated as often as they are named: an image is encoded once and decoded for each of its
/// prompts.
pub fn select(states: &[Tensor<3>], rows: &[usize]) -> States {
    let indices: Vec<i64> = rows.iter().map(|row| *row as i64).collect();
    let some = states.iter().map(|state| {
        let indices = TensorData::new(indices.clone(), [rows.len()]);
        let indices = Tensor::<1, Int>::from_data(indices, &state.device());
        state.clone().select(0, indices)
    });
    some.collect()
}

/// The rows of several states one behind the other.
pub fn concatenate(parts: impl IntoIterator<Item = States>) -> States {
    let mut columns: Vec<Vec<Tensor<3>>> = Vec::new();
    for states in parts {
        columns.resize_with(states.len(), Vec::new);
        for (column, state) in columns.iter_mut().zip(states) {
            column.push(state);
        }
    }
    let joined = columns.into_iter().map(|column| {
        let tokens = column.iter().map(|state| state.dims()[1]).max();
        let filled = column
            .into_iter()
            .map(|state| filled_up(state, tokens.unwrap_or(0)));
        Tensor::cat(filled.collect(), 0)
    });
    joined.collect()
}

/// A state `[rows, tokens, width]` with zeros behind its tokens, `tokens` of them in all.
fn filled_up(state: Tensor<3>, tokens: usize) -> Tensor<3> {
    let [rows, own, width] = state.dims();
    if own == tokens {
        return state;
    }
    let zeros = Tensor::zeros([rows, tokens - own, width], &state.device());
    Tensor::cat(vec![state, zeros], 1)
}

/// What training, evaluation and prediction need of a model, whatever its architecture.
///
/// The work is split so that an image is encoded once for all its prompts and a prompt once for
/// all its images, and each encoding once more: into a tower's states, which a method may leave as
/// they are in the base, so that they need not be computed again in each epoch
/// ([`frozen_vision`](Self::frozen_vision), [`frozen_text`](Self::frozen_text)), and what is made
/// of them for the decoder.
pub trait SegmentationModel: Module {
    /// What of the model is trained.
    fn method(&self) -> &MethodConfig;

    /// Pixels `[batch, 3, side, side]`, normalised, to the vision tower's states.
    fn vision_states(&self, pixels: Tensor<4>) -> States;

    /// For inputs of a side, the shapes `[tokens, width]` of an image's
    /// [`vision_states`](Self::vision_states), if nothing that they depend on is trained.
    fn frozen_vision(&self, image_size: usize) -> Option<Vec<[usize; 2]>>;

    /// Vision states to features: what the decoder takes of an image.
    fn features(&self, states: States) -> States;

    /// Pixels `[batch, 3, side, side]`, normalised, to features.
    fn encode_image(&self, pixels: Tensor<4>) -> States {
        self.features(self.vision_states(pixels))
    }

    /// The most tokens a prompt can have.
    fn context_length(&self) -> usize;

    /// Makes the batch of tokens that [`encode_text`](Self::encode_text) takes.
    ///
    /// # Errors
    /// If a prompt is too long or has an id outside the vocabulary.
    fn tokens<P: AsRef<[u32]>>(&self, prompts: &[P]) -> Result<TokenBatch>;

    /// Tokens to the text tower's states. A prompt's do not depend on the prompts beside it.
    fn text_states(&self, tokens: &TokenBatch) -> States;

    /// Whether nothing that [`text_states`](Self::text_states) depend on is trained.
    fn frozen_text(&self) -> bool;

    /// Text states to what the decoder takes of a prompt.
    fn condition(&self, states: States) -> States;

    /// Tokens to what the decoder takes of a prompt.
    fn encode_text(&self, tokens: &TokenBatch) -> States {
        self.condition(self.text_states(tokens))
    }

    /// Features of a batch, and as many rows of what [`condition`](Self::condition) gives, to logits `[batch, side, side]`.
    fn decode(&self, features: &[Tensor<3>], text: States) -> Tensor<3>;

    /// Side of the logits for an input side, in pixels.
    ///
    /// # Errors
    /// If the model cannot take that input side; names one it can.
    fn output_size(&self, image_size: usize) -> Result<usize>;

    /// Whether the parameter of that name is trained.
    fn trains(&self, name: &str) -> bool;

    /// Whether the parameter of that name belongs in a file of what was trained: those that are trained, and what training
    /// changes besides.
    fn saves(&self, name: &str) -> bool {
        self.trains(name)
    }

    /// Whether passes of a training step leave something behind, so that they cannot run side by side.
    fn notes_batches(&self) -> bool {
        false
    }

    /// The model as the passes of a training step run it, whose random numbers depend on `seed` alone.
    fn begin_step(self, _seed: u64) -> Self {
        self
    }

    /// The model behind a training step, with what its passes have left behind.
    fn end_step(self) -> Self {
        self
    }

    /// The device that inputs belong on, without autodiff.
    fn device(&self) -> Device {
        let device = self.devices().first().cloned().unwrap_or_default();
        device.without_autodiff()
    }

    /// Number of trained parameters.
    fn trained_parameters(&self) -> usize {
        let mut count = 0;
        for_each_parameter(self, |name, shape| {
            if self.trains(name) {
                count += shape.iter().product::<usize>();
            }
        });
        count
    }

    /// The same model with the trained parameters tracked for gradients and all others constant.
    fn for_training(self) -> Self {
        tracked(self, true)
    }

    /// The same model with all parameters constant.
    fn for_inference(self) -> Self {
        tracked(self, false)
    }

    /// Puts the parameters of an adapter file in place of the trained ones.
    ///
    /// # Errors
    /// If a tensor is missing, extra or of another shape.
    fn load(self, adapter: AdapterFile) -> Result<Self> {
        let AdapterFile {
            path,
            tensors,
            method,
            ..
        } = adapter;
        let own = self.method().kind;
        if method.kind != own {
            return Err(ModelError::Adapter {
                path,
                message: format!(
                    "was made by method {:?}, but {own:?} is wanted; set `method.kind` to what made it",
                    method.kind
                ),
            });
        }
        let (model, misfits) = weights::import(self.clone(), tensors, |name| self.saves(name));
        if misfits.is_empty() {
            Ok(model)
        } else {
            Err(ModelError::Weights {
                path,
                message: misfits.describe(),
            })
        }
    }
}

fn tracked<M: SegmentationModel>(model: M, training: bool) -> M {
    struct Track(Vec<ParamId>);
    impl ModuleMapper for Track {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            weights::with_tracking(param.id, param.val(), self.0.contains(&param.id))
        }
    }
    let mut trained = Vec::new();
    weights::for_each_parameter_id(&model, |name, id| {
        if training && model.trains(name) {
            trained.push(id);
        }
    });
    model.map(&mut Track(trained))
}

/// A base with what a method puts on it: a model of any architecture.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)]
pub enum Model {
    /// CLIPSeg and what differs from it in its towers alone.
    ClipSeg(AdaptedClipSeg),
    /// SAN.
    San(AdaptedSan),
    /// CRIS.
    Cris(AdaptedCris),
}

/// A call of whichever model it is.
macro_rules! of_each {
    ($model:expr, $one:ident => $call:expr) => {
        match $model {
            Model::ClipSeg($one) => $call,
            Model::San($one) => $call,
            Model::Cris($one) => $call,
        }
    };
}

impl Model {
    /// A base with what a method trains on it fresh, initialised by `seed`.
    ///
    /// # Errors
    /// If the method does not go with the base.
    pub fn new(base: &Base, method: MethodConfig, seed: u64) -> Result<Self> {
        Ok(match &base.network {
            Network::ClipSeg(clipseg) => Self::ClipSeg(AdaptedClipSeg::new(clipseg, method, seed)?),
            Network::San(san) => Self::San(AdaptedSan::new(san, method, seed)?),
            Network::Cris(cris) => Self::Cris(AdaptedCris::new(cris, method, seed)?),
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
}

impl SegmentationModel for Model {
    fn method(&self) -> &MethodConfig {
        of_each!(self, model => model.method())
    }

    fn vision_states(&self, pixels: Tensor<4>) -> States {
        of_each!(self, model => model.vision_states(pixels))
    }

    fn frozen_vision(&self, image_size: usize) -> Option<Vec<[usize; 2]>> {
        of_each!(self, model => model.frozen_vision(image_size))
    }

    fn features(&self, states: States) -> States {
        of_each!(self, model => model.features(states))
    }

    fn context_length(&self) -> usize {
        of_each!(self, model => model.context_length())
    }

    fn tokens<P: AsRef<[u32]>>(&self, prompts: &[P]) -> Result<TokenBatch> {
        of_each!(self, model => model.tokens(prompts))
    }

    fn text_states(&self, tokens: &TokenBatch) -> States {
        of_each!(self, model => model.text_states(tokens))
    }

    fn frozen_text(&self) -> bool {
        of_each!(self, model => model.frozen_text())
    }

    fn condition(&self, states: States) -> States {
        of_each!(self, model => model.condition(states))
    }

    fn decode(&self, features: &[Tensor<3>], text: States) -> Tensor<3> {
        of_each!(self, model => model.decode(features, text))
    }

    fn output_size(&self, image_size: usize) -> Result<usize> {
        of_each!(self, model => model.output_size(image_size))
    }

    fn trains(&self, name: &str) -> bool {
        of_each!(self, model => model.trains(name))
    }

    fn saves(&self, name: &str) -> bool {
        of_each!(self, model => model.saves(name))
    }

    fn notes_batches(&self) -> bool {
        of_each!(self, model => model.notes_batches())
    }

    fn begin_step(self, seed: u64) -> Self {
        match self {
            Self::ClipSeg(model) => Self::ClipSeg(model.begin_step(seed)),
            Self::San(model) => Self::San(model.begin_step(seed)),
            Self::Cris(model) => Self::Cris(model.begin_step(seed)),
        }
    }

    fn end_step(self) -> Self {
        match self {
            Self::ClipSeg(model) => Self::ClipSeg(model.end_step()),
            Self::San(model) => Self::San(model.end_step()),
            Self::Cris(model) => Self::Cris(model.end_step()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::to_host;

    /// Prompts of two and of three tokens, and an embedding of each: what is kept alone is put together again.
    #[test]
    fn shorter_prompts_are_filled_up() {
        let device = Device::flex();
        let tokens = |values: &[f32]| {
            let data = TensorData::new(values.to_vec(), [1, values.len(), 1]);
            Tensor::<3>::from_data(data, &device)
        };
        let one = vec![tokens(&[1.0, 2.0]), tokens(&[9.0])];
        let two = vec![tokens(&[3.0, 4.0, 5.0]), tokens(&[8.0])];
        let both = concatenate([one, two]);
        assert_eq!(both[0].dims(), [2, 3, 1]);
        assert_eq!(to_host(both[0].clone()), [1.0, 2.0, 0.0, 3.0, 4.0, 5.0]);
        let chosen = select(&both, &[1, 0, 1]);
        assert_eq!(to_host(chosen[1].clone()), [8.0, 9.0, 8.0]);
    }
}
