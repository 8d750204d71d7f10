//! Names and layouts of parameters in published files and in the module.

use std::collections::BTreeMap;

use super::SanConfig;
use crate::clip::openai;
use crate::files::WRAPPERS;
use crate::methods::Profile;
use crate::tensor_file::HostTensor;

type Tensors = BTreeMap<String, HostTensor>;

/// The side network's name in all files.
pub(super) const SIDE: &str = "side_adapter_network.";

/// Names in a block of the side network, timm's and Transformers', but for the joint projection.
const IN_BLOCK: [(&str, &str); 4] = [
    ("attn.proj.", "self_attn.out_proj."),
    ("norm1.", "layer_norm1."),
    ("norm2.", "layer_norm2."),
    ("mlp.", "mlp."),
];

/// Names in a fusion layer.
const IN_FUSION: [(&str, &str); 2] = [("input_proj.0.", "norm."), ("input_proj.1.", "projection.")];

/// Tensors of a file in the names and layouts of [`San`](super::San): of SAN's released checkpoints, of VLSM-Adapter's, or of
/// a CLIP in OpenAI's or Transformers' names. Unknown tensors keep their names.
pub fn from_file(tensors: Tensors, config: &SanConfig) -> Tensors {
    let unwrapped = unwrapped(tensors);
    let fusion_layers = fusion_layers(&unwrapped);
    let (mut found, mut clip) = (Tensors::new(), Tensors::new());
    for (name, tensor) in unwrapped {
        if let Some(rest) = name.strip_prefix(SIDE) {
            for (name, tensor) in side_from_file(rest, tensor, &fusion_layers) {
                found.insert(format!("{SIDE}{name}"), tensor);
            }
        } else if name == "bg_embed" || name == "ov_classifier.bg_embed" {
            found.insert("bg_embed".into(), flat(tensor));
        } else if !name.starts_with("criterion.") {
            clip.insert(clip_name(&name, config), tensor);
        }
    }
    for (name, tensor) in openai::to_transformers(clip) {
        let parts = [
            "text_model.",
            "vision_model.",
            "text_projection.",
            "visual_projection.",
            "logit_scale",
        ];
        let known = parts.iter().any(|part| name.starts_with(part));
        let name = if known { format!("clip.{name}") } else { name };
        found.insert(name, tensor);
    }
    found
}

/// The profile of a checkpoint: only VLSM-Adapter's code holds CLIP as a whole.
pub(super) fn profile(tensors: &Tensors) -> Profile {
    let whole = |name: &String| name.contains("clip_model.");
    match tensors.keys().any(whole) {
        true => Profile::Paper,
        false => Profile::Default,
    }
}

/// The model's tensors of a checkpoint, without the wrapper before their names; what else it holds is passed over.
fn unwrapped(tensors: Tensors) -> Tensors {
    let wrapper = WRAPPERS.iter().find(|wrapper| {
        let mut names = tensors.keys();
        names.any(|name| {
            name.strip_prefix(**wrapper)
                .is_some_and(|rest| rest.starts_with(SIDE))
        })
    });
    let Some(wrapper) = wrapper else {
        return tensors;
    };
    tensors
        .into_iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix(wrapper)?.to_owned(), tensor)))
        .collect()
}

/// A name of CLIP's under one of its wrappers in SAN, as OpenAI has it.
fn clip_name(name: &str, config: &SanConfig) -> String {
    const BLOCKS: &str = "resblocks.";
    const TOWER: &str = "visual.transformer.resblocks.";
    if let Some(rest) = name.strip_prefix("clip_visual_extractor.") {
        return match rest.strip_prefix(BLOCKS) {
            Some(rest) => format!("{TOWER}{rest}"),
            None => format!("visual.{rest}"),
        };
    }
    if let Some(rest) = name.strip_prefix("clip_rec_head.") {
        let block = rest.strip_prefix(BLOCKS).and_then(|rest| {
            let (index, rest) = rest.split_once('.')?;
            let index = index.parse::<usize>().ok()? + config.recognition_layer;
            Some(format!("{TOWER}{index}.{rest}"))
        });
        return block.unwrap_or_else(|| format!("visual.{rest}"));
    }
    for prefix in ["ov_classifier.", "clip_model.", "clip."] {
        if let Some(rest) = name.strip_prefix(prefix) {
            return rest.to_owned();
        }
    }
    name.to_owned()
}

/// Names of the fusion layers of a file in the order of their numbers; a number is that of the block after which the layer
/// acts, or should.
fn fusion_layers(tensors: &Tensors) -> Vec<String> {
    let mut numbers: Vec<usize> = tensors
        .keys()
        .filter_map(|name| {
            let rest = name
                .strip_prefix(SIDE)?
                .strip_prefix("fusion_layers.layer_")?;
            rest.split('.').next()?.parse().ok()
        })
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
        .into_iter()
        .map(|number| format!("fusion_layers.layer_{number}."))
        .collect()
}

/// A tensor of the side network, by its published name, as one or three of the module.
fn side_from_file(
    name: &str,
    tensor: HostTensor,
    fusion_layers: &[String],
) -> Vec<(String, HostTensor)> {
    if let Some(rest) = name.strip_prefix("vit_model.blocks.")
        && let Some((index, rest)) = rest.split_once('.')
    {
        let block = format!("blocks.layers.{index}");
        if let Some(field) = rest.strip_prefix("attn.qkv.") {
            let parts = ["q_proj", "k_proj", "v_proj"].into_iter();
            return parts
                .zip(openai::thirds(tensor))
                .map(|(part, tensor)| (format!("{block}.self_attn.{part}.{field}"), tensor))
                .collect();
        }
        if let Some(rest) = renamed(rest, &IN_BLOCK) {
            return vec![(format!("{block}.{rest}"), tensor)];
        }
    }
    let fusion = fusion_layers
        .iter()
        .enumerate()
        .find_map(|(index, prefix)| {
            let rest = renamed(name.strip_prefix(prefix.as_str())?, &IN_FUSION)?;
            Some(format!("fusion_layers.{index}.{rest}"))
        });
    if let Some(name) = fusion {
        return vec![(name, matrix(tensor))];
    }
    let (name, tensor) = match name {
        "vit_model.pos_embed" => ("pos_embed", without_batch(tensor)),
        "query_embed" | "query_pos_embed" => (name, without_batch(tensor)),
        "vit_model.patch_embed.proj.weight" => ("patch_embed.weight", matrix(tensor)),
        "vit_model.patch_embed.proj.bias" => ("patch_embed.bias", tensor),
        _ => (name, matrix(tensor)),
    };
    vec![(name.to_owned(), tensor)]
}

/// A name with another beginning.
fn renamed(name: &str, table: &[(&str, &str)]) -> Option<String> {
    let mut found = table.iter();
    found.find_map(|(old, new)| Some(format!("{new}{}", name.strip_prefix(old)?)))
}

/// A convolution's weights as those of a linear layer; anything else as it is.
fn matrix(mut tensor: HostTensor) -> HostTensor {
    if tensor.shape.len() == 4 {
        let inputs = tensor.shape[1..].iter().product();
        tensor.shape = vec![tensor.shape[0], inputs];
    }
    tensor
}

/// A table that is written with a dimension of 1 before it.
fn without_batch(mut tensor: HostTensor) -> HostTensor {
    if tensor.shape.len() == 3 && tensor.shape[0] == 1 {
        tensor.shape.remove(0);
    }
    tensor
}

/// A row as a vector.
fn flat(mut tensor: HostTensor) -> HostTensor {
    if tensor.shape.len() == 2 && tensor.shape[0] == 1 {
        tensor.shape.remove(0);
    }
    tensor
}

/// Tensors named as in [`San`](super::San), in the names and layouts of published code: of SAN's released checkpoints, and in
/// profile `paper` of VLSM-Adapter's, whose fusion layers have other numbers, and which hold CLIP as a whole in addition to its
/// parts and no background.
pub fn to_file(tensors: Tensors, config: &SanConfig, profile: Profile) -> Tensors {
    let (mut published, mut clip) = (Tensors::new(), Tensors::new());
    let mut joint: BTreeMap<String, [Option<HostTensor>; 3]> = BTreeMap::new();
    for (name, tensor) in tensors {
        if name == "bg_embed" {
            if profile == Profile::Default {
                published.insert("ov_classifier.bg_embed".into(), with_batch(tensor));
            }
        } else if let Some(rest) = name.strip_prefix(SIDE) {
            if let Some((name, part)) = joint_projection(rest) {
                joint.entry(name).or_default()[part] = Some(tensor);
                continue;
            }
            let (name, tensor) = side_to_file(rest, tensor, config, profile);
            published.insert(format!("{SIDE}{name}"), tensor);
        } else {
            let name = name.strip_prefix("clip.").unwrap_or(&name).to_owned();
            clip.insert(name, tensor);
        }
    }
    for (name, parts) in joint {
        if let Some(whole) = openai::joined(parts) {
            published.insert(format!("{SIDE}{name}"), whole);
        }
    }
    for (name, tensor) in openai::from_transformers(clip) {
        let part = clip_part(&name, config);
        if profile == Profile::Paper {
            published.insert(format!("clip_model.{name}"), tensor.clone());
        }
        match part {
            Some(part) => published.insert(part, tensor),
            None if profile == Profile::Default => {
                published.insert(format!("ov_classifier.{name}"), tensor)
            }
            None => None,
        };
    }
    published
}

/// The name of a tensor of CLIP's vision tower in one of SAN's two parts of it, from its name in OpenAI's files; `None` for
/// the text tower.
fn clip_part(name: &str, config: &SanConfig) -> Option<String> {
    let rest = name.strip_prefix("visual.")?;
    let block = rest.strip_prefix("transformer.resblocks.");
    let Some((index, field)) = block.and_then(|block| block.split_once('.')) else {
        let part = match rest {
            "proj" | "ln_post.weight" | "ln_post.bias" => "clip_rec_head",
            _ => "clip_visual_extractor",
        };
        return Some(format!("{part}.{rest}"));
    };
    let index: usize = index.parse().ok()?;
    Some(match index.checked_sub(config.recognition_layer) {
        Some(index) => format!("clip_rec_head.resblocks.{index}.{field}"),
        None => format!("clip_visual_extractor.resblocks.{index}.{field}"),
    })
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
fn side_to_file(
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

/// A linear layer's weights as those of a 1x1 convolution.
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

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
