//! What of a model is trained, and how.

use serde::{Deserialize, Serialize};

use crate::config::ClipSegConfig;
use crate::error::{ModelError, Result};

/// What is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MethodKind {
    /// Adapters inside the towers' layers; everything pretrained is frozen.
    Dense,
    /// Adapters between the towers and the decoder; everything pretrained is frozen.
    Shallow,
    /// The pretrained decoder; the towers are frozen. This is what the published table calls
    /// end-to-end for CLIPSeg. Of a SAN its side network, of a CRIS all but CLIP.
    Decoder,
    /// Everything that the logits depend on. Of a CRIS, but for running statistics.
    Full,
    /// Nothing.
    ZeroShot,
}

/// Where adapters sit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Towers {
    /// The vision tower.
    V,
    /// The vision and the text tower.
    Vl,
    /// Both towers and the conditional embedding between text and decoder.
    Vlc,
}

impl Towers {
    /// Whether the text tower has adapters.
    pub fn text(self) -> bool {
        self != Self::V
    }

    /// Whether the conditional embedding has an adapter.
    pub fn conditional(self) -> bool {
        self == Self::Vlc
    }
}

/// Whose arithmetic: that of the published code, faults included, or what is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// The published code's.
    Paper,
    /// The correct one.
    Default,
}

/// A method: what is trained, where adapters sit and how wide they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MethodConfig {
    /// What is trained.
    pub kind: MethodKind,
    /// Where adapters sit.
    pub towers: Towers,
    /// Hidden units of an adapter block; by default 64 for dense and 512 for shallow, as published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bottleneck: Option<usize>,
    /// Hidden units of the block on the conditional embedding.
    pub cond_bottleneck: usize,
    /// Whose arithmetic.
    pub profile: Profile,
    /// Dense: the encoder layers that get blocks. Shallow: the tapped layers that do. By default
    /// dense takes all layers that the decoder sees (`default`) or all but the last (`paper`),
    /// shallow takes all taps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<usize>>,
}

impl Default for MethodConfig {
    fn default() -> Self {
        Self {
            kind: MethodKind::Dense,
            towers: Towers::Vlc,
            bottleneck: None,
            cond_bottleneck: 256,
            profile: Profile::Default,
            layers: None,
        }
    }
}

impl MethodConfig {
    /// Nothing trained.
    pub fn zero_shot() -> Self {
        Self {
            kind: MethodKind::ZeroShot,
            ..Self::default()
        }
    }

    /// Hidden units of a block.
    pub fn bottleneck(&self) -> usize {
        self.bottleneck.unwrap_or(match self.kind {
            MethodKind::Shallow => 512,
            _ => 64,
        })
    }

    /// The layers that get blocks, shallowest first.
    pub fn layers(&self, base: &ClipSegConfig) -> Vec<usize> {
        if let Some(layers) = &self.layers {
            return layers.clone();
        }
        match self.kind {
            MethodKind::Dense => {
                let count = match self.profile {
                    Profile::Paper => base.last_tap(),
                    Profile::Default => base.last_tap() + 1,
                };
                (0..count).collect()
            }
            MethodKind::Shallow => base.extract_layers.clone(),
            _ => Vec::new(),
        }
    }

    /// Whether the method has adapters.
    pub fn has_adapters(&self) -> bool {
        matches!(self.kind, MethodKind::Dense | MethodKind::Shallow)
    }

    /// Whether a parameter, by its published name, is trained. Parameters that the logits do not
    /// depend on are not.
    pub fn trains(&self, name: &str, base: &ClipSegConfig) -> bool {
        match self.kind {
            MethodKind::Dense | MethodKind::Shallow => !name.starts_with("clipseg."),
            MethodKind::Decoder => name.starts_with("clipseg.decoder."),
            MethodKind::Full => {
                let dead = [
                    "clipseg.clip.logit_scale",
                    "clipseg.clip.visual_projection.",
                    "clipseg.clip.vision_model.post_layernorm.",
                ];
                let behind_last_tap = name
                    .strip_prefix("clipseg.clip.vision_model.encoder.layers.")
                    .and_then(|rest| rest.split('.').next()?.parse::<usize>().ok())
                    .is_some_and(|layer| layer > base.last_tap());
                !behind_last_tap && !dead.iter().any(|dead| name.starts_with(dead))
            }
            MethodKind::ZeroShot => false,
        }
    }

    /// Whether anything within the vision tower is trained.
    pub fn trains_vision_tower(&self) -> bool {
        matches!(self.kind, MethodKind::Dense | MethodKind::Full)
    }

    /// Whether anything within the text tower or its projection is trained.
    pub fn trains_text_tower(&self) -> bool {
        match self.kind {
            MethodKind::Dense => self.towers.text(),
            MethodKind::Full => true,
            MethodKind::Shallow | MethodKind::Decoder | MethodKind::ZeroShot => false,
        }
    }

    /// Checks that the method goes with a base.
    ///
    /// # Errors
    /// If a width is 0, a layer does not exist, or the base's text tower does not fit.
    pub fn validate(&self, base: &ClipSegConfig) -> Result<()> {
        let error = |message: String| Err(ModelError::Method(message));
        if !self.has_adapters() {
            return Ok(());
        }
        if self.bottleneck() == 0 || self.cond_bottleneck == 0 {
            return error("`bottleneck` and `cond_bottleneck` must be at least 1".into());
        }
        let layers = self.layers(base);
        if layers.is_empty() {
            return error("`layers` is empty; name at least one layer".into());
        }
        if !layers.is_sorted_by(|a, b| a < b) && self.layers.is_some() {
            return error("`layers` must be ascending, each layer once".into());
        }
        if self.kind == MethodKind::Dense {
            if let Some(layer) = layers.iter().find(|layer| **layer > base.last_tap()) {
                return error(format!(
                    "`layers` names layer {layer}, but nothing behind the last tapped layer {} \
                     reaches the decoder",
                    base.last_tap()
                ));
            }
        } else if let Some(layer) = layers
            .iter()
            .find(|layer| !base.extract_layers.contains(layer))
        {
            return error(format!(
                "`layers` names layer {layer}, but this base taps layers {:?}",
                base.extract_layers
            ));
        }
        let text = &base.text_config;
        if self.towers.text() {
            if let Some(layer) = layers
                .iter()
                .find(|layer| **layer >= text.num_hidden_layers)
            {
                return error(format!(
                    "text adapters are wanted in layer {layer}, but the text tower has {} layers; \
                     use `towers = \"v\"` or other `layers`",
                    text.num_hidden_layers
                ));
            }
            if self.kind == MethodKind::Shallow && text.hidden_size != base.projection_dim {
                return error(format!(
                    "shallow text adapters need a text width ({}) equal to the projection width \
                     ({}); use `towers = \"v\"` or dense adapters",
                    text.hidden_size, base.projection_dim
                ));
            }
        }
        Ok(())
    }
}
