//! A graph under construction: operations, constants, and the parameters that they use.

use std::collections::{HashMap, HashSet};

use super::proto::{
    AttributeProto, Dimension, DimensionProto, FLOAT, GraphProto, INT64, NodeProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto, attribute_type,
};
use crate::error::{ModelError, Result};
use crate::methods::Tensors;
use crate::tensor_file::HostTensor;

/// A tensor of the graph, by its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Value(String);

/// An attribute of an operation.
pub(super) enum Attribute<'a> {
    Int(&'static str, i64),
    Ints(&'static str, &'a [i64]),
    Float(&'static str, f32),
}

/// A graph under construction.
pub(super) struct Graph<'a> {
    /// The parameters that no graph has used yet, by their names in files.
    parameters: &'a mut Tensors,
    proto: GraphProto,
    /// What the names of operations start with.
    scope: String,
    /// Names of the parameters and constants in the graph.
    placed: HashSet<String>,
    ints: HashMap<Vec<i64>, Value>,
    floats: HashMap<u32, Value>,
}

impl<'a> Graph<'a> {
    /// An empty graph that takes its weights out of `parameters`.
    pub(super) fn new(name: &str, parameters: &'a mut Tensors) -> Self {
        Self {
            parameters,
            proto: GraphProto {
                name: name.to_owned(),
                ..GraphProto::default()
            },
            scope: String::new(),
            placed: HashSet::new(),
            ints: HashMap::new(),
            floats: HashMap::new(),
        }
    }

    /// The graph, with `value` as its output `name`.
    pub(super) fn finish(
        mut self,
        name: &str,
        value: &Value,
        dims: &[Dim],
        about: &str,
    ) -> GraphProto {
        let node = NodeProto {
            input: vec![value.0.clone()],
            output: vec![name.to_owned()],
            name: name.to_owned(),
            op_type: "Identity".into(),
            attribute: Vec::new(),
        };
        self.proto.node.push(node);
        self.proto.output.push(value_info(name, FLOAT, dims, about));
        self.proto
    }

    /// Operations from here on belong to a part of the model.
    pub(super) fn scope(&mut self, scope: impl Into<String>) {
        self.scope = scope.into();
    }

    /// An input of single precision.
    pub(super) fn float_input(&mut self, name: &str, dims: &[Dim], about: &str) -> Value {
        self.proto.input.push(value_info(name, FLOAT, dims, about));
        Value(name.to_owned())
    }

    /// An input of integers.
    pub(super) fn int_input(&mut self, name: &str, dims: &[Dim], about: &str) -> Value {
        self.proto.input.push(value_info(name, INT64, dims, about));
        Value(name.to_owned())
    }

    /// What an input is if the caller does not give it.
    pub(super) fn default_of(&mut self, input: &Value, tensor: &HostTensor) {
        let name = input.0.clone();
        self.proto.initializer.push(float_tensor(name, tensor));
    }

    /// An operation with one output.
    pub(super) fn op(
        &mut self,
        kind: &str,
        inputs: &[&Value],
        attributes: &[Attribute<'_>],
    ) -> Value {
        let name = format!("{}/{kind}_{}", self.scope, self.proto.node.len());
        self.proto.node.push(NodeProto {
            input: inputs.iter().map(|value| value.0.clone()).collect(),
            output: vec![name.clone()],
            name: name.clone(),
            op_type: kind.to_owned(),
            attribute: attributes.iter().map(attribute).collect(),
        });
        Value(name)
    }

    /// Takes a parameter as it is in files, to compute a constant with it.
    ///
    /// # Errors
    /// If the model has no such parameter.
    pub(super) fn take(&mut self, name: &str) -> Result<HostTensor> {
        let taken = self.parameters.remove(name);
        taken.ok_or_else(|| ModelError::Onnx(format!("the model has no parameter `{name}`")))
    }

    /// Whether the model has a parameter.
    pub(super) fn has(&self, name: &str) -> bool {
        self.placed.contains(name) || self.parameters.contains_key(name)
    }

    /// A parameter in PyTorch's layout.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub(super) fn parameter(&mut self, name: &str) -> Result<Value> {
        if self.placed.contains(name) {
            return Ok(Value(name.to_owned()));
        }
        let tensor = self.take(name)?;
        Ok(self.constant(name, &tensor))
    }

    /// The matrix of a linear layer, `[input, output]`: transposed, as a product with tokens needs it.
    ///
    /// # Errors
    /// As [`take`](Self::take), or if it is not a matrix.
    pub(super) fn matrix(&mut self, name: &str) -> Result<Value> {
        if self.placed.contains(name) {
            return Ok(Value(name.to_owned()));
        }
        let tensor = self.take(name)?;
        let [rows, columns] = tensor.shape[..] else {
            let shape = &tensor.shape;
            return Err(ModelError::Onnx(format!(
                "parameter `{name}` is {shape:?}, not a matrix"
            )));
        };
        let data = (0..columns).flat_map(|column| {
            let data = &tensor.data;
            (0..rows).map(move |row| data[row * columns + column])
        });
        let transposed = HostTensor {
            data: data.collect(),
            shape: vec![columns, rows],
        };
        Ok(self.constant(name, &transposed))
    }

    /// A tensor whose values are part of the graph, once if it is used more often.
    pub(super) fn constant(&mut self, name: &str, tensor: &HostTensor) -> Value {
        if self.placed.insert(name.to_owned()) {
            let tensor = float_tensor(name.to_owned(), tensor);
            self.proto.initializer.push(tensor);
        }
        Value(name.to_owned())
    }

    /// A number.
    pub(super) fn number(&mut self, value: f32) -> Value {
        if let Some(known) = self.floats.get(&value.to_bits()) {
            return known.clone();
        }
        let tensor = HostTensor {
            shape: Vec::new(),
            data: vec![value],
        };
        let made = self.constant(&format!("number_{value}"), &tensor);
        self.floats.insert(value.to_bits(), made.clone());
        made
    }

    /// Integers, `[count]`: a shape, or positions.
    pub(super) fn ints(&mut self, values: &[i64]) -> Value {
        if let Some(known) = self.ints.get(values) {
            return known.clone();
        }
        let name = format!("ints_{}", self.ints.len());
        self.proto.initializer.push(TensorProto {
            dims: vec![values.len() as i64],
            data_type: INT64,
            name: name.clone(),
            raw_data: values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
        });
        self.ints.insert(values.to_vec(), Value(name.clone()));
        Value(name)
    }

    pub(super) fn add(&mut self, a: &Value, b: &Value) -> Value {
        self.op("Add", &[a, b], &[])
    }

    pub(super) fn mul(&mut self, a: &Value, b: &Value) -> Value {
        self.op("Mul", &[a, b], &[])
    }

    /// A product with a number.
    pub(super) fn scale(&mut self, x: &Value, factor: f32) -> Value {
        let factor = self.number(factor);
        self.mul(x, &factor)
    }

    pub(super) fn matmul(&mut self, a: &Value, b: &Value) -> Value {
        self.op("MatMul", &[a, b], &[])
    }

    /// A reshaped tensor. A 0 keeps the input's extent at that position; one -1 is what remains.
    pub(super) fn reshape(&mut self, x: &Value, shape: &[i64]) -> Value {
        let shape = self.ints(shape);
        self.op("Reshape", &[x, &shape], &[])
    }

    pub(super) fn transpose(&mut self, x: &Value, axes: &[i64]) -> Value {
        self.op("Transpose", &[x], &[Attribute::Ints("perm", axes)])
    }

    pub(super) fn concat(&mut self, parts: &[&Value], axis: i64) -> Value {
        self.op("Concat", parts, &[Attribute::Int("axis", axis)])
    }

    /// Positions `from..to` of an axis.
    pub(super) fn slice(&mut self, x: &Value, axis: i64, from: i64, to: i64) -> Value {
        let (from, to, axis) = (self.ints(&[from]), self.ints(&[to]), self.ints(&[axis]));
        self.op("Slice", &[x, &from, &to, &axis], &[])
    }

    /// An extra axis of one.
    pub(super) fn unsqueeze(&mut self, x: &Value, axis: i64) -> Value {
        let axis = self.ints(&[axis]);
        self.op("Unsqueeze", &[x, &axis], &[])
    }

    /// The extents `from..to` of a tensor, as integers.
    pub(super) fn extents(&mut self, x: &Value, from: i64, to: i64) -> Value {
        let range = [Attribute::Int("start", from), Attribute::Int("end", to)];
        self.op("Shape", &[x], &range)
    }

    /// A table `[rows, width]` once for each item of `like`, whose first axis is the batch: `[batch, rows, width]`.
    pub(super) fn repeat(&mut self, table: &Value, like: &Value, rows: i64, width: i64) -> Value {
        let batch = self.extents(like, 0, 1);
        let rest = self.ints(&[rows, width]);
        let shape = self.concat(&[&batch, &rest], 0);
        self.op("Expand", &[table, &shape], &[])
    }

    pub(super) fn softmax(&mut self, x: &Value) -> Value {
        self.op("Softmax", &[x], &[Attribute::Int("axis", -1)])
    }
}

/// An extent of an input or output.
pub(super) enum Dim {
    /// Always the same.
    Fixed(usize),
    /// Chosen by the caller.
    Named(&'static str),
}

fn value_info(name: &str, elem_type: i32, dims: &[Dim], about: &str) -> ValueInfoProto {
    let dim = |dim: &Dim| DimensionProto {
        value: Some(match dim {
            Dim::Fixed(extent) => Dimension::Fixed(*extent as i64),
            Dim::Named(name) => Dimension::Named((*name).to_owned()),
        }),
    };
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorTypeProto {
                elem_type,
                shape: Some(TensorShapeProto {
                    dim: dims.iter().map(dim).collect(),
                }),
            }),
        }),
        doc_string: about.to_owned(),
    }
}

fn float_tensor(name: String, tensor: &HostTensor) -> TensorProto {
    TensorProto {
        dims: tensor.shape.iter().map(|extent| *extent as i64).collect(),
        data_type: FLOAT,
        name,
        raw_data: tensor
            .data
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
    }
}

fn attribute(attribute: &Attribute<'_>) -> AttributeProto {
    match attribute {
        Attribute::Int(name, value) => AttributeProto {
            name: (*name).to_owned(),
            i: *value,
            r#type: attribute_type::INT,
            ..AttributeProto::default()
        },
        Attribute::Ints(name, values) => AttributeProto {
            name: (*name).to_owned(),
            ints: values.to_vec(),
            r#type: attribute_type::INTS,
            ..AttributeProto::default()
        },
        Attribute::Float(name, value) => AttributeProto {
            name: (*name).to_owned(),
            f: *value,
            r#type: attribute_type::FLOAT,
            ..AttributeProto::default()
        },
    }
}
