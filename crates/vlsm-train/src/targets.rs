//! Training targets.

use burn::tensor::{Device, Tensor, TensorData};
use vlsm_data::{Example, Sample};
use vlsm_image::Mask;

/// Masks in the form that the loss needs.
pub struct Targets {
    /// `[batch, side, side]`, 0 or 1.
    pub target: Tensor<3>,
    /// `[batch, side, side]`, 0 where a pixel is ignored; `None` if none is.
    pub valid: Option<Tensor<3>>,
}

/// The first example of each distinct image, and for each example the index of its image among them. The examples refer to
/// `samples` by index.
pub fn distinct_images<'a>(
    examples: &'a [Example],
    samples: &[Sample],
) -> (Vec<&'a Example>, Vec<usize>) {
    let mut distinct: Vec<&Example> = Vec::with_capacity(examples.len());
    let mut indices = Vec::with_capacity(examples.len());
    for example in examples {
        let image = |example: &Example| samples[example.sample].source.id();
        let known = distinct
            .iter()
            .position(|other| image(other) == image(example));
        indices.push(known.unwrap_or(distinct.len()));
        if known.is_none() {
            distinct.push(example);
        }
    }
    (distinct, indices)
}

impl Targets {
    /// The masks of examples, all of one size.
    pub fn new(examples: &[Example], device: &Device) -> Self {
        let masks: Vec<&Mask> = examples
            .iter()
            .map(|example| example.mask.as_ref())
            .collect();
        let (height, width) = masks
            .first()
            .map_or((0, 0), |mask| (mask.height, mask.width));
        let tensor = |value: fn(u8) -> f32| {
            let data: Vec<f32> = masks
                .iter()
                .flat_map(|mask| mask.data.iter().map(|pixel| value(*pixel)))
                .collect();
            Tensor::from_data(TensorData::new(data, [masks.len(), height, width]), device)
        };
        let ignores = masks.iter().any(|mask| mask.data.contains(&Mask::IGNORE));
        Self {
            target: tensor(|pixel| f32::from(u8::from(pixel == 1))),
            valid: ignores.then(|| tensor(|pixel| f32::from(u8::from(pixel != Mask::IGNORE)))),
        }
    }
}
