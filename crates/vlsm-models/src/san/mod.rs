//! SAN (Xu et al., "Side Adapter Network for Open-Vocabulary Semantic Segmentation", CVPR 2023).
//!
//! A small vision transformer runs next to a frozen CLIP. It sees the image at full resolution, gets CLIP's states of the
//! image at half resolution, and turns its 100 queries into as many masks. What a mask shows is recognised by CLIP itself:
//! copies of the class token run through its last layers, each attending to what its mask covers.
//!
//! - For binary segmentation by a prompt ([`San::decode`]) masks are weighted by how their embeddings compare with the
//!   prompt's, and added up, as VLSM-Adapter (Dhakal et al. 2024) does it.
//! - For a vocabulary ([`San::vocabulary_masks`]) each mask is given to classes by a softmax over their embeddings and that of the
//!   background, as SAN does it; class names are put into [`TEMPLATES`].
//!
//! Nothing before [`San::decode`] depends on the prompt.
//!
//! # Profiles
//! Profile `paper` is VLSM-Adapter's code, which differs from SAN's in two faults:
//! - **The recognition branch gets no gradient**: it runs under `no_grad`, so that the attention biases are never trained
//!   (917 thousand of the side network's 8.2 million parameters). `default` lets the gradient through, as SAN does.
//! - **The fusion map is read backwards**: CLIP's state after layer 1 goes to block 3 and that after layer 2 to block 6,
//!   where SAN has 3 to 1, 6 to 2 and 9 to 3; the fourth fusion layer would act after block 9 of 8, never. `default` has
//!   SAN's map.
//!
//! Both take the prompt's embedding as it comes out of CLIP, with neither normalisation nor temperature, and the mean over
//! channels of its product with a mask's. In both CLIP is frozen, so its states of an image are computed only once.
//!
//! # Trained parameters
//! The published 8.4 million are the side network (8,219,058) and CLIP's position embeddings of the vision tower (151,296),
//! which SAN trains too; SAN itself adds the background's embedding (512). In VLSM-Adapter's code the position embeddings are
//! under `no_grad`, as do the text tower's parameters, which it forgets to freeze, and 7,115,968 parameters have a gradient.

mod config;
mod init;
mod load;
mod mask_decoder;
mod method;
mod model;
pub mod names;
mod recognition;
mod resize;
mod side;
mod spec;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Int, Tensor, TensorData, activation};

pub use crate::clip::TEMPLATES;
pub use config::{SanConfig, SideConfig};
pub use init::random_weights;
pub(crate) use load::load;
pub use mask_decoder::{MaskDecoder, MaskMlp, Masks};
pub use method::part;
pub use model::SanModel;
pub use side::{FusionLayer, SideNetwork};
pub(crate) use spec::Spec;

use self::recognition::recognise;
use crate::clip::{Clip, Stages, TokenBatch, mean_direction, unit_length};
use crate::contract::VocabularyMasks;
use crate::error::Result;
use crate::files::fill;
use crate::methods::{Adaptation, Profile};
use crate::tensor_file::HostTensor;
use crate::weights;

/// A SAN. Names of parameters start with `clip.`, with `side_adapter_network.`, or are `bg_embed`.
#[derive(Module, Debug)]
pub struct San {
    clip: Clip,
    side_adapter_network: SideNetwork,
    /// The embedding of what is of no class, `[projection]`.
    bg_embed: Param<Tensor<1>>,
    #[module(skip)]
    config: SanConfig,
    #[module(skip)]
    profile: Profile,
    /// Whether the side network is at its start.
    #[module(skip)]
    fresh: bool,
}

/// Features of a batch of images: masks and CLIP's embeddings of them.
#[derive(Debug, Clone)]
pub struct SanFeatures {
    /// What masks are products of: the queries' embeddings, `[batch, queries, embedding]`.
    pub queries: Tensor<3>,
    /// And the pixels' embeddings, `[batch, grid * grid, embedding]`.
    pub pixels: Tensor<3>,
    /// CLIP's embeddings of the masks, `[batch, queries, projection]`, of length 1.
    pub embeddings: Tensor<3>,
}

impl SanFeatures {
    /// Those of some images of the batch, by index, repeated as often as they are named.
    pub fn select(&self, images: &[usize]) -> Self {
        let indices: Vec<i64> = images.iter().map(|image| *image as i64).collect();
        let select = |x: &Tensor<3>| {
            let indices = TensorData::new(indices.clone(), [images.len()]);
            let indices = Tensor::<1, Int>::from_data(indices, &x.device());
            x.clone().select(0, indices)
        };
        Self {
            queries: select(&self.queries),
            pixels: select(&self.pixels),
            embeddings: select(&self.embeddings),
        }
    }
}

impl SanConfig {
    /// Makes the model, of profile `default`; parameters are initialised when first used.
    pub fn init(&self, device: &Device) -> San {
        San {
            clip: Clip::new(
                &self.text_config,
                &self.vision_config,
                self.projection_dim,
                device,
            ),
            side_adapter_network: SideNetwork::new(self, device),
            bg_embed: Initializer::Zeros.init([self.projection_dim], device),
            config: self.clone(),
            profile: Profile::Default,
            fresh: true,
        }
    }
}

impl San {
    /// See [`EncoderLayer::set_recompute`](crate::clip::EncoderLayer::set_recompute).
    pub fn set_recompute(&mut self, recompute: bool) {
        self.clip.set_recompute(recompute);
        self.side_adapter_network.set_recompute(recompute);
    }

    /// Makes the model of the tensors of a file: a SAN as released or as trained by VLSM-Adapter's code, or a CLIP under
    /// OpenAI's or Transformers' names, which gets a side network initialised by `seed`.
    ///
    /// # Errors
    /// If a tensor is missing, extra or of another shape; `path` is named.
    pub fn from_tensors(
        config: &SanConfig,
        tensors: BTreeMap<String, HostTensor>,
        path: &Path,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let tensors = names::from_file(tensors, config);
        let part = |name: &str| name.split('.').next().map(str::to_owned);
        let given: BTreeSet<_> = tensors.keys().map(|name| part(name)).collect();
        let fresh = init::side_network(config, seed).into_iter();
        let fresh = fresh.filter(|(name, _)| !given.contains(&part(name)));
        let tensors = fresh.chain(tensors).collect();
        let san = fill(config.init(device), tensors, path)?;
        let fresh = !given.contains(&part(names::SIDE));
        Ok(Self { fresh, ..san })
    }

    /// The same model with another start of the side network, by `seed`, if it was not in the file.
    pub fn restarted(self, seed: u64, trained: impl Fn(&str) -> bool) -> Self {
        if !self.fresh {
            return self;
        }
        let mut start = init::side_network(&self.config, seed);
        weights::fill(self, |name, _| match trained(name) {
            true => Some(start.remove(name)?.data),
            false => None,
        })
    }

    /// Whether the side network was not in the file, but is at its start.
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// The same model with the arithmetic of a profile.
    pub fn with_profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// The configuration.
    pub fn config(&self) -> &SanConfig {
        &self.config
    }

    /// Whether a parameter, by its name, is of the side network.
    pub fn is_side(name: &str) -> bool {
        name.starts_with("side_adapter_network.")
    }

    /// Whether a parameter, by its name, is among the published 8.4 million: those of the side network, the position
    /// embeddings of the vision tower, and the background's embedding.
    pub fn is_published_as_trained(name: &str) -> bool {
        let others = [
            "clip.vision_model.embeddings.position_embedding.weight",
            "bg_embed",
        ];
        Self::is_side(name) || others.contains(&name)
    }

    /// Pixels `[batch, 3, side, side]`, normalised with CLIP's mean and deviation, to what CLIP and the side network start
    /// from under a method: the patches `[batch, grid * grid, 3 * patch * patch]`, and CLIP's states of the image at half resolution, each
    /// `[batch, 1 + grid * grid / 4, width]`, those after the first layer that the method changes left out. None depends on the side
    /// network's parameters.
    pub fn vision_states(&self, pixels: Tensor<4>, method: &dyn Adaptation) -> Vec<Tensor<3>> {
        let stages = self.stages(method);
        let patch = self.config.side_config.patch_size;
        let mut states = vec![resize::patches(pixels.clone(), patch)];
        // The last layer is only run by the recognition branch.
        let tower = &self.clip.vision_model;
        states.extend(tower.forward(resize::halve(pixels), stages.first(), method));
        states
    }

    /// For inputs of a side, the shapes `[tokens, width]` of an image's [`vision_states`](Self::vision_states).
    pub fn vision_state_shapes(
        &self,
        image_size: usize,
        method: &dyn Adaptation,
    ) -> Vec<[usize; 2]> {
        let patch = self.config.side_config.patch_size;
        let grid = image_size / patch;
        let mut shapes = vec![[grid * grid, 3 * patch * patch]];
        let state = [
            1 + (grid / 2) * (grid / 2),
            self.config.vision_config.hidden_size,
        ];
        shapes.resize(1 + self.stages(method).first().len(), state);
        shapes
    }

    pub(super) fn stages(&self, method: &dyn Adaptation) -> Stages {
        Stages::new(&self.config.states(self.profile), method)
    }

    /// [Vision states](Self::vision_states) with those that the method changes.
    fn completed(
        &self,
        mut states: Vec<Tensor<3>>,
        method: &dyn Adaptation,
    ) -> Result<Vec<Tensor<3>>> {
        let tower = states.split_off(states.len().min(1));
        let (stages, what) = (self.stages(method), "CLIP's states in SAN's vision states");
        states.extend(stages.complete(&self.clip.vision_model, tower, method, what)?);
        Ok(states)
    }

    /// [Vision states](Self::vision_states) to the mask decoder's masks and biases. The method's taps are the states that
    /// are fused.
    ///
    /// # Errors
    /// If the number of states is wrong.
    pub fn masks(&self, states: Vec<Tensor<3>>, method: &dyn Adaptation) -> Result<Masks> {
        Ok(self.mask_features(&self.completed(states, method)?, method))
    }

    /// As [`masks`](Self::masks), of all states.
    fn mask_features(&self, states: &[Tensor<3>], method: &dyn Adaptation) -> Masks {
        let numbers = self.config.states(self.profile);
        let state = |number| {
            let index = numbers.iter().position(|state| *state == number)?;
            let state = states.get(1 + index)?;
            Some(method.tap(number, state.clone()))
        };
        let side = &self.side_adapter_network;
        let fusions = self.config.fusions(self.profile);
        let [queries, patches] = side.forward(states[0].clone(), &fusions, state);
        side.mask_decoder.forward(queries, patches)
    }

    /// [Vision states](Self::vision_states) to features.
    ///
    /// # Errors
    /// If the number of states is wrong.
    pub fn features(&self, states: Vec<Tensor<3>>, method: &dyn Adaptation) -> Result<SanFeatures> {
        let states = self.completed(states, method)?;
        let Masks {
            queries,
            pixels,
            biases,
        } = self.mask_features(&states, method);
        let biases = match self.profile {
            Profile::Default => biases,
            Profile::Paper => biases.detach(),
        };
        let first = self.config.recognition_layer;
        let layers = self.config.vision_config.num_hidden_layers - first;
        let grid = states[0].dims()[1].isqrt();
        let biases = resize::halve_by_maximum(biases, grid);
        let inputs = &states[states.len() - layers..];
        let embeddings = recognise(&self.clip, first, inputs, biases, method);
        Ok(SanFeatures {
            queries,
            pixels,
            embeddings,
        })
    }

    /// Pixels `[batch, 3, side, side]`, normalised, to features.
    ///
    /// # Errors
    /// As [`features`](Self::features).
    pub fn encode_image(&self, pixels: Tensor<4>, method: &dyn Adaptation) -> Result<SanFeatures> {
        self.features(self.vision_states(pixels, method), method)
    }

    /// Tokens to CLIP's embeddings `[prompts, projection]`, not normalised, and the states that the method taps.
    pub fn encode_text(
        &self,
        tokens: &TokenBatch,
        method: &dyn Adaptation,
    ) -> (Tensor<2>, Vec<Tensor<2>>) {
        self.clip.embed_text(tokens, method)
    }

    /// Features of a batch and as many embeddings of prompts `[batch, projection]` to logits `[batch, side, side]`: the sum
    /// of the masks' logits, each weighted by the mean over channels of the product of its embedding and the prompt's.
    pub fn decode(&self, features: &SanFeatures, text: Tensor<2>) -> Tensor<3> {
        let [_, projection] = text.dims();
        let text = text.unsqueeze_dim::<3>(2) / projection as f64;
        let weights = features.embeddings.clone().matmul(text).swap_dims(1, 2);
        // All is linear in the masks: they are added up before they are multiplied out and enlarged.
        let query = weights.matmul(features.queries.clone()).swap_dims(1, 2);
        let maps = features.pixels.clone().matmul(query);
        let maps = self.enlarge(maps);
        let [batch, side, _, _] = maps.dims();
        maps.reshape([batch, side, side])
    }

    /// Embeddings of classes, `[classes, projection]`, of what [`encode_text`](Self::encode_text) gives for each class in
    /// each of some templates: the mean of the normalised embeddings, normalised.
    pub fn class_embeddings(&self, templates: Vec<Tensor<2>>) -> Tensor<2> {
        mean_direction(templates)
    }

    /// Features of a batch and embeddings of classes `[classes, projection]` to the queries' masks at the input's side, and the
    /// probability of each class among all classes and the background.
    pub fn vocabulary_masks(&self, features: &SanFeatures, classes: Tensor<2>) -> VocabularyMasks {
        let [count, _] = classes.dims();
        let background = self.bg_embed.val().unsqueeze::<2>();
        let classes = unit_length(Tensor::cat(vec![classes, background], 0));
        let scale = self.clip.scale().reshape([1, 1, 1]);
        let logits = features
            .embeddings
            .clone()
            .matmul(classes.transpose().unsqueeze::<3>());
        let classes = activation::softmax(logits * scale, 2).narrow(2, 0, count);
        let masks = features
            .pixels
            .clone()
            .matmul(features.queries.clone().swap_dims(1, 2));
        let masks = activation::sigmoid(self.enlarge(masks));
        let [batch, side, _, queries] = masks.dims();
        let masks = masks.reshape([batch, side * side, queries]).swap_dims(1, 2);
        VocabularyMasks {
            classes,
            masks,
            grid: [side, side],
        }
    }

    /// Maps `[batch, grid * grid, channels]` at the input's resolution, `[batch, side, side, channels]`.
    fn enlarge(&self, maps: Tensor<3>) -> Tensor<4> {
        let [batch, places, channels] = maps.dims();
        let grid = places.isqrt();
        let side = grid * self.config.side_config.patch_size;
        resize::bilinear(maps, grid, side).reshape([batch, side, side, channels])
    }
}
