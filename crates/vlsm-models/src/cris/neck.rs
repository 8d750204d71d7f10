//! The neck: a feature pyramid whose deepest map the text gates.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor, activation};

use super::config::CrisConfig;
use super::norm::{BatchNorm, ConvLayer, conv_layer, forward_layer};
use super::vision::halve;
use super::{ImageFeatures, Mode};
use crate::resize::{Corners, Filter, resize};

/// Doubles a map's sides bilinearly (PyTorch's `align_corners=False`).
pub(super) fn double(x: Tensor<4>) -> Tensor<4> {
    let [_, _, height, width] = x.dims();
    resize(x, [2 * height, 2 * width], Filter::Bilinear, Corners::Edges)
}

/// A 3x3 convolution with position information: two channels of coordinates, column and row from -1 to 1, come after
/// the map's own (Liu et al. 2018).
#[derive(Module, Debug)]
pub struct CoordConv {
    conv1: ConvLayer,
}

impl CoordConv {
    /// `[batch, width, height, width]` to the same shape.
    fn forward(&self, x: Tensor<4>, mode: Mode<'_>) -> Tensor<4> {
        let [batch, _, rows, columns] = x.dims();
        let device = x.device();
        let along = |count: usize| -> Tensor<1> {
            let step = 2.0 / count.saturating_sub(1).max(1) as f32;
            let values: Vec<f32> = (0..count).map(|index| index as f32 * step - 1.0).collect();
            Tensor::from_data(values.as_slice(), (&device, x.dtype()))
        };
        let shape = [batch, 1, rows, columns];
        let column = along(columns).reshape([1, 1, 1, columns]).expand(shape);
        let row = along(rows).reshape([1, 1, rows, 1]).expand(shape);
        forward_layer(&self.conv1, Tensor::cat(vec![x, column, row], 1), mode)
    }
}

/// CRIS's cross-modal neck, the published `FPN`.
#[derive(Module, Debug)]
pub struct Neck {
    txt_proj: (Linear, BatchNorm),
    f1_v_proj: ConvLayer,
    norm_layer: Vec<BatchNorm>,
    f2_v_proj: ConvLayer,
    f2_cat: ConvLayer,
    f3_v_proj: ConvLayer,
    f3_cat: ConvLayer,
    f4_proj5: ConvLayer,
    f4_proj4: ConvLayer,
    f4_proj3: ConvLayer,
    aggr: ConvLayer,
    coordconv: (CoordConv, ConvLayer),
}

impl Neck {
    pub(super) fn new(config: &CrisConfig, device: &Device) -> Self {
        let [c3, c4, c5] = config.taps();
        let [low, middle, high] = config.fpn_out;
        let layer = |input, output, kernel| conv_layer(input, output, kernel, device);
        let linear = LinearConfig::new(config.projection_dim, high).with_bias(false);
        Self {
            txt_proj: (linear.init(device), BatchNorm::new(high, device)),
            f1_v_proj: layer(c5, high, 1),
            norm_layer: vec![BatchNorm::new(high, device)],
            f2_v_proj: layer(c4, middle, 3),
            f2_cat: layer(high + middle, middle, 1),
            f3_v_proj: layer(c3, low, 3),
            f3_cat: layer(low + middle, middle, 1),
            f4_proj5: layer(high, middle, 3),
            f4_proj4: layer(middle, middle, 3),
            f4_proj3: layer(middle, middle, 3),
            aggr: layer(3 * middle, middle, 1),
            coordconv: (
                CoordConv {
                    conv1: layer(middle + 2, middle, 3),
                },
                layer(middle, middle, 3),
            ),
        }
    }

    /// The part of the neck that does not depend on the prompt, on the maps C3, C4 and C5.
    pub(super) fn project(&self, [c3, c4, c5]: [Tensor<4>; 3], mode: Mode<'_>) -> ImageFeatures {
        ImageFeatures {
            low: halve(forward_layer(&self.f3_v_proj, c3, mode)),
            middle: forward_layer(&self.f2_v_proj, c4, mode),
            high: forward_layer(&self.f1_v_proj, c5, mode),
        }
    }

    /// Features and pooled text states `[batch, projection]` to one map `[batch, width, side / 16, side / 16]`.
    pub(super) fn forward(
        &self,
        features: ImageFeatures,
        state: Tensor<2>,
        mode: Mode<'_>,
    ) -> Tensor<4> {
        let ImageFeatures { low, middle, high } = features;
        let (linear, norm) = &self.txt_proj;
        let gate = activation::relu(norm.forward(linear.forward(state), mode));
        let [batch, channels] = gate.dims();
        let gated = high * gate.reshape([batch, channels, 1, 1]);
        let normalise = |x, norm: &BatchNorm| norm.forward(x, mode);
        let f5 = activation::relu(self.norm_layer.iter().fold(gated, normalise));

        let layer = |layer: &ConvLayer, maps: Vec<Tensor<4>>| {
            forward_layer(layer, Tensor::cat(maps, 1), mode)
        };
        let f4 = layer(&self.f2_cat, vec![middle, double(f5.clone())]);
        let f3 = layer(&self.f3_cat, vec![low, f4.clone()]);

        let q5 = double(forward_layer(&self.f4_proj5, f5, mode));
        let q4 = forward_layer(&self.f4_proj4, f4, mode);
        let q3 = forward_layer(&self.f4_proj3, f3, mode);
        let q = layer(&self.aggr, vec![q3, q4, q5]);
        let (coordinates, last) = &self.coordconv;
        forward_layer(last, coordinates.forward(q, mode), mode)
    }
}
