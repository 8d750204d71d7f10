//! Parameters of modules as named tensors in PyTorch's layout, and back.
//!
//! A parameter's name is its path in the module, with three changes: the upsampling convolutions have Transformers' names and
//! learnt prompts those of TuneVLSeg,
//! an enum's variant is not part of a name, and the names of adapters start at the adapters, as published. Weights of
//! linear layers are transposed.

mod gradients;
mod mismatch;

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;

pub use gradients::{FlatGradient, Gradients, take_gradients};
pub use mismatch::StateDictMismatch;

use crate::tensor_file::HostTensor;

/// Parts of paths in modules, and their names in files.
const RENAMED: [(&str, &str); 5] = [
    (
        ".transposed_convolution.conv.",
        ".transposed_convolution.0.",
    ),
    (".transposed_convolution.up1.", ".transposed_convolution.2."),
    (".transposed_convolution.up2.", ".transposed_convolution.4."),
    (".context.context_vectors", ".context_vectors"),
    (".numbered_", "."),
];

/// The position of a traversal in a module.
#[derive(Default)]
struct Path {
    parts: Vec<(String, &'static str)>,
}

/// The kind of a part of a path, which decides the name and layout of a parameter in files.
const LINEAR: &str = "linear";
const VARIANT: &str = "variant";
const OTHER: &str = "";

impl Path {
    fn enter(&mut self, name: &str, container: &str) {
        let kind = match container {
            "Struct:Linear" => LINEAR,
            _ if container.starts_with("Enum:") => VARIANT,
            _ => OTHER,
        };
        self.parts.push((name.to_owned(), kind));
    }

    fn exit(&mut self) {
        self.parts.pop();
    }

    fn name(&self) -> String {
        let mut parts: Vec<&str> = Vec::with_capacity(self.parts.len());
        for (name, kind) in &self.parts {
            if *kind != VARIANT {
                parts.push(name);
            }
        }
        let mut name = parts.join(".");
        for prefix in ["adapters.", "head."] {
            if let Some(own) = name.strip_prefix(prefix) {
                name = own.to_owned();
            }
        }
        for (path, file) in RENAMED {
            name = name.replace(path, file);
        }
        name
    }

    fn is_transposed(&self) -> bool {
        self.parts
            .last()
            .is_some_and(|(name, kind)| *kind == LINEAR && name == "weight")
    }

    /// The shape in files of a parameter of a module.
    fn file_shape(&self, shape: &[usize]) -> Vec<usize> {
        let mut shape = shape.to_vec();
        if self.is_transposed() {
            shape.reverse();
        }
        if self.parts.last().is_some_and(|(name, _)| {
            ["logit_scale", "residual_ratio", "gate"].contains(&name.as_str())
        }) {
            shape.clear();
        }
        shape
    }

    /// A tensor of the module in PyTorch's layout.
    fn to_file<const D: usize>(&self, tensor: Tensor<D>) -> HostTensor {
        FlatGradient {
            shape: self.file_shape(tensor.shape().as_slice()),
            transposed: self.is_transposed(),
            flat: tensor.reshape([-1]),
        }
        .to_file()
    }
}

/// Calls `visit(name, shape)` for every parameter, in the module's order.
pub fn for_each_parameter<M: Module>(module: &M, mut visit: impl FnMut(&str, &[usize])) {
    visit_parameters(module, |name, shape, _| visit(name, shape));
}

/// Calls `visit(name, id)` for every parameter, in the module's order.
pub fn for_each_parameter_id<M: Module>(module: &M, mut visit: impl FnMut(&str, ParamId)) {
    visit_parameters(module, |name, _, id| visit(name, id));
}

fn visit_parameters<M: Module>(module: &M, visit: impl FnMut(&str, &[usize], ParamId)) {
    struct Shapes<F> {
        path: Path,
        visit: F,
    }
    impl<F: FnMut(&str, &[usize], ParamId)> ModuleVisitor for Shapes<F> {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.exit();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let shape = self.path.file_shape(param.lazy_shape().as_slice());
            (self.visit)(&self.path.name(), &shape, param.id);
        }
    }
    module.visit(&mut Shapes {
        path: Path::default(),
        visit,
    });
}

/// The parameters of a module for which `wanted(name)` holds, by their names in files.
pub fn export<M: Module>(
    module: &M,
    wanted: impl Fn(&str) -> bool,
) -> BTreeMap<String, HostTensor> {
    struct Export<W> {
        path: Path,
        wanted: W,
        tensors: BTreeMap<String, HostTensor>,
    }
    impl<W: Fn(&str) -> bool> ModuleVisitor for Export<W> {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.exit();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let name = self.path.name();
            if (self.wanted)(&name) {
                let tensor = self.path.to_file(param.val().inner());
                self.tensors.insert(name, tensor);
            }
        }
    }
    let mut export = Export {
        path: Path::default(),
        wanted,
        tensors: BTreeMap::new(),
    };
    module.visit(&mut export);
    export.tensors
}

/// Gives parameters new values: `update(name, value)` gets the flattened value in the module's
/// layout and returns the new one. Whether a parameter is tracked for gradients does not change.
pub fn update<M: Module>(module: M, update: impl FnMut(&str, Tensor<1>) -> Tensor<1>) -> M {
    update_some(module, false, update)
}

/// [`update`] of the parameters that are tracked for gradients.
pub fn update_tracked<M: Module>(module: M, update: impl FnMut(&str, Tensor<1>) -> Tensor<1>) -> M {
    update_some(module, true, update)
}

fn update_some<M: Module>(
    module: M,
    only_tracked: bool,
    update: impl FnMut(&str, Tensor<1>) -> Tensor<1>,
) -> M {
    struct Update<F> {
        path: Path,
        only_tracked: bool,
        update: F,
    }
    impl<F: FnMut(&str, Tensor<1>) -> Tensor<1>> ModuleMapper for Update<F> {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.exit();
        }
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            // If the caller holds the only copy of the module, only the update holds the value now and can change it in
            // place.
            let (id, value, _) = param.consume();
            let (tracked, shape) = (value.is_require_grad(), value.shape());
            if self.only_tracked && !tracked {
                return Param::initialized(id, value);
            }
            let value = (self.update)(&self.path.name(), value.inner().reshape([-1]));
            with_tracking(id, value.reshape(shape), tracked)
        }
    }
    module.map(&mut Update {
        path: Path::default(),
        only_tracked,
        update,
    })
}

/// A parameter that is tracked for gradients, or a constant without autodiff.
pub(crate) fn with_tracking<const D: usize>(
    id: ParamId,
    value: Tensor<D>,
    tracked: bool,
) -> Param<Tensor<D>> {
    if tracked {
        Param::initialized(id, value.inner().autodiff().require_grad())
    } else {
        Param::initialized(id, value.inner())
    }
}

/// A module with the parameters for which `trains(name)` holds tracked for gradients and all others constant.
pub fn tracked<M: Module>(module: M, trains: impl Fn(&str) -> bool) -> M {
    struct Track(Vec<ParamId>);
    impl ModuleMapper for Track {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            with_tracking(param.id, param.val(), self.0.contains(&param.id))
        }
    }
    let mut trained = Vec::new();
    for_each_parameter_id(&module, |name, id| {
        if trains(name) {
            trained.push(id);
        }
    });
    module.map(&mut Track(trained))
}

/// The values of a tensor.
pub fn to_host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// Puts tensors into the parameters for which `wanted(name)` holds, each moved from `tensors`.
/// Parameters without a fitting tensor stay as they were; the mismatch lists them.
pub fn import<M: Module>(
    module: M,
    mut tensors: BTreeMap<String, HostTensor>,
    wanted: impl Fn(&str) -> bool,
) -> (M, StateDictMismatch) {
    let mut mismatch = StateDictMismatch::default();
    let module = fill(module, |name, shape| {
        if !wanted(name) {
            return None;
        }
        let Some(tensor) = tensors.remove(name) else {
            mismatch.missing.push(name.to_owned());
            return None;
        };
        // A scalar may have been written with one dimension or none.
        let scalar = |shape: &[usize]| shape.is_empty() || shape == [1];
        if tensor.shape != shape && !(scalar(&tensor.shape) && scalar(shape)) {
            mismatch
                .shape_mismatches
                .push((name.to_owned(), shape.to_vec(), tensor.shape));
            return None;
        }
        Some(tensor.data)
    });
    mismatch.extra = tensors.into_keys().collect();
    (module, mismatch)
}

/// Gives parameters new values: `values(name, shape)` returns them in PyTorch's layout, or nothing
/// where the parameter stays as it is.
pub fn fill<M: Module>(module: M, values: impl FnMut(&str, &[usize]) -> Option<Vec<f32>>) -> M {
    struct Fill<F> {
        path: Path,
        values: F,
        scratch: Vec<f32>,
    }
    impl<F: FnMut(&str, &[usize]) -> Option<Vec<f32>>> ModuleMapper for Fill<F> {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.exit();
        }
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let shape = param.lazy_shape();
            let file_shape = self.path.file_shape(shape.as_slice());
            let Some(mut values) = (self.values)(&self.path.name(), &file_shape) else {
                return param;
            };
            if let (true, [_, columns]) = (self.path.is_transposed(), &file_shape[..]) {
                transpose(&mut values, *columns, &mut self.scratch);
            }
            let plain = param.lazy_device().without_autodiff();
            let tracked = param.is_initialized() && param.val().is_require_grad();
            let values = TensorData::new(values, [shape.num_elements()]);
            let value = Tensor::<1>::from_data(values, &plain).reshape(shape);
            with_tracking(param.id, value, tracked)
        }
    }
    module.map(&mut Fill {
        path: Path::default(),
        values,
        scratch: Vec::new(),
    })
}

/// Transposes a row-major matrix in place. Transposed copies would fragment the heap by about a sixth of a base's size.
fn transpose(matrix: &mut [f32], columns: usize, scratch: &mut Vec<f32>) {
    // Columns at a time: each row's part of them is a cache line.
    const PART: usize = 16;
    scratch.clear();
    scratch.extend_from_slice(matrix);
    let rows = matrix.len() / columns.max(1);
    matrix
        .par_chunks_mut((PART * rows).max(1))
        .enumerate()
        .for_each(|(part, to)| {
            let first = part * PART;
            for (row, from) in scratch.chunks(columns).enumerate() {
                let from = &from[first..columns.min(first + PART)];
                for (x, y) in from.iter().zip(to[row..].iter_mut().step_by(rows)) {
                    *y = *x;
                }
            }
        });
}
