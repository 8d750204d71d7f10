//! Linear layers, and what they multiply.

use super::int8::Int8Panels;
use super::panels::Panels;
use crate::frozen::FrozenWeights;
use crate::int8::{Int8Matrix, Int8Weights};

/// The values of a matrix.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Values<'a> {
    F32(&'a [f32]),
    /// In half precision.
    F16(&'a [u16]),
}

/// A matrix of weights with any strides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weights<'a> {
    pub(crate) data: Values<'a>,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// Offset from an input's weights to the next input's.
    pub(crate) input_stride: usize,
    /// Offset from an output's weights to the next output's.
    pub(crate) output_stride: usize,
}

impl Weights<'_> {
    /// The transposed matrix, by which gradients are multiplied.
    pub(crate) fn transposed(self) -> Self {
        Self {
            inputs: self.outputs,
            outputs: self.inputs,
            input_stride: self.output_stride,
            output_stride: self.input_stride,
            ..self
        }
    }
}

/// A linear layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Linear<'a> {
    pub(crate) weights: Weights<'a>,
    pub(crate) bias: &'a [f32],
    /// The matrix in fewer bits. In 8 bits it is used instead of the weights; in half precision it is the weights.
    pub(crate) frozen: Option<&'a FrozenWeights>,
}

/// Tokens that a layer multiplies, in f32 or quantised.
#[derive(Debug)]
pub(crate) struct Input<'a> {
    x: &'a Panels,
    int8: Option<Int8Panels>,
}

impl Input<'_> {
    /// Panels of all images.
    pub(crate) fn panels(&self) -> usize {
        self.x.count
    }
}

impl<'a> Linear<'a> {
    /// The matrix in 8 bits, if it is.
    pub(crate) fn int8(&self) -> Option<&'a Int8Weights> {
        match self.frozen {
            Some(FrozenWeights::Int8(int8)) => Some(int8),
            _ => None,
        }
    }

    /// The input, quantised if the layer is.
    pub(crate) fn input(&self, x: &'a Panels) -> Input<'a> {
        Input {
            x,
            int8: self.int8().map(|_| Int8Panels::new(x)),
        }
    }

    /// The layer's matrix times its input.
    pub(crate) fn forward(&self, input: &'a Input<'a>) -> Term<'a> {
        match (self.int8(), &input.int8) {
            (Some(weights), Some(x)) => Term::Int8(weights.forward(), x),
            _ => Term::F32(self.weights, input.x),
        }
    }

    /// The transposed matrix times the gradient at the outputs.
    pub(crate) fn backward(&self, grad: &'a Input<'a>) -> Term<'a> {
        match (self.int8(), &grad.int8) {
            (Some(weights), Some(grad)) => Term::Int8(weights.backward(), grad),
            _ => Term::F32(self.weights.transposed(), grad.x),
        }
    }
}

/// A matrix and what it multiplies.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Term<'a> {
    F32(Weights<'a>, &'a Panels),
    Int8(&'a Int8Matrix, &'a Int8Panels),
}

impl Term<'_> {
    pub(crate) fn outputs(self) -> usize {
        match self {
            Self::F32(weights, _) => weights.outputs,
            Self::Int8(weights, _) => weights.outputs,
        }
    }

    /// Panels of all images.
    pub(crate) fn panels(self) -> usize {
        match self {
            Self::F32(_, x) => x.count,
            Self::Int8(_, x) => x.count(),
        }
    }
}
