//! The attention sublayer: normalisation, queries, keys and values, attention, output.

use rayon::prelude::*;

use super::gradient;
use super::heads::{Head, Scratch, Softmax, Strip, StripMut};
use super::norm::{Norm, input};
use super::panels::{LANES, Panels, Part, Rows};
use super::product::{BLOCK, Weights, product};

/// An attention sublayer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attention<'a> {
    pub(crate) norm: Option<Norm<'a>>,
    /// Of queries, keys, values and the output.
    pub(crate) weights: [Weights<'a>; 4],
    pub(crate) biases: [&'a [f32]; 4],
    pub(crate) heads: usize,
    pub(crate) causal: bool,
}

/// What the backward pass needs of the forward pass, besides the rows.
#[derive(Debug)]
pub(crate) struct AttentionKept {
    /// Scaled queries, keys, values.
    projected: [Panels; 3],
    /// `[block][image][head of the block][panel]`.
    softmax: Vec<Softmax>,
}

/// Which gradients of a sublayer are asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// That at the input.
    pub(crate) rows: bool,
    /// Those at weights and biases.
    pub(crate) parameters: bool,
    /// Those at scale and shift.
    pub(crate) norm: bool,
}

/// Gradients of a sublayer.
#[derive(Debug)]
pub(crate) struct SublayerGrads {
    /// At the input; computed with those at scale and shift too.
    pub(crate) rows: Option<Vec<f32>>,
    /// At weights and biases in turn; none unless they are asked for.
    pub(crate) parameters: Vec<Vec<f32>>,
    /// At scale and shift.
    pub(crate) norm: Option<[Vec<f32>; 2]>,
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

impl Attention<'_> {
    /// Rows to rows.
    pub(crate) fn forward(&self, rows: &[f32], shape: Rows) -> (Vec<f32>, AttentionKept) {
        let projected = self.project(&input(self.norm, rows, shape));
        let (mixed, softmax) = self.attend(&projected, shape);
        let output = [(self.weights[3], &mixed)];
        let output = product(&output, Some(self.biases[3]), BLOCK, |_, _| {});
        (output.unpack(shape), AttentionKept { projected, softmax })
    }

    /// Width of a head.
    fn width(&self) -> usize {
        self.weights[0].outputs / self.heads
    }

    /// What queries are multiplied by.
    fn scale(&self) -> f32 {
        (self.width() as f64).powf(-0.5) as f32
    }

    /// Queries, keys and values, whole heads in a block.
    fn project(&self, x: &Panels) -> [Panels; 3] {
        let block = self.width() * (BLOCK / self.width()).max(1);
        [0, 1, 2].map(|index| {
            let terms = [(self.weights[index], x)];
            product(&terms, Some(self.biases[index]), block, |_, part| {
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

    /// The gradients that are asked for, given that at the output.
    pub(crate) fn backward(
        &self,
        rows: &[f32],
        kept: &AttentionKept,
        grad: &[f32],
        shape: Rows,
        wanted: Wanted,
    ) -> SublayerGrads {
        let output_grad = Panels::pack(grad, shape);
        let block = kept.projected[0].block;
        let terms = [(self.weights[3].transposed(), &output_grad)];
        let grad = product(&terms, None, block, |_, _| {});
        let grads = self.attend_backward(&kept.projected, &kept.softmax, &grad, shape);
        drop(grad);
        let mut at_parameters = Vec::new();
        if wanted.parameters {
            let x = input(self.norm, rows, shape);
            for grad in &grads {
                at_parameters.push(gradient::matrix(&x, grad));
                at_parameters.push(gradient::bias(grad));
            }
            // Mixed again rather than kept: a thirtieth of the work of a step.
            let (mixed, _) = self.attend(&kept.projected, shape);
            at_parameters.push(gradient::matrix(&mixed, &output_grad));
            at_parameters.push(gradient::bias(&output_grad));
        }
        drop(output_grad);
        if !wanted.rows && !wanted.norm {
            return SublayerGrads::of_parameters(at_parameters);
        }
        let [q, k, v, _] = self.weights.map(Weights::transposed);
        let terms = [(q, &grads[0]), (k, &grads[1]), (v, &grads[2])];
        let grad = product(&terms, None, BLOCK, |_, _| {});
        SublayerGrads::at_rows(self.norm, rows, &grad, shape, at_parameters, wanted)
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

impl SublayerGrads {
    /// Nothing else is asked for.
    pub(super) fn of_parameters(parameters: Vec<Vec<f32>>) -> Self {
        Self {
            rows: None,
            parameters,
            norm: None,
        }
    }

    /// Goes back through the normalisation, if there is one.
    pub(super) fn at_rows(
        norm: Option<Norm<'_>>,
        rows: &[f32],
        grad: &Panels,
        shape: Rows,
        parameters: Vec<Vec<f32>>,
        wanted: Wanted,
    ) -> Self {
        let (rows, norm) = match norm {
            Some(norm) => {
                let at_norm = wanted
                    .norm
                    .then(|| norm.parameters_backward(rows, grad, shape));
                (norm.backward(rows, grad, shape), at_norm)
            }
            None => (grad.unpack(shape), None),
        };
        Self {
            rows: Some(rows),
            parameters,
            norm,
        }
    }
}
