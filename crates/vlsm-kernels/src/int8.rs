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
    ///
    /// # Panics
    /// If the matrix has another number of values: missing ones would silently be zeros.
    pub fn new(matrix: &[f32], inputs: usize, outputs: usize) -> Self {
        assert_eq!(matrix.len(), inputs * outputs, "values of the matrix");
        Self(Arc::new([
            Int8Matrix::by_columns(matrix, inputs, outputs),
            Int8Matrix::by_rows(matrix, inputs, outputs),
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
    fn zeros(inputs: usize, outputs: usize, largest: &[f32]) -> Self {
        Self {
            inputs,
            outputs,
            words: vec![[0; OUTPUTS]; outputs.div_ceil(OUTPUTS) * inputs.div_ceil(INPUTS)],
            scales: largest.iter().map(|largest| largest / STEPS).collect(),
            offsets: vec![0; outputs],
        }
    }

    /// Quantises `[inputs, outputs]`, with a scale for each column.
    fn by_columns(matrix: &[f32], inputs: usize, outputs: usize) -> Self {
        let mut largest = vec![0.0f32; outputs];
        for row in matrix.chunks(outputs.max(1)) {
            for (largest, x) in largest.iter_mut().zip(row) {
                *largest = largest.max(x.abs());
            }
        }
        let rates: Vec<f32> = largest.iter().copied().map(rate).collect();
        let mut result = Self::zeros(inputs, outputs, &largest);
        let depth = inputs.div_ceil(INPUTS);
        for (input, row) in matrix.chunks(outputs.max(1)).enumerate() {
            let shift = 8 * (input % INPUTS);
            let parts = (row.chunks(OUTPUTS)).zip(rates.chunks(OUTPUTS));
            let offsets = result.offsets.chunks_mut(OUTPUTS);
            for (tile, ((row, rates), offsets)) in parts.zip(offsets).enumerate() {
                let words = &mut result.words[tile * depth + input / INPUTS];
                for (((word, offset), x), rate) in words.iter_mut().zip(offsets).zip(row).zip(rates)
                {
                    let steps = steps(*x, *rate);
                    *offset += 128 * i32::from(steps);
                    *word |= u32::from(steps.cast_unsigned()) << shift;
                }
            }
        }
        result
    }

    /// Quantises the transpose of `[outputs, inputs]`, with a scale for each row.
    fn by_rows(matrix: &[f32], outputs: usize, inputs: usize) -> Self {
        let rows = || matrix.chunks(inputs.max(1));
        let largest: Vec<f32> = rows()
            .map(|row| row.iter().fold(0.0f32, |most, x| most.max(x.abs())))
            .collect();
        let mut result = Self::zeros(inputs, outputs, &largest);
        let depth = inputs.div_ceil(INPUTS);
        for ((output, row), largest) in rows().enumerate().zip(&largest) {
            let rate = rate(*largest);
            let words = &mut result.words[output / OUTPUTS * depth..][..depth];
            let mut sum = 0;
            for (words, values) in words.iter_mut().zip(row.chunks(INPUTS)) {
                let word = &mut words[output % OUTPUTS];
                for (input, x) in values.iter().enumerate() {
                    let steps = steps(*x, rate);
                    sum += i32::from(steps);
                    *word |= u32::from(steps.cast_unsigned()) << (8 * input);
                }
            }
            result.offsets[output] = 128 * sum;
        }
        result
    }
}

/// Steps per unit, given the largest absolute value of an output or a token.
#[inline(always)]
pub(crate) fn rate(largest: f32) -> f32 {
    if largest > 0.0 { STEPS / largest } else { 0.0 }
}

/// A value in steps, rounded to the nearest.
#[inline(always)]
pub(crate) fn steps(x: f32, rate: f32) -> i8 {
    // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits, without a call.
    const ROUND: f32 = 12_582_912.0;
    (x * rate + ROUND).to_bits() as i8
}
