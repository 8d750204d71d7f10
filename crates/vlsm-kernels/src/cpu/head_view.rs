//! The features of one head in panels.

use super::isa::Isa;
use super::panels::{LANES, Lane, transpose_into};

/// The features of one head in the panels of one image: `[panel][feature of the block][token]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadView<'a> {
    pub(crate) data: &'a [f32],
    /// Features of the block.
    pub(crate) block: usize,
    /// The head's first feature there.
    pub(crate) first: usize,
    /// Features of a head.
    pub(crate) width: usize,
}

impl<'a> HeadView<'a> {
    pub(crate) fn panel(self, panel: usize) -> &'a [Lane] {
        let start = (panel * self.block + self.first) * LANES;
        self.data[start..][..self.width * LANES].as_chunks().0
    }

    pub(crate) fn panel_count(self) -> usize {
        self.data.len() / (self.block * LANES)
    }

    /// Some panels, starting with one.
    pub(crate) fn panels<const PANELS: usize>(self, first: usize) -> [&'a [Lane]; PANELS] {
        std::array::from_fn(|index| self.panel(first + index))
    }

    /// `[16 features][token][feature]`, the last 16 padded: the order of the rows that [`Isa::dot`] reads.
    #[inline(always)]
    pub(crate) fn by_token<I: Isa>(self, tokens: usize, to: &mut Vec<Lane>) {
        to.resize(tokens * self.width.div_ceil(LANES), [0.0; LANES]);
        for (index, to) in to.chunks_mut(tokens).enumerate() {
            for (panel, to) in to.chunks_mut(LANES).enumerate() {
                transpose_into::<I>(&self.panel(panel)[index * LANES..], to);
            }
        }
    }

    /// [`by_token`](Self::by_token) of some panels.
    #[inline(always)]
    pub(crate) fn some_by_token<I: Isa>(self, start: usize, count: usize, to: &mut Vec<Lane>) {
        let data = &self.data[start * self.block * LANES..][..count * self.block * LANES];
        HeadView { data, ..self }.by_token::<I>(count * LANES, to);
    }
}

/// A mutable [`HeadView`].
#[derive(Debug)]
pub(crate) struct HeadViewMut<'a> {
    pub(crate) data: &'a mut [f32],
    pub(crate) block: usize,
    pub(crate) first: usize,
    pub(crate) width: usize,
}

impl HeadViewMut<'_> {
    /// Some panels, starting with one.
    pub(crate) fn panels<const PANELS: usize>(&mut self, first: usize) -> [&mut [Lane]; PANELS] {
        let part = self.first * LANES..(self.first + self.width) * LANES;
        let size = self.block * LANES;
        let mut panels = self.data[first * size..].chunks_mut(size);
        std::array::from_fn(|_| {
            let panel = panels.next().unwrap_or_default();
            panel[part.clone()].as_chunks_mut().0
        })
    }
}
