//! CLIPSeg and BiomedCLIPSeg.

use super::adapters::Blocks;
use super::graph::{Attribute, Graph, Value};
use super::layers::{Layer, LayerBlocks};
use super::towers;
use crate::activation::Activation;
use crate::clipseg::ClipSegConfig;
use crate::error::Result;
use crate::methods::Profile;

/// Prefix of the parameters' names.
const DECODER: &str = "clipseg.decoder";

/// Pixels `[images, 3, side, side]` and text embeddings `[prompts, projection]` to logits `[images, prompts, side, side]`.
pub(super) fn segmenter(
    graph: &mut Graph<'_>,
    [pixels, embedding]: [&Value; 2],
    side: usize,
    config: &ClipSegConfig,
    profile: Profile,
    blocks: &Blocks,
) -> Result<Value> {
    let taps = config.taps(profile);
    let after: Vec<usize> = taps.iter().map(|tap| tap + 1).collect();
    let vision = &config.vision_config;
    let prefix = "clipseg.clip.vision_model.";
    let states = towers::vision(graph, pixels, side, vision, prefix, &after, blocks)?;
    let layer = Layer {
        width: config.reduce_dim,
        heads: config.decoder_num_attention_heads,
        activation: Activation::Relu,
        epsilon: config
            .decoder_layer_norm_eps
            .unwrap_or(vision.layer_norm_eps),
    };
    // All tokens are `[images, 1, tokens, width]` up to the layer that the text enters, and `[images, prompts, tokens, width]`
    // from there.
    let mut x: Option<Value> = None;
    for (index, (tap, state)) in taps.iter().zip(&states).rev().enumerate() {
        graph.scope(format!("decoder/layer_{index}"));
        let state = match blocks.tap(*tap) {
            Some(block) => graph.block(state, block)?,
            None => state.clone(),
        };
        let state = graph.linear(&state, &format!("{DECODER}.reduces.{index}"))?;
        let state = graph.unsqueeze(&state, 1);
        let mut y = match x {
            Some(x) => graph.add(&state, &x),
            None => state,
        };
        if index == config.conditional_layer {
            let scale = graph.linear(embedding, &format!("{DECODER}.film_mul"))?;
            let scale = graph.unsqueeze(&scale, 1);
            let shift = graph.linear(embedding, &format!("{DECODER}.film_add"))?;
            let shift = graph.unsqueeze(&shift, 1);
            y = graph.mul(&y, &scale);
            y = graph.add(&y, &shift);
        }
        let name = format!("{DECODER}.layers.{index}");
        x = Some(graph.post_norm(&y, 4, layer, &name, None, &LayerBlocks::default())?);
    }
    let Some(x) = x else {
        return Err(crate::error::ModelError::Onnx(
            "the base taps no layer".into(),
        ));
    };
    upsample(graph, &x, side / vision.patch_size, config)
}

/// Tokens `[images, prompts, 1 + grid * grid, width]` to logits.
fn upsample(
    graph: &mut Graph<'_>,
    x: &Value,
    grid: usize,
    config: &ClipSegConfig,
) -> Result<Value> {
    graph.scope("decoder/upsample");
    let (grid, width) = (grid as i64, config.reduce_dim as i64);
    let both = graph.extents(x, 0, 2);
    let x = graph.slice(x, 2, 1, i64::MAX);
    let x = graph.transpose(&x, &[0, 1, 3, 2]);
    let mut x = graph.reshape(&x, &[-1, width, grid, grid]);
    let name = format!("{DECODER}.transposed_convolution");
    let patch = config.vision_config.patch_size as i64;
    if config.use_complex_transposed_convolution {
        x = convolution(graph, "Conv", &x, &format!("{name}.0"), 3, 1, 1)?;
        x = graph.relu(&x);
        x = convolution(
            graph,
            "ConvTranspose",
            &x,
            &format!("{name}.2"),
            patch / 4,
            patch / 4,
            0,
        )?;
        x = graph.relu(&x);
        x = convolution(
            graph,
            "ConvTranspose",
            &x,
            &format!("{name}.4"),
            patch / 4,
            patch / 4,
            0,
        )?;
    } else {
        x = convolution(graph, "ConvTranspose", &x, &name, patch, patch, 0)?;
    }
    let side = config.output_size((grid * patch) as usize) as i64;
    let sides = graph.ints(&[side, side]);
    let shape = graph.concat(&[&both, &sides], 0);
    Ok(graph.op("Reshape", &[&x, &shape], &[]))
}

fn convolution(
    graph: &mut Graph<'_>,
    kind: &str,
    x: &Value,
    name: &str,
    kernel: i64,
    stride: i64,
    padding: i64,
) -> Result<Value> {
    let weight = graph.parameter(&format!("{name}.weight"))?;
    let bias = graph.parameter(&format!("{name}.bias"))?;
    let attributes = [
        Attribute::Ints("kernel_shape", &[kernel, kernel]),
        Attribute::Ints("strides", &[stride, stride]),
        Attribute::Ints("pads", &[padding; 4]),
    ];
    Ok(graph.op(kind, &[x, &weight, &bias], &attributes))
}
