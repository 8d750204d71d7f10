//! The decoder: pixels of the map attend to each other and to the words.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor, TensorData, activation};

use super::attention::Attention;
use super::config::CrisConfig;
use super::{Mode, TextFeatures};
use crate::clip::LayerNorm;

/// PyTorch's default.
const EPSILON: f64 = 1e-5;

/// Something without parameters in a published sequence, so that what follows has its published number.
#[derive(Module, Debug)]
pub struct Place;

/// A layer: self-attention, cross-attention to the words and an MLP, each normalised before and, but for the MLP, after;
/// the MLP normalises its hidden units.
#[derive(Module, Debug)]
pub struct DecoderLayer {
    self_attn_norm: LayerNorm,
    cross_attn_norm: LayerNorm,
    self_attn: Attention,
    multihead_attn: Attention,
    /// Linear, ReLU, dropout, normalisation, linear.
    ffn: (Linear, Place, Place, LayerNorm, Linear),
    norm1: LayerNorm,
    norm2: LayerNorm,
    norm3: LayerNorm,
    #[module(skip)]
    dropout: f64,
}

/// CRIS's vision-language decoder.
#[derive(Module, Debug)]
pub struct Decoder {
    layers: Vec<DecoderLayer>,
    norm: LayerNorm,
}

impl Decoder {
    pub(super) fn new(config: &CrisConfig, device: &Device) -> Self {
        let (width, hidden) = (config.width(), config.decoder_hidden);
        let norm = |width| LayerNorm::new(width, EPSILON, device);
        let attention = || Attention::new(width, config.decoder_heads, config.dropout, device);
        let layer = || DecoderLayer {
            self_attn_norm: norm(width),
            cross_attn_norm: norm(width),
            self_attn: attention(),
            multihead_attn: attention(),
            ffn: (
                LinearConfig::new(width, hidden).init(device),
                Place,
                Place,
                norm(hidden),
                LinearConfig::new(hidden, width).init(device),
            ),
            norm1: norm(width),
            norm2: norm(width),
            norm3: norm(width),
            dropout: config.dropout,
        };
        Self {
            layers: (0..config.decoder_layers).map(|_| layer()).collect(),
            norm: norm(width),
        }
    }

    /// A map `[batch, width, height, width]` and the words of as many prompts to a map of the same shape.
    pub(super) fn forward(&self, map: Tensor<4>, text: &TextFeatures, mode: Mode<'_>) -> Tensor<4> {
        let shape @ [batch, width, rows, columns] = map.dims();
        let device = map.device();
        let placed = |positions: Tensor<2>| positions.cast(map.dtype()).unsqueeze::<3>();
        let places = placed(positions_2d(width, rows, columns, &device));
        let [_, length, _] = text.words.dims();
        let keys = text.words.clone() + placed(positions_1d(width, length, &device));
        let x = map.reshape([batch, width, rows * columns]).swap_dims(1, 2);
        let x = self.layers.iter().fold(x, |x, layer| {
            layer.forward(x, &places, keys.clone(), text, mode)
        });
        self.norm.forward(x).swap_dims(1, 2).reshape(shape)
    }
}

impl DecoderLayer {
    /// Pixels `[batch, pixels, width]` to the same shape; `keys` are the words with their positions.
    fn forward(
        &self,
        x: Tensor<3>,
        positions: &Tensor<3>,
        keys: Tensor<3>,
        text: &TextFeatures,
        mode: Mode<'_>,
    ) -> Tensor<3> {
        let drop = |x| mode.dropout(x, self.dropout);

        let value = self.norm1.forward(x.clone());
        let query = value.clone() + positions.clone();
        let y = self
            .self_attn
            .forward([query.clone(), query, value], None, mode);
        let x = x + drop(self.self_attn_norm.forward(y));

        let query = self.norm2.forward(x.clone()) + positions.clone();
        let mask = Some(text.mask.clone());
        let y = self
            .multihead_attn
            .forward([query, keys, text.words.clone()], mask, mode);
        let x = x + drop(self.cross_attn_norm.forward(y));

        let (expand, _, _, norm, contract) = &self.ffn;
        let y = activation::relu(expand.forward(self.norm3.forward(x.clone())));
        x + drop(contract.forward(norm.forward(drop(y))))
    }
}

/// Sines and cosines of a position (Vaswani et al. 2017), interleaved, into `row`.
fn waves(row: &mut [f32], place: usize) {
    let width = row.len();
    for (pair, values) in row.chunks_mut(2).enumerate() {
        let phase = place as f64 * (-(10_000f64.ln()) * (2 * pair) as f64 / width as f64).exp();
        values[0] = phase.sin() as f32;
        if let Some(second) = values.get_mut(1) {
            *second = phase.cos() as f32;
        }
    }
}

/// Positions of a sequence, `[length, width]`.
fn positions_1d(width: usize, length: usize, device: &Device) -> Tensor<2> {
    let mut values = vec![0.0; length * width];
    for (place, row) in values.chunks_mut(width).enumerate() {
        waves(row, place);
    }
    Tensor::from_data(TensorData::new(values, [length, width]), device)
}

/// Positions of a map, `[rows * columns, width]`: the first half of the channels says the column, the second the row.
fn positions_2d(width: usize, rows: usize, columns: usize, device: &Device) -> Tensor<2> {
    let mut values = vec![0.0; rows * columns * width];
    for (place, value) in values.chunks_mut(width).enumerate() {
        let (column, row) = value.split_at_mut(width / 2);
        waves(column, place % columns);
        waves(row, place / columns);
    }
    Tensor::from_data(TensorData::new(values, [rows * columns, width]), device)
}
