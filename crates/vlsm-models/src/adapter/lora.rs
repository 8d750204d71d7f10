//! LoRA: low-rank changes of the matrices in the towers' layers (Hu et al. 2022).

use std::collections::BTreeMap;

use burn::backend::Dispatch;
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use vlsm_kernels::LinearWeights;

use super::{AdapterBlock, AdapterFile, LayerAdapters, conditional_block, conditioned};
use crate::clipseg::ClipSegConfig;
use crate::error::{ModelError, Result};
use crate::kernel_weights;
use crate::method::{MethodConfig, Projection};
use crate::tensor_file::HostTensor;

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

    /// A matrix `[input, output]` with the change.
    ///
    /// The changed matrix takes the place of the frozen one in all that follows: its products cost what they did, and the
    /// gradient at it is what the gradients at `a` and `b` are made of.
    pub(crate) fn change(&self, weight: Tensor<2>) -> Tensor<2> {
        let change = self.a.weight.val().matmul(self.b.weight.val());
        weight + change * self.scale
    }
}

/// The parameters of a layer whose matrix is changed, if it is.
pub(crate) fn changed(linear: &Linear, change: Option<&LowRank>) -> LinearWeights<Dispatch> {
    let weight = linear.weight.val();
    let weight = match change {
        Some(change) => change.change(weight),
        None => weight,
    };
    kernel_weights::with_matrix(linear, weight)
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
    fn new(
        method: &MethodConfig,
        rank: usize,
        width: usize,
        hidden: usize,
        device: &Device,
    ) -> Self {
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
}

impl LoraAdapters {
    pub(super) fn new(method: &MethodConfig, base: &ClipSegConfig, device: &Device) -> Self {
        let (vision, text) = (&base.vision_config, &base.text_config);
        let make = |places: &[(usize, usize)], width, hidden| {
            let ranks = places.iter().map(|(_, rank)| *rank);
            ranks
                .map(|rank| LoraLayer::new(method, rank, width, hidden, device))
                .collect()
        };
        let places = method.vision_places(base);
        let text_places = method.text_places(base);
        Self {
            v_lora: make(&places, vision.hidden_size, vision.intermediate_size),
            l_lora: make(&text_places, text.hidden_size, text.intermediate_size),
            cond_adapter: conditional_block(method, base, device),
            layers: places.into_iter().map(|(layer, _)| layer).collect(),
            text_layers: text_places.into_iter().map(|(layer, _)| layer).collect(),
        }
    }

    /// The changes in layer `index` of the vision tower.
    pub fn vision_layer(&self, index: usize) -> LayerAdapters<'_> {
        layer(index, &self.layers, &self.v_lora)
    }

    /// The changes in layer `index` of the text tower.
    pub fn text_layer(&self, index: usize) -> LayerAdapters<'_> {
        layer(index, &self.text_layers, &self.l_lora)
    }

    /// The projected text embedding, `[prompts, projection]`.
    pub fn adapt_text(&self, embedding: Tensor<2>) -> Tensor<2> {
        conditioned(&self.cond_adapter, embedding)
    }
}

fn layer<'a>(index: usize, layers: &[usize], changes: &'a [LoraLayer]) -> LayerAdapters<'a> {
    let place = layers.iter().position(|layer| *layer == index);
    LayerAdapters {
        lora: place.and_then(|place| changes.get(place)),
        ..LayerAdapters::default()
    }
}

impl AdapterFile {
    /// Takes the changes out of the file and adds them to the matrices of the base that they change, `tensors`, so that the base
    /// computes what it did with the file, at no cost.
    ///
    /// # Errors
    /// If a change or its matrix is missing or has another shape. The file and `tensors` are then of no more use.
    pub fn fold_lora(
        &mut self,
        base: &ClipSegConfig,
        tensors: &mut BTreeMap<String, HostTensor>,
    ) -> Result<()> {
        let towers = [
            ("v_lora", "vision", self.method.vision_places(base)),
            ("l_lora", "text", self.method.text_places(base)),
        ];
        for (list, tower, places) in towers {
            for (place, (layer, _)) in places.into_iter().enumerate() {
                for projection in self.method.projections.clone() {
                    let matrix = projection.name();
                    let name = format!("{list}.{place}.{matrix}");
                    let part = match projection {
                        Projection::Fc1 | Projection::Fc2 => "mlp",
                        _ => "self_attn",
                    };
                    let target =
                        format!("clip.{tower}_model.encoder.layers.{layer}.{part}.{matrix}.weight");
                    let factors = ["a", "b"].map(|factor| {
                        let factor = self.tensors.remove(&format!("{name}.{factor}.weight"));
                        factor.filter(|tensor| tensor.shape.len() == 2)
                    });
                    let fits = match (factors, tensors.get_mut(&target)) {
                        ([Some(a), Some(b)], Some(matrix)) => {
                            fold(&a, &b, self.method.scale as f32, matrix)
                        }
                        _ => false,
                    };
                    if !fits {
                        return Err(ModelError::Adapter {
                            path: self.path.clone(),
                            message: format!("`{name}` is missing or does not fit `{target}`"),
                        });
                    }
                }
            }
        }
        Ok(())
    }
}

/// Adds `scale * b a` to a matrix; whether the shapes fit.
fn fold(a: &HostTensor, b: &HostTensor, scale: f32, matrix: &mut HostTensor) -> bool {
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
