//! Frozen matrices in fewer bits than f32.

use std::sync::Arc;

use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::int8::Int8Weights;

/// A frozen matrix in fewer bits than f32, for the CPU backend; clones share it.
///
/// A sublayer with such a matrix also keeps what its backward pass needs in half precision.
#[derive(Debug, Clone)]
pub enum FrozenWeights {
    /// In 8 bits; products are computed in 8 bits too.
    Int8(Int8Weights),
    /// In half precision; products are computed in f32.
    F16(HalfWeights),
}

impl FrozenWeights {
    /// Inputs and outputs.
    pub(crate) fn shape(&self) -> [usize; 2] {
        match self {
            Self::Int8(int8) => [int8.forward().inputs, int8.forward().outputs],
            Self::F16(half) => half.shape,
        }
    }
}

/// A frozen matrix in half precision (IEEE 754 binary16); clones share it.
#[derive(Debug, Clone)]
pub struct HalfWeights {
    /// `[inputs, outputs]` in rows.
    pub(crate) values: Arc<[u16]>,
    pub(crate) shape: [usize; 2],
}

impl HalfWeights {
    /// The largest absolute value; larger ones would become infinite.
    pub const MAX: f32 = 65_504.0;

    /// Rounds a matrix, `[inputs, outputs]` in rows.
    ///
    /// # Panics
    /// If the matrix has another number of values.
    pub fn new(matrix: &[f32], inputs: usize, outputs: usize) -> Self {
        assert_eq!(matrix.len(), inputs * outputs, "values of the matrix");
        let mut values = vec![f16::ZERO; matrix.len()];
        values.convert_from_f32_slice(matrix);
        Self {
            values: values.into_iter().map(f16::to_bits).collect(),
            shape: [inputs, outputs],
        }
    }
}
