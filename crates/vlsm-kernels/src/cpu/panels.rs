//! Activations in panels of 16 tokens, the operand and the result of every product here.

use rayon::prelude::*;

use super::isa::{Isa, dispatch};

/// Tokens in a panel: two AVX registers of f32, or four of NEON.
pub(crate) const LANES: usize = 16;

/// One feature of the tokens of a panel.
pub(crate) type Lane = [f32; LANES];

/// Tokens of several images, `[block][panel][feature][token]`: features are split into blocks, and each image has its own
/// panels, the last of them padded. Values after an image's last token are finite but have no meaning.
///
/// A product reads and writes whole panels in sequence, and normalisation and softmax run over the features for 16 tokens at
/// once, so that nothing has to be rearranged between the operations of a layer.
#[derive(Debug, Clone)]
pub(crate) struct Panels {
    pub(crate) data: Vec<f32>,
    /// Features of a token.
    pub(crate) width: usize,
    /// Features in a block; the last may have fewer.
    pub(crate) block: usize,
    /// Panels of all images.
    pub(crate) count: usize,
}

/// The shape of tokens in rows, `[images, tokens, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rows {
    pub(crate) images: usize,
    pub(crate) tokens: usize,
    pub(crate) width: usize,
}

impl Rows {
    /// The tokens of all images as one image, for operations that process each token by itself: fewer panels are padded.
    pub(crate) fn together(self) -> Self {
        Self {
            images: 1,
            tokens: self.images * self.tokens,
            width: self.width,
        }
    }

    /// Panels of one image.
    pub(crate) fn panels(self) -> usize {
        self.tokens.div_ceil(LANES)
    }

    /// The rows of each panel in turn.
    pub(crate) fn by_panel(self, rows: &[f32]) -> impl Iterator<Item = &[f32]> {
        rows.chunks(self.tokens * self.width)
            .flat_map(move |image| image.chunks(LANES * self.width))
    }

    /// As [`by_panel`](Self::by_panel), mutable.
    pub(crate) fn by_panel_mut(self, rows: &mut [f32]) -> impl Iterator<Item = &mut [f32]> {
        rows.chunks_mut(self.tokens * self.width)
            .flat_map(move |image| image.chunks_mut(LANES * self.width))
    }
}

/// A block of features of one image.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub(crate) block: usize,
    pub(crate) image: usize,
}

impl Panels {
    /// Zeros.
    pub(crate) fn zeros(width: usize, block: usize, count: usize) -> Self {
        Self {
            data: zeros(width * count * LANES),
            width,
            block,
            count,
        }
    }

    /// Rows as panels.
    pub(crate) fn pack(rows: &[f32], shape: Rows, block: usize) -> Self {
        let mut panels = Self::zeros(shape.width, block, shape.images * shape.panels());
        let rows: Vec<_> = shape.by_panel(rows).collect();
        for (index, data) in panels
            .data
            .chunks_mut(block * rows.len() * LANES)
            .enumerate()
        {
            let features = data.len() / rows.len();
            data.par_chunks_mut(features)
                .zip(&rows)
                .for_each(|(panel, rows)| from_rows(panel, rows, shape.width, index * block));
        }
        panels
    }

    /// Adds the panels to rows.
    pub(crate) fn unpack_onto(&self, rows: &mut [f32], shape: Rows) {
        let parts: Vec<_> = shape.by_panel_mut(rows).collect();
        parts.into_par_iter().enumerate().for_each(|(panel, rows)| {
            for (block, first) in (0..self.width).step_by(self.block).enumerate() {
                add_to_rows(self.panel(block, panel), rows, shape.width, first);
            }
        });
    }

    /// Features of a block.
    pub(crate) fn features(&self, block: usize) -> usize {
        self.block.min(self.width - block * self.block)
    }

    /// Each block of each image, which has `panels` panels.
    pub(crate) fn by_image_mut(
        &mut self,
        panels: usize,
    ) -> impl Iterator<Item = (Part, &mut [f32])> {
        let (width, block) = (self.width, self.block);
        let blocks = self.data.chunks_mut(block * self.count * LANES).enumerate();
        blocks.flat_map(move |(index, data)| {
            let features = block.min(width - index * block);
            let images = data.chunks_mut(panels * features * LANES).enumerate();
            images.map(move |(image, data)| {
                (
                    Part {
                        block: index,
                        image,
                    },
                    data,
                )
            })
        })
    }

    /// One panel's features of a block, `[feature][token]`.
    pub(crate) fn panel(&self, block: usize, panel: usize) -> &[f32] {
        let features = self.features(block);
        let start = (block * self.block * self.count + panel * features) * LANES;
        &self.data[start..][..features * LANES]
    }
}

/// Zeros, written by all threads: `vec!` clears them in one thread, which took about a twentieth of a step.
pub(crate) fn zeros<T: Copy + Default + Send + Sync>(count: usize) -> Vec<T> {
    rayon::iter::repeat_n(T::default(), count)
        .with_min_len(1 << 14)
        .collect()
}

/// A copy made by all threads.
pub(crate) fn copied(values: &[f32]) -> Vec<f32> {
    let values = values.par_iter().copied();
    values.with_min_len(1 << 14).collect()
}

dispatch! {
    /// Features of rows of up to 16 tokens, from `first` on, to `[feature][token]`.
    pub(crate) fn from_rows(panel: &mut [f32], rows: &[f32], width: usize, first: usize)
        = copy_from_rows;
}

#[inline(always)]
fn copy_from_rows<I: Isa>(panel: &mut [f32], rows: &[f32], width: usize, first: usize) {
    let (lanes, _) = panel.as_chunks_mut::<LANES>();
    for (part, lanes) in lanes.chunks_mut(LANES).enumerate() {
        let mut block = [[0.0; LANES]; LANES];
        for (row, lane) in rows.chunks(width).zip(&mut block) {
            copy_start(&row[first + part * LANES..], lane);
        }
        transpose_into::<I>(&block, lanes);
    }
}

dispatch! {
    /// Adds `[feature][token]` to the features of rows of up to 16 tokens from `first` on.
    pub(crate) fn add_to_rows(panel: &[f32], rows: &mut [f32], width: usize, first: usize)
        = add_transposed;
}

#[inline(always)]
fn add_transposed<I: Isa>(panel: &[f32], rows: &mut [f32], width: usize, first: usize) {
    let (lanes, _) = panel.as_chunks::<LANES>();
    for (part, lanes) in lanes.chunks(LANES).enumerate() {
        let mut block = [[0.0; LANES]; LANES];
        transpose_into::<I>(lanes, &mut block);
        for (row, lane) in rows.chunks_mut(width).zip(&block) {
            let row = &mut row[first + part * LANES..];
            for (x, y) in row.iter_mut().zip(&lane[..lanes.len()]) {
                *x += y;
            }
        }
    }
}

/// Writes the first lanes, 16 at most, with rows and columns exchanged, to the first lanes of `to`, 16 at most.
#[inline(always)]
pub(crate) fn transpose_into<I: Isa>(from: &[Lane], to: &mut [Lane]) {
    match (from.first_chunk(), to.first_chunk_mut()) {
        (Some(from), Some(to)) => I::transpose(from, to),
        _ => {
            let (mut rows, mut columns) = ([[0.0; LANES]; LANES], [[0.0; LANES]; LANES]);
            for (row, lane) in rows.iter_mut().zip(from) {
                *row = *lane;
            }
            I::transpose(&rows, &mut columns);
            for (lane, column) in to.iter_mut().zip(&columns) {
                *lane = *column;
            }
        }
    }
}

/// Copies the first values, as many as there are in both.
#[inline(always)]
pub(crate) fn copy_start<const N: usize>(from: &[f32], to: &mut [f32; N]) {
    match from.first_chunk() {
        Some(from) => *to = *from,
        None => copy_few(from, to),
    }
}

/// Apart from the copy of a whole array: the compiler would make one call to `memcpy` of both, for any length, which takes longer
/// than the copy.
#[cold]
#[inline(never)]
fn copy_few(from: &[f32], to: &mut [f32]) {
    to[..from.len()].copy_from_slice(from);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back() {
        for tokens in [1, 16, 21] {
            let shape = Rows {
                images: 2,
                tokens,
                width: 37,
            };
            let rows: Vec<f32> = (0..2 * tokens * 37).map(|x| x as f32).collect();
            for block in [37, 12] {
                let mut twice = rows.clone();
                Panels::pack(&rows, shape, block).unpack_onto(&mut twice, shape);
                let expected: Vec<f32> = rows.iter().map(|x| 2.0 * x).collect();
                assert_eq!(twice, expected);
            }
        }
    }
}
