//! open_clip's names and shapes of parameters, and those of [`ClipSeg`](crate::clipseg::ClipSeg).

use std::collections::BTreeMap;

use crate::tensor_file::HostTensor;

/// Prefixes of names in open_clip and here.
const PARTS: [(&str, &str); 15] = [
    (
        "visual.trunk.cls_token",
        "clip.vision_model.embeddings.class_embedding",
    ),
    (
        "visual.trunk.pos_embed",
        "clip.vision_model.embeddings.position_embedding.weight",
    ),
    (
        "visual.trunk.patch_embed.proj.",
        "clip.vision_model.embeddings.patch_embedding.",
    ),
    ("visual.trunk.blocks.", "clip.vision_model.encoder.layers."),
    ("visual.trunk.norm.", "clip.vision_model.post_layernorm."),
    ("visual.head.proj.", "clip.visual_projection."),
    (
        "text.transformer.embeddings.word_embeddings.",
        "clip.text_model.embeddings.token_embedding.",
    ),
    (
        "text.transformer.embeddings.position_embeddings.",
        "clip.text_model.embeddings.position_embedding.",
    ),
    (
        "text.transformer.embeddings.token_type_embeddings.",
        "clip.text_model.embeddings.token_type_embedding.",
    ),
    (
        "text.transformer.embeddings.LayerNorm.",
        "clip.text_model.embeddings.layer_norm.",
    ),
    (
        "text.transformer.encoder.layer.",
        "clip.text_model.encoder.layers.",
    ),
    ("text.proj.0.", "clip.text_model.projection."),
    ("text.proj.2.", "clip.text_projection."),
    ("logit_scale", "clip.logit_scale"),
    ("decoder.", "decoder."),
];

/// Parts of a vision layer.
const VISION_LAYER: [(&str, &str); 4] = [
    (".norm1.", ".layer_norm1."),
    (".norm2.", ".layer_norm2."),
    (".attn.qkv.", ".self_attn.qkv."),
    (".attn.proj.", ".self_attn.out_proj."),
];

/// Parts of a text layer. No name has two of them; that none is part of another counts on this order.
const TEXT_LAYER: [(&str, &str); 8] = [
    (".attention.self.query.", ".self_attn.q_proj."),
    (".attention.self.key.", ".self_attn.k_proj."),
    (".attention.self.value.", ".self_attn.v_proj."),
    (".attention.output.dense.", ".self_attn.out_proj."),
    (".attention.output.LayerNorm.", ".layer_norm1."),
    (".intermediate.dense.", ".mlp.fc1."),
    (".output.dense.", ".mlp.fc2."),
    (".output.LayerNorm.", ".layer_norm2."),
];

const CLASS: &str = "clip.vision_model.embeddings.class_embedding";
const POSITIONS: &str = "clip.vision_model.embeddings.position_embedding.weight";
/// The projections that timm keeps as one.
const QKV: [&str; 3] = [".q_proj.", ".k_proj.", ".v_proj."];

fn layer(own: &str) -> &'static [(&'static str, &'static str)] {
    if own.starts_with("clip.vision_model.encoder.") {
        &VISION_LAYER
    } else if own.starts_with("clip.text_model.encoder.") {
        &TEXT_LAYER
    } else {
        &[]
    }
}

/// The name here of a name in open_clip; unknown names are unchanged.
fn own(name: &str) -> String {
    let known = PARTS.iter().find(|(part, _)| name.starts_with(part));
    let Some((part, here)) = known else {
        return name.to_owned();
    };
    let name = format!("{here}{}", &name[part.len()..]);
    let inner = layer(&name).iter().find(|(part, _)| name.contains(part));
    match inner {
        Some((part, here)) => name.replace(part, here),
        None => name,
    }
}

/// The name in open_clip of a name here.
pub(super) fn in_open_clip(name: &str) -> String {
    let mut name = name.to_owned();
    if name.starts_with("clip.vision_model.") {
        for part in QKV {
            name = name.replace(part, ".qkv.");
        }
    }
    if let Some((there, part)) = layer(&name).iter().find(|(_, part)| name.contains(part)) {
        name = name.replace(part, there);
    }
    match PARTS.iter().find(|(_, part)| name.starts_with(part)) {
        Some((there, part)) => format!("{there}{}", &name[part.len()..]),
        None => name,
    }
}

/// Tensors under open_clip's names to those of a CLIPSeg. BERT's own pooler, which BiomedCLIP does not use, is left out.
pub fn from_file(tensors: BTreeMap<String, HostTensor>) -> BTreeMap<String, HostTensor> {
    let mut result = BTreeMap::new();
    for (name, mut tensor) in tensors {
        if name.starts_with("text.transformer.pooler.") {
            continue;
        }
        let name = own(&name);
        // timm's have a dimension for the batch.
        if (name == CLASS || name == POSITIONS) && tensor.shape.first() == Some(&1) {
            tensor.shape.remove(0);
            if name == CLASS && tensor.shape.first() == Some(&1) {
                tensor.shape.remove(0);
            }
        }
        if let Some((before, after)) = name.split_once(".qkv.")
            && tensor.shape.first().is_some_and(|rows| rows % 3 == 0)
        {
            let third = tensor.data.len() / 3;
            tensor.shape[0] /= 3;
            for (index, part) in QKV.into_iter().enumerate() {
                let one = HostTensor {
                    shape: tensor.shape.clone(),
                    data: tensor.data[index * third..][..third].to_vec(),
                };
                result.insert(format!("{before}{part}{after}"), one);
            }
        } else {
            result.insert(name, tensor);
        }
    }
    result
}

/// Tensors under a CLIPSeg's names to those of open_clip.
pub fn to_file(tensors: BTreeMap<String, HostTensor>) -> BTreeMap<String, HostTensor> {
    let mut parts: BTreeMap<String, [Option<HostTensor>; 3]> = BTreeMap::new();
    let mut result = BTreeMap::new();
    for (name, mut tensor) in tensors {
        let there = in_open_clip(&name);
        let place = QKV.iter().position(|part| name.contains(part));
        if let (Some(place), true) = (place, there.contains(".qkv.")) {
            parts.entry(there).or_default()[place] = Some(tensor);
            continue;
        }
        if name == CLASS {
            tensor.shape.insert(0, 1);
        }
        if name == CLASS || name == POSITIONS {
            tensor.shape.insert(0, 1);
        }
        result.insert(there, tensor);
    }
    for (name, parts) in parts {
        let mut joined = HostTensor::default();
        for part in parts.into_iter().flatten() {
            joined.shape = part.shape;
            joined.data.extend(part.data);
        }
        if let Some(rows) = joined.shape.first_mut() {
            *rows *= 3;
        }
        result.insert(name, joined);
    }
    result
}
