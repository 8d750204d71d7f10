//! The interface of all models for training, evaluation and prediction.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::adapter_file::AdapterFile;
use crate::clip::TokenBatch;
use crate::error::{ModelError, Result};
use crate::methods::{Adaptation, MethodConfig};
use crate::weights::{self, for_each_parameter, tracked};

/// What a model computes once for an image or a prompt: tensors `[rows, tokens, width]`, one row of each tensor per image or
/// prompt. States without tokens have a single one.
///
/// Where prompts have different numbers of tokens, the shorter ones are padded with zeros at the end; a model that must
/// distinguish tokens from padding keeps a tensor with that information.
pub type HiddenStates = Vec<Tensor<3>>;

/// The states as an array.
///
/// # Errors
/// If there are not `N` states; the message calls them `what`.
pub fn expect_states<const N: usize>(states: HiddenStates, what: &str) -> Result<[Tensor<3>; N]> {
    states
        .try_into()
        .map_err(|states: HiddenStates| ModelError::States {
            what: what.to_owned(),
            expected: N,
            found: states.len(),
        })
}

/// Selects rows of states by index. An index may be repeated: an image is encoded once and decoded for each of its prompts.
pub fn select(states: &[Tensor<3>], rows: &[usize]) -> HiddenStates {
    let indices: Vec<i64> = rows.iter().map(|row| *row as i64).collect();
    let selected = states.iter().map(|state| {
        let indices = TensorData::new(indices.clone(), [rows.len()]);
        let indices = Tensor::<1, Int>::from_data(indices, &state.device());
        state.clone().select(0, indices)
    });
    selected.collect()
}

/// Concatenates states along their rows.
pub fn concatenate(parts: impl IntoIterator<Item = HiddenStates>) -> HiddenStates {
    let mut columns: Vec<Vec<Tensor<3>>> = Vec::new();
    for states in parts {
        columns.resize_with(states.len(), Vec::new);
        for (column, state) in columns.iter_mut().zip(states) {
            column.push(state);
        }
    }
    let joined = columns.into_iter().map(|column| {
        let tokens = column.iter().map(|state| state.dims()[1]).max();
        let padded = column
            .into_iter()
            .map(|state| padded(state, tokens.unwrap_or(0)));
        Tensor::cat(padded.collect(), 0)
    });
    joined.collect()
}

/// A state `[rows, tokens, width]` padded with zeros to `tokens` tokens.
fn padded(state: Tensor<3>, tokens: usize) -> Tensor<3> {
    let [rows, present, width] = state.dims();
    if present == tokens {
        return state;
    }
    let zeros = Tensor::zeros([rows, tokens - present, width], &state.device());
    Tensor::cat(vec![state, zeros], 1)
}

/// Masks of a batch of images, each with the probabilities of the classes of a vocabulary.
#[derive(Debug, Clone)]
pub struct VocabularyMasks {
    /// Which class a mask shows, `[batch, masks, classes]`: a probability among all classes and the background, which is left out,
    /// so that a row adds up to at most 1.
    pub classes: Tensor<3>,
    /// Each pixel's probability to be of the mask, `[batch, masks, height * width]`.
    pub masks: Tensor<3>,
    /// Height and width of the masks.
    pub grid: [usize; 2],
}

impl VocabularyMasks {
    /// How much each pixel is of each class, `[batch, classes, height, width]`: the sum over masks of the probability of the
    /// class and that of the pixel. The largest says a pixel's class; they do not add up to 1.
    pub fn scores(&self) -> Tensor<4> {
        let [batch, _, count] = self.classes.dims();
        let [height, width] = self.grid;
        let classes = self.classes.clone().swap_dims(1, 2);
        let scores = classes.matmul(self.masks.clone());
        scores.reshape([batch, count, height, width])
    }
}

/// A model of any architecture, as training, evaluation and prediction use it.
///
/// An image is encoded once for all its prompts, and a prompt once for all its images. Each encoding has two stages: the
/// tower's states, which do not change in training if the method leaves the tower alone and can then be cached
/// ([`frozen_vision`](Self::frozen_vision), [`frozen_text`](Self::frozen_text)), and the decoder's input, computed from these
/// states.
pub trait SegmentationModel: Module + Sync {
    /// The method that the model is trained by.
    fn method(&self) -> &MethodConfig;

    /// What the method does to the model.
    fn adaptation(&self) -> &dyn Adaptation;

    /// Pixels `[batch, 3, side, side]`, normalised, to the vision tower's states: of a tower that the method changes from some layer
    /// on, those before that layer.
    fn vision_states(&self, pixels: Tensor<4>) -> HiddenStates;

    /// The shapes `[tokens, width]` of an image's [`vision_states`](Self::vision_states) at an input side, if they do not
    /// depend on anything that is trained.
    fn frozen_vision(&self, image_size: usize) -> Option<Vec<[usize; 2]>>;

    /// Describes which of the vision tower's states [`vision_states`](Self::vision_states) returns. Models on one base
    /// whose states do not depend on training and that have the same description return the same states for an image.
    fn wanted_vision_states(&self) -> String {
        format!("{:?}", self.method().profile())
    }

    /// Vision states to features, the decoder's input from an image.
    ///
    /// # Errors
    /// If the number of states is not that of [`vision_states`](Self::vision_states).
    fn features(&self, states: HiddenStates) -> Result<HiddenStates>;

    /// Pixels `[batch, 3, side, side]`, normalised, to features.
    ///
    /// # Errors
    /// If the model cannot take images of that side, see [`output_size`](Self::output_size), or they are not square.
    fn encode_image(&self, pixels: Tensor<4>) -> Result<HiddenStates> {
        let [_, _, height, width] = pixels.dims();
        if height != width {
            return Err(ModelError::ImageSize {
                size: height,
                message: format!("the image is {width} pixels wide; it must be square"),
            });
        }
        self.output_size(height)?;
        self.features(self.vision_states(pixels))
    }

    /// Maximum number of tokens of a prompt.
    fn context_length(&self) -> usize;

    /// Makes the batch of tokens that [`encode_text`](Self::encode_text) takes.
    ///
    /// # Errors
    /// If a prompt is too long or has an id outside the vocabulary.
    fn tokens<P: AsRef<[u32]>>(&self, prompts: &[P]) -> Result<TokenBatch>;

    /// Tokens to the text tower's states. A prompt's states do not depend on the other prompts of the batch, except for their
    /// last bits in towers over 512 wide.
    fn text_states(&self, tokens: &TokenBatch) -> HiddenStates;

    /// Whether [`text_states`](Self::text_states) do not depend on anything that is trained.
    fn frozen_text(&self) -> bool;

    /// Describes which of the text tower's states [`text_states`](Self::text_states) returns, as
    /// [`wanted_vision_states`](Self::wanted_vision_states).
    fn wanted_text_states(&self) -> String {
        format!("{:?}", self.method().profile())
    }

    /// Text states to the decoder's input from a prompt.
    ///
    /// # Errors
    /// If the number of states is not that of [`text_states`](Self::text_states).
    fn condition_text(&self, states: HiddenStates) -> Result<HiddenStates>;

    /// Tokens to the decoder's input from a prompt.
    ///
    /// # Errors
    /// As [`condition_text`](Self::condition_text).
    fn encode_text(&self, tokens: &TokenBatch) -> Result<HiddenStates> {
        self.condition_text(self.text_states(tokens))
    }

    /// Features of a batch of images and the encoded text of as many prompts to logits `[batch, side, side]`.
    ///
    /// # Errors
    /// If the number of states in `features` or `text` is not that of [`features`](Self::features) or
    /// [`condition_text`](Self::condition_text).
    fn decode(&self, features: &[Tensor<3>], text: HiddenStates) -> Result<Tensor<3>>;

    /// Sentences in which class names, for `{}`, are put when whole images are labelled with a vocabulary
    /// ([`vocabulary_masks`](Self::vocabulary_masks)); none if the model has no mode for that.
    fn templates(&self) -> &'static [&'static str] {
        &[]
    }

    /// The model's masks of images, and which class of a vocabulary each shows. `classes` is the encoded text of each class in each
    /// of [`templates`](Self::templates), one class after the other.
    ///
    /// # Errors
    /// If the model has no templates, or the states are not the model's.
    fn vocabulary_masks(
        &self,
        _features: &[Tensor<3>],
        _classes: HiddenStates,
    ) -> Result<VocabularyMasks> {
        Err(ModelError::Engine(
            "this model has no mode for a vocabulary; ask it class by class".into(),
        ))
    }

    /// Side of the logits for an input side, in pixels.
    ///
    /// # Errors
    /// If the model cannot take that input side; the message names one that it can.
    fn output_size(&self, image_size: usize) -> Result<usize>;

    /// Whether the parameter with that name is trained.
    fn trains(&self, name: &str) -> bool;

    /// Whether the parameter with that name is saved after training: the trained ones, and others that training changes, such
    /// as running statistics.
    fn saves(&self, name: &str) -> bool {
        self.trains(name)
    }

    /// Whether training uses and updates batch statistics, so that the parts of a step cannot run in parallel.
    fn uses_batch_statistics(&self) -> bool {
        false
    }

    /// The model in training mode for one step, with random numbers that depend on `seed` alone.
    fn begin_step(self, _seed: u64) -> Self {
        self
    }

    /// The same model for a part of the step's examples, of which `first` is the number of the first: random numbers of an example
    /// depend on its number, not on how the step is split.
    fn begin_part(self, _first: usize) -> Self {
        self
    }

    /// The model after a training step, with updated running statistics.
    fn end_step(self) -> Self {
        self
    }

    /// The device for inputs, without autodiff.
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
        let model = self.clone();
        tracked(self, |name| model.trains(name))
    }

    /// The same model with all parameters constant.
    fn for_inference(self) -> Self {
        tracked(self, |_| false)
    }

    /// The same model with a method's changes of the base's parameters, such as LoRA's, merged into them, so that passes need
    /// not compute them. It gives the same results to the bit, but its parameters must not be replaced or trained after this.
    fn merged(self) -> Self {
        self
    }

    /// Replaces the trained parameters with those of an adapter file.
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
        let kind = self.method().kind();
        if method.kind() != kind {
            return Err(ModelError::Adapter {
                path,
                message: format!(
                    "was trained with method \"{}\", but the model has method \"{kind}\"; set `method.kind` to the file's",
                    method.kind()
                ),
            });
        }
        let (model, mismatch) = weights::import(self.clone(), tensors, |name| self.saves(name));
        if mismatch.is_empty() {
            Ok(model)
        } else {
            Err(ModelError::Weights {
                path,
                message: mismatch.describe(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::to_host;

    /// Prompts of two and of three tokens, and an embedding of each.
    #[test]
    fn shorter_prompts_are_padded() {
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

    #[test]
    fn a_wrong_number_of_states_is_an_error() {
        let states = vec![Tensor::zeros([1, 1, 1], &Device::flex()); 2];
        assert!(expect_states::<2>(states.clone(), "features").is_ok());
        let error = expect_states::<3>(states, "features")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("features") && error.contains('3') && error.contains('2'),
            "{error}"
        );
    }
}
