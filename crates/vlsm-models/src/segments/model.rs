//! A CLIP with methods that were trained one after the other.

use std::collections::BTreeSet;

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::base::ClipBase;
use super::config::ClipConfig;
use super::file::SegmentFile;
use crate::clip::{Clip, TokenBatch, mean_direction, unit_length};
use crate::error::{ModelError, Result};
use crate::methods::{Adaptation, Adapters, MethodConfig, Part, Tensors, Tower, Unadapted, merged};
use crate::pool::on_pool;
use crate::tokenizer::Tokenizer;
use crate::weights::{self, tracked};

/// The sentence in which the name of a class is put by default, for `{}`.
pub const ONE_TEMPLATE: &str = "a photo of a {}.";

/// The same where learnt tokens replace its words (CoOp).
const AFTER_TOKENS: &str = "{}.";

/// Texts of one pass in inference.
const PASS: usize = 64;

/// A CLIP with methods, each of which changes a tower that no other changes. Names of the methods' parameters start with
/// `stages.INDEX.`, those of the CLIP with `clip.`.
#[derive(Module, Debug)]
pub struct SegmentModel {
    clip: Clip,
    stages: Vec<Adapters>,
    #[module(skip)]
    methods: Vec<MethodConfig>,
    /// The stage that is trained.
    #[module(skip)]
    trained: Option<usize>,
    #[module(skip)]
    config: ClipConfig,
    /// `None` for the embeddings of the adapted CLIP alone.
    #[module(skip)]
    blend: Option<Blend>,
}

/// The base, whose embeddings have a share in those of the model.
#[derive(Debug, Clone)]
struct Blend {
    base: Box<SegmentModel>,
    /// The share of the adapted CLIP.
    share: f64,
}

impl SegmentModel {
    /// A base with methods, whose parameters are initialised by `seed`.
    ///
    /// # Errors
    /// If a method does not fit a CLIP, or two methods change the same tower.
    pub fn new(base: &ClipBase, methods: &[MethodConfig], seed: u64) -> Result<Self> {
        let shape = base.config.shape();
        let device = base.clip.devices().first().cloned().unwrap_or_default();
        let mut stages = Vec::new();
        let mut start = Tensors::new();
        for (index, method) in methods.iter().enumerate() {
            let kind = method.kind();
            let stage = Adapters::new(method, &shape, seed, &device)?;
            let touches = stage.hooks().touches();
            let of_decoder = touches.decoder && !matches!(method, MethodConfig::Full(_));
            if of_decoder || !(touches.vision || touches.text) {
                return Err(ModelError::Method(format!(
                    "`kind = \"{kind}\"` trains {}; name a method that changes a tower, such as \"vpt\" or \"coop\"",
                    match of_decoder {
                        true => "a decoder, which a CLIP does not have",
                        false => "nothing of a CLIP's towers",
                    }
                )));
            }
            let values = stage.hooks().start(base)?.into_iter();
            start.extend(values.map(|(name, value)| (format!("{}{name}", prefix(index)), value)));
            stages.push(stage);
        }
        let model = Self {
            clip: base.clip.clone(),
            stages,
            methods: methods.to_vec(),
            trained: None,
            config: base.config.clone(),
            blend: None,
        };
        for tower in [Tower::Vision, Tower::Text] {
            if let [first, second, ..] = model.stages_of(tower)[..] {
                return Err(ModelError::Method(format!(
                    "\"{}\" and \"{}\" both change the {} tower, where the second would undo what the first learnt; name one of \
                     them",
                    methods[first].kind(),
                    methods[second].kind(),
                    match tower {
                        Tower::Vision => "vision",
                        Tower::Text => "text",
                    }
                )));
            }
        }
        let names: BTreeSet<String> = start.keys().cloned().collect();
        let model = weights::import(model, start, |name| names.contains(name)).0;
        Ok(model.for_inference())
    }

    /// A base with the trained parameters of a file.
    ///
    /// # Errors
    /// If the file is for another base or does not fit.
    pub fn with_file(base: &ClipBase, file: SegmentFile) -> Result<Self> {
        file.check_base(&base.identity)?;
        let model = Self::new(base, &file.methods, 0)?;
        let model = model.load(file.tensors, &file.path)?;
        let blend = match file.blend < 1.0 {
            true => Some(Blend {
                base: Box::new(Self::new(base, &[], 0)?),
                share: file.blend,
            }),
            false => None,
        };
        Ok(Self { blend, ..model })
    }

    /// The same model with other values of the saved parameters; errors name `path`.
    ///
    /// # Errors
    /// If a tensor is missing, extra or of another shape.
    pub fn load(self, tensors: Tensors, path: &std::path::Path) -> Result<Self> {
        let (model, mismatch) = weights::import(self.clone(), tensors, |name| self.saves(name));
        match mismatch.is_empty() {
            true => Ok(model),
            false => Err(ModelError::Weights {
                path: path.into(),
                message: mismatch.describe(),
            }),
        }
    }

    /// The same model with the changes of the layers' parameters merged into the CLIP.
    pub(super) fn merged(self) -> Self {
        let shape = self.config.shape();
        let mut model = self;
        for index in 0..model.stages.len() {
            let stage = model.stages[index].clone();
            let (network, stage) = merged(model, &shape, stage);
            model = network;
            model.stages[index] = stage;
        }
        model
    }

    /// The names of the methods' own parameters, but for changes of the layers' parameters.
    pub(super) fn names_outside_the_clip(&self) -> Vec<String> {
        let mut names = Vec::new();
        weights::for_each_parameter(self, |name, _| {
            let mut stages = self.stages.iter().enumerate();
            let own = |(index, stage): (usize, &Adapters)| {
                let own = name.strip_prefix(&prefix(index));
                own.is_some_and(|own| !stage.hooks().merges(own))
            };
            if stages.any(own) {
                names.push(name.to_owned());
            }
        });
        names
    }

    /// The CLIP without the methods.
    pub(super) fn into_clip(self) -> Clip {
        self.clip
    }

    /// The stages that change a tower.
    fn stages_of(&self, tower: Tower) -> Vec<usize> {
        let changes = |stage: &Adapters| match tower {
            Tower::Vision => stage.hooks().touches().vision,
            Tower::Text => stage.hooks().touches().text,
        };
        let stages = self.stages.iter().enumerate();
        stages
            .filter_map(|(index, stage)| changes(stage).then_some(index))
            .collect()
    }

    fn hooks(&self, tower: Tower) -> &dyn Adaptation {
        match self.stages_of(tower).first() {
            Some(index) => self.stages[*index].hooks(),
            None => &Unadapted,
        }
    }

    /// Whether the stage that is trained changes a tower.
    pub fn trains_tower(&self, tower: Tower) -> bool {
        self.trained
            .is_some_and(|stage| self.changes_tower(stage, tower))
    }

    /// Whether a stage, by its index, changes a tower.
    pub fn changes_tower(&self, stage: usize, tower: Tower) -> bool {
        self.stages_of(tower).contains(&stage)
    }

    /// The methods, in the order in which they are trained.
    pub fn methods(&self) -> &[MethodConfig] {
        &self.methods
    }

    /// Whether the parameter with that name is saved: those of all methods, and those of the base that a method trains.
    pub fn saves(&self, name: &str) -> bool {
        (0..self.stages.len()).any(|stage| self.is_of(stage, name))
    }

    /// Whether a stage trains the parameter with that name.
    fn is_of(&self, stage: usize, name: &str) -> bool {
        match name.strip_prefix("clip.") {
            Some(own) => self.stages[stage].hooks().trains(part(own), name),
            None => name.starts_with(&prefix(stage)),
        }
    }

    /// Number of parameters that a stage trains.
    pub fn trained_parameters(&self, stage: usize) -> usize {
        let mut count = 0;
        weights::for_each_parameter(self, |name, shape| {
            if self.is_of(stage, name) {
                count += shape.iter().product::<usize>();
            }
        });
        count
    }

    /// The same model with the parameters of one stage tracked for gradients and all others constant.
    pub fn for_training(self, stage: usize) -> Self {
        let model = self.clone();
        let tracked = tracked(self, |name| model.is_of(stage, name));
        Self {
            trained: Some(stage),
            ..tracked
        }
    }

    /// The same model with all parameters constant.
    pub fn for_inference(self) -> Self {
        Self {
            trained: None,
            ..tracked(self, |_| false)
        }
    }

    /// The device for inputs, without autodiff.
    pub fn device(&self) -> Device {
        let device = self.devices().first().cloned().unwrap_or_default();
        device.without_autodiff()
    }

    /// Crops `[segments, 3, side, side]` to embeddings of length 1, `[segments, projection]`.
    pub fn embed_crops(&self, pixels: Tensor<4>) -> Tensor<2> {
        let adapted = |pixels| {
            on_pool(|| unit_length(self.clip.embed_images(pixels, self.hooks(Tower::Vision))))
        };
        match self.blend_of(Tower::Vision) {
            Some(blend) => blend.of(adapted(pixels.clone()), blend.base.embed_crops(pixels)),
            None => adapted(pixels),
        }
    }

    /// The embeddings of crops, from those by the adapted CLIP alone and by the base.
    pub fn blend_crops(&self, adapted: Tensor<2>, base: Tensor<2>) -> Tensor<2> {
        match self.blend_of(Tower::Vision) {
            Some(blend) => blend.of(adapted, base),
            None => adapted,
        }
    }

    /// Tokens to embeddings of length 1, `[texts, projection]`, by the adapted CLIP alone.
    pub fn embed_tokens(&self, tokens: &TokenBatch) -> Tensor<2> {
        on_pool(|| {
            let hooks = self.hooks(Tower::Text);
            let (embedding, tapped) = self.clip.embed_text(tokens, hooks);
            unit_length(hooks.text_embedding(embedding, tapped))
        })
    }

    /// Names to embeddings of length 1, `[names, projection]`: the mean direction over templates with a `{}` for the name. Learnt
    /// tokens in the text tower replace the templates' words.
    ///
    /// # Errors
    /// If a text cannot be encoded.
    pub fn embed_names(
        &self,
        tokenizer: &Tokenizer,
        names: &[String],
        templates: &[&str],
    ) -> Result<Tensor<2>> {
        let adapted = self.adapted_names(tokenizer, names, templates)?;
        Ok(match self.blend_of(Tower::Text) {
            Some(blend) => blend.of(
                adapted,
                blend.base.adapted_names(tokenizer, names, templates)?,
            ),
            None => adapted,
        })
    }

    /// [`embed_names`](Self::embed_names) by the adapted CLIP alone.
    fn adapted_names(
        &self,
        tokenizer: &Tokenizer,
        names: &[String],
        templates: &[&str],
    ) -> Result<Tensor<2>> {
        let extra = self.hooks(Tower::Text).extra_tokens();
        let templates = match extra {
            0 => templates,
            _ => &[AFTER_TOKENS],
        };
        let text = &self.config.text_config;
        let context = text.max_position_embeddings.saturating_sub(extra);
        let pass = match self.trains_tower(Tower::Text) {
            true => names.len().max(1),
            false => PASS,
        };
        let embed = |template: &&str| {
            let ids = names
                .iter()
                .map(|name| Ok(tokenizer.encode(&template.replace("{}", name), context)?));
            let ids: Vec<Vec<u32>> = ids.collect::<Result<_>>()?;
            let parts = ids.chunks(pass);
            let parts = parts.map(|ids| Ok(self.embed_tokens(&TokenBatch::new(ids, text)?)));
            Ok(Tensor::cat(parts.collect::<Result<_>>()?, 0))
        };
        let embedded: Vec<_> = templates.iter().map(embed).collect::<Result<_>>()?;
        Ok(mean_direction(embedded))
    }

    /// What blends a tower's embeddings; in a tower that no method changes the base would be the same CLIP.
    fn blend_of(&self, tower: Tower) -> Option<&Blend> {
        let changed = !self.stages_of(tower).is_empty();
        self.blend.as_ref().filter(|_| changed)
    }

    /// What cosines of embeddings are multiplied by to be logits, `[1]`; never trained.
    pub fn scale(&self) -> Tensor<1> {
        self.clip.scale()
    }
}

impl Blend {
    /// The weighted mean of embeddings of length 1 by the adapted CLIP and by the base, at length 1.
    fn of(&self, adapted: Tensor<2>, base: Tensor<2>) -> Tensor<2> {
        unit_length(adapted * self.share + base * (1.0 - self.share))
    }
}

/// What the names of a stage's parameters start with.
fn prefix(stage: usize) -> String {
    format!("stages.{stage}.")
}

/// The part that a parameter of a CLIP belongs to, by its name in it. The temperature stays as it is, as in OpenDAS.
fn part(name: &str) -> Part {
    let layer = Part::layer_in(name);
    match name {
        "logit_scale" => Part::Untrained,
        _ if name.starts_with("text_") => Part::Text { layer },
        _ => Part::Vision { layer },
    }
}
