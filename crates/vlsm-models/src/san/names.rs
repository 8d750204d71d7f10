//! From the names and layouts of published files to those of the module.

use std::collections::BTreeMap;

use super::SanConfig;
use crate::clip::openai;
use crate::tensor_file::HostTensor;

type Tensors = BTreeMap<String, HostTensor>;

/// The side network's name in all files.
pub(super) const SIDE: &str = "side_adapter_network.";

/// What the model's tensors start with in whole checkpoints: detectron2's, Lightning's, and of parallel training. What else
/// such a checkpoint holds is passed over.
const WRAPPERS: [&str; 3] = ["model.", "net.", "module."];

/// Names in a block of the side network, timm's and Transformers', but for the joint projection.
pub(super) const IN_BLOCK: [(&str, &str); 4] = [
    ("attn.proj.", "self_attn.out_proj."),
    ("norm1.", "layer_norm1."),
    ("norm2.", "layer_norm2."),
    ("mlp.", "mlp."),
];

/// Names in a fusion layer.
pub(super) const IN_FUSION: [(&str, &str); 2] =
    [("input_proj.0.", "norm."), ("input_proj.1.", "projection.")];

/// Tensors of a file in the names and layouts of [`San`](super::San): of SAN's released checkpoints, of VLSM-Adapter's, or of
/// a CLIP in OpenAI's or Transformers' names. What is not known keeps its name.
pub fn from_published(tensors: Tensors, config: &SanConfig) -> Tensors {
    let unwrapped = unwrapped(tensors);
    let fusion_layers = fusion_layers(&unwrapped);
    let (mut found, mut clip) = (Tensors::new(), Tensors::new());
    for (name, tensor) in unwrapped {
        if let Some(rest) = name.strip_prefix(SIDE) {
            for (name, tensor) in side(rest, tensor, &fusion_layers) {
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

/// The model's tensors of a checkpoint.
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

/// Names of the fusion layers of a file in the order of their numbers; a number is that of the block behind which the layer
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
fn side(name: &str, tensor: HostTensor, fusion_layers: &[String]) -> Vec<(String, HostTensor)> {
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
pub(super) fn renamed(name: &str, table: &[(&str, &str)]) -> Option<String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: &[(&str, &[usize])]) -> Vec<String> {
        let files = files.iter().map(|(name, shape)| {
            let data = vec![0.0; shape.iter().product()];
            let shape = shape.to_vec();
            ((*name).to_owned(), HostTensor { shape, data })
        });
        let found = from_published(files.collect(), &SanConfig::default());
        let named = found.into_iter();
        named
            .map(|(name, tensor)| format!("{name} {:?}", tensor.shape))
            .collect()
    }

    #[test]
    fn released_checkpoints() {
        let found = names(&[
            ("model.side_adapter_network.query_embed", &[1, 5, 4]),
            (
                "model.side_adapter_network.vit_model.patch_embed.proj.weight",
                &[4, 3, 2, 2],
            ),
            ("model.clip_visual_extractor.resblocks.2.ln_1.bias", &[4]),
            ("model.clip_visual_extractor.class_embedding", &[4]),
            ("model.clip_rec_head.resblocks.2.ln_1.bias", &[4]),
            ("model.clip_rec_head.proj", &[4, 2]),
            ("model.ov_classifier.bg_embed", &[1, 2]),
            ("model.ov_classifier.ln_final.bias", &[4]),
            ("model.criterion.empty_weight", &[3]),
            ("iteration", &[]),
        ]);
        assert_eq!(
            found,
            [
                "bg_embed [2]",
                "clip.text_model.final_layer_norm.bias [4]",
                "clip.vision_model.embeddings.class_embedding [4]",
                "clip.vision_model.encoder.layers.11.layer_norm1.bias [4]",
                "clip.vision_model.encoder.layers.2.layer_norm1.bias [4]",
                "clip.visual_projection.weight [2, 4]",
                "side_adapter_network.patch_embed.weight [4, 12]",
                "side_adapter_network.query_embed [5, 4]",
            ]
        );
    }

    /// Its fusion layers have the numbers of a map that is read backwards, and CLIP is in it three times.
    #[test]
    fn checkpoints_of_vlsm_adapter() {
        let found = names(&[
            (
                "net.side_adapter_network.fusion_layers.layer_3.input_proj.1.weight",
                &[2, 4, 1, 1],
            ),
            (
                "net.side_adapter_network.fusion_layers.layer_0.input_proj.0.bias",
                &[4],
            ),
            (
                "net.side_adapter_network.vit_model.blocks.0.attn.qkv.bias",
                &[6],
            ),
            (
                "net.clip_model.visual.transformer.resblocks.11.mlp.c_fc.bias",
                &[8],
            ),
            ("net.clip_rec_head.resblocks.2.mlp.c_fc.bias", &[8]),
            ("net.clip_model.text_projection", &[3, 2]),
        ]);
        assert_eq!(
            found,
            [
                "clip.text_projection.weight [2, 3]",
                "clip.vision_model.encoder.layers.11.mlp.fc1.bias [8]",
                "side_adapter_network.blocks.layers.0.self_attn.k_proj.bias [2]",
                "side_adapter_network.blocks.layers.0.self_attn.q_proj.bias [2]",
                "side_adapter_network.blocks.layers.0.self_attn.v_proj.bias [2]",
                "side_adapter_network.fusion_layers.0.norm.bias [4]",
                "side_adapter_network.fusion_layers.1.projection.weight [2, 4]",
            ]
        );
    }

    #[test]
    fn plain_clips() {
        let openai = names(&[("visual.ln_pre.bias", &[4]), ("text_projection", &[3, 2])]);
        let transformers = names(&[
            ("vision_model.pre_layrnorm.bias", &[4]),
            ("text_projection.weight", &[2, 3]),
        ]);
        assert_eq!(openai, transformers);
        assert_eq!(
            openai,
            [
                "clip.text_projection.weight [2, 3]",
                "clip.vision_model.pre_layrnorm.bias [4]",
            ]
        );
    }
}
