//! CLIP in the names of OpenAI's and open_clip's files.

use std::collections::BTreeMap;

use crate::tensor_file::HostTensor;

/// Names outside the layers: in those files, and in Transformers.
const NAMES: [(&str, &str); 14] = [
    (
        "visual.class_embedding",
        "vision_model.embeddings.class_embedding",
    ),
    (
        "visual.conv1.weight",
        "vision_model.embeddings.patch_embedding.weight",
    ),
    (
        "visual.positional_embedding",
        "vision_model.embeddings.position_embedding.weight",
    ),
    ("visual.ln_pre.weight", "vision_model.pre_layrnorm.weight"),
    ("visual.ln_pre.bias", "vision_model.pre_layrnorm.bias"),
    (
        "visual.ln_post.weight",
        "vision_model.post_layernorm.weight",
    ),
    ("visual.ln_post.bias", "vision_model.post_layernorm.bias"),
    ("visual.proj", "visual_projection.weight"),
    (
        "token_embedding.weight",
        "text_model.embeddings.token_embedding.weight",
    ),
    (
        "positional_embedding",
        "text_model.embeddings.position_embedding.weight",
    ),
    ("ln_final.weight", "text_model.final_layer_norm.weight"),
    ("ln_final.bias", "text_model.final_layer_norm.bias"),
    ("text_projection", "text_projection.weight"),
    ("logit_scale", "logit_scale"),
];

/// Prefixes of the layers' names.
const LAYERS: [(&str, &str); 2] = [
    (
        "visual.transformer.resblocks.",
        "vision_model.encoder.layers.",
    ),
    ("transformer.resblocks.", "text_model.encoder.layers."),
];

/// Names within a layer, except the joint projection to queries, keys and values.
const IN_LAYER: [(&str, &str); 5] = [
    ("attn.out_proj", "self_attn.out_proj"),
    ("ln_1", "layer_norm1"),
    ("ln_2", "layer_norm2"),
    ("mlp.c_fc", "mlp.fc1"),
    ("mlp.c_proj", "mlp.fc2"),
];

/// The prefix of a joint projection's names, and the names of its three parts.
const JOINT: (&str, [&str; 3]) = (
    "attn.in_proj_",
    ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
);

/// Whether tensors are named as in OpenAI's files of a CLIP with a ViT.
pub fn is_named_so(tensors: &BTreeMap<String, HostTensor>) -> bool {
    tensors.contains_key("visual.class_embedding")
}

/// Tensors in Transformers' names: joint projections are split in three, and the two projections, which are written as
/// `[width, projection]`, are transposed. Unknown tensors keep their names; the causal mask that some files hold is left out.
pub fn to_transformers(tensors: BTreeMap<String, HostTensor>) -> BTreeMap<String, HostTensor> {
    let mut renamed = BTreeMap::new();
    for (name, tensor) in tensors {
        if name == "attn_mask" {
            continue;
        }
        if let Some((_, new)) = NAMES.iter().find(|(old, _)| *old == name) {
            let projection = matches!(name.as_str(), "visual.proj" | "text_projection");
            let tensor = if projection {
                transposed(tensor)
            } else {
                tensor
            };
            renamed.insert((*new).to_owned(), tensor);
            continue;
        }
        let layer = LAYERS.iter().find_map(|(old, new)| {
            let (index, rest) = name.strip_prefix(old)?.split_once('.')?;
            Some((format!("{new}{index}"), rest))
        });
        let Some((layer, rest)) = layer else {
            renamed.insert(name, tensor);
            continue;
        };
        if let Some(field) = rest.strip_prefix(JOINT.0) {
            for (part, tensor) in JOINT.1.iter().zip(thirds(tensor)) {
                renamed.insert(format!("{layer}.{part}.{field}"), tensor);
            }
            continue;
        }
        let known = IN_LAYER.iter().find_map(|(old, new)| {
            let field = rest.strip_prefix(old)?;
            Some(format!("{layer}.{new}{field}"))
        });
        renamed.insert(known.unwrap_or(name), tensor);
    }
    renamed
}

/// Tensors in OpenAI's names, the inverse of [`to_transformers`]. Unknown tensors keep their names.
pub fn from_transformers(tensors: BTreeMap<String, HostTensor>) -> BTreeMap<String, HostTensor> {
    let mut renamed = BTreeMap::new();
    let mut joint: BTreeMap<String, [Option<HostTensor>; 3]> = BTreeMap::new();
    for (name, tensor) in tensors {
        if let Some((old, _)) = NAMES.iter().find(|(_, new)| *new == name) {
            let projection = matches!(*old, "visual.proj" | "text_projection");
            let tensor = if projection {
                transposed(tensor)
            } else {
                tensor
            };
            renamed.insert((*old).to_owned(), tensor);
            continue;
        }
        let layer = LAYERS.iter().find_map(|(old, new)| {
            let (index, rest) = name.strip_prefix(new)?.split_once('.')?;
            Some((format!("{old}{index}"), rest))
        });
        let Some((layer, rest)) = layer else {
            renamed.insert(name, tensor);
            continue;
        };
        let mut parts = JOINT.1.iter().enumerate();
        let part = parts.find_map(|(part, new)| {
            let field = rest.strip_prefix(new)?.strip_prefix('.')?;
            Some((part, format!("{layer}.{}{field}", JOINT.0)))
        });
        if let Some((part, whole)) = part {
            joint.entry(whole).or_default()[part] = Some(tensor);
            continue;
        }
        let known = IN_LAYER.iter().find_map(|(old, new)| {
            let field = rest.strip_prefix(new)?;
            Some(format!("{layer}.{old}{field}"))
        });
        renamed.insert(known.unwrap_or(name), tensor);
    }
    let joint = joint.into_iter();
    renamed.extend(joint.filter_map(|(name, parts)| Some((name, joined(parts)?))));
    renamed
}

/// Queries, keys and values of a joint projection as one tensor.
pub(crate) fn joined(parts: [Option<HostTensor>; 3]) -> Option<HostTensor> {
    let mut parts = parts.into_iter().flatten();
    let mut whole = parts.next()?;
    for part in parts {
        whole.shape[0] += part.shape.first()?;
        whole.data.extend(part.data);
    }
    Some(whole)
}

/// Transposes a matrix; other tensors are unchanged.
fn transposed(tensor: HostTensor) -> HostTensor {
    let [rows, columns] = tensor.shape[..] else {
        return tensor;
    };
    let places = (0..columns).flat_map(|column| (0..rows).map(move |row| row * columns + column));
    HostTensor {
        data: places.map(|place| tensor.data[place]).collect(),
        shape: vec![columns, rows],
    }
}

/// A joint projection's tensor, split in three along its first dimension; rows beyond a multiple of three are left out.
pub(crate) fn thirds(tensor: HostTensor) -> [HostTensor; 3] {
    let mut shape = tensor.shape;
    if let Some(rows) = shape.first_mut() {
        *rows /= 3;
    }
    let size = shape.iter().product::<usize>();
    [0, 1, 2].map(|part| HostTensor {
        shape: shape.clone(),
        data: tensor
            .data
            .get(part * size..(part + 1) * size)
            .unwrap_or_default()
            .to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(shape: &[usize]) -> HostTensor {
        let count = shape.iter().product::<usize>();
        HostTensor {
            shape: shape.to_vec(),
            data: (0..count).map(|place| place as f32).collect(),
        }
    }

    fn files_names() -> [&'static str; 4] {
        [
            "visual.proj",
            "transformer.resblocks.4.attn.in_proj_weight",
            "visual.transformer.resblocks.0.mlp.c_fc.bias",
            "other",
        ]
    }

    #[test]
    fn names_and_layouts_become_transformers() {
        let files = [
            ("visual.proj", tensor(&[2, 3])),
            (
                "transformer.resblocks.4.attn.in_proj_weight",
                tensor(&[6, 2]),
            ),
            ("visual.transformer.resblocks.0.mlp.c_fc.bias", tensor(&[2])),
            ("attn_mask", tensor(&[2, 2])),
            ("other", tensor(&[1])),
        ];
        let renamed = to_transformers(files.map(|(name, t)| (name.to_owned(), t)).into());
        let names: Vec<&str> = renamed.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "other",
                "text_model.encoder.layers.4.self_attn.k_proj.weight",
                "text_model.encoder.layers.4.self_attn.q_proj.weight",
                "text_model.encoder.layers.4.self_attn.v_proj.weight",
                "vision_model.encoder.layers.0.mlp.fc1.bias",
                "visual_projection.weight",
            ]
        );
        assert_eq!(
            renamed["visual_projection.weight"].data,
            [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
        );
        let back = from_transformers(renamed.clone());
        let again: Vec<&str> = back.keys().map(String::as_str).collect();
        let mut names = files_names();
        names.sort_unstable();
        assert_eq!(again, names);
        assert_eq!(back["visual.proj"], tensor(&[2, 3]));
        assert_eq!(
            back["transformer.resblocks.4.attn.in_proj_weight"],
            tensor(&[6, 2])
        );
        let keys = &renamed["text_model.encoder.layers.4.self_attn.k_proj.weight"];
        assert_eq!(
            (&keys.shape[..], &keys.data[..]),
            (&[2, 2][..], &[4.0, 5.0, 6.0, 7.0][..])
        );
    }
}
