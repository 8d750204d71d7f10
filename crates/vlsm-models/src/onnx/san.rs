//! SAN.

use super::adapters::Blocks;
use super::graph::{Attribute, Graph, Value};
use super::layers::{Layer, LayerBlocks};
use super::towers::{self, positions};
use crate::activation::Activation;
use crate::error::{ModelError, Result};
use crate::methods::{Profile, Tower};
use crate::resize::{Corners, Filter, matrix};
use crate::san::SanConfig;
use crate::tensor_file::HostTensor;

/// Prefixes of the parameters' names.
const SIDE: &str = "san.side_adapter_network";
const VISION: &str = "san.clip.vision_model.";

/// Epsilon of the side network's norms, as in timm.
const EPSILON: f64 = 1e-6;

/// Pixels `[images, 3, side, side]` and text embeddings `[prompts, projection]` to logits `[images, prompts, side, side]`.
pub(super) fn segmenter(
    graph: &mut Graph<'_>,
    [pixels, embedding]: [&Value; 2],
    side: usize,
    config: &SanConfig,
    profile: Profile,
    blocks: &Blocks,
) -> Result<Value> {
    graph.scope("vision/half");
    let half = [
        Attribute::Ints("kernel_shape", &[2, 2]),
        Attribute::Ints("strides", &[2, 2]),
    ];
    let small = graph.op("AveragePool", &[pixels], &half);
    let numbers = config.states(profile);
    let vision = &config.vision_config;
    let states = towers::vision(graph, &small, side / 2, vision, VISION, &numbers, blocks)?;
    let grid = side / config.side_config.patch_size;
    let [queries, patches] = side_network(
        graph,
        pixels,
        grid,
        config,
        profile,
        blocks,
        (&numbers, &states),
    )?;
    let queries = mlp(graph, &queries, "query_mlp")?;
    let biases = biases(graph, &queries, &patches, config)?;
    let patches = mlp(graph, &patches, "pix_mlp")?;
    let biases = halve_by_maximum(graph, &biases, grid, config);
    let inputs = &states[states.len() - (vision.num_hidden_layers - config.recognition_layer)..];
    let embeddings = recognise(graph, inputs, &biases, config, blocks)?;

    graph.scope("masks");
    let text = graph.scale(embedding, 1.0 / config.projection_dim as f32);
    let text = graph.transpose(&text, &[1, 0]);
    // All is linear in the masks: they are added up before they are multiplied out and enlarged.
    let weights = graph.matmul(&embeddings, &text);
    let weights = graph.transpose(&weights, &[0, 2, 1]);
    let query = graph.matmul(&weights, &queries);
    let query = graph.transpose(&query, &[0, 2, 1]);
    let maps = graph.matmul(&patches, &query);
    let maps = bilinear(graph, &maps, grid, side);
    Ok(graph.transpose(&maps, &[0, 3, 1, 2]))
}

/// The states of queries and of patches. `clip` are CLIP's states and the numbers of layers before them.
fn side_network(
    graph: &mut Graph<'_>,
    pixels: &Value,
    grid: usize,
    config: &SanConfig,
    profile: Profile,
    blocks: &Blocks,
    clip: (&[usize], &[Value]),
) -> Result<[Value; 2]> {
    graph.scope("side/embeddings");
    let side = &config.side_config;
    let (width, patch, queries) = (side.hidden_size, side.patch_size, side.num_queries as i64);
    let weight = graph.take(&format!("{SIDE}.patch_embed.weight"))?;
    let weight = HostTensor {
        shape: vec![width, 3, patch, patch],
        ..weight
    };
    let weight = graph.constant(&format!("{SIDE}.patch_embed.weight"), &weight);
    let bias = graph.parameter(&format!("{SIDE}.patch_embed.bias"))?;
    let kernel = [patch as i64; 2];
    let attributes = [
        Attribute::Ints("kernel_shape", &kernel),
        Attribute::Ints("strides", &kernel),
    ];
    let patches = graph.op("Conv", &[pixels, &weight, &bias], &attributes);
    let patches = graph.reshape(&patches, &[0, width as i64, -1]);
    let patches = graph.transpose(&patches, &[0, 2, 1]);
    let mut table = graph.take(&format!("{SIDE}.query_pos_embed"))?;
    let map = positions(graph.take(&format!("{SIDE}.pos_embed"))?, 0, grid)?;
    table.shape[0] += map.shape[0];
    table.data.extend(map.data);
    let table = graph.constant(&format!("{SIDE}.positions"), &table);
    let tokens = graph.parameter(&format!("{SIDE}.query_embed"))?;
    let tokens = graph.repeat(&tokens, &patches, queries, width as i64);
    let mut x = graph.concat(&[&tokens, &patches], 1);
    let layer = Layer {
        width,
        heads: side.num_attention_heads,
        activation: Activation::Gelu,
        epsilon: EPSILON,
    };
    let fusions = config.fusions(profile);
    let none = LayerBlocks::default();
    let fuse = |graph: &mut Graph<'_>, mut x: Value, block: usize| -> Result<Value> {
        for fusion in fusions.iter().filter(|fusion| fusion.block == block) {
            let Some(index) = clip.0.iter().position(|number| *number == fusion.clip) else {
                continue;
            };
            let mut state = clip.1[index].clone();
            if let Some(block) = blocks.tap(fusion.clip) {
                state = graph.block(&state, block)?;
            }
            let name = format!("{SIDE}.fusion_layers.{}", fusion.layer);
            let state = graph.slice(&state, 1, 1, i64::MAX);
            let state = graph.layer_norm(&state, &format!("{name}.norm"), EPSILON)?;
            let state = graph.linear(&state, &format!("{name}.projection"))?;
            let state = bilinear(graph, &state, grid / 2, grid);
            let state = graph.reshape(&state, &[0, (grid * grid) as i64, -1]);
            let patches = graph.slice(&x, 1, queries, i64::MAX);
            let patches = graph.add(&patches, &state);
            let tokens = graph.slice(&x, 1, 0, queries);
            x = graph.concat(&[&tokens, &patches], 1);
        }
        Ok(x)
    };
    for block in 0..side.num_hidden_layers {
        graph.scope(format!("side/layer_{block}"));
        x = graph.add(&x, &table);
        if block == 0 {
            x = fuse(graph, x, 0)?;
        }
        let name = format!("{SIDE}.blocks.layers.{block}");
        x = graph.pre_norm(&x, layer, &name, None, &none)?;
        x = fuse(graph, x, block + 1)?;
    }
    Ok([
        graph.slice(&x, 1, 0, queries),
        graph.slice(&x, 1, queries, i64::MAX),
    ])
}

/// Three linear layers with ReLU between them.
fn mlp(graph: &mut Graph<'_>, x: &Value, name: &str) -> Result<Value> {
    let hidden = mlp_hidden(graph, x, name)?;
    graph.linear(&hidden, &format!("{SIDE}.mask_decoder.{name}.layers.2"))
}

/// The input of an MLP's last layer.
fn mlp_hidden(graph: &mut Graph<'_>, x: &Value, name: &str) -> Result<Value> {
    graph.scope(format!("masks/{name}"));
    let mut x = x.clone();
    for layer in 0..2 {
        x = graph.linear(&x, &format!("{SIDE}.mask_decoder.{name}.layers.{layer}"))?;
        x = graph.relu(&x);
    }
    Ok(x)
}

/// What leads CLIP's attention to each query's mask, `[images, heads, queries, grid * grid]`, from the queries' embeddings and
/// the states of patches.
fn biases(
    graph: &mut Graph<'_>,
    queries: &Value,
    patches: &Value,
    config: &SanConfig,
) -> Result<Value> {
    let hidden = mlp_hidden(graph, patches, "attn_mlp")?;
    let hidden = graph.transpose(&hidden, &[0, 2, 1]);
    let hidden = graph.unsqueeze(&hidden, 1);
    let (heads, width) = (
        config.vision_config.num_attention_heads,
        config.side_config.embed_dim,
    );
    // The last layer is applied to the queries, of which there are fewer: q (W h + b) = (q W) h + q b.
    let last = format!("{SIDE}.mask_decoder.attn_mlp.layers.2");
    let weight = graph.take(&format!("{last}.weight"))?;
    let units = weight.data.len() / (heads * width);
    // `[heads, embedding, units]`: a product with `[images, 1, queries, embedding]` has all heads.
    let weight = HostTensor {
        shape: vec![heads, width, units],
        ..weight
    };
    let weight = graph.constant(&format!("{last}.weight"), &weight);
    let bias = graph.take(&format!("{last}.bias"))?;
    let bias = HostTensor {
        shape: vec![heads, width, 1],
        ..bias
    };
    let bias = graph.constant(&format!("{last}.bias"), &bias);
    let queries = graph.unsqueeze(queries, 1);
    let projected = graph.matmul(&queries, &weight);
    let products = graph.matmul(&projected, &hidden);
    let added = graph.matmul(&queries, &bias);
    let biases = graph.add(&products, &added);
    let scaling = format!("{SIDE}.mask_decoder.bias_scaling");
    let [factor, summand] = [
        graph.take(&format!("{scaling}.weight"))?,
        graph.take(&format!("{scaling}.bias"))?,
    ];
    let [factor, summand] =
        [factor, summand].map(|tensor| tensor.data.first().copied().unwrap_or_default());
    let biases = graph.scale(&biases, factor);
    let summand = graph.number(summand);
    Ok(graph.add(&biases, &summand))
}

/// Biases at half the resolution, by the largest of each four.
fn halve_by_maximum(
    graph: &mut Graph<'_>,
    biases: &Value,
    grid: usize,
    config: &SanConfig,
) -> Value {
    let (heads, queries) = (
        config.vision_config.num_attention_heads,
        config.side_config.num_queries,
    );
    let maps = graph.reshape(
        biases,
        &[0, (heads * queries) as i64, grid as i64, grid as i64],
    );
    let half = [
        Attribute::Ints("kernel_shape", &[2, 2]),
        Attribute::Ints("strides", &[2, 2]),
    ];
    let maps = graph.op("MaxPool", &[&maps], &half);
    graph.reshape(&maps, &[0, heads as i64, queries as i64, -1])
}

/// CLIP's embedding of each mask, `[images, queries, projection]`, of length 1.
fn recognise(
    graph: &mut Graph<'_>,
    inputs: &[Value],
    biases: &Value,
    config: &SanConfig,
    blocks: &Blocks,
) -> Result<Value> {
    let vision = &config.vision_config;
    let layer = Layer::from(vision);
    let queries = config.side_config.num_queries as i64;
    let first = inputs
        .first()
        .ok_or_else(|| ModelError::Onnx("no layer recognises masks".into()))?;
    graph.scope("recognition");
    let class = graph.slice(first, 1, 0, 1);
    let mut tokens = graph.repeat(&class, first, queries, vision.hidden_size as i64);
    for (index, input) in inputs.iter().enumerate() {
        let number = config.recognition_layer + index;
        graph.scope(format!("recognition/layer_{number}"));
        let name = format!("{VISION}encoder.layers.{number}");
        let patches = graph.slice(input, 1, 1, i64::MAX);
        tokens = graph.reading(
            &tokens,
            &patches,
            biases,
            layer,
            &name,
            &blocks.layer(Tower::Vision, number),
        )?;
    }
    graph.scope("recognition/projection");
    let tokens = graph.layer_norm(
        &tokens,
        &format!("{VISION}post_layernorm"),
        vision.layer_norm_eps,
    )?;
    let tokens = graph.linear(&tokens, "san.clip.visual_projection")?;
    let length = [Attribute::Ints("axes", &[-1])];
    let length = graph.op("ReduceL2", &[&tokens], &length);
    let least = graph.number(1e-12);
    let length = graph.op("Max", &[&length, &least], &[]);
    Ok(graph.op("Div", &[&tokens, &length], &[]))
}

impl Graph<'_> {
    /// A transformer layer for tokens that each attend to themselves and to `memory`, and are seen by no other.
    fn reading(
        &mut self,
        tokens: &Value,
        memory: &Value,
        biases: &Value,
        layer: Layer,
        name: &str,
        blocks: &LayerBlocks,
    ) -> Result<Value> {
        let norm = format!("{name}.layer_norm1");
        let input = self.layer_norm(tokens, &norm, layer.epsilon)?;
        let memory = self.layer_norm(memory, &norm, layer.epsilon)?;
        let project = |graph: &mut Self, x: &Value, part: &str| -> Result<Value> {
            let y = graph.linear(x, &format!("{name}.self_attn.{part}"))?;
            Ok(graph.split_heads(&y, 3, layer.heads))
        };
        let query = project(self, &input, "q_proj")?;
        let query = self.scale(&query, ((layer.width / layer.heads) as f32).powf(-0.5));
        let [own_key, own_value] = [
            project(self, &input, "k_proj")?,
            project(self, &input, "v_proj")?,
        ];
        let [key, value] = [
            project(self, &memory, "k_proj")?,
            project(self, &memory, "v_proj")?,
        ];
        let key = self.transpose(&key, &[0, 1, 3, 2]);
        let scores = self.matmul(&query, &key);
        let scores = self.add(&scores, biases);
        let own = self.mul(&query, &own_key);
        let axes = self.ints(&[-1]);
        let own = self.op("ReduceSum", &[&own, &axes], &[]);
        let weights = self.concat(&[&scores, &own], 3);
        let weights = self.softmax(&weights);
        let own_weight = self.slice(&weights, 3, -1, i64::MAX);
        let weights = self.slice(&weights, 3, 0, -1);
        let mixed = self.matmul(&weights, &value);
        let own = self.mul(&own_value, &own_weight);
        let mixed = self.add(&mixed, &own);
        let mixed = self.join_heads(&mixed, 3);
        let output = self.linear(&mixed, &format!("{name}.self_attn.out_proj"))?;
        let output = self.after_sublayer(&input, output, blocks.attention.as_ref())?;
        let x = self.add(tokens, &output);
        let input = self.layer_norm(&x, &format!("{name}.layer_norm2"), layer.epsilon)?;
        let hidden = self.linear(&input, &format!("{name}.mlp.fc1"))?;
        let hidden = self.activation(&hidden, layer.activation);
        let output = self.linear(&hidden, &format!("{name}.mlp.fc2"))?;
        let output = self.after_sublayer(&input, output, blocks.mlp.as_ref())?;
        Ok(self.add(&x, &output))
    }
}

/// Maps `[images, from * from, channels]` to `[images, to, to, channels]` by bilinear interpolation.
fn bilinear(graph: &mut Graph<'_>, maps: &Value, from: usize, to: usize) -> Value {
    let axis = matrix(from, to, Filter::Bilinear, Corners::Edges);
    let axis = HostTensor {
        shape: vec![to, from],
        data: axis.into_iter().map(|weight| weight as f32).collect(),
    };
    let axis = graph.constant(&format!("bilinear_{from}_{to}"), &axis);
    let maps = graph.reshape(maps, &[0, from as i64, -1]);
    let maps = graph.matmul(&axis, &maps);
    let maps = graph.reshape(&maps, &[0, to as i64, from as i64, -1]);
    graph.matmul(&axis, &maps)
}
