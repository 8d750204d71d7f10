//! PVL adapters: vision and text tokens attend to each other, with values that are drawn in training (MedCLIPSeg, Koleilat et al. 2026).

use burn::module::{Module, Param};
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::tensor::{Device, Tensor, TensorData, activation};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::prompts::{Norm, initialised, unpaired};
use super::sites::check_units;
use super::{Adaptation, BaseShape, Draws, Method, Pairing, Profile, Touches, error};
use crate::error::Result;
use crate::init::normal;

/// The layers before which the published model has an adapter, from 0.
const PUBLISHED: std::ops::RangeInclusive<usize> = 1..=10;

/// How much a key's variance lowers its score.
const BETA: f64 = 2.35;

/// The least variance.
const LEAST: f64 = 1e-6;

/// Method `pvl`: MedCLIPSeg's adapters between the layers of both towers, in which image and text tokens attend to each other;
/// everything pretrained is frozen. Its mask head and its loss on patches and texts are left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PvlConfig {
    /// The width in which the tokens attend to each other. Default 256, as in MedCLIPSeg.
    pub bottleneck: usize,
    /// The layers of both towers that have an adapter before them, from 0. Default: 1 to 10, as in MedCLIPSeg, as far as the towers
    /// have them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<usize>>,
    /// Which arithmetic is used: in `paper`, image tokens attend to the padding of texts too, as in the published code, in `default`
    /// only to a prompt's own tokens. Default `"default"`.
    pub profile: Profile,
    /// Whether the decoder is trained along with the adapters. Default false.
    pub train_decoder: bool,
    /// Whether TuneVLSeg's output head is trained too: a second last layer of the decoder, mixed with the pretrained one by a
    /// trained share. On CLIPSeg and BiomedCLIPSeg. Default false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub head: bool,
}

impl Default for PvlConfig {
    fn default() -> Self {
        Self {
            bottleneck: 256,
            layers: None,
            profile: Profile::Default,
            train_decoder: false,
            head: false,
        }
    }
}

impl PvlConfig {
    /// The adapters for a base, initialised by `seed`.
    ///
    /// # Errors
    /// If they do not fit the base.
    pub(super) fn build(
        &self,
        base: &BaseShape,
        seed: u64,
        device: &Device,
    ) -> Result<PvlAdapters> {
        let (Ok(tower), true) = (&base.vision, base.pairs) else {
            return unpaired(base, "pvl", "dense");
        };
        check_units("bottleneck", self.bottleneck)?;
        // The state after the last layer of the vision tower that is run is the input of one more, for the text.
        let last = tower.layers.min(base.text.layers.saturating_sub(1));
        let layers = match &self.layers {
            Some(layers) => layers.clone(),
            None => PUBLISHED.filter(|layer| *layer <= last).collect(),
        };
        let ascending = layers.windows(2).all(|pair| pair[0] < pair[1]);
        if layers.is_empty() || !ascending || layers.iter().any(|layer| *layer > last) {
            return error(format!(
                "`layers` is {layers:?}; it must be an ascending list of layers from 0 to {last}, which both towers of {} have",
                base.name
            ));
        }
        let widths = [tower.width, base.text.width, self.bottleneck];
        let adapter = |_: &usize| PvlAdapter::new(widths, device);
        let adapters = PvlAdapters {
            pvl_adapters: layers.iter().map(adapter).collect(),
            layers,
            train_decoder: self.train_decoder,
        };
        let kept = [
            "norm_k.weight",
            "norm_k.bias",
            "norm_v.weight",
            "norm_v.bias",
            "gate",
        ];
        Ok(initialised(adapters, seed, &[], &kept))
    }
}

impl Method for PvlConfig {
    fn profile(&self) -> Profile {
        self.profile
    }

    fn label(&self) -> String {
        format!("PVL adapters ({})", self.bottleneck)
    }

    fn trains_decoder(&self) -> bool {
        self.train_decoder
    }

    fn has_head(&self) -> bool {
        self.head
    }
}

/// Attention of one tower's tokens to the other's, whose keys and values have a mean and a variance; names are the published ones.
#[derive(Module, Debug)]
pub struct ProbabilisticAttention {
    q_proj: Linear,
    /// To the keys' means and variances.
    k_proj: Linear,
    /// To the values' means and variances.
    v_proj: Linear,
    out_proj: Linear,
    norm_k: Norm,
    norm_v: Norm,
    /// The sigmoid of this is the share of what is read. `[1]`.
    gate: Param<Tensor<1>>,
}

impl ProbabilisticAttention {
    fn new(width: usize, device: &Device) -> Self {
        let linear = |outputs| LinearConfig::new(width, outputs).init(device);
        Self {
            q_proj: linear(width),
            k_proj: linear(2 * width),
            v_proj: linear(2 * width),
            out_proj: linear(width),
            norm_k: Norm::new(width, device),
            norm_v: Norm::new(width, device),
            gate: Initializer::Zeros.init([1], device),
        }
    }

    /// `[pairs, tokens, width]` to the same shape. `noise`, of the shape of `context`, is what values deviate from their mean by, in
    /// standard deviations; without it they are the mean.
    fn forward(&self, query: Tensor<3>, context: Tensor<3>, noise: Option<Tensor<3>>) -> Tensor<3> {
        let width = query.dims()[2];
        let q = self.q_proj.forward(query.clone());
        let (keys, key_variance) = split(self.k_proj.forward(context.clone()), width);
        let keys = self.norm_k.forward(keys);
        let (values, value_variance) = split(self.v_proj.forward(context), width);
        let mut values = self.norm_v.forward(values);
        if let Some(noise) = noise {
            values = values + value_variance.sqrt() * noise;
        }
        let width = width as f64;
        let mean = q.clone().matmul(keys.transpose()) / width.sqrt();
        let variance = (q.clone() * q).matmul(key_variance.transpose()) / width;
        let weights = activation::softmax(mean - variance.sqrt() * BETA, 2);
        let read = self.out_proj.forward(weights.matmul(values));
        let share = activation::sigmoid(self.gate.val()).reshape([1, 1, 1]);
        query.clone() + (read - query) * share
    }
}

/// Means and variances `[.., width]` of a projection `[.., 2 width]`.
fn split(both: Tensor<3>, width: usize) -> (Tensor<3>, Tensor<3>) {
    let variance = both.clone().narrow(2, width, width);
    let variance = activation::softplus(variance, 1.0) + LEAST;
    (both.narrow(2, 0, width), variance)
}

/// A linear layer that is number 0 of a sequence.
#[derive(Module, Debug)]
pub struct FirstLinear {
    numbered_0: Linear,
}

/// Image tokens attend to text tokens, and then text tokens to image tokens.
#[derive(Module, Debug)]
pub struct TwoWay {
    cross_attn_img_to_txt: ProbabilisticAttention,
    cross_attn_txt_to_img: ProbabilisticAttention,
}

/// The adapter before a layer.
#[derive(Module, Debug)]
pub struct PvlAdapter {
    proj_vis_down: FirstLinear,
    proj_txt_down: Linear,
    proj_vis_up: Linear,
    proj_txt_up: Linear,
    two_way: TwoWay,
}

impl PvlAdapter {
    fn new([vision, text, width]: [usize; 3], device: &Device) -> Self {
        let linear = |from, to| LinearConfig::new(from, to).with_bias(false).init(device);
        Self {
            proj_vis_down: FirstLinear {
                numbered_0: linear(vision, width),
            },
            proj_txt_down: linear(text, width),
            proj_vis_up: linear(width, vision),
            proj_txt_up: linear(width, text),
            two_way: TwoWay {
                cross_attn_img_to_txt: ProbabilisticAttention::new(width, device),
                cross_attn_txt_to_img: ProbabilisticAttention::new(width, device),
            },
        }
    }

    /// What is added to the image tokens `[pairs, image tokens, vision width]` and to the text tokens. `noise` is that of the values
    /// from the text (0) and from the image (1), given their shape.
    fn forward(
        &self,
        vision: Tensor<3>,
        text: Tensor<3>,
        noise: impl Fn(u64, [usize; 3]) -> Option<Tensor<3>>,
    ) -> (Tensor<3>, Tensor<3>) {
        let image = self.proj_vis_down.numbered_0.forward(vision);
        let words = self.proj_txt_down.forward(text);
        let TwoWay {
            cross_attn_img_to_txt,
            cross_attn_txt_to_img,
        } = &self.two_way;
        let drawn = noise(0, words.dims());
        let image = cross_attn_img_to_txt.forward(image, words.clone(), drawn);
        let drawn = noise(1, image.dims());
        let words = cross_attn_txt_to_img.forward(words, image.clone(), drawn);
        (
            self.proj_vis_up.forward(image),
            self.proj_txt_up.forward(words),
        )
    }
}

/// The adapters of all layers.
#[derive(Module, Debug)]
pub struct PvlAdapters {
    pvl_adapters: Vec<PvlAdapter>,
    #[module(skip)]
    layers: Vec<usize>,
    #[module(skip)]
    train_decoder: bool,
}

impl Adaptation for PvlAdapters {
    fn touches(&self) -> Touches {
        Touches {
            vision: true,
            text: true,
            decoder: self.train_decoder,
        }
    }

    fn first_vision_layer(&self) -> usize {
        self.layers.first().copied().unwrap_or(0)
    }

    fn pairing(&self) -> Pairing {
        Pairing::Layers
    }

    fn exchange(
        &self,
        layer: usize,
        vision: Tensor<3>,
        text: Tensor<3>,
        draws: Option<&Draws>,
    ) -> (Tensor<3>, Tensor<3>) {
        let number = self.layers.iter().position(|own| *own == layer);
        let Some(adapter) = number.and_then(|number| self.pvl_adapters.get(number)) else {
            return (vision, text);
        };
        let device = vision.device();
        let noise = |direction, shape| {
            let draws = draws?;
            Some(draws.normal(2 * layer as u64 + direction, shape, &device))
        };
        let (for_vision, for_text) = adapter.forward(vision.clone(), text.clone(), noise);
        (vision + for_vision, text + for_text)
    }
}

impl Draws {
    /// Normal numbers `[pairs, tokens, width]`. Those of a pair depend on the step, on its number in it and on `purpose`, not on the
    /// other pairs; those of its first tokens not on how many follow.
    fn normal(
        &self,
        purpose: u64,
        [pairs, tokens, width]: [usize; 3],
        device: &Device,
    ) -> Tensor<3> {
        let mut values = Vec::with_capacity(pairs * tokens * width);
        for number in &self.numbers {
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream((*number as u64) << 16 | purpose);
            values.extend(normal(tokens * width, 1.0, &mut rng));
        }
        Tensor::from_data(TensorData::new(values, [pairs, tokens, width]), device)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::weights::{fill, to_host};

    fn tensor(values: &[f32]) -> Tensor<3> {
        let data = TensorData::new(values.to_vec(), [1, 1, 2]);
        Tensor::from_data(data, &Device::flex())
    }

    /// A single token of context has all the attention, so what is read is its value.
    #[test]
    fn drawn_values_deviate_by_their_standard_deviation() {
        let attention = ProbabilisticAttention::new(2, &Device::flex());
        let attention = fill(attention, |name, shape| match (name, shape) {
            // The values' means are the norm of (1, 3), so (-1, 1); their variances softplus(0) and softplus(2).
            ("v_proj.bias", _) => Some(vec![1.0, 3.0, 0.0, 2.0]),
            ("out_proj.weight", _) => Some(vec![1.0, 0.0, 0.0, 1.0]),
            ("gate" | "norm_k.weight" | "norm_v.weight", _) => None,
            (_, shape) => Some(vec![0.0; shape.iter().product()]),
        });
        let (query, context) = (tensor(&[5.0, 7.0]), tensor(&[0.3, -0.4]));
        let out = |noise: Option<[f32; 2]>| {
            let noise = noise.map(|noise| tensor(&noise));
            to_host(attention.forward(query.clone(), context.clone(), noise))
        };
        let half = |query: f64, value: f64| ((query + value) / 2.0) as f32;
        let near = |found: Vec<f32>, expected: [f32; 2]| {
            for (found, expected) in found.into_iter().zip(expected) {
                assert!((found - expected).abs() < 1e-4, "{found}, {expected}");
            }
        };
        near(out(None), [half(5.0, -1.0), half(7.0, 1.0)]);
        let deviation = |x: f64| (x.exp().ln_1p() + 1e-6).sqrt();
        near(
            out(Some([2.0, -1.0])),
            [
                half(5.0, -1.0 + 2.0 * deviation(0.0)),
                half(7.0, 1.0 - deviation(2.0)),
            ],
        );
    }

    #[test]
    fn draws_depend_on_the_pair_alone() {
        let draws = |numbers: &[usize], tokens, purpose| {
            let draws = Draws {
                seed: 5,
                numbers: numbers.to_vec(),
            };
            let shape = [numbers.len(), tokens, 2];
            to_host(draws.normal(purpose, shape, &Device::flex()))
        };
        let all = draws(&[0, 1, 2], 3, 4);
        assert_eq!(draws(&[2], 3, 4), all[12..]);
        assert_eq!(draws(&[1], 2, 4), all[6..10]);
        assert_ne!(draws(&[2], 3, 5), all[12..]);
        let deviation = |values: &[f32]| {
            let squares = values.iter().map(|x| f64::from(x * x)).sum::<f64>();
            (squares / values.len() as f64).sqrt()
        };
        assert!((deviation(&draws(&[7], 2000, 0)) - 1.0).abs() < 0.05);
    }
}
