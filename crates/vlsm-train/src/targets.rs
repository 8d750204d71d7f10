//! Training targets.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use vlsm_data::{Example, Sample};
use vlsm_image::Mask;
use vlsm_models::takes_bytes;

/// Masks in the form that the loss needs.
pub struct Targets {
    /// `[batch, side, side]`, 0 or 1.
    pub target: Tensor<3>,
    /// `[batch, side, side]`, 0 where a pixel is ignored; `None` if none is.
    pub valid: Option<Tensor<3>>,
}

/// The first example of each distinct image, changed ones being distinct, and for each example the index of its image among them. The examples refer to
/// `samples` by index.
pub fn distinct_images<'a>(
    examples: &'a [Example],
    samples: &[Sample],
) -> (Vec<&'a Example>, Vec<usize>) {
    let mut distinct: Vec<&Example> = Vec::with_capacity(examples.len());
    let mut indices = Vec::with_capacity(examples.len());
    for example in examples {
        let image = |example: &Example| samples[example.sample].source.id();
        let is_same = |other: &Example| {
            let changed = example.transform.is_some() || other.transform.is_some();
            !changed && image(other) == image(example)
        };
        let known = distinct.iter().position(|other| is_same(other));
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
        let shape = [masks.len(), height, width];
        let bytes = takes_bytes(device);
        let tensor = |value: fn(u8) -> u8| {
            let pixels = masks.iter().flat_map(|mask| &mask.data);
            if !bytes {
                let data: Vec<f32> = pixels.map(|pixel| f32::from(value(*pixel))).collect();
                return Tensor::from_data(TensorData::new(data, shape), device);
            }
            // A quarter of the bytes are copied to the device.
            let data: Vec<u8> = pixels.map(|pixel| value(*pixel)).collect();
            let data = TensorData::new(data, shape);
            Tensor::<3, Int>::from_data(data, (device, DType::U8)).float()
        };
        let ignores = masks.iter().any(|mask| mask.data.contains(&Mask::IGNORE));
        Self {
            target: tensor(|pixel| u8::from(pixel == 1)),
            valid: ignores.then(|| tensor(|pixel| u8::from(pixel != Mask::IGNORE))),
        }
    }
}
