//! The side network in the names of published files.

use std::collections::BTreeMap;

use super::SanConfig;
use super::names::{IN_BLOCK, IN_FUSION, SIDE, renamed};
use crate::method::Profile;
use crate::tensor_file::HostTensor;

type Tensors = BTreeMap<String, HostTensor>;

/// Tensors of the side network and the background's embedding, named as in [`San`](super::San), in the names and layouts of
/// SAN's checkpoints; in profile `paper` the fusion layers have the numbers of VLSM-Adapter's. What is not known keeps its
/// name.
pub fn to_published(tensors: Tensors, config: &SanConfig, profile: Profile) -> Tensors {
    let mut published = Tensors::new();
    // Queries, keys and values of a block come one after another: keys, queries, values, by their names.
    let mut joint: BTreeMap<String, [Option<HostTensor>; 3]> = BTreeMap::new();
    for (name, tensor) in tensors {
        if name == "bg_embed" {
            published.insert("ov_classifier.bg_embed".into(), with_batch(tensor));
            continue;
        }
        let Some(rest) = name.strip_prefix(SIDE) else {
            published.insert(name, tensor);
            continue;
        };
        if let Some((name, part)) = joint_projection(rest) {
            joint.entry(name).or_default()[part] = Some(tensor);
            continue;
        }
        let (name, tensor) = side(rest, tensor, config, profile);
        published.insert(format!("{SIDE}{name}"), tensor);
    }
    for (name, parts) in joint {
        let mut parts = parts.into_iter().flatten();
        if let Some(mut whole) = parts.next() {
            for part in parts {
                whole.shape[0] += part.shape[0];
                whole.data.extend(part.data);
            }
            published.insert(format!("{SIDE}{name}"), whole);
        }
    }
    published
}

/// The published name of the joint projection that a tensor is a part of, and which part it is.
fn joint_projection(name: &str) -> Option<(String, usize)> {
    let (index, rest) = name.strip_prefix("blocks.layers.")?.split_once('.')?;
    let parts = [
        "self_attn.q_proj.",
        "self_attn.k_proj.",
        "self_attn.v_proj.",
    ];
    let mut parts = parts.iter().enumerate();
    parts.find_map(|(part, prefix)| {
        let field = rest.strip_prefix(prefix)?;
        Some((format!("vit_model.blocks.{index}.attn.qkv.{field}"), part))
    })
}

/// A tensor that is one in files too.
fn side(
    name: &str,
    mut tensor: HostTensor,
    config: &SanConfig,
    profile: Profile,
) -> (String, HostTensor) {
    let known = |part: &str, table: &[(&str, &str)]| {
        let (index, rest) = name.strip_prefix(part)?.split_once('.')?;
        let table: Vec<_> = table.iter().map(|(file, own)| (*own, *file)).collect();
        Some((index.parse::<usize>().ok()?, renamed(rest, &table)?))
    };
    if let Some((index, rest)) = known("blocks.layers.", &IN_BLOCK) {
        return (format!("vit_model.blocks.{index}.{rest}"), tensor);
    }
    if let Some((index, rest)) = known("fusion_layers.", &IN_FUSION) {
        let [clip, block] = config.fusion.get(index).copied().unwrap_or([index, index]);
        let number = match profile {
            Profile::Default => block,
            Profile::Paper => clip,
        };
        let name = format!("fusion_layers.layer_{number}.{rest}");
        return (name, convolution(tensor));
    }
    match name {
        "pos_embed" => ("vit_model.pos_embed".into(), with_batch(tensor)),
        "query_embed" | "query_pos_embed" => (name.into(), with_batch(tensor)),
        "patch_embed.weight" => {
            let patch = config.side_config.patch_size;
            tensor.shape = vec![tensor.shape[0], 3, patch, patch];
            ("vit_model.patch_embed.proj.weight".into(), tensor)
        }
        "patch_embed.bias" => ("vit_model.patch_embed.proj.bias".into(), tensor),
        _ if name.contains("pix_mlp") || name.contains("attn_mlp") => {
            (name.into(), convolution(tensor))
        }
        _ => (name.into(), tensor),
    }
}

/// A linear layer's weights as those of a convolution of one place.
fn convolution(mut tensor: HostTensor) -> HostTensor {
    if tensor.shape.len() == 2 {
        tensor.shape.extend([1, 1]);
    }
    tensor
}

/// A table with a dimension of 1 before it.
fn with_batch(mut tensor: HostTensor) -> HostTensor {
    tensor.shape.insert(0, 1);
    tensor
}
