//! The layers that all architectures share: linear layers, norms, attention, MLPs, and adapter blocks on them.

use super::graph::{Attribute, Graph, Value};
use crate::activation::Activation;
use crate::clip::config::{TextConfig, VisionConfig};
use crate::error::Result;

/// A transformer layer's widths and constants.
#[derive(Clone, Copy)]
pub(super) struct Layer {
    pub(super) width: usize,
    pub(super) heads: usize,
    pub(super) activation: Activation,
    pub(super) epsilon: f64,
}

impl From<&VisionConfig> for Layer {
    fn from(config: &VisionConfig) -> Self {
        Self {
            width: config.hidden_size,
            heads: config.num_attention_heads,
            activation: config.hidden_act,
            epsilon: config.layer_norm_eps,
        }
    }
}

impl From<&TextConfig> for Layer {
    fn from(config: &TextConfig) -> Self {
        Self {
            width: config.hidden_size,
            heads: config.num_attention_heads,
            activation: config.hidden_act,
            epsilon: config.layer_norm_eps,
        }
    }
}

/// An adapter block: its parameters' name and its arithmetic.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Block {
    pub(super) name: String,
    pub(super) activation: Activation,
    /// Whether a ReLU follows the second layer, as published.
    pub(super) rectified: bool,
    pub(super) scale: f32,
    /// Whether it reads what the sublayer reads, instead of its output.
    pub(super) parallel: bool,
}

/// The blocks in a transformer layer.
#[derive(Debug, Clone, Default)]
pub(super) struct LayerBlocks {
    pub(super) attention: Option<Block>,
    pub(super) mlp: Option<Block>,
}

impl Graph<'_> {
    /// `x W^T + b`; `x` is `[..., input]`.
    pub(super) fn linear(&mut self, x: &Value, name: &str) -> Result<Value> {
        let matrix = self.matrix(&format!("{name}.weight"))?;
        let y = self.matmul(x, &matrix);
        let bias = format!("{name}.bias");
        if !self.has(&bias) {
            return Ok(y);
        }
        let bias = self.parameter(&bias)?;
        Ok(self.add(&y, &bias))
    }

    /// Layer normalisation over the last axis.
    pub(super) fn layer_norm(&mut self, x: &Value, name: &str, epsilon: f64) -> Result<Value> {
        let weight = self.parameter(&format!("{name}.weight"))?;
        let bias = self.parameter(&format!("{name}.bias"))?;
        Ok(self.normalise(x, [&weight, &bias], epsilon))
    }

    /// Layer normalisation with parameters that are already in the graph.
    pub(super) fn normalise(
        &mut self,
        x: &Value,
        [weight, bias]: [&Value; 2],
        epsilon: f64,
    ) -> Value {
        let attributes = [
            Attribute::Int("axis", -1),
            Attribute::Float("epsilon", epsilon as f32),
        ];
        self.op("LayerNormalization", &[x, weight, bias], &attributes)
    }

    pub(super) fn relu(&mut self, x: &Value) -> Value {
        self.op("Relu", &[x], &[])
    }

    pub(super) fn activation(&mut self, x: &Value, activation: Activation) -> Value {
        match activation {
            Activation::Relu => self.relu(x),
            Activation::QuickGelu => {
                let inner = self.scale(x, 1.702);
                let gate = self.op("Sigmoid", &[&inner], &[]);
                self.mul(x, &gate)
            }
            Activation::Gelu => {
                let inner = self.scale(x, std::f32::consts::FRAC_1_SQRT_2);
                let erf = self.op("Erf", &[&inner], &[]);
                self.gelu_of(x, &erf)
            }
            Activation::GeluNew => {
                let square = self.mul(x, x);
                let cube = self.mul(&square, x);
                let cube = self.scale(&cube, 0.044_715);
                let inner = self.add(x, &cube);
                let inner = self.scale(&inner, (2.0 / std::f32::consts::PI).sqrt());
                let tanh = self.op("Tanh", &[&inner], &[]);
                self.gelu_of(x, &tanh)
            }
        }
    }

    /// `x (1 + y) / 2`.
    fn gelu_of(&mut self, x: &Value, y: &Value) -> Value {
        let one = self.number(1.0);
        let y = self.add(y, &one);
        let y = self.mul(x, &y);
        self.scale(&y, 0.5)
    }

    /// What an adapter block adds.
    pub(super) fn block_change(&mut self, x: &Value, block: &Block) -> Result<Value> {
        let hidden = self.linear(x, &format!("{}.fc1", block.name))?;
        let hidden = self.activation(&hidden, block.activation);
        let mut change = self.linear(&hidden, &format!("{}.fc2", block.name))?;
        if block.rectified {
            change = self.relu(&change);
        }
        if block.scale != 1.0 {
            change = self.scale(&change, block.scale);
        }
        Ok(change)
    }

    /// An adapter block on its own: `x` plus its change.
    pub(super) fn block(&mut self, x: &Value, block: &Block) -> Result<Value> {
        let change = self.block_change(x, block)?;
        Ok(self.add(x, &change))
    }

    /// A sublayer's output after its adapter block, if it has one; `input` is what the sublayer read.
    pub(super) fn after_sublayer(
        &mut self,
        input: &Value,
        output: Value,
        block: Option<&Block>,
    ) -> Result<Value> {
        let Some(block) = block else {
            return Ok(output);
        };
        let read = if block.parallel { input } else { &output };
        let change = self.block_change(read, block)?;
        Ok(self.add(&output, &change))
    }

    /// `[..., tokens, width]` to heads, `[..., heads, tokens, width / heads]`. `rank` is the number of axes.
    pub(super) fn split_heads(&mut self, x: &Value, rank: usize, heads: usize) -> Value {
        // A 0 keeps the input's extent.
        let mut shape = vec![0; rank - 1];
        shape.extend([heads as i64, -1]);
        let x = self.reshape(x, &shape);
        let axes = heads_swapped(rank);
        self.transpose(&x, &axes)
    }

    /// `[..., heads, tokens, width / heads]` to `[..., tokens, width]`; `rank` is the number of axes of the result.
    pub(super) fn join_heads(&mut self, x: &Value, rank: usize) -> Value {
        let axes = heads_swapped(rank);
        let x = self.transpose(x, &axes);
        let mut shape = vec![0; rank - 1];
        shape.push(-1);
        self.reshape(&x, &shape)
    }

    /// Self-attention of `[..., tokens, width]`, `rank` axes; `mask`, if there is one, is added to the scores.
    fn attention(
        &mut self,
        x: &Value,
        rank: usize,
        layer: Layer,
        name: &str,
        mask: Option<&Value>,
    ) -> Result<Value> {
        let query = self.linear(x, &format!("{name}.q_proj"))?;
        let key = self.linear(x, &format!("{name}.k_proj"))?;
        let value = self.linear(x, &format!("{name}.v_proj"))?;
        let query = self.scale(&query, ((layer.width / layer.heads) as f32).powf(-0.5));
        let [query, key, value] =
            [query, key, value].map(|x| self.split_heads(&x, rank, layer.heads));
        let mut axes: Vec<i64> = (0..=rank as i64).collect();
        axes.swap(rank - 1, rank);
        let key = self.transpose(&key, &axes);
        let mut scores = self.matmul(&query, &key);
        if let Some(mask) = mask {
            scores = self.add(&scores, mask);
        }
        let weights = self.softmax(&scores);
        let mixed = self.matmul(&weights, &value);
        let mixed = self.join_heads(&mixed, rank);
        self.linear(&mixed, &format!("{name}.out_proj"))
    }

    fn mlp(&mut self, x: &Value, activation: Activation, name: &str) -> Result<Value> {
        let hidden = self.linear(x, &format!("{name}.fc1"))?;
        let hidden = self.activation(&hidden, activation);
        self.linear(&hidden, &format!("{name}.fc2"))
    }

    /// A transformer layer that normalises before its sublayers. `x` is `[batch, tokens, width]`.
    pub(super) fn pre_norm(
        &mut self,
        x: &Value,
        layer: Layer,
        name: &str,
        mask: Option<&Value>,
        blocks: &LayerBlocks,
    ) -> Result<Value> {
        let input = self.layer_norm(x, &format!("{name}.layer_norm1"), layer.epsilon)?;
        let output = self.attention(&input, 3, layer, &format!("{name}.self_attn"), mask)?;
        let output = self.after_sublayer(&input, output, blocks.attention.as_ref())?;
        let x = self.add(x, &output);
        let input = self.layer_norm(&x, &format!("{name}.layer_norm2"), layer.epsilon)?;
        let output = self.mlp(&input, layer.activation, &format!("{name}.mlp"))?;
        let output = self.after_sublayer(&input, output, blocks.mlp.as_ref())?;
        Ok(self.add(&x, &output))
    }

    /// A transformer layer that normalises after its sublayers. `x` is `[..., tokens, width]`, `rank` axes.
    pub(super) fn post_norm(
        &mut self,
        x: &Value,
        rank: usize,
        layer: Layer,
        name: &str,
        mask: Option<&Value>,
        blocks: &LayerBlocks,
    ) -> Result<Value> {
        let output = self.attention(x, rank, layer, &format!("{name}.self_attn"), mask)?;
        let output = self.after_sublayer(x, output, blocks.attention.as_ref())?;
        let x = self.add(x, &output);
        let x = self.layer_norm(&x, &format!("{name}.layer_norm1"), layer.epsilon)?;
        let output = self.mlp(&x, layer.activation, &format!("{name}.mlp"))?;
        let output = self.after_sublayer(&x, output, blocks.mlp.as_ref())?;
        let x = self.add(&x, &output);
        self.layer_norm(&x, &format!("{name}.layer_norm2"), layer.epsilon)
    }
}

/// The axes that swap tokens and heads, which come before the last axis of `rank + 1`.
fn heads_swapped(rank: usize) -> Vec<i64> {
    let mut axes: Vec<i64> = (0..=rank as i64).collect();
    axes.swap(rank - 2, rank - 1);
    axes
}
