//! Attention of one head of one image.

use multiversion::multiversion;
use multiversion::target::selected_target;

use super::exp::{exp, exp_wide, fuses};
use super::panels::{LANES, Lane};
use super::tile::{TILE, add, mix, set, tile};

/// Panels of queries whose weights are held until they are multiplied: about 100 queries, so that both matrices of the backward
/// pass stay in the L2 cache.
const QUERIES: usize = 6;

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
    fn panel(self, panel: usize) -> &'a [Lane] {
        let start = (panel * self.block + self.first) * LANES;
        self.data[start..][..self.width * LANES].as_chunks().0
    }

    /// `[tile of features][token][feature]`, the last tile may have fewer features: the order in which [`mix`] over tokens reads.
    #[inline(always)]
    fn by_token(self, tokens: usize, to: &mut Vec<f32>) {
        to.resize(tokens * self.width, 0.0);
        for (index, to) in to.chunks_mut(TILE * tokens).enumerate() {
            let width = to.len() / tokens;
            for (token, to) in to.chunks_mut(width).enumerate() {
                let lanes = &self.panel(token / LANES)[index * TILE..];
                for (x, lane) in to.iter_mut().zip(lanes) {
                    *x = lane[token % LANES];
                }
            }
        }
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
    fn panel(&mut self, panel: usize) -> &mut [Lane] {
        let start = (panel * self.block + self.first) * LANES;
        self.data[start..][..self.width * LANES].as_chunks_mut().0
    }
}

/// Queries, already scaled, keys and values of a head.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head<'a> {
    pub(crate) query: HeadView<'a>,
    pub(crate) key: HeadView<'a>,
    pub(crate) value: HeadView<'a>,
    pub(crate) tokens: usize,
    /// Whether later tokens are hidden from earlier ones.
    pub(crate) causal: bool,
}

/// Buffers that are reused for the next head.
#[derive(Debug, Default, Clone)]
pub(crate) struct Scratch {
    weights: Vec<Lane>,
    grads: Vec<Lane>,
    /// For some panels of queries, `[panel of keys][query][key]`.
    weights_by_key: Vec<Lane>,
    grads_by_key: Vec<Lane>,
    first: Vec<f32>,
    second: Vec<f32>,
    third: Vec<f32>,
}

/// The maximum score of each query and the reciprocal of the sum of its exponentials, from which the backward pass recomputes
/// the attention weights.
pub(crate) type Softmax = [Lane; 2];

impl Head<'_> {
    /// Keys in whole panels.
    fn keys(&self) -> usize {
        self.tokens.next_multiple_of(LANES)
    }

    /// Writes the mixed values of each query, and its [`Softmax`].
    pub(crate) fn forward(
        &self,
        output: &mut HeadViewMut<'_>,
        softmax: &mut [Softmax],
        scratch: &mut Scratch,
    ) {
        forward(self, output, softmax, scratch);
    }

    /// Writes the gradients at queries, keys and values, given that at the output, which is 0 after the last token.
    pub(crate) fn backward(
        &self,
        grad: HeadView<'_>,
        softmax: &[Softmax],
        to: &mut [HeadViewMut<'_>; 3],
        scratch: &mut Scratch,
    ) {
        backward(self, grad, softmax, to, scratch);
    }
}

#[multiversion(targets("x86_64+avx2+fma", "aarch64+neon"))]
fn forward(head: &Head, output: &mut HeadViewMut, softmax: &mut [Softmax], scratch: &mut Scratch) {
    const FMA: bool = fuses(selected_target!());
    let values = &mut scratch.first;
    head.value.by_token(head.tokens, values);
    let weights = &mut scratch.weights;
    weights.resize(head.keys(), [0.0; LANES]);
    for (panel, softmax) in softmax.iter_mut().enumerate() {
        dot::<FMA>(head.key, head.query.panel(panel), weights);
        hide(head, panel, weights);
        let mut most = [f32::NEG_INFINITY; LANES];
        for lane in &weights[..head.tokens] {
            for (most, x) in most.iter_mut().zip(lane) {
                *most = if x > most { *x } else { *most };
            }
        }
        // First the sum of each panel of keys, so that rounding errors grow with the number of panels, not of keys.
        let mut totals = [0.0f64; LANES];
        for part in weights[..head.tokens].chunks_mut(LANES) {
            let mut total = [0.0; LANES];
            for lane in part {
                for ((x, most), total) in lane.iter_mut().zip(&most).zip(&mut total) {
                    *x = exp_wide::<FMA>(*x - most) as f32;
                    *total += *x;
                }
            }
            for (sum, total) in totals.iter_mut().zip(&total) {
                *sum += f64::from(*total);
            }
        }
        let rates = totals.map(|total| (1.0 / total) as f32);
        *softmax = [most, rates];
        for lane in &mut weights[..head.tokens] {
            for (x, rate) in lane.iter_mut().zip(&rates) {
                *x *= rate;
            }
        }
        mix::<FMA>(values, &weights[..head.tokens], output.panel(panel), set);
    }
}

/// With `P` the weights, `O` the output and `dP = dO V^T`: `dV = P^T dO` and `dS = P (dP - rowsum(P dP))`. The sum equals
/// `rowsum(dO O)`, but computed so it would not cancel exactly where the weights are all on one token.
#[multiversion(targets("x86_64+avx2+fma", "aarch64+neon"))]
fn backward(
    head: &Head,
    grad: HeadView,
    softmax: &[Softmax],
    to: &mut [HeadViewMut; 3],
    scratch: &mut Scratch,
) {
    const FMA: bool = fuses(selected_target!());
    let Scratch {
        weights,
        grads,
        weights_by_key,
        grads_by_key,
        first: keys,
        second: queries,
        third: outputs,
    } = scratch;
    let [query_grad, key_grad, value_grad] = to;
    head.key.by_token(head.tokens, keys);
    weights.resize(head.keys(), [0.0; LANES]);
    grads.resize(head.keys(), [0.0; LANES]);
    let panels = softmax.len();
    for start in (0..panels).step_by(QUERIES) {
        let count = QUERIES.min(panels - start);
        let depth = count * LANES;
        weights_by_key.resize(panels * depth, [0.0; LANES]);
        grads_by_key.resize(panels * depth, [0.0; LANES]);
        for (row, [most, rates]) in softmax[start..start + count].iter().enumerate() {
            let panel = start + row;
            dot::<FMA>(head.key, head.query.panel(panel), weights);
            hide(head, panel, weights);
            dot::<FMA>(head.value, grad.panel(panel), grads);
            let mut along = [0.0; LANES];
            for (lane, grads) in weights[..head.tokens].iter_mut().zip(&*grads) {
                for token in 0..LANES {
                    lane[token] = exp::<FMA>(lane[token] - most[token]) * rates[token];
                    along[token] += lane[token] * grads[token];
                }
            }
            for (lane, grads) in weights.iter().zip(&mut grads[..head.tokens]) {
                for token in 0..LANES {
                    grads[token] = lane[token] * (grads[token] - along[token]);
                }
            }
            // The lanes after the last key are padding.
            weights[head.tokens..].fill([0.0; LANES]);
            grads[head.tokens..].fill([0.0; LANES]);
            mix::<FMA>(keys, &grads[..head.tokens], query_grad.panel(panel), set);
            by_key(weights, depth, row * LANES, weights_by_key);
            by_key(grads, depth, row * LANES, grads_by_key);
        }
        some_by_token(head.query, start, count, queries);
        some_by_token(grad, start, count, outputs);
        for panel in 0..panels {
            let part = panel * depth..(panel + 1) * depth;
            for (rows, lanes, to) in [
                (
                    &*queries,
                    &grads_by_key[part.clone()],
                    key_grad.panel(panel),
                ),
                (&*outputs, &weights_by_key[part], value_grad.panel(panel)),
            ] {
                if start == 0 {
                    mix::<FMA>(rows, lanes, to, set);
                } else {
                    mix::<FMA>(rows, lanes, to, add);
                }
            }
        }
    }
}

/// [`HeadView::by_token`] of some panels.
#[inline(always)]
fn some_by_token(view: HeadView<'_>, start: usize, count: usize, to: &mut Vec<f32>) {
    let data = &view.data[start * view.block * LANES..][..count * view.block * LANES];
    HeadView { data, ..view }.by_token(count * LANES, to);
}

/// `to[token] = view[.., token] . lanes` for each token of the view: scores of a panel of queries for all keys.
#[inline(always)]
fn dot<const FMA: bool>(view: HeadView<'_>, lanes: &[Lane], to: &mut [Lane]) {
    for (panel, to) in to.chunks_mut(LANES).enumerate() {
        let rows = view.panel(panel);
        let (a, rest) = to.split_at_mut(TILE);
        let (b, c) = rest.split_at_mut(TILE);
        store(a, tile::<TILE, LANES, 0, FMA>(rows, lanes));
        store(b, tile::<TILE, LANES, TILE, FMA>(rows, lanes));
        store(c, tile::<4, LANES, { 2 * TILE }, FMA>(rows, lanes));
    }
}

/// Lane by lane: copying the whole array would go through the stack.
#[inline(always)]
fn store<const N: usize>(to: &mut [Lane], sums: [Lane; N]) {
    for (to, sum) in to.iter_mut().zip(sums) {
        *to = sum;
    }
}

/// Hides the keys after a query from its scores.
#[inline(always)]
fn hide(head: &Head<'_>, panel: usize, scores: &mut [Lane]) {
    if head.causal {
        let first = panel * LANES;
        for (key, lane) in scores.iter_mut().enumerate().skip(first) {
            for score in &mut lane[..(key - first).min(LANES)] {
                *score = f32::NEG_INFINITY;
            }
        }
    }
}

/// `[key][query]` of a panel of queries to `[panel of keys][query][key]` with `depth` queries, from query `row` on.
#[inline(always)]
fn by_key(lanes: &[Lane], depth: usize, row: usize, to: &mut [Lane]) {
    for (lanes, to) in lanes.chunks(LANES).zip(to.chunks_mut(depth)) {
        for (query, to) in to[row..][..LANES].iter_mut().enumerate() {
            for (x, lane) in to.iter_mut().zip(lanes) {
                *x = lane[query];
            }
        }
    }
}
