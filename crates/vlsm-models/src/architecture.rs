//! Which architecture the files of a base are of.

use std::collections::BTreeMap;
use std::path::Path;

use crate::hub::OPEN_CLIP_CONFIG;
use crate::tensor_file::HostTensor;

/// An architecture, as far as it decides who reads the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Architecture {
    /// CLIPSeg, in Transformers' format.
    ClipSeg,
    /// BiomedCLIP or BiomedCLIPSeg, in open_clip's format.
    BiomedClip,
    /// SAN, or a plain CLIP with a vision transformer.
    San,
    /// CRIS, or a plain CLIP with a ResNet.
    Cris,
}

/// What wrappers in training put before a name: several processes, Lightning, detectron2.
const WRAPPERS: [&str; 3] = ["module.", "net.", "model."];

impl Architecture {
    /// That of a description, by its name and its `model_type`; where nothing is said it is CLIPSeg's.
    pub(crate) fn of_config(path: &Path, text: &str) -> Self {
        if path.ends_with(OPEN_CLIP_CONFIG) {
            return Self::BiomedClip;
        }
        // What is not JSON is told by who reads it.
        let value: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
        match value.get("model_type").and_then(|kind| kind.as_str()) {
            Some("san" | "clip") => Self::San,
            Some("cris") => Self::Cris,
            _ => Self::ClipSeg,
        }
    }

    /// That of a file of weights alone, by the names of its tensors.
    pub(crate) fn of_tensors(tensors: &BTreeMap<String, HostTensor>) -> Option<Self> {
        let has = |start: &str| {
            tensors
                .keys()
                .any(|name| unwrapped(name).starts_with(start))
        };
        let clip = ["visual.transformer.resblocks.", "vision_model.encoder."];
        if has("side_adapter_network.") || clip.into_iter().any(has) {
            return Some(Self::San);
        }
        (has("neck.") || has("visual.layer1.")).then_some(Self::Cris)
    }
}

/// A name without what wrappers put before it.
fn unwrapped(mut name: &str) -> &str {
    while let Some(rest) = WRAPPERS.iter().find_map(|start| name.strip_prefix(start)) {
        name = rest;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tensors_tell() {
        let of = |name: &str| {
            let (shape, data) = (vec![0], Vec::new());
            let tensors = BTreeMap::from([(name.to_owned(), HostTensor { shape, data })]);
            Architecture::of_tensors(&tensors)
        };
        for name in [
            "model.side_adapter_network.query_embed",
            "net.side_adapter_network.query_embed",
            "module.side_adapter_network.query_embed",
            "visual.transformer.resblocks.0.ln_1.bias",
            "vision_model.encoder.layers.0.layer_norm1.bias",
        ] {
            assert_eq!(of(name), Some(Architecture::San), "{name}");
        }
        for name in [
            "neck.txt_proj.0.weight",
            "module.neck.txt_proj.0.weight",
            "net.neck.txt_proj.0.weight",
            "visual.layer1.0.conv1.weight",
        ] {
            assert_eq!(of(name), Some(Architecture::Cris), "{name}");
        }
        for name in [
            "clip.vision_model.encoder.layers.0.layer_norm1.bias",
            "visual.trunk.blocks.0.norm1.bias",
            "cris.neck.txt_proj.0.weight",
            "san.side_adapter_network.query_embed",
            "weight",
        ] {
            assert_eq!(of(name), None, "{name}");
        }
    }
}
