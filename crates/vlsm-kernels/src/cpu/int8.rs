//! Products of 8-bit weights and tokens, on any processor; [`avx512`](super::avx512) has instructions for them.

use rayon::prelude::*;

use super::isa::{Isa, dispatch};
use super::panels::{LANES, Lane, Panels};
use crate::int8::{INPUTS, Int8Matrix, OUTPUTS, STEPS, rate, steps};

/// Four features of the tokens of a panel, the first in the lowest bits. Each is the value in steps of its token's scale, plus 128:
/// the instructions multiply unsigned by signed bytes.
pub(crate) type Word = [u32; LANES];

/// Sums of a tile.
pub(crate) type Sums = [[i32; LANES]; OUTPUTS];

/// Tokens in 8 bits, `[panel][4 features][token]`, with a scale for each token.
#[derive(Debug)]
pub(crate) struct Int8Panels {
    words: Vec<Word>,
    scales: Vec<Lane>,
    /// Words of a panel.
    size: usize,
}

impl Int8Panels {
    /// Quantises panels: the largest absolute value of a token becomes 127.
    pub(crate) fn new(x: &Panels) -> Self {
        let size = x.width.div_ceil(INPUTS);
        let mut words = vec![[0; LANES]; size * x.count];
        let scales = words
            .par_chunks_mut(size.max(1))
            .enumerate()
            .map(|(panel, words)| {
                let blocks = (0..x.width.div_ceil(x.block)).map(|block| x.panel(block, panel));
                quantise(&blocks.collect::<Vec<_>>(), words)
            })
            .collect();
        Self {
            words,
            scales,
            size,
        }
    }

    /// Panels of all images.
    pub(crate) fn count(&self) -> usize {
        self.scales.len()
    }

    fn panel(&self, panel: usize) -> Panel<'_> {
        Panel {
            words: &self.words[panel * self.size..][..self.size],
            scales: &self.scales[panel],
        }
    }
}

/// One panel of [`Int8Panels`].
#[derive(Debug, Clone, Copy)]
struct Panel<'a> {
    words: &'a [Word],
    scales: &'a Lane,
}

dispatch! {
    /// Writes the words of a panel, given its blocks, and returns the scales.
    fn quantise(blocks: &[&[f32]], words: &mut [Word]) -> [f32; LANES] = quantise_panel;
}

#[inline(always)]
fn quantise_panel<I: Isa>(blocks: &[&[f32]], words: &mut [Word]) -> [f32; LANES] {
    let mut largest = [0.0f32; LANES];
    // NaN where a value is not finite, so that a diverging training is noticed.
    let mut fault = [0.0f32; LANES];
    for block in blocks {
        for lane in block.as_chunks::<LANES>().0 {
            for token in 0..LANES {
                let size = lane[token].abs();
                largest[token] = if size > largest[token] {
                    size
                } else {
                    largest[token]
                };
                fault[token] += size * 0.0;
            }
        }
    }
    let rates = largest.map(rate);
    let mut feature = 0;
    for block in blocks {
        for lane in block.as_chunks::<LANES>().0 {
            let shift = 8 * (feature % INPUTS);
            let word = &mut words[feature / INPUTS];
            for token in 0..LANES {
                // Flipping the sign bit adds 128.
                let byte = steps(lane[token], rates[token]).cast_unsigned() ^ 0x80;
                word[token] |= u32::from(byte) << shift;
            }
            feature += 1;
        }
    }
    std::array::from_fn(|token| largest[token] / STEPS + fault[token])
}

/// Adds the product with some outputs, from `first_output` on, to the panels from `first_panel` on, `to`: `[panel][output][token]`.
pub(crate) fn add_product(
    weights: &Int8Matrix,
    x: &Int8Panels,
    first_output: usize,
    outputs: usize,
    first_panel: usize,
    to: &mut [f32],
) {
    for (pair, to) in to.chunks_mut(2 * outputs * LANES).enumerate() {
        let panel = first_panel + 2 * pair;
        let (first, second) = to.split_at_mut(outputs * LANES);
        if second.is_empty() {
            add_one(weights, first_output, x.panel(panel), first);
        } else {
            let x = [x.panel(panel), x.panel(panel + 1)];
            add_two(weights, first_output, x, [first, second]);
        }
    }
}

dispatch! {
    fn add_one(weights: &Int8Matrix, first: usize, x: Panel<'_>, to: &mut [f32]) = add_panel;
}

#[inline(always)]
fn add_panel<I: Isa>(weights: &Int8Matrix, first: usize, x: Panel<'_>, to: &mut [f32]) {
    add_panels::<I, 1>(weights, first, [x], [to]);
}

dispatch! {
    fn add_two(weights: &Int8Matrix, first: usize, x: [Panel<'_>; 2], to: [&mut [f32]; 2]) = add_both;
}

#[inline(always)]
fn add_both<I: Isa>(weights: &Int8Matrix, first: usize, x: [Panel<'_>; 2], to: [&mut [f32]; 2]) {
    add_panels::<I, 2>(weights, first, x, to);
}

#[inline(always)]
fn add_panels<I: Isa, const PANELS: usize>(
    weights: &Int8Matrix,
    first: usize,
    x: [Panel<'_>; PANELS],
    to: [&mut [f32]; PANELS],
) {
    let mut to = to.map(|to| to.as_chunks_mut::<LANES>().0);
    let last = first + to.first().map_or(0, |to| to.len());
    let words = x.map(|x| x.words);
    // Whole tiles, of which the first and the last may have outputs that are not wanted.
    for tile in first / OUTPUTS..last.div_ceil(OUTPUTS) {
        let rows = &weights.words[tile * words[0].len()..][..words[0].len()];
        let sums = I::int8_tile(rows, words);
        let wanted = (tile * OUTPUTS).max(first)..((tile + 1) * OUTPUTS).min(last);
        for ((to, x), sums) in to.iter_mut().zip(x).zip(&sums) {
            let scales = *x.scales;
            let weights = weights.scales[wanted.clone()]
                .iter()
                .zip(&weights.offsets[wanted.clone()]);
            let sums = &sums[wanted.start % OUTPUTS..];
            let to = &mut to[wanted.start - first..];
            for (((scale, offset), sums), to) in weights.zip(sums).zip(to) {
                I::int8_add(to, sums, *offset, *scale, &scales);
            }
        }
    }
}

/// [`Isa::int8_add`] in plain arithmetic.
#[inline(always)]
pub(crate) fn add(to: &mut Lane, sums: &[i32; LANES], offset: i32, scale: f32, scales: &Lane) {
    // A copy of the lane: with pointers that may overlap, the compiler would compute value by value.
    let mut lane = *to;
    for token in 0..LANES {
        let sum = sums[token].wrapping_sub(offset) as f32;
        lane[token] += sum * (scale * scales[token]);
    }
    *to = lane;
}

/// [`Isa::int8_tile`] for one panel, in plain arithmetic.
#[inline(always)]
pub(crate) fn tile(rows: &[[u32; OUTPUTS]], words: &[Word]) -> Sums {
    let mut sums = [[0; LANES]; OUTPUTS];
    for (row, word) in rows.iter().zip(words) {
        for input in 0..INPUTS {
            let shift = 8 * input;
            let x = word.map(|word| (word >> shift & 0xff).cast_signed());
            for output in 0..OUTPUTS {
                let byte = (row[output] >> shift) as u8;
                let weight = i32::from(byte.cast_signed());
                for token in 0..LANES {
                    sums[output][token] += weight * x[token];
                }
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::super::linear::{Linear, Values, Weights};
    use super::super::panels::Rows;
    use super::super::product::Product;
    use super::*;
    use crate::{FrozenWeights, InstructionSet, Int8Weights};

    dispatch! {
        fn tile_on(
            in set,
            rows: &[[u32; OUTPUTS]],
            words: [&[Word]; 2],
        ) -> [Sums; 2] = both_tiles;
    }

    /// Two panels at once, then each alone.
    #[inline(always)]
    fn both_tiles<I: Isa>(rows: &[[u32; OUTPUTS]], words: [&[Word]; 2]) -> [Sums; 2] {
        let sums = I::int8_tile::<2>(rows, words);
        for (words, sums) in words.into_iter().zip(sums) {
            assert_eq!(I::int8_tile::<1>(rows, [words]), [sums]);
        }
        sums
    }

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        let number = |i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0;
        (0..count).map(number).collect()
    }

    #[test]
    fn sums_of_bytes_are_exact_on_every_instruction_set() {
        for depth in [1, 2, 7, 193] {
            // The largest products first: they must not saturate.
            let word = |index: usize, seed: u32| match index {
                0 => seed,
                _ => (index as u32)
                    .wrapping_mul(2_654_435_761)
                    .wrapping_add(seed),
            };
            let rows: Vec<[u32; OUTPUTS]> = (0..depth)
                .map(|row| std::array::from_fn(|o| word(row * OUTPUTS + o, 0x7f80_7f80)))
                .collect();
            let words: Vec<Word> = (0..2 * depth)
                .map(|row| std::array::from_fn(|t| word(row * LANES + t, 0xffff_ffff)))
                .collect();
            let words = [&words[..depth], &words[depth..]];
            let plain = words.map(|words| {
                let mut sums = [[0; LANES]; OUTPUTS];
                for (row, word) in rows.iter().zip(words) {
                    for (sums, weights) in sums.iter_mut().zip(row) {
                        for (sum, x) in sums.iter_mut().zip(word) {
                            let products = weights.to_le_bytes().into_iter().zip(x.to_le_bytes());
                            let products = products
                                .map(|(weight, x)| i32::from(weight.cast_signed()) * i32::from(x));
                            *sum += products.sum::<i32>();
                        }
                    }
                }
                sums
            });
            for set in InstructionSet::available() {
                assert_eq!(tile_on(set, &rows, words), plain, "{set}");
            }
        }
    }

    /// Steps and the worth of a step.
    fn quantised(values: &[f32]) -> (Vec<f64>, f64) {
        let largest = values.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        let rate = if largest > 0.0 { STEPS / largest } else { 0.0 };
        let steps = values
            .iter()
            .map(|x| f64::from((x * rate).round_ties_even()));
        (steps.collect(), f64::from(largest) / 127.0)
    }

    /// The definition in f64: rows and columns quantised by themselves, then multiplied.
    fn product(rows: &[f32], columns: &[Vec<f32>]) -> Vec<f64> {
        let columns: Vec<_> = columns.iter().map(|column| quantised(column)).collect();
        let mut result = Vec::new();
        for row in rows.chunks(columns[0].0.len()) {
            let (steps, worth) = quantised(row);
            for (column, scale) in &columns {
                let sum: f64 = steps.iter().zip(column).map(|(a, b)| a * b).sum();
                result.push(sum * worth * scale);
            }
        }
        result
    }

    fn assert_close(values: &[f32], expected: &[f64]) {
        let largest = expected.iter().fold(0.0f64, |most, x| most.max(x.abs()));
        for (value, expected) in values.iter().zip(expected) {
            let error = (f64::from(*value) - expected).abs();
            assert!(error <= 1e-6 * largest, "{value} for {expected}");
        }
    }

    /// Sizes around words, tiles, blocks and panels; forward, and backward as a sum of two products.
    #[test]
    fn products_are_as_defined() {
        for (tokens, inputs, outputs) in [(1, 1, 1), (3, 5, 9), (17, 66, 200), (40, 300, 31)] {
            let shape = |width| Rows {
                images: 2,
                tokens,
                width,
            };
            let matrix = numbers(inputs * outputs, 2);
            let bias = numbers(outputs, 3);
            let int8 = FrozenWeights::Int8(Int8Weights::new(&matrix, inputs, outputs));
            let linear = Linear {
                weights: Weights {
                    data: Values::F32(&[]),
                    inputs,
                    outputs,
                    input_stride: 0,
                    output_stride: 0,
                },
                bias: &bias,
                frozen: Some(&int8),
            };
            let mut rows = numbers(2 * tokens * inputs, 1);
            // A token of zeros.
            rows[..inputs].fill(0.0);
            let x = Panels::pack(&rows, shape(inputs), 7);
            let input = linear.input(&x);
            let result = Product {
                terms: &[linear.forward(&input)],
                bias: Some(&bias),
                block: 20,
                threads: 2,
            };
            let mut y = vec![0.0; 2 * tokens * outputs];
            result.run(|_, _| {}).unpack_onto(&mut y, shape(outputs));
            let columns =
                |output: usize| matrix[output..].iter().step_by(outputs).copied().collect();
            let columns: Vec<Vec<f32>> = (0..outputs).map(columns).collect();
            let mut expected = product(&rows, &columns);
            for row in expected.chunks_mut(outputs) {
                for (y, bias) in row.iter_mut().zip(&bias) {
                    *y += f64::from(*bias);
                }
            }
            assert_close(&y, &expected);

            let grad = numbers(2 * tokens * outputs, 4);
            let panels = Panels::pack(&grad, shape(outputs), outputs);
            let input = linear.input(&panels);
            let result = Product {
                terms: &[linear.backward(&input), linear.backward(&input)],
                bias: None,
                block: 24,
                threads: 1,
            };
            let mut at_input = vec![0.0; rows.len()];
            result
                .run(|_, _| {})
                .unpack_onto(&mut at_input, shape(inputs));
            let columns: Vec<Vec<f32>> = matrix.chunks(outputs).map(<[f32]>::to_vec).collect();
            let expected: Vec<f64> = product(&grad, &columns).iter().map(|x| 2.0 * x).collect();
            assert_close(&at_input, &expected);
        }
    }

    #[test]
    fn values_that_are_not_finite_stay_visible() {
        for fault in [f32::NAN, f32::INFINITY] {
            let mut panels = Panels::zeros(8, 8, 1);
            panels.data[3] = fault;
            let scales = Int8Panels::new(&panels).scales[0];
            assert!(scales[3].is_nan());
            assert_eq!(scales[2], 0.0);
        }
    }
}
