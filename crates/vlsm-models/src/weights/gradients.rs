//! Gradients by the names of their parameters.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;

use super::{Path, to_host};
use crate::tensor_file::HostTensor;

/// Gradients by the names of their parameters, each of any rank in the module's own layout.
pub type Gradients = BTreeMap<String, FlatGradient>;

/// A tensor in a module's layout, flattened, and what is needed to write it to a file.
#[derive(Debug, Clone)]
pub struct FlatGradient {
    /// The values, in the module's order.
    pub flat: Tensor<1>,
    pub(super) shape: Vec<usize>,
    pub(super) transposed: bool,
}

impl FlatGradient {
    /// Rows and columns of the module's layout, if the tensor is a matrix.
    pub fn matrix(&self) -> Option<[usize; 2]> {
        match (self.shape.as_slice(), self.transposed) {
            ([rows, columns], false) => Some([*rows, *columns]),
            ([rows, columns], true) => Some([*columns, *rows]),
            _ => None,
        }
    }

    /// The tensor in PyTorch's layout.
    pub fn to_file(&self) -> HostTensor {
        if self.transposed {
            let [rows, columns] = [self.shape[1], self.shape[0]];
            HostTensor {
                shape: self.shape.clone(),
                data: to_host(self.flat.clone().reshape([rows, columns]).transpose()),
            }
        } else {
            HostTensor {
                shape: self.shape.clone(),
                data: to_host(self.flat.clone()),
            }
        }
    }
}

/// Takes the gradients of a module's parameters out of what `backward` returned; parameters without
/// one are left out.
pub fn take_gradients<M: Module>(module: &M, gradients: &mut burn::tensor::Gradients) -> Gradients {
    struct Take<'a> {
        path: Path,
        gradients: &'a mut burn::tensor::Gradients,
        taken: Gradients,
    }
    impl ModuleVisitor for Take<'_> {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.exit();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = param.val().grad_remove(self.gradients) {
                let gradient = FlatGradient {
                    shape: self.path.file_shape(gradient.shape().as_slice()),
                    transposed: self.path.is_transposed(),
                    flat: gradient.reshape([-1]),
                };
                self.taken.insert(self.path.name(), gradient);
            }
        }
    }
    let mut take = Take {
        path: Path::default(),
        gradients,
        taken: Gradients::new(),
    };
    module.visit(&mut take);
    take.taken
}
