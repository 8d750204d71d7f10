//! Frozen matrices in 8 bits.

use std::sync::Arc;

/// A frozen matrix in 8 bits for the CPU backend, and its transpose for gradients at inputs; clones share them.
///
/// Quantisation is symmetric with a scale for each output (LLM.int8, Dettmers et al. 2022; SwitchBack, Wortsman et al. 2023): the
/// largest absolute weight of an output becomes 127. The transpose has scales of its own, one for each input. A product
/// quantises its other operand in the same way with a scale for each token, sums in 32-bit integers, which is exact, and multiplies
/// the sum by both scales.
#[derive(Debug, Clone)]
pub struct Int8Weights(Arc<[Int8Matrix; 2]>);

/// One direction of [`Int8Weights`].
#[derive(Debug)]
pub(crate) struct Int8Matrix {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// `[8 outputs][4 inputs][output]`, both padded with zeros: four weights of an output, the first in the lowest bits.
    pub(crate) words: Vec<[u32; OUTPUTS]>,
    /// What a step of each output's weights is worth.
    pub(crate) scales: Vec<f32>,
    /// 128 times the sum of each output's weights: what adding 128 to each value of a token adds to its product.
    pub(crate) offsets: Vec<i32>,
}

/// Outputs of a tile.
pub(crate) const OUTPUTS: usize = 8;
/// Inputs in a word.
pub(crate) const INPUTS: usize = 4;
/// The largest step.
pub(crate) const STEPS: f32 = 127.0;

impl Int8Weights {
    /// Quantises a matrix, `[inputs, outputs]` in rows.
    pub fn new(matrix: &[f32], inputs: usize, outputs: usize) -> Self {
        let values = || {
            let rows = matrix.chunks(outputs.max(1)).enumerate();
            rows.flat_map(|(input, row)| {
                row.iter()
                    .enumerate()
                    .map(move |(output, x)| (input, output, *x))
            })
        };
        let transposed = || values().map(|(input, output, x)| (output, input, x));
        Self(Arc::new([
            Int8Matrix::new(inputs, outputs, values),
            Int8Matrix::new(outputs, inputs, transposed),
        ]))
    }

    /// For products with inputs.
    pub(crate) fn forward(&self) -> &Int8Matrix {
        &self.0[0]
    }

    /// For products with gradients at outputs.
    pub(crate) fn backward(&self) -> &Int8Matrix {
        &self.0[1]
    }
}

impl Int8Matrix {
    /// Quantises a matrix, given each value once in any order, with its input and its output.
    fn new<V: Iterator<Item = (usize, usize, f32)>>(
        inputs: usize,
        outputs: usize,
        values: impl Fn() -> V,
    ) -> Self {
        let mut largest = vec![0.0f32; outputs];
        for (_, output, x) in values() {
            largest[output] = largest[output].max(x.abs());
        }
        let rate = |largest: &f32| if *largest > 0.0 { STEPS / largest } else { 0.0 };
        let rates: Vec<f32> = largest.iter().map(rate).collect();
        let depth = inputs.div_ceil(INPUTS);
        let mut words = vec![[0; OUTPUTS]; outputs.div_ceil(OUTPUTS) * depth];
        let mut offsets = vec![0; outputs];
        for (input, output, x) in values() {
            let steps = (x * rates[output]).round_ties_even() as i8;
            offsets[output] += 128 * i32::from(steps);
            let row = &mut words[output / OUTPUTS * depth + input / INPUTS];
            row[output % OUTPUTS] |= u32::from(steps.cast_unsigned()) << (8 * (input % INPUTS));
        }
        Self {
            inputs,
            outputs,
            words,
            scales: largest.iter().map(|largest| largest / STEPS).collect(),
            offsets,
        }
    }
}
