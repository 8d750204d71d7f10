//! LoRA: low-rank changes of the matrices in the towers' layers (Hu et al. 2022).

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{DType, Device, FloatDType, Tensor};
use serde::{Deserialize, Serialize};

use super::block::{BlockForm, conditioned};
use super::init::initialise;
use super::{
    Adaptation, AdapterBlock, AdapterInit, AdapterSites, BaseShape, Bottleneck, Connection,
    LayerAdapters, Method, Part, Placement, Profile, Tensors, Touches, Tower, TowerShape, Towers,
    error, sites,
};
use crate::activation::Activation;
use crate::error::Result;
use crate::tensor_file::HostTensor;

/// A matrix of an encoder layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Projection {
    /// The attention's query projection.
    Query,
    /// The attention's key projection.
    Key,
    /// The attention's value projection.
    Value,
    /// The attention's output projection.
    Output,
    /// The MLP's first layer.
    Fc1,
    /// The MLP's second layer.
    Fc2,
}

impl Projection {
    /// The matrix in a layer, by its name in files.
    fn path(self) -> &'static str {
        match self {
            Self::Query => "self_attn.q_proj",
            Self::Key => "self_attn.k_proj",
            Self::Value => "self_attn.v_proj",
            Self::Output => "self_attn.out_proj",
            Self::Fc1 => "mlp.fc1",
            Self::Fc2 => "mlp.fc2",
        }
    }

    /// The last part of the matrix's name in files.
    fn name(self) -> &'static str {
        let path = self.path();
        path.rsplit('.').next().unwrap_or(path)
    }
}

/// Method `lora`: low-rank changes of matrices in the towers' layers; everything pretrained is frozen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraConfig {
    /// The parts that have adapters: `v` (vision tower), `l` (text tower), `vl`, `lc` or `vlc` (`c` is a block on the
    /// embedding between text tower and decoder). Default `"vlc"`.
    pub towers: Towers,
    /// Rank of a change: one number, or a list with one for each layer. At most 65,536. Default 8.
    pub bottleneck: Bottleneck,
    /// The same in the text tower. Default: `bottleneck`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_bottleneck: Option<Bottleneck>,
    /// Hidden units of the block on the text embedding, with `c` in `towers`. Default 256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cond_bottleneck: Option<usize>,
    /// Which arithmetic is used: `paper` reproduces the published code, `default` fixes its faults. Default
    /// `"default"`.
    pub profile: Profile,
    /// The layers whose matrices are changed, counted from 0. Default: all layers that the decoder sees (profile
    /// `default`) or all but the last of them (`paper`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<usize>>,
    /// The same in the text tower. Default: the layers of the vision tower, or all layers if that is not a transformer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_layers: Option<Vec<usize>>,
    /// How changes start: `zero`, `near-zero` or `random`. Default `"zero"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<AdapterInit>,
    /// Factor on a change, alpha over rank. Default 1.
    pub scale: f64,
    /// The matrices that are changed, any of `query`, `key`, `value`, `output`, `fc1`, `fc2`.
    /// Default `["query", "value"]`.
    pub projections: Vec<Projection>,
    /// Whether the decoder is trained along with the adapters. Default false.
    pub train_decoder: bool,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            towers: Towers::Vlc,
            bottleneck: Bottleneck::All(8),
            text_bottleneck: None,
            cond_bottleneck: None,
            profile: Profile::Default,
            layers: None,
            text_layers: None,
            init: None,
            scale: 1.0,
            projections: vec![Projection::Query, Projection::Value],
            train_decoder: false,
        }
    }
}

impl LoraConfig {
    fn placement(&self) -> Placement<'_> {
        Placement {
            towers: self.towers,
            layers: self.layers.as_deref(),
            text_layers: self.text_layers.as_deref(),
            bottleneck: &self.bottleneck,
            text_bottleneck: self.text_bottleneck.as_ref(),
            cond_bottleneck: self.cond_bottleneck,
        }
    }

    /// The layers whose matrices are changed, and the rank in each.
    ///
    /// # Errors
    /// If the base has no such layers.
    pub fn adapter_sites(&self, base: &BaseShape) -> Result<AdapterSites> {
        self.placement().in_layers(base, self.profile)
    }

    /// The adapters for a base, initialised by `seed`.
    ///
    /// # Errors
    /// If they do not fit the base.
    pub(super) fn build(
        &self,
        base: &BaseShape,
        seed: u64,
        device: &Device,
    ) -> Result<LoraAdapters> {
        // The published code has no LoRA, so profile `paper` puts no limits on the form of the block.
        let block = BlockForm {
            profile: Profile::Default,
            connection: Connection::Sequential,
            activation: Activation::Relu,
            init: self.init,
            scale: self.scale,
        };
        let mut config = block.config()?;
        config.rectified = self.profile == Profile::Paper;
        let repeats = |at: usize| self.projections[..at].contains(&self.projections[at]);
        if self.projections.is_empty() || (0..self.projections.len()).any(repeats) {
            return error(
                "`projections` must name at least one matrix, each once: query, key, value, output, fc1, fc2".into(),
            );
        }
        let AdapterSites { vision, text } = self.adapter_sites(base)?;
        let make = |sites: &[(usize, usize)], tower: &TowerShape| -> Vec<LoraLayer> {
            let layer = |(_, rank): &(usize, usize)| LoraLayer::new(self, *rank, tower, device);
            sites.iter().map(layer).collect()
        };
        let adapters = LoraAdapters {
            v_lora: match &base.vision {
                Ok(tower) => make(&vision, tower),
                Err(_) => Vec::new(),
            },
            l_lora: make(&text, &base.text),
            cond_adapter: AdapterBlock::conditional(&self.placement(), base, config, device),
            layers: sites::layers(&vision),
            text_layers: sites::layers(&text),
            merged: false,
            train_decoder: self.train_decoder,
        };
        let is_last = |layer: &str| layer.ends_with(".b") || layer.ends_with(".fc2");
        Ok(initialise(adapters, block.init(), seed, is_last))
    }
}

impl Method for LoraConfig {
    fn profile(&self) -> Profile {
        self.profile
    }

    fn label(&self) -> String {
        format!("LoRA ({})", self.towers.name())
    }

    fn trains_decoder(&self) -> bool {
        self.train_decoder
    }

    fn towers(&self) -> Option<Towers> {
        Some(self.towers)
    }

    fn fold(&self, base: &BaseShape, trained: &mut Tensors, tensors: &mut Tensors) -> Result<()> {
        let AdapterSites { vision, text } = self.adapter_sites(base)?;
        let vision = base.vision.as_ref().map(|tower| ("v_lora", tower, vision));
        let text = ("l_lora", &base.text, text);
        for (list, tower, sites) in vision.into_iter().chain([text]) {
            for (index, (layer, _)) in sites.into_iter().enumerate() {
                for projection in &self.projections {
                    let name = format!("{list}.{index}.{}", projection.name());
                    let path = projection.path();
                    let target = format!("{}encoder.layers.{layer}.{path}.weight", tower.prefix);
                    let factors = ["a", "b"].map(|factor| {
                        let factor = trained.remove(&format!("{name}.{factor}.weight"));
                        factor.filter(|tensor| tensor.shape.len() == 2)
                    });
                    let fits = match (factors, tensors.get_mut(&target)) {
                        ([Some(a), Some(b)], Some(matrix)) => {
                            add_product(&a, &b, self.scale as f32, matrix)
                        }
                        _ => false,
                    };
                    if !fits {
                        return error(format!("`{name}` is missing or does not fit `{target}`"));
                    }
                }
            }
        }
        Ok(())
    }
}

/// Adds `scale * b a` to a matrix. Returns whether the shapes fit.
fn add_product(a: &HostTensor, b: &HostTensor, scale: f32, matrix: &mut HostTensor) -> bool {
    let (rank, inputs, outputs) = (a.shape[0], a.shape[1], b.shape[0]);
    if b.shape[1] != rank || matrix.shape != [outputs, inputs] {
        return false;
    }
    for (row, b) in matrix.data.chunks_mut(inputs).zip(b.data.chunks(rank)) {
        let mut change = vec![0.0; inputs];
        for (b, a) in b.iter().zip(a.data.chunks(inputs)) {
            for (y, a) in change.iter_mut().zip(a) {
                *y += b * a;
            }
        }
        for (y, change) in row.iter_mut().zip(change) {
            *y += scale * change;
        }
    }
    true
}

/// The change of a matrix, `scale * b(a(x))`: `a` is `[rank, input]` in files, `b` `[output, rank]`.
#[derive(Module, Debug)]
pub struct LowRank {
    a: Linear,
    b: Linear,
    #[module(skip)]
    scale: f64,
}

impl LowRank {
    fn new(inputs: usize, outputs: usize, rank: usize, scale: f64, device: &Device) -> Self {
        let linear = |from, to| LinearConfig::new(from, to).with_bias(false).init(device);
        Self {
            a: linear(inputs, rank),
            b: linear(rank, outputs),
            scale,
        }
    }

    /// Inputs and outputs of the matrix.
    pub(super) fn shape(&self) -> [usize; 2] {
        let [inputs, _] = self.a.weight.dims();
        let [_, outputs] = self.b.weight.dims();
        [inputs, outputs]
    }

    /// A matrix `[input, output]` with the change.
    ///
    /// The changed matrix replaces the frozen one. Products with it cost the same as before, and the gradients of `a`
    /// and `b` are computed from its gradient.
    pub(crate) fn change(&self, weight: Tensor<2>) -> Tensor<2> {
        let change = self.a.weight.val().matmul(self.b.weight.val());
        weight + change * self.scale
    }
}

/// The matrix of a linear layer, `[input, output]`, with its change if it has one.
pub(crate) fn changed(linear: &Linear, change: Option<&LowRank>) -> Tensor<2> {
    let weight = linear.weight.val();
    match change {
        // The change is in f32; the sum is rounded to the matrix's precision.
        Some(change) if weight.dtype() != DType::F32 => {
            let dtype = FloatDType::from(weight.dtype());
            change.change(weight.cast(DType::F32)).cast(dtype)
        }
        Some(change) => change.change(weight),
        None => weight,
    }
}

/// The changes in one layer of a tower; named after the matrices in files.
#[derive(Module, Debug)]
pub struct LoraLayer {
    pub(crate) q_proj: Option<LowRank>,
    pub(crate) k_proj: Option<LowRank>,
    pub(crate) v_proj: Option<LowRank>,
    pub(crate) out_proj: Option<LowRank>,
    pub(crate) fc1: Option<LowRank>,
    pub(crate) fc2: Option<LowRank>,
}

impl LoraLayer {
    fn new(method: &LoraConfig, rank: usize, tower: &TowerShape, device: &Device) -> Self {
        let (width, hidden) = (tower.width, tower.hidden);
        let change = |projection, inputs, outputs| {
            let wanted = method.projections.contains(&projection);
            wanted.then(|| LowRank::new(inputs, outputs, rank, method.scale, device))
        };
        Self {
            q_proj: change(Projection::Query, width, width),
            k_proj: change(Projection::Key, width, width),
            v_proj: change(Projection::Value, width, width),
            out_proj: change(Projection::Output, width, width),
            fc1: change(Projection::Fc1, width, hidden),
            fc2: change(Projection::Fc2, hidden, width),
        }
    }

    /// The changes, each with its matrix's name in a layer.
    pub(super) fn changes(&self) -> impl Iterator<Item = (&'static str, &LowRank)> {
        let all = [
            (Projection::Query, &self.q_proj),
            (Projection::Key, &self.k_proj),
            (Projection::Value, &self.v_proj),
            (Projection::Output, &self.out_proj),
            (Projection::Fc1, &self.fc1),
            (Projection::Fc2, &self.fc2),
        ];
        let changes = all.into_iter();
        changes.filter_map(|(matrix, change)| Some((matrix.path(), change.as_ref()?)))
    }
}

/// Changes in the towers' layers, and a block on the projected text embedding.
#[derive(Module, Debug)]
pub struct LoraAdapters {
    v_lora: Vec<LoraLayer>,
    l_lora: Vec<LoraLayer>,
    cond_adapter: Option<AdapterBlock>,
    #[module(skip)]
    layers: Vec<usize>,
    #[module(skip)]
    text_layers: Vec<usize>,
    #[module(skip)]
    train_decoder: bool,
    /// Whether the changes have already been added to the towers' matrices.
    #[module(skip)]
    merged: bool,
}

impl LoraAdapters {
    /// The same adapters once their changes have been added to the towers' matrices.
    pub(super) fn without_changes(self) -> Self {
        Self {
            merged: true,
            ..self
        }
    }
}

impl Adaptation for LoraAdapters {
    fn touches(&self) -> Touches {
        Touches {
            vision: !self.layers.is_empty(),
            text: !self.text_layers.is_empty(),
            decoder: self.train_decoder,
        }
    }

    fn first_vision_layer(&self) -> usize {
        self.layers.first().copied().unwrap_or(0)
    }

    fn trains(&self, part: Part, _name: &str) -> bool {
        self.train_decoder && part == Part::Decoder
    }

    fn layer(&self, tower: Tower, layer: usize) -> LayerAdapters<'_> {
        let (layers, changes) = match tower {
            Tower::Vision => (&self.layers, &self.v_lora),
            Tower::Text => (&self.text_layers, &self.l_lora),
        };
        let index = layers.iter().position(|own| *own == layer);
        let index = index.filter(|_| !self.merged);
        LayerAdapters {
            lora: index.and_then(|index| changes.get(index)),
            ..LayerAdapters::default()
        }
    }

    fn text_embedding(&self, embedding: Tensor<2>, _tapped: Vec<Tensor<2>>) -> Tensor<2> {
        conditioned(&self.cond_adapter, embedding)
    }
}
