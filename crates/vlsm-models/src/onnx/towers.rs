//! CLIP's towers, timm's vision tower and BERT.

use burn::tensor::{Device, Tensor, TensorData};

use super::adapters::Blocks;
use super::graph::{Attribute, Dim, Graph, Value};
use super::layers::Layer;
use crate::clip::config::{TextConfig, VisionConfig};
use crate::clip::resize_positions;
use crate::error::{ModelError, Result};
use crate::methods::Tower;
use crate::tensor_file::HostTensor;
use crate::weights::to_host;

/// What is added to the attention scores of tokens that must not be seen. Its exponential is 0 in single precision.
const HIDDEN: f32 = -1e9;

/// Position embeddings `[rows, width]` of a square map after `extra` others, resized to `grid * grid`.
pub(super) fn positions(table: HostTensor, extra: usize, grid: usize) -> Result<HostTensor> {
    let [rows, width] = table.shape[..] else {
        return Err(ModelError::Onnx(
            "position embeddings are not a matrix".into(),
        ));
    };
    let native = (rows - extra).isqrt();
    let (mut data, map) = (
        table.data[..extra * width].to_vec(),
        &table.data[extra * width..],
    );
    let map = TensorData::new(map.to_vec(), [native * native, width]);
    let map = Tensor::<2>::from_data(map, &Device::flex());
    data.extend(to_host(resize_positions(map, native, grid)));
    Ok(HostTensor {
        shape: vec![extra + grid * grid, width],
        data,
    })
}

/// The vision tower's states after some numbers of layers, each `[images, 1 + grid * grid, width]`, in the order of `after`.
/// State 0 is the input of the first layer. `side` is that of the pixels.
pub(super) fn vision(
    graph: &mut Graph<'_>,
    pixels: &Value,
    side: usize,
    config: &VisionConfig,
    prefix: &str,
    after: &[usize],
    blocks: &Blocks,
) -> Result<Vec<Value>> {
    graph.scope("vision/embeddings");
    let (width, patch) = (config.hidden_size as i64, config.patch_size as i64);
    let embeddings = format!("{prefix}embeddings");
    let mut inputs = vec![graph.parameter(&format!("{embeddings}.patch_embedding.weight"))?];
    if config.timm {
        inputs.push(graph.parameter(&format!("{embeddings}.patch_embedding.bias"))?);
    }
    let inputs: Vec<&Value> = std::iter::once(pixels).chain(&inputs).collect();
    let patches = graph.op(
        "Conv",
        &inputs,
        &[
            Attribute::Ints("kernel_shape", &[patch, patch]),
            Attribute::Ints("strides", &[patch, patch]),
        ],
    );
    let patches = graph.reshape(&patches, &[0, width, -1]);
    let patches = graph.transpose(&patches, &[0, 2, 1]);
    let class = graph.parameter(&format!("{embeddings}.class_embedding"))?;
    let class = graph.repeat(&class, &patches, 1, width);
    let name = format!("{embeddings}.position_embedding.weight");
    let table = positions(graph.take(&name)?, 1, side / config.patch_size)?;
    let table = graph.constant(&name, &table);
    let x = graph.concat(&[&class, &patches], 1);
    let mut x = graph.add(&x, &table);
    if !config.timm {
        x = graph.layer_norm(&x, &format!("{prefix}pre_layrnorm"), config.layer_norm_eps)?;
    }
    let mut states = vec![x.clone()];
    for index in 0..after.iter().copied().max().unwrap_or(0) {
        graph.scope(format!("vision/layer_{index}"));
        let name = format!("{prefix}encoder.layers.{index}");
        let blocks = blocks.layer(Tower::Vision, index);
        x = graph.pre_norm(&x, config.into(), &name, None, &blocks)?;
        states.push(x.clone());
    }
    Ok(after.iter().map(|layers| states[*layers].clone()).collect())
}

/// Token ids `[prompts, tokens]` to the text embedding `[prompts, projection]` that the decoder takes. `prefix` is that of
/// CLIP's parameters.
pub(super) fn text(
    graph: &mut Graph<'_>,
    config: &TextConfig,
    prefix: &str,
    blocks: &Blocks,
) -> Result<Value> {
    let about = "token ids, each prompt with its start and end tokens, padded at the end";
    let ids = graph.int_input(
        "tokens",
        &[Dim::Named("prompts"), Dim::Named("tokens")],
        about,
    );
    let states = match config.bert {
        Some(_) => bert(graph, &ids, config, prefix, blocks)?,
        None => clip(graph, &ids, config, prefix, blocks)?,
    };
    graph.scope("text/projection");
    let mut embedding = graph.linear(&states.pooled, &format!("{prefix}text_projection"))?;
    if let Some(block) = &blocks.conditional {
        embedding = graph.block(&embedding, block)?;
    }
    for ((_, block), state) in blocks.text_taps.iter().zip(&states.tapped) {
        // As published, the block's whole output is added; else its change alone.
        let added = match block.rectified {
            true => graph.block(state, block)?,
            false => graph.block_change(state, block)?,
        };
        embedding = graph.add(&embedding, &added);
    }
    Ok(embedding)
}

/// What the text tower is pooled to, `[prompts, width]`, and the states that blocks read, in the blocks' order.
struct TextStates {
    pooled: Value,
    tapped: Vec<Value>,
}

fn clip(
    graph: &mut Graph<'_>,
    ids: &Value,
    config: &TextConfig,
    prefix: &str,
    blocks: &Blocks,
) -> Result<TextStates> {
    graph.scope("text/embeddings");
    let context = config.max_position_embeddings;
    let length = graph.extents(ids, 1, 2);
    // The first end-of-text token. Older configurations have the value 2 there, and the end is the largest id.
    let is_end = match config.eos_token_id {
        2 => ids.clone(),
        end => equals(graph, ids, end),
    };
    let end = graph.op("ArgMax", &[&is_end], &[Attribute::Int("axis", 1)]);
    let tower = format!("{prefix}text_model");
    let x = embedded(graph, ids, &length, &tower)?;
    let hidden = (0..context * context).map(|at| {
        if at % context > at / context {
            HIDDEN
        } else {
            0.0
        }
    });
    let mask = HostTensor {
        shape: vec![context, context],
        data: hidden.collect(),
    };
    let mask = graph.constant("causal_mask", &mask);
    let (start, both, axes) = (
        graph.ints(&[0, 0]),
        graph.concat(&[&length, &length], 0),
        graph.ints(&[0, 1]),
    );
    let mask = graph.op("Slice", &[&mask, &start, &both, &axes], &[]);
    let at_end = |graph: &mut Graph<'_>, x: &Value| {
        graph.op("GatherND", &[x, &end], &[Attribute::Int("batch_dims", 1)])
    };
    let (x, tapped) = text_layers(
        graph,
        x,
        config,
        &tower,
        blocks,
        |graph, x, layer, name, blocks| graph.pre_norm(x, layer, name, Some(&mask), blocks),
    )?;
    graph.scope("text/end");
    let tapped = tapped.iter().map(|state| at_end(graph, state)).collect();
    let pooled = at_end(graph, &x);
    let pooled = graph.layer_norm(
        &pooled,
        &format!("{tower}.final_layer_norm"),
        config.layer_norm_eps,
    )?;
    Ok(TextStates { pooled, tapped })
}

fn bert(
    graph: &mut Graph<'_>,
    ids: &Value,
    config: &TextConfig,
    prefix: &str,
    blocks: &Blocks,
) -> Result<TextStates> {
    graph.scope("text/embeddings");
    let tower = format!("{prefix}text_model");
    let length = graph.extents(ids, 1, 2);
    // All tokens are of the first type: its embedding is part of every position's.
    let name = format!("{tower}.embeddings.token_type_embedding.weight");
    let (types, width) = (graph.take(&name)?, config.hidden_size);
    let first = HostTensor {
        shape: vec![width],
        data: types.data[..width].to_vec(),
    };
    let first = graph.constant(&name, &first);
    let x = embedded(graph, ids, &length, &tower)?;
    let x = graph.add(&x, &first);
    let x = graph.layer_norm(
        &x,
        &format!("{tower}.embeddings.layer_norm"),
        config.layer_norm_eps,
    )?;
    // A prompt ends at its last token that is not padding; tokens after it are hidden from all.
    let is_padding = equals(graph, ids, config.pad_token_id);
    let minus_one = graph.ints(&[-1]);
    let is_word = graph.mul(&is_padding, &minus_one);
    let last = [
        Attribute::Int("axis", 1),
        Attribute::Int("select_last_index", 1),
    ];
    let end = graph.op("ArgMax", &[&is_word], &last);
    let count = (0..config.max_position_embeddings as i64).collect::<Vec<_>>();
    let count = graph.ints(&count);
    let (zero, axis) = (graph.ints(&[0]), graph.ints(&[0]));
    let count = graph.op("Slice", &[&count, &zero, &length, &axis], &[]);
    let is_after = graph.op("Greater", &[&count, &end], &[]);
    let is_after = graph.op("Cast", &[&is_after], &[Attribute::Int("to", 1)]);
    let mask = graph.scale(&is_after, HIDDEN);
    let axes = graph.ints(&[1, 2]);
    let mask = graph.op("Unsqueeze", &[&mask, &axes], &[]);
    let (x, tapped) = text_layers(
        graph,
        x,
        config,
        &tower,
        blocks,
        |graph, x, layer, name, blocks| graph.post_norm(x, 3, layer, name, Some(&mask), blocks),
    )?;
    graph.scope("text/end");
    let zero = graph.ints(&[0]);
    let first = |graph: &mut Graph<'_>, x: &Value| {
        let first = graph.op("Gather", &[x, &zero], &[Attribute::Int("axis", 1)]);
        graph.reshape(&first, &[0, -1])
    };
    let tapped = tapped.iter().map(|state| first(graph, state)).collect();
    let pooled = first(graph, &x);
    let pooled = graph.linear(&pooled, &format!("{tower}.projection"))?;
    let pooled = graph.activation(&pooled, crate::activation::Activation::Gelu);
    Ok(TextStates { pooled, tapped })
}

/// The embeddings of tokens and their positions, added up, `[prompts, tokens, width]`.
fn embedded(graph: &mut Graph<'_>, ids: &Value, length: &Value, tower: &str) -> Result<Value> {
    let table = graph.parameter(&format!("{tower}.embeddings.token_embedding.weight"))?;
    let words = graph.op("Gather", &[&table, ids], &[]);
    let positions = graph.parameter(&format!("{tower}.embeddings.position_embedding.weight"))?;
    let zero = graph.ints(&[0]);
    let positions = graph.op("Slice", &[&positions, &zero, length, &zero], &[]);
    Ok(graph.add(&words, &positions))
}

/// Where ids are equal to one, as integers.
fn equals(graph: &mut Graph<'_>, ids: &Value, id: u32) -> Value {
    let id = graph.ints(&[i64::from(id)]);
    let equal = graph.op("Equal", &[ids, &id], &[]);
    graph.op("Cast", &[&equal], &[Attribute::Int("to", 7)])
}

/// The last state of a text tower, and those that the method's blocks read.
fn text_layers(
    graph: &mut Graph<'_>,
    mut x: Value,
    config: &TextConfig,
    tower: &str,
    blocks: &Blocks,
    run: impl Fn(&mut Graph<'_>, &Value, Layer, &str, &super::layers::LayerBlocks) -> Result<Value>,
) -> Result<(Value, Vec<Value>)> {
    let mut states = Vec::new();
    for index in 0..config.num_hidden_layers {
        graph.scope(format!("text/layer_{index}"));
        let name = format!("{tower}.encoder.layers.{index}");
        x = run(
            graph,
            &x,
            config.into(),
            &name,
            &blocks.layer(Tower::Text, index),
        )?;
        states.push(x.clone());
    }
    let tapped = blocks.text_taps.iter();
    let tapped = tapped.map(|(layer, _)| states[*layer].clone()).collect();
    Ok((x, tapped))
}
