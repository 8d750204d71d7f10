//! Configuration of a SAN.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::clip::config::{
    TextConfig, VisionConfig, check_heads, check_sizes, check_towers, merge_older_towers,
};
use crate::error::{ModelError, Result};
use crate::files::read_config;
use crate::methods::Profile;
use crate::preprocess::check_largest;

/// The side network: a vision transformer with queries, and the MLPs after it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SideConfig {
    /// Width of a token.
    pub hidden_size: usize,
    /// Width of the MLP in a block.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Number of attention heads.
    pub num_attention_heads: usize,
    /// Input side, in pixels, that the position embeddings are for.
    pub image_size: usize,
    /// Side of a patch, in pixels; that of CLIP.
    pub patch_size: usize,
    /// Number of queries, each of which proposes a mask.
    pub num_queries: usize,
    /// Width of the embeddings of queries and pixels, whose products are masks.
    pub embed_dim: usize,
    /// Hidden units of the MLPs that make these.
    pub mlp_dim: usize,
}

impl Default for SideConfig {
    /// SAN's side network for CLIP ViT-B/16.
    fn default() -> Self {
        Self {
            hidden_size: 240,
            intermediate_size: 960,
            num_hidden_layers: 8,
            num_attention_heads: 6,
            image_size: 640,
            patch_size: 16,
            num_queries: 100,
            embed_dim: 256,
            mlp_dim: 256,
        }
    }
}

/// A SAN: a CLIP, which may stay frozen, and a side network next to its vision tower.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SanConfig {
    /// CLIP's text tower.
    pub text_config: TextConfig,
    /// CLIP's vision tower.
    pub vision_config: VisionConfig,
    /// Width of the embedding that CLIP's towers share.
    pub projection_dim: usize,
    /// The side network.
    pub side_config: SideConfig,
    /// What is fused: pairs of a number of CLIP's layers and a number of blocks, both counted from 0, what enters the
    /// first. CLIP's state after so many layers is added to the side network's after so many blocks.
    pub fusion: Vec<[usize; 2]>,
    /// The first of CLIP's layers, counted from 0, that the recognition branch runs through.
    pub recognition_layer: usize,
}

impl Default for SanConfig {
    /// SAN for CLIP ViT-B/16, as released.
    fn default() -> Self {
        Self {
            text_config: TextConfig {
                pad_token_id: 0,
                ..TextConfig::default()
            },
            vision_config: VisionConfig {
                patch_size: 16,
                ..VisionConfig::default()
            },
            projection_dim: 512,
            side_config: SideConfig::default(),
            fusion: vec![[0, 0], [3, 1], [6, 2], [9, 3]],
            recognition_layer: 9,
        }
    }
}

/// A fusion that has an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fusion {
    /// Which of the fusion layers does it.
    pub(crate) layer: usize,
    /// CLIP's state after so many layers is taken.
    pub(crate) clip: usize,
    /// It is added to the side network's state after so many blocks.
    pub(crate) block: usize,
}

impl SanConfig {
    /// Reads a `config.json`: a SAN's, or that of a plain CLIP, which gets the side network of ViT-B/16.
    ///
    /// # Errors
    /// If the file cannot be read, is not JSON, is of another kind, or describes a model that cannot be built; the field
    /// is named.
    pub fn read(path: &Path) -> Result<Self> {
        read_config(path, Self::parse)
    }

    /// Parses a `config.json`, as [`read`](Self::read) does.
    pub(crate) fn parse(text: &str) -> std::result::Result<Self, String> {
        let mut value: serde_json::Value =
            serde_json::from_str(text).map_err(|error| format!("not valid JSON: {error}"))?;
        let Some(object) = value.as_object_mut() else {
            return Err("not a JSON object".into());
        };
        if let Some(kind) = object.get("model_type").and_then(|kind| kind.as_str())
            && !matches!(kind, "san" | "clip")
        {
            return Err(format!(
                "`model_type` is \"{kind}\"; a SAN is made of \"san\" or \"clip\""
            ));
        }
        merge_older_towers(object);
        let config: Self =
            serde_path_to_error::deserialize(value).map_err(|error| error.to_string())?;
        config.validate()?;
        Ok(config)
    }

    /// Returns the reason why no model can be built from this configuration.
    fn validate(&self) -> std::result::Result<(), String> {
        check_sizes(self)?;
        let (text, vision, side) = (&self.text_config, &self.vision_config, &self.side_config);
        check_towers(text, vision, self.projection_dim)?;
        let positive = [
            ("hidden_size", side.hidden_size),
            ("intermediate_size", side.intermediate_size),
            ("num_hidden_layers", side.num_hidden_layers),
            ("num_queries", side.num_queries),
            ("embed_dim", side.embed_dim),
            ("mlp_dim", side.mlp_dim),
        ];
        if let Some((field, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(format!("`side_config.{field}` is 0"));
        }
        check_heads("side", side.num_attention_heads, side.hidden_size)?;
        if side.patch_size != vision.patch_size {
            return Err(format!(
                "`side_config.patch_size` is {}, but CLIP's is {}; they must be equal. A plain CLIP has no `side_config` and gets \
                 one for patches of 16; `vlsm segments` takes a CLIP with patches of any size",
                side.patch_size, vision.patch_size
            ));
        }
        if side.image_size < side.patch_size {
            return Err("`side_config.image_size` is below `patch_size`".into());
        }
        let layers = vision.num_hidden_layers;
        if self.recognition_layer >= layers {
            return Err(format!(
                "`recognition_layer` is {}, but the vision tower has layers 0..{layers}",
                self.recognition_layer
            ));
        }
        for (index, [clip, block]) in self.fusion.iter().enumerate() {
            if *clip > self.recognition_layer || *block > side.num_hidden_layers {
                return Err(format!(
                    "`fusion[{index}]` is [{clip}, {block}], but CLIP has {} layers before the recognition branch and the side network {} blocks",
                    self.recognition_layer, side.num_hidden_layers
                ));
            }
            let before = &self.fusion[..index];
            if before.iter().any(|[c, b]| c == clip || b == block) {
                return Err(format!(
                    "`fusion[{index}]` is [{clip}, {block}], of which another pair has one already"
                ));
            }
        }
        Ok(())
    }

    /// The `config.json` that [`read`](Self::read) reads back.
    ///
    /// # Errors
    /// If the configuration cannot be serialised.
    pub fn to_json(&self) -> Result<serde_json::Value> {
        let value = serde_json::to_value(self);
        let mut value = value.map_err(ModelError::serialise("the configuration"))?;
        if let Some(object) = value.as_object_mut() {
            object.insert("model_type".into(), "san".into());
        }
        Ok(value)
    }

    /// The fusions that have an effect. Profile `paper` reads each pair backwards, as VLSM-Adapter's code does; pairs that
    /// then name a block that there is not are without effect.
    pub(crate) fn fusions(&self, profile: Profile) -> Vec<Fusion> {
        let pairs = self.fusion.iter().enumerate();
        let fusions = pairs.map(|(layer, [clip, block])| match profile {
            Profile::Default => Fusion {
                layer,
                clip: *clip,
                block: *block,
            },
            Profile::Paper => Fusion {
                layer,
                clip: *block,
                block: *clip,
            },
        });
        fusions
            .filter(|fusion| {
                fusion.block <= self.side_config.num_hidden_layers
                    && fusion.clip <= self.recognition_layer
            })
            .collect()
    }

    /// The states of CLIP's vision tower that are used, by the number of layers before them, in order: those
    /// that are fused, and what enters each layer of the recognition branch.
    pub(crate) fn states(&self, profile: Profile) -> Vec<usize> {
        let mut states: Vec<usize> = self.fusions(profile).iter().map(|f| f.clip).collect();
        states.extend(self.recognition_layer..self.vision_config.num_hidden_layers);
        states.sort_unstable();
        states.dedup();
        states
    }

    /// Checks that a square input of `size` pixels can be taken.
    ///
    /// # Errors
    /// If `size` is not a positive multiple of twice the patch size, since CLIP sees it at half its resolution; names the
    /// nearest that is.
    pub fn check_image_size(&self, size: usize) -> Result<()> {
        check_largest(size)?;
        let unit = 2 * self.side_config.patch_size;
        if size == 0 || !size.is_multiple_of(unit) {
            let nearest = ((size + unit / 2) / unit).max(1) * unit;
            return Err(ModelError::ImageSize {
                size,
                message: format!(
                    "must be a multiple of {unit}, twice the patch size; try {nearest}"
                ),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published `fusion_map` is {0: 0, 3: 1, 6: 2, 9: 3}, block to layer; there is no block 9.
    #[test]
    fn paper_reads_the_fusion_map_backwards() {
        let config = SanConfig::default();
        let pairs = |profile| -> Vec<[usize; 3]> {
            let fusions = config.fusions(profile).into_iter();
            fusions.map(|f| [f.layer, f.clip, f.block]).collect()
        };
        assert_eq!(
            pairs(Profile::Default),
            [[0, 0, 0], [1, 3, 1], [2, 6, 2], [3, 9, 3]]
        );
        assert_eq!(pairs(Profile::Paper), [[0, 0, 0], [1, 1, 3], [2, 2, 6]]);
        assert_eq!(config.states(Profile::Default), [0, 3, 6, 9, 10, 11]);
        assert_eq!(config.states(Profile::Paper), [0, 1, 2, 9, 10, 11]);
    }

    #[test]
    fn written_configuration_reads_back() {
        let config = SanConfig::default();
        let text = config.to_json().unwrap().to_string();
        assert_eq!(SanConfig::parse(&text).unwrap(), config);
    }

    #[test]
    fn a_plain_clip_gets_a_side_network() {
        let text = r#"{"model_type":"clip","vision_config":{"patch_size":16}}"#;
        let config = SanConfig::parse(text).unwrap();
        assert_eq!(config.side_config, SideConfig::default());
    }

    #[test]
    fn impossible_models_name_the_field() {
        for (text, field) in [
            (r#"{"model_type":"clipseg"}"#, "model_type"),
            (
                r#"{"vision_config":{"patch_size":32}}"#,
                "side_config.patch_size",
            ),
            (
                r#"{"side_config":{"num_attention_heads":7}}"#,
                "side_config.num_attention_heads",
            ),
            (
                r#"{"side_config":{"num_queries":0}}"#,
                "side_config.num_queries",
            ),
            (r#"{"recognition_layer":12}"#, "recognition_layer"),
            (r#"{"fusion":[[0,0],[9,9]]}"#, "fusion[1]"),
            (r#"{"fusion":[[0,0],[3,0]]}"#, "fusion[1]"),
            (r#"{"fusion":[[0]]}"#, "fusion[0]"),
        ] {
            let error = SanConfig::parse(text).unwrap_err();
            assert!(error.contains(field), "{error}");
        }
    }

    #[test]
    fn image_sizes_are_multiples_of_two_patches() {
        let config = SanConfig::default();
        assert!(config.check_image_size(640).is_ok());
        let error = config.check_image_size(624).unwrap_err().to_string();
        assert!(error.contains("640"), "{error}");
    }
}
