//! What initial values can depend on: the base's parameters and its vocabulary.

use burn::tensor::{Device, Tensor, TensorData};

use super::error;
use crate::error::Result;
use crate::tensor_file::HostTensor;

/// A base, for values of a method that start from its parameters.
pub trait Start {
    /// A parameter by its name in the base.
    ///
    /// # Errors
    /// If the base has no such parameter.
    fn parameter(&self, name: &str) -> Result<HostTensor>;

    /// The ids of a text's words.
    ///
    /// # Errors
    /// If the base's vocabulary cannot encode the text.
    fn ids(&self, text: &str) -> Result<Vec<u32>>;

    /// The device of the base's parameters, without autodiff.
    fn device(&self) -> Device;
}

/// A base's matrix of a linear layer, `[input, output]`, by its name.
///
/// # Errors
/// If the base has no such matrix.
pub(super) fn matrix(base: &dyn Start, name: &str) -> Result<Tensor<2>> {
    let HostTensor { shape, data } = base.parameter(name)?;
    let [outputs, inputs] = shape[..] else {
        return error(format!("`{name}` of the base is no matrix"));
    };
    // In the module's layout, so that sums over it have the same last bits.
    let values = (0..inputs * outputs).map(|at| data[at % outputs * inputs + at / outputs]);
    let values = TensorData::new(values.collect::<Vec<f32>>(), [inputs, outputs]);
    Ok(Tensor::from_data(values, &base.device()))
}

/// The token embeddings of a text's words, each of the text tower's width; `prefix` is that of the tower's parameters. Words outside
/// the tower's vocabulary are left out.
///
/// # Errors
/// If the base has no token embeddings.
pub(super) fn words(base: &dyn Start, prefix: &str, text: &str) -> Result<Vec<Vec<f32>>> {
    let table = base.parameter(&format!("{prefix}embeddings.token_embedding.weight"))?;
    let width = table.shape.last().copied().unwrap_or(1).max(1);
    let ids = base.ids(text)?.into_iter();
    let rows = ids.filter_map(|id| table.data.chunks(width).nth(id as usize));
    Ok(rows.map(<[f32]>::to_vec).collect())
}
