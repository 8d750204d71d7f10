//! Attention of one head of one image.

use super::exp::{exp, exp_wide};
use super::head_view::{HeadView, HeadViewMut};
use super::isa::{Isa, dispatch, lane_by_lane};
use super::panels::{LANES, Lane, transpose_into};

/// Panels of queries whose weights are held until they are multiplied: about 100 queries, so that both matrices of the backward
/// pass stay in the L2 cache.
const QUERIES: usize = 6;

/// Queries, already scaled, keys and values of a head.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head<'a> {
    pub(crate) query: HeadView<'a>,
    pub(crate) key: HeadView<'a>,
    pub(crate) value: HeadView<'a>,
    pub(crate) tokens: usize,
    /// Whether later tokens are hidden from earlier ones.
    pub(crate) causal: bool,
    /// Whether exponentials are rounded from f64. Where scores are large, the output depends on the weights' last bits; errors of
    /// quantised layers are far above that.
    pub(crate) exact: bool,
}

/// Buffers that are reused for the next head.
#[derive(Debug, Default, Clone)]
pub(crate) struct Scratch {
    /// For two panels of queries, `[panel][key][query]`.
    weights: Vec<Lane>,
    grads: Vec<Lane>,
    /// For some panels of queries, `[panel of keys][query][key]`.
    weights_by_key: Vec<Lane>,
    grads_by_key: Vec<Lane>,
    first: Vec<Lane>,
    second: Vec<Lane>,
    third: Vec<Lane>,
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

dispatch! {
    fn forward(
        head: &Head<'_>,
        output: &mut HeadViewMut<'_>,
        softmax: &mut [Softmax],
        scratch: &mut Scratch,
    ) = forward_head;
}

#[inline(always)]
fn forward_head<I: Isa>(
    head: &Head<'_>,
    output: &mut HeadViewMut<'_>,
    softmax: &mut [Softmax],
    scratch: &mut Scratch,
) {
    let Scratch {
        weights,
        first: values,
        ..
    } = scratch;
    head.value.by_token::<I>(head.tokens, values);
    weights.resize(2 * head.keys(), [0.0; LANES]);
    let (first, second) = weights.split_at_mut(head.keys());
    for (pair, softmax) in softmax.chunks_mut(2).enumerate() {
        match softmax {
            [a, b] => {
                let weights = [&mut *first, &mut *second];
                attend::<I, 2>(head, 2 * pair, values, weights, [a, b], output);
            }
            [a] => attend::<I, 1>(head, 2 * pair, values, [&mut *first], [a], output),
            _ => {}
        }
    }
}

/// The mixed values of some panels of queries.
#[inline(always)]
fn attend<I: Isa, const PANELS: usize>(
    head: &Head<'_>,
    panel: usize,
    values: &[Lane],
    mut weights: [&mut [Lane]; PANELS],
    softmax: [&mut Softmax; PANELS],
    output: &mut HeadViewMut<'_>,
) {
    let queries = head.query.panels(panel);
    dot::<I, PANELS>(
        head.key,
        queries,
        weights.each_mut().map(|lanes| &mut **lanes),
    );
    for (index, (weights, softmax)) in weights.iter_mut().zip(softmax).enumerate() {
        hide(head, panel + index, weights);
        let weights = &mut weights[..head.tokens];
        *softmax = match head.exact {
            true => to_weights(weights, |x| exp_wide::<I>(x) as f32),
            false => to_weights(weights, exp::<I>),
        };
    }
    let weights = weights.map(|lanes| &lanes[..head.tokens]);
    mix::<I, PANELS, false>(values, weights, output.panels(panel));
}

/// Replaces the scores of a panel of queries by attention weights, given the exponential function.
#[inline(always)]
fn to_weights(weights: &mut [Lane], exp: impl Fn(f32) -> f32) -> Softmax {
    let mut most = [f32::NEG_INFINITY; LANES];
    for lane in &*weights {
        lane_by_lane();
        for (most, x) in most.iter_mut().zip(lane) {
            *most = if x > most { *x } else { *most };
        }
    }
    // First the sum of each panel of keys, so that rounding errors grow with the number of panels, not of keys.
    let mut totals = [0.0f64; LANES];
    for part in weights.chunks_mut(LANES) {
        let mut total = [0.0; LANES];
        for lane in part {
            lane_by_lane();
            for ((x, most), total) in lane.iter_mut().zip(&most).zip(&mut total) {
                *x = exp(*x - most);
                *total += *x;
            }
        }
        for (sum, total) in totals.iter_mut().zip(&total) {
            *sum += f64::from(*total);
        }
    }
    let rates = totals.map(|total| (1.0 / total) as f32);
    for lane in weights {
        lane_by_lane();
        for (x, rate) in lane.iter_mut().zip(&rates) {
            *x *= rate;
        }
    }
    [most, rates]
}

dispatch! {
    fn backward(
        head: &Head<'_>,
        grad: HeadView<'_>,
        softmax: &[Softmax],
        to: &mut [HeadViewMut<'_>; 3],
        scratch: &mut Scratch,
    ) = backward_head;
}

/// With `P` the weights, `O` the output and `dP = dO V^T`: `dV = P^T dO` and `dS = P (dP - rowsum(P dP))`. The sum equals
/// `rowsum(dO O)`, but computed so it would not cancel exactly where the weights are all on one token.
#[inline(always)]
fn backward_head<I: Isa>(
    head: &Head<'_>,
    grad: HeadView<'_>,
    softmax: &[Softmax],
    to: &mut [HeadViewMut<'_>; 3],
    scratch: &mut Scratch,
) {
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
    head.key.by_token::<I>(head.tokens, keys);
    weights.resize(2 * head.keys(), [0.0; LANES]);
    grads.resize(2 * head.keys(), [0.0; LANES]);
    let panels = softmax.len();
    for start in (0..panels).step_by(QUERIES) {
        let count = QUERIES.min(panels - start);
        let depth = count * LANES;
        weights_by_key.resize(panels * depth, [0.0; LANES]);
        grads_by_key.resize(panels * depth, [0.0; LANES]);
        for (pair, softmax) in softmax[start..start + count].chunks(2).enumerate() {
            let panel = start + 2 * pair;
            let (a, b) = weights.split_at_mut(head.keys());
            let (c, d) = grads.split_at_mut(head.keys());
            if softmax.len() == 2 {
                at_scores::<I, 2>(
                    head,
                    panel,
                    grad,
                    softmax,
                    [&mut *a, &mut *b],
                    [&mut *c, &mut *d],
                );
                let grads = [&c[..head.tokens], &d[..head.tokens]];
                mix::<I, 2, false>(keys, grads, query_grad.panels(panel));
            } else {
                at_scores::<I, 1>(head, panel, grad, softmax, [&mut *a], [&mut *c]);
                mix::<I, 1, false>(keys, [&c[..head.tokens]], query_grad.panels(panel));
            }
            let lanes = weights.chunks(head.keys()).zip(grads.chunks(head.keys()));
            for (index, (weights, grads)) in lanes.take(softmax.len()).enumerate() {
                let row = (2 * pair + index) * LANES;
                by_key::<I>(weights, depth, row, weights_by_key);
                by_key::<I>(grads, depth, row, grads_by_key);
            }
        }
        head.query.some_by_token::<I>(start, count, queries);
        grad.some_by_token::<I>(start, count, outputs);
        for (rows, lanes, to) in [
            (&*queries, &*grads_by_key, &mut *key_grad),
            (&*outputs, &*weights_by_key, &mut *value_grad),
        ] {
            for (pair, lanes) in lanes.chunks(2 * depth).enumerate() {
                let (first, second) = lanes.split_at(depth);
                if second.is_empty() {
                    mix_onto::<I, 1>(rows, [first], to.panels(2 * pair), start > 0);
                } else {
                    mix_onto::<I, 2>(rows, [first, second], to.panels(2 * pair), start > 0);
                }
            }
        }
    }
}

/// Attention weights of some panels of queries, and the gradients at their scores.
#[inline(always)]
fn at_scores<I: Isa, const PANELS: usize>(
    head: &Head<'_>,
    panel: usize,
    grad: HeadView<'_>,
    softmax: &[Softmax],
    mut weights: [&mut [Lane]; PANELS],
    mut grads: [&mut [Lane]; PANELS],
) {
    let (queries, at_output) = (head.query.panels(panel), grad.panels(panel));
    dot::<I, PANELS>(
        head.key,
        queries,
        weights.each_mut().map(|lanes| &mut **lanes),
    );
    dot::<I, PANELS>(
        head.value,
        at_output,
        grads.each_mut().map(|lanes| &mut **lanes),
    );
    let lanes = weights.into_iter().zip(grads);
    for (index, ((weights, grads), [most, rates])) in lanes.zip(softmax).enumerate() {
        hide(head, panel + index, weights);
        let mut along = [0.0; LANES];
        for (lane, grads) in weights[..head.tokens].iter_mut().zip(&*grads) {
            lane_by_lane();
            for token in 0..LANES {
                lane[token] = exp::<I>(lane[token] - most[token]) * rates[token];
                along[token] += lane[token] * grads[token];
            }
        }
        for (lane, grads) in weights.iter().zip(&mut grads[..head.tokens]) {
            lane_by_lane();
            for token in 0..LANES {
                grads[token] = lane[token] * (grads[token] - along[token]);
            }
        }
        // The lanes after the last key are padding.
        weights[head.tokens..].fill([0.0; LANES]);
        grads[head.tokens..].fill([0.0; LANES]);
    }
}

/// For each feature of `to`, the sum over tokens of `rows`, as [`HeadView::by_token`] writes them, times `lanes`: added to `to`, or
/// overwriting it.
#[inline(always)]
fn mix<I: Isa, const PANELS: usize, const ADD: bool>(
    rows: &[Lane],
    lanes: [&[Lane]; PANELS],
    mut to: [&mut [Lane]; PANELS],
) {
    for (index, rows) in rows.chunks(lanes[0].len()).enumerate() {
        let to = to.each_mut().map(|to| {
            let to = &mut to[index * LANES..];
            let features = to.len().min(LANES);
            &mut to[..features]
        });
        I::dot::<PANELS, ADD>(rows, lanes, to);
    }
}

/// [`mix`], which adds if `add`.
#[inline(always)]
fn mix_onto<I: Isa, const PANELS: usize>(
    rows: &[Lane],
    lanes: [&[Lane]; PANELS],
    to: [&mut [Lane]; PANELS],
    add: bool,
) {
    if add {
        mix::<I, PANELS, true>(rows, lanes, to);
    } else {
        mix::<I, PANELS, false>(rows, lanes, to);
    }
}

/// `to[token] = view[.., token] . lanes` for each token of the view: scores of some panels of queries for all keys.
#[inline(always)]
fn dot<I: Isa, const PANELS: usize>(
    view: HeadView<'_>,
    lanes: [&[Lane]; PANELS],
    to: [&mut [Lane]; PANELS],
) {
    let mut to = to.map(|to| to.chunks_mut(LANES));
    for panel in 0..view.panel_count() {
        let to = to.each_mut().map(|to| to.next().unwrap_or_default());
        I::dot::<PANELS, false>(view.panel(panel), lanes, to);
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
fn by_key<I: Isa>(lanes: &[Lane], depth: usize, row: usize, to: &mut [Lane]) {
    for (lanes, to) in lanes.chunks(LANES).zip(to.chunks_mut(depth)) {
        transpose_into::<I>(lanes, &mut to[row..]);
    }
}
