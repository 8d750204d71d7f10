//! The attention sublayer: normalisation, queries, keys and values, attention, output.

use rayon::prelude::*;

use super::heads::{Head, Scratch, Softmax, Strip, StripMut};
use super::norm::Norm;
use super::panels::{LANES, Panels, Rows};
use super::product::{BLOCK, Weights, product};

/// A frozen attention sublayer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attention<'a> {
    pub(crate) norm: Norm<'a>,
    /// Of queries, keys, values and the output.
    pub(crate) weights: [Weights<'a>; 4],
    pub(crate) biases: [&'a [f32]; 4],
    pub(crate) heads: usize,
    pub(crate) causal: bool,
}

/// What the backward pass needs of the forward pass, besides the rows.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Scaled queries, keys, values.
    projected: [Panels; 3],
    /// `[block][image][head of the block][panel]`.
    softmax: Vec<Softmax>,
}

impl Attention<'_> {
    /// Rows to rows.
    pub(crate) fn forward(&self, rows: &[f32], shape: Rows) -> (Vec<f32>, Kept) {
        let width = shape.width / self.heads;
        // Whole heads in a block.
        let block = width * (BLOCK / width).max(1);
        let x = self.norm.forward(rows, shape);
        let project = |index: usize, scale: f32| {
            let terms = [(self.weights[index], &x)];
            product(
                &terms,
                Some(self.biases[index]),
                block,
                None,
                |_, part, _| {
                    if scale != 1.0 {
                        for y in part {
                            *y *= scale;
                        }
                    }
                },
            )
        };
        // Scaled before the product with the keys, as Transformers does, whose rounding this follows.
        let scale = (width as f64).powf(-0.5) as f32;
        let projected = [project(0, scale), project(1, 1.0), project(2, 1.0)];
        drop(x);
        let [query, key, value] = &projected;
        let mut mixed = Panels::zeros(query.width, block, query.count);
        let panels = shape.panels();
        let mut softmax = vec![Softmax::default(); self.heads * query.count];
        let mut rest = &mut softmax[..];
        let mut tasks = Vec::new();
        for (block, data) in mixed
            .data
            .chunks_mut(block * query.count * LANES)
            .enumerate()
        {
            let features = query.features(block);
            for (image, data) in data.chunks_mut(panels * features * LANES).enumerate() {
                let part;
                (part, rest) = rest.split_at_mut(features / width * panels);
                tasks.push((block, image, data, part));
            }
        }
        tasks.into_par_iter().for_each_with(
            Scratch::default(),
            |scratch, (block, image, data, softmax)| {
                for (index, softmax) in softmax.chunks_mut(panels).enumerate() {
                    let strip = |of| strip(of, block, image, panels, index * width, width);
                    let head = Head {
                        query: strip(query),
                        key: strip(key),
                        value: strip(value),
                        tokens: shape.tokens,
                        causal: self.causal,
                    };
                    let mut output = StripMut {
                        data,
                        block: query.features(block),
                        first: index * width,
                        width,
                    };
                    head.forward(&mut output, softmax, scratch);
                }
            },
        );
        let output = [(self.weights[3], &mixed)];
        let output = product(&output, Some(self.biases[3]), BLOCK, None, |_, _, _| {});
        (output.unpack(shape), Kept { projected, softmax })
    }

    /// The gradient at the rows, given that at the output.
    pub(crate) fn backward(
        &self,
        rows: &[f32],
        kept: &Kept,
        grad: &[f32],
        shape: Rows,
    ) -> Vec<f32> {
        let [query, key, value] = &kept.projected;
        let width = shape.width / self.heads;
        let panels = shape.panels();
        let grad = Panels::pack(grad, shape);
        let grad = [(self.weights[3].transposed(), &grad)];
        let grad = product(&grad, None, query.block, None, |_, _, _| {});
        let mut grads = [(); 3].map(|()| Panels::zeros(query.width, query.block, query.count));
        let size = query.block * query.count * LANES;
        let mut softmax = &kept.softmax[..];
        let mut tasks = Vec::new();
        let [a, b, c] = &mut grads;
        let blocks = a
            .data
            .chunks_mut(size)
            .zip(b.data.chunks_mut(size))
            .zip(c.data.chunks_mut(size));
        for (block, ((a, b), c)) in blocks.enumerate() {
            let features = query.features(block);
            let size = panels * features * LANES;
            let images = a
                .chunks_mut(size)
                .zip(b.chunks_mut(size))
                .zip(c.chunks_mut(size));
            for (image, ((a, b), c)) in images.enumerate() {
                let part;
                (part, softmax) = softmax.split_at(features / width * panels);
                tasks.push((block, image, [a, b, c], part));
            }
        }
        tasks.into_par_iter().for_each_with(
            Scratch::default(),
            |scratch, (block, image, [a, b, c], softmax)| {
                for (index, softmax) in softmax.chunks(panels).enumerate() {
                    let strip = |of| strip(of, block, image, panels, index * width, width);
                    let head = Head {
                        query: strip(query),
                        key: strip(key),
                        value: strip(value),
                        tokens: shape.tokens,
                        causal: self.causal,
                    };
                    let mut to = [&mut *a, &mut *b, &mut *c].map(|data| StripMut {
                        data,
                        block: query.features(block),
                        first: index * width,
                        width,
                    });
                    head.backward(strip(&grad), softmax, &mut to, scratch);
                }
            },
        );
        let [query_grad, key_grad, value_grad] = &mut grads;
        let scale = (width as f64).powf(-0.5) as f32;
        query_grad
            .data
            .par_iter_mut()
            .with_min_len(1 << 14)
            .for_each(|x| *x *= scale);
        let [q, k, v, _] = self.weights.map(Weights::transposed);
        let terms = [(q, &*query_grad), (k, &*key_grad), (v, &*value_grad)];
        let grad = product(&terms, None, BLOCK, None, |_, _, _| {});
        self.norm.backward(rows, &grad, shape)
    }
}

/// One head of one image.
fn strip(
    of: &Panels,
    block: usize,
    image: usize,
    panels: usize,
    first: usize,
    width: usize,
) -> Strip<'_> {
    let features = of.features(block);
    let start = (block * of.block * of.count + image * panels * features) * LANES;
    Strip {
        data: &of.data[start..][..panels * features * LANES],
        block: features,
        first,
        width,
    }
}
