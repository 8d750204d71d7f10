//! Changes of the parameters of the towers' layers: new matrices, biases and norms, computed from the base's.
//!
//! A changed parameter replaces the base's one. A product with it costs what it did before, and for inference the changes are
//! [merged](merged) into the base: it then computes the same, to the bit, at its own speed.

use std::collections::HashMap;
use std::fmt::Debug;

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{DType, FloatDType, Tensor};
use serde::{Deserialize, Serialize};

use super::{Adapters, BaseShape, Tower, TowerShape};
use crate::error::Result;
use crate::kernel_weights;
use crate::tensor_file::HostTensor;
use crate::weights;

/// A matrix of an encoder layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Projection {
    /// The attention's query projection.
    Query,
    /// The attention's key projection.
    Key,
    /// The attention's value projection.
    Value,
    /// The attention's output projection.
    Output,
    /// The MLP's first layer.
    Fc1,
    /// The MLP's second layer.
    Fc2,
}

impl Projection {
    /// All matrices of a layer.
    pub const ALL: [Self; 6] = [
        Self::Query,
        Self::Key,
        Self::Value,
        Self::Output,
        Self::Fc1,
        Self::Fc2,
    ];

    /// The matrix in a layer, by its name in files.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Query => "self_attn.q_proj",
            Self::Key => "self_attn.k_proj",
            Self::Value => "self_attn.v_proj",
            Self::Output => "self_attn.out_proj",
            Self::Fc1 => "mlp.fc1",
            Self::Fc2 => "mlp.fc2",
        }
    }

    /// The last part of the matrix's name in files.
    pub(crate) fn name(self) -> &'static str {
        let path = self.path();
        path.rsplit('.').next().unwrap_or(path)
    }

    /// Inputs and outputs of the matrix in a tower.
    pub(crate) fn shape(self, tower: &TowerShape) -> [usize; 2] {
        let (width, hidden) = (tower.width, tower.hidden);
        match self {
            Self::Fc1 => [width, hidden],
            Self::Fc2 => [hidden, width],
            _ => [width, width],
        }
    }
}

/// A part of an encoder layer that has parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerPart {
    /// A linear layer.
    Linear(Projection),
    /// The norm of the attention sublayer.
    Norm1,
    /// The norm of the MLP sublayer.
    Norm2,
}

impl LayerPart {
    /// The part's name in a layer, in files.
    fn path(self) -> &'static str {
        match self {
            Self::Linear(projection) => projection.path(),
            Self::Norm1 => "layer_norm1",
            Self::Norm2 => "layer_norm2",
        }
    }
}

/// A change of a linear layer or of a norm.
pub trait Change: Debug {
    /// A linear layer's matrix, `[input, output]`.
    fn matrix(&self, matrix: Tensor<2>) -> Tensor<2> {
        matrix
    }

    /// A norm's scale, `[width]`.
    fn scale(&self, scale: Tensor<1>) -> Tensor<1> {
        scale
    }

    /// A linear layer's bias or a norm's shift, `[output]`.
    fn bias(&self, bias: Tensor<1>) -> Tensor<1> {
        bias
    }

    /// A parameter of the change whose initial value depends on the base's matrix `[input, output]`: its name and value.
    ///
    /// # Errors
    /// If the base has no such matrix.
    fn start(
        &self,
        _matrix: &dyn Fn() -> Result<Tensor<2>>,
    ) -> Result<Option<(&'static str, HostTensor)>> {
        Ok(None)
    }
}

/// The changes in one layer of a tower.
pub trait LayerChanges: Debug {
    /// The change of a part, if it is changed.
    fn of(&self, part: LayerPart) -> Option<&dyn Change>;
}

/// A linear layer's matrix `[input, output]` with its change, if it has one.
fn changed_matrix(matrix: Tensor<2>, change: Option<&dyn Change>) -> Tensor<2> {
    match change {
        // The change is in f32; the sum is rounded to the matrix's precision.
        Some(change) if matrix.dtype() != DType::F32 => {
            let dtype = FloatDType::from(matrix.dtype());
            change.matrix(matrix.cast(DType::F32)).cast(dtype)
        }
        Some(change) => change.matrix(matrix),
        None => matrix,
    }
}

/// A linear layer's matrix `[input, output]` and bias `[output]`, zeros where it has none, with a change.
pub(crate) fn changed_linear(
    linear: &Linear,
    change: Option<&dyn Change>,
) -> (Tensor<2>, Tensor<1>) {
    let (matrix, bias) = kernel_weights::parameters(linear);
    let bias = match change {
        Some(change) => change.bias(bias),
        None => bias,
    };
    (changed_matrix(matrix, change), bias)
}

/// Something for each of some matrices of a layer; fields are named as the matrices in files.
#[derive(Module, Debug)]
pub struct Matrices<C: Module> {
    q_proj: Option<C>,
    k_proj: Option<C>,
    v_proj: Option<C>,
    out_proj: Option<C>,
    fc1: Option<C>,
    fc2: Option<C>,
}

impl<C: Module> Matrices<C> {
    /// `make` makes what belongs to a matrix, or nothing.
    pub(super) fn new(mut make: impl FnMut(Projection) -> Option<C>) -> Self {
        Self {
            q_proj: make(Projection::Query),
            k_proj: make(Projection::Key),
            v_proj: make(Projection::Value),
            out_proj: make(Projection::Output),
            fc1: make(Projection::Fc1),
            fc2: make(Projection::Fc2),
        }
    }

    fn get(&self, matrix: Projection) -> Option<&C> {
        let of_matrix = match matrix {
            Projection::Query => &self.q_proj,
            Projection::Key => &self.k_proj,
            Projection::Value => &self.v_proj,
            Projection::Output => &self.out_proj,
            Projection::Fc1 => &self.fc1,
            Projection::Fc2 => &self.fc2,
        };
        of_matrix.as_ref()
    }
}

impl<C: Module + Change> LayerChanges for Matrices<C> {
    fn of(&self, part: LayerPart) -> Option<&dyn Change> {
        match part {
            LayerPart::Linear(matrix) => self.get(matrix).map(|change| change as &dyn Change),
            LayerPart::Norm1 | LayerPart::Norm2 => None,
        }
    }
}

/// The changes of one layer, from those of a tower's `layers`.
pub(super) fn of_layer<'a, C: LayerChanges>(
    layers: &[usize],
    changes: &'a [C],
    layer: usize,
) -> Option<&'a dyn LayerChanges> {
    let index = layers.iter().position(|own| *own == layer)?;
    changes
        .get(index)
        .map(|changes| changes as &dyn LayerChanges)
}

/// Which of a part's parameters a change is for.
enum Parameter {
    Matrix([usize; 2]),
    Scale,
    Bias,
}

/// A network with a method's changes merged into its parameters, and the method without them. Together they compute the same
/// as before, to the bit, without computing the changes in every pass. Parameter names are those that `base` gives.
pub(crate) fn merged<M: Module>(network: M, base: &BaseShape, adapters: Adapters) -> (M, Adapters) {
    let hooks = adapters.hooks();
    let mut changes: HashMap<String, (Parameter, &dyn Change)> = HashMap::new();
    let vision = base.vision.as_ref().ok();
    let vision = vision.map(|shape| (Tower::Vision, shape));
    for (tower, shape) in vision.into_iter().chain([(Tower::Text, &base.text)]) {
        for layer in 0..shape.layers {
            let Some(own) = hooks.layer(tower, layer).changes else {
                continue;
            };
            let matrices = Projection::ALL.map(LayerPart::Linear);
            for part in matrices
                .into_iter()
                .chain([LayerPart::Norm1, LayerPart::Norm2])
            {
                let Some(change) = own.of(part) else {
                    continue;
                };
                let name = format!("{}encoder.layers.{layer}.{}", shape.prefix, part.path());
                let weight = match part {
                    LayerPart::Linear(matrix) => Parameter::Matrix(matrix.shape(shape)),
                    LayerPart::Norm1 | LayerPart::Norm2 => Parameter::Scale,
                };
                changes.insert(format!("{name}.weight"), (weight, change));
                changes.insert(format!("{name}.bias"), (Parameter::Bias, change));
            }
        }
    }
    if changes.is_empty() {
        return (network, adapters);
    }
    let network = weights::update(network, |name, value| match changes.get(name) {
        Some((Parameter::Matrix(shape), change)) => {
            changed_matrix(value.reshape(*shape), Some(*change)).reshape([-1])
        }
        Some((Parameter::Scale, change)) => change.scale(value),
        Some((Parameter::Bias, change)) => change.bias(value),
        None => value,
    });
    (network, adapters.without_changes())
}
