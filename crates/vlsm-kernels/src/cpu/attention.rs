//! Attention: queries, keys and values, their mix, output.

use rayon::prelude::*;

use super::gradient;
use super::heads::{Head, Scratch, Softmax, Strip, StripMut};
use super::panels::{LANES, Panels, Part, Rows};
use super::product::{BLOCK, Linear, Product};
use super::sublayer::{Core, Keep, Wanted, Work};

/// Self-attention.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attention<'a> {
    /// To queries, keys and values.
    pub(crate) project: [Linear<'a>; 3],
    pub(crate) output: Linear<'a>,
    pub(crate) heads: usize,
    pub(crate) causal: bool,
}

/// What the backward pass needs of the forward pass, besides the input.
#[derive(Debug)]
pub(crate) struct AttentionKept {
    /// Scaled queries, keys, values.
    projected: [Panels; 3],
    /// `[block][image][head of the block][panel]`.
    softmax: Vec<Softmax>,
    /// The mixed values, where the projection of the output is trained.
    mixed: Option<Panels>,
}

/// One head of one image.
fn strip(of: &Panels, part: Part, panels: usize, first: usize, width: usize) -> Strip<'_> {
    let features = of.features(part.block);
    let start = (part.block * of.block * of.count + part.image * panels * features) * LANES;
    Strip {
        data: &of.data[start..][..panels * features * LANES],
        block: features,
        first,
        width,
    }
}

impl Core for Attention<'_> {
    type Kept = AttentionKept;

    const TOKENS_ALONE: bool = false;

    fn forward(&self, x: Panels, work: Work, keep: Keep) -> (Panels, AttentionKept) {
        let projected = self.project(&x, work.threads);
        drop(x);
        let (mixed, softmax) = self.attend(&projected, work.shape);
        let output = Product {
            terms: &[(self.output.weights, &mixed)],
            bias: Some(self.output.bias),
            block: BLOCK,
            threads: work.threads,
        }
        .run(|_, _| {});
        let kept = AttentionKept {
            projected,
            softmax,
            mixed: keep.input_of(3).then_some(mixed),
        };
        (output, kept)
    }

    fn backward(
        &self,
        x: impl Fn() -> Panels,
        kept: &AttentionKept,
        grad: Panels,
        work: Work,
        wanted: Wanted,
    ) -> (Option<Panels>, Vec<Vec<f32>>) {
        let at_mixed = Product {
            terms: &[(self.output.weights.transposed(), &grad)],
            bias: None,
            block: kept.projected[0].block,
            threads: work.threads,
        }
        .run(|_, _| {});
        let grads = self.attend_backward(&kept.projected, &kept.softmax, &at_mixed, work.shape);
        drop(at_mixed);
        let mut at_parameters = Vec::new();
        if wanted.parameters() {
            let x = x();
            for (grad, wanted) in grads.iter().zip(wanted.layers) {
                at_parameters.extend(gradient::layer(&x, grad, wanted));
            }
            let again;
            let mixed = match &kept.mixed {
                None if wanted.layers[3] => {
                    (again, _) = self.attend(&kept.projected, work.shape);
                    &again
                }
                None => &x,
                Some(mixed) => mixed,
            };
            at_parameters.extend(gradient::layer(mixed, &grad, wanted.layers[3]));
        }
        drop(grad);
        let at_input = wanted.core_input().then(|| {
            let [q, k, v] = self.project.map(|linear| linear.weights.transposed());
            Product {
                terms: &[(q, &grads[0]), (k, &grads[1]), (v, &grads[2])],
                bias: None,
                block: BLOCK,
                threads: work.threads,
            }
            .run(|_, _| {})
        });
        (at_input, at_parameters)
    }
}

impl Attention<'_> {
    /// Width of a head.
    fn width(&self) -> usize {
        self.output.weights.inputs / self.heads
    }

    /// What queries are multiplied by.
    fn scale(&self) -> f32 {
        (self.width() as f64).powf(-0.5) as f32
    }

    /// Queries, keys and values, whole heads in a block.
    fn project(&self, x: &Panels, threads: usize) -> [Panels; 3] {
        let block = self.width() * (BLOCK / self.width()).max(1);
        [0, 1, 2].map(|index| {
            let Linear { weights, bias } = self.project[index];
            Product {
                terms: &[(weights, x)],
                bias: Some(bias),
                block,
                threads,
            }
            .run(|_, part| {
                // Queries are scaled before their product with the keys, as by Transformers, whose rounding this follows.
                if index == 0 {
                    for y in part {
                        *y *= self.scale();
                    }
                }
            })
        })
    }

    fn head<'a>(
        &self,
        projected: &'a [Panels; 3],
        shape: Rows,
        strip: impl Fn(&'a Panels) -> Strip<'a>,
    ) -> Head<'a> {
        let [query, key, value] = projected;
        Head {
            query: strip(query),
            key: strip(key),
            value: strip(value),
            tokens: shape.tokens,
            causal: self.causal,
        }
    }

    /// The mixed values of all heads, and how their weights are found again.
    fn attend(&self, projected: &[Panels; 3], shape: Rows) -> (Panels, Vec<Softmax>) {
        let query = &projected[0];
        let (width, panels) = (self.width(), shape.panels());
        let mut mixed = Panels::zeros(query.width, query.block, query.count);
        let mut softmax = vec![Softmax::default(); self.heads * query.count];
        let mut rest = &mut softmax[..];
        let mut tasks = Vec::new();
        for (part, data) in mixed.by_image_mut(panels) {
            let softmax;
            (softmax, rest) = rest.split_at_mut(query.features(part.block) / width * panels);
            tasks.push((part, data, softmax));
        }
        tasks.into_par_iter().for_each_with(
            Scratch::default(),
            |scratch, (part, data, softmax)| {
                for (index, softmax) in softmax.chunks_mut(panels).enumerate() {
                    let first = index * width;
                    let head =
                        self.head(projected, shape, |of| strip(of, part, panels, first, width));
                    let mut output = StripMut {
                        data,
                        block: query.features(part.block),
                        first,
                        width,
                    };
                    head.forward(&mut output, softmax, scratch);
                }
            },
        );
        (mixed, softmax)
    }

    /// Gradients at unscaled queries, keys and values, given that at the mixed values.
    fn attend_backward(
        &self,
        projected: &[Panels; 3],
        softmax: &[Softmax],
        grad: &Panels,
        shape: Rows,
    ) -> [Panels; 3] {
        let query = &projected[0];
        let (width, panels) = (self.width(), shape.panels());
        let mut grads = [(); 3].map(|()| Panels::zeros(query.width, query.block, query.count));
        let mut rest = softmax;
        let mut tasks = Vec::new();
        let [a, b, c] = grads.each_mut().map(|grad| grad.by_image_mut(panels));
        for (((part, a), (_, b)), (_, c)) in a.zip(b).zip(c) {
            let softmax;
            (softmax, rest) = rest.split_at(query.features(part.block) / width * panels);
            tasks.push((part, [a, b, c], softmax));
        }
        let scale = self.scale();
        tasks.into_par_iter().for_each_with(
            Scratch::default(),
            |scratch, (part, [a, b, c], softmax)| {
                for (index, softmax) in softmax.chunks(panels).enumerate() {
                    let first = index * width;
                    let head =
                        self.head(projected, shape, |of| strip(of, part, panels, first, width));
                    let mut to = [&mut *a, &mut *b, &mut *c].map(|data| StripMut {
                        data,
                        block: query.features(part.block),
                        first,
                        width,
                    });
                    let grad = strip(grad, part, panels, first, width);
                    head.backward(grad, softmax, &mut to, scratch);
                }
                for x in a {
                    *x *= scale;
                }
            },
        );
        grads
    }
}
