//! Attention: queries, keys and values, their mix, output.

use rayon::prelude::*;

use super::gradient;
use super::half::Kept;
use super::head_view::{HeadView, HeadViewMut};
use super::heads::{Head, Scratch, Softmax};
use super::linear::Linear;
use super::panels::{LANES, Panels, Part, Rows};
use super::product::{BLOCK, Product};
use super::sublayer_core::{Core, Group, NeededGrads, Save};

/// Self-attention.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attention<'a> {
    /// To queries, keys and values.
    pub(crate) project: [Linear<'a>; 3],
    pub(crate) output: Linear<'a>,
    pub(crate) heads: usize,
    pub(crate) causal: bool,
}

/// What the backward pass needs from the forward pass, other than the input.
#[derive(Debug)]
pub(crate) struct SavedAttention {
    /// Scaled queries, keys, values.
    projected: [Kept; 3],
    /// `[block][image][head of the block][panel]`.
    softmax: Vec<Softmax>,
    /// The mixed values, where the projection of the output is trained.
    mixed: Option<Panels>,
}

/// One head of one image.
fn head_view(of: &Panels, part: Part, panels: usize, first: usize, width: usize) -> HeadView<'_> {
    let features = of.features(part.block);
    let start = (part.block * of.block * of.count + part.image * panels * features) * LANES;
    HeadView {
        data: &of.data[start..][..panels * features * LANES],
        block: features,
        first,
        width,
    }
}

impl Core for Attention<'_> {
    type Saved = SavedAttention;

    const TOKENWISE: bool = false;

    fn forward(&self, x: Panels, group: Group, save: Save) -> (Panels, SavedAttention) {
        let projected = self.project(&x, group.threads);
        drop(x);
        let (mixed, softmax) = self.attend(projected.each_ref(), group.shape);
        let output = Product {
            terms: &[self.output.forward(&self.output.input(&mixed))],
            bias: Some(self.output.bias),
            block: BLOCK,
            threads: group.threads,
        }
        .run(|_, _| {});
        let saved = SavedAttention {
            projected: projected.map(|panels| save.kept(panels)),
            softmax,
            mixed: save.input_of(3).then_some(mixed),
        };
        (output, saved)
    }

    fn backward(
        &self,
        x: impl Fn() -> Panels,
        saved: &SavedAttention,
        grad: Panels,
        group: Group,
        needed: NeededGrads,
    ) -> (Option<Panels>, Vec<Vec<f32>>) {
        let projected = saved.projected.each_ref().map(Kept::get);
        let projected = projected.each_ref().map(|panels| &**panels);
        let at_mixed = Product {
            terms: &[self.output.backward(&self.output.input(&grad))],
            bias: None,
            block: projected[0].block,
            threads: group.threads,
        }
        .run(|_, _| {});
        let grads = self.attend_backward(projected, &saved.softmax, &at_mixed, group.shape);
        drop(at_mixed);
        let mut at_parameters = Vec::new();
        if needed.core_parameters() {
            let x = x();
            for (grad, needed) in grads.iter().zip(needed.layers) {
                at_parameters.extend(gradient::layer(&x, grad, needed));
            }
            let again;
            let mixed = match &saved.mixed {
                None if needed.layers[3] => {
                    (again, _) = self.attend(projected, group.shape);
                    &again
                }
                None => &x,
                Some(mixed) => mixed,
            };
            at_parameters.extend(gradient::layer(mixed, &grad, needed.layers[3]));
        }
        drop(grad);
        let at_input = needed.core_input().then(|| {
            let [query, key, value] = &self.project;
            Product {
                terms: &[
                    query.backward(&query.input(&grads[0])),
                    key.backward(&key.input(&grads[1])),
                    value.backward(&value.input(&grads[2])),
                ],
                bias: None,
                block: BLOCK,
                threads: group.threads,
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

    /// The factor of the queries.
    fn scale(&self) -> f32 {
        (self.width() as f64).powf(-0.5) as f32
    }

    /// Queries, keys and values, whole heads in a block.
    fn project(&self, x: &Panels, threads: usize) -> [Panels; 3] {
        let block = self.width() * (BLOCK / self.width()).max(1);
        let input = self.project[0].input(x);
        [0, 1, 2].map(|index| {
            let linear = self.project[index];
            Product {
                terms: &[linear.forward(&input)],
                bias: Some(linear.bias),
                block,
                threads,
            }
            .run(|_, part| {
                // Queries are scaled before their product with the keys, as in Transformers, to round as it does.
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
        projected: [&'a Panels; 3],
        shape: Rows,
        view: impl Fn(&'a Panels) -> HeadView<'a>,
    ) -> Head<'a> {
        let [query, key, value] = projected;
        Head {
            query: view(query),
            key: view(key),
            value: view(value),
            tokens: shape.tokens,
            causal: self.causal,
            exact: self.output.int8().is_none(),
        }
    }

    /// The mixed values of all heads, and the [`Softmax`] of each panel of their queries.
    fn attend(&self, projected: [&Panels; 3], shape: Rows) -> (Panels, Vec<Softmax>) {
        let query = projected[0];
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
                    let head = self.head(projected, shape, |of| {
                        head_view(of, part, panels, first, width)
                    });
                    let mut output = HeadViewMut {
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
        projected: [&Panels; 3],
        softmax: &[Softmax],
        grad: &Panels,
        shape: Rows,
    ) -> [Panels; 3] {
        let query = projected[0];
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
                    let head = self.head(projected, shape, |of| {
                        head_view(of, part, panels, first, width)
                    });
                    let mut to = [&mut *a, &mut *b, &mut *c].map(|data| HeadViewMut {
                        data,
                        block: query.features(part.block),
                        first,
                        width,
                    });
                    let grad = head_view(grad, part, panels, first, width);
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
