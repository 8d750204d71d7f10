//! What of a model is trained, and how.

use serde::{Deserialize, Serialize};

use crate::activation::Activation;
use crate::clipseg::ClipSegConfig;
use crate::error::{ModelError, Result};

/// What is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MethodKind {
    /// Adapters inside the towers' layers; everything pretrained is frozen.
    Dense,
    /// Adapters between the towers and the decoder; everything pretrained is frozen.
    Shallow,
    /// Low-rank changes of matrices in the towers' layers (Hu et al. 2022); everything pretrained is frozen.
    Lora,
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

/// Hidden units of the blocks of a tower, or the rank of its low-rank changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a width, or a list of one for each layer"
)]
pub enum Bottleneck {
    /// In all layers the same.
    All(usize),
    /// One for each layer that has blocks, the shallowest first (Mishra et al. 2025 let them grow with depth).
    Each(Vec<usize>),
}

/// Which sublayers of an encoder layer have dense blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sublayers {
    /// Attention and MLP.
    Both,
    /// Attention alone.
    Attention,
    /// The MLP alone.
    Mlp,
}

/// What a dense block reads and adds to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Connection {
    /// The sublayer's output.
    Sequential,
    /// It reads what the sublayer reads, normalised, and adds to the sublayer's output (He et al. 2022).
    Parallel,
}

/// How blocks start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdapterInit {
    /// The last layer is zero, the first as PyTorch's linear layers: a block changes nothing.
    Zero,
    /// Matrices from N(0, 0.01^2) cut at two deviations, biases zero (Houlsby et al. 2019).
    NearZero,
    /// Both layers as PyTorch's linear layers.
    Random,
}

/// What batch normalisations take in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Statistics {
    /// The statistics of the batch, which move the running ones; and dropout works. As published.
    Batch,
    /// The base's running statistics, which stay as they are; without dropout.
    Running,
}

/// A matrix of an encoder layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Projection {
    /// The attention's, to queries.
    Query,
    /// The attention's, to keys.
    Key,
    /// The attention's, to values.
    Value,
    /// The attention's, of the mixed values.
    Output,
    /// The MLP's first.
    Fc1,
    /// The MLP's second.
    Fc2,
}

impl Projection {
    /// What the matrix is called in files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Query => "q_proj",
            Self::Key => "k_proj",
            Self::Value => "v_proj",
            Self::Output => "out_proj",
            Self::Fc1 => "fc1",
            Self::Fc2 => "fc2",
        }
    }
}

/// A method: what is trained, where adapters sit, how wide and of what form they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MethodConfig {
    /// What is trained.
    pub kind: MethodKind,
    /// Where adapters sit.
    pub towers: Towers,
    /// Hidden units of an adapter block, by default 64 for dense and 512 for shallow, as published; or the rank of LoRA's
    /// changes, by default 8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bottleneck: Option<Bottleneck>,
    /// The same in the text tower; by default as in the vision tower.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_bottleneck: Option<Bottleneck>,
    /// Hidden units of the block on the conditional embedding.
    pub cond_bottleneck: usize,
    /// Whose arithmetic.
    pub profile: Profile,
    /// Dense and LoRA: the encoder layers that have adapters. Shallow: the tapped layers that do. By default
    /// all layers that the decoder sees (`default`) or all but the last (`paper`); shallow takes all taps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<usize>>,
    /// The same in the text tower; by default as in the vision tower.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_layers: Option<Vec<usize>>,
    /// Dense: the sublayers that have blocks.
    pub sublayers: Sublayers,
    /// Dense: what a block reads and adds to.
    pub connection: Connection,
    /// Between the two layers of a block.
    pub activation: Activation,
    /// How adapters start; by default at `random` in profile `paper`, else at `zero`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<AdapterInit>,
    /// What an adapter's change is multiplied by. For LoRA: its alpha divided by the rank.
    pub scale: f64,
    /// LoRA: the matrices that are changed.
    pub projections: Vec<Projection>,
    /// Whether the decoder is trained along with adapters.
    pub train_decoder: bool,
    /// CRIS: what normalisations take in training; by default `batch` in profile `paper`, else `running`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statistics: Option<Statistics>,
}

impl Default for MethodConfig {
    fn default() -> Self {
        Self {
            kind: MethodKind::Dense,
            towers: Towers::Vlc,
            bottleneck: None,
            cond_bottleneck: 256,
            profile: Profile::Default,
            text_bottleneck: None,
            layers: None,
            text_layers: None,
            sublayers: Sublayers::Both,
            connection: Connection::Sequential,
            activation: Activation::Relu,
            init: None,
            scale: 1.0,
            projections: vec![Projection::Query, Projection::Value],
            train_decoder: false,
            statistics: None,
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

    /// Hidden units of the vision tower's blocks, or the rank of its changes.
    pub fn bottleneck(&self) -> Bottleneck {
        self.bottleneck
            .clone()
            .unwrap_or(Bottleneck::All(match self.kind {
                MethodKind::Shallow => 512,
                MethodKind::Lora => 8,
                _ => 64,
            }))
    }

    /// The same of the text tower.
    fn text_bottleneck(&self) -> Bottleneck {
        let own = self.text_bottleneck.clone();
        own.unwrap_or_else(|| self.bottleneck())
    }

    /// Where and how wide the vision tower's blocks are: layers, the shallowest first, and hidden units (or ranks).
    pub fn vision_places(&self, base: &ClipSegConfig) -> Vec<(usize, usize)> {
        places(self.layers(base), &self.bottleneck())
    }

    /// The same of the text tower; none where it has no adapters.
    pub fn text_places(&self, base: &ClipSegConfig) -> Vec<(usize, usize)> {
        if !self.towers.text() {
            return Vec::new();
        }
        places(self.text_layers(base), &self.text_bottleneck())
    }

    /// How adapters start.
    pub fn init(&self) -> AdapterInit {
        self.init.unwrap_or(match (self.profile, self.kind) {
            (Profile::Paper, MethodKind::Dense | MethodKind::Shallow) => AdapterInit::Random,
            _ => AdapterInit::Zero,
        })
    }

    /// What batch normalisations take in training.
    pub fn statistics(&self) -> Statistics {
        self.statistics.unwrap_or(match self.profile {
            Profile::Paper => Statistics::Batch,
            Profile::Default => Statistics::Running,
        })
    }

    /// Refuses what is for a model with batch normalisations alone.
    ///
    /// # Errors
    /// If `statistics` is set.
    pub(crate) fn expect_no_statistics(&self) -> Result<()> {
        match self.statistics {
            Some(_) => error(
                "`statistics` is for models with batch normalisation (CRIS), which this is not; \
                 leave it out"
                    .into(),
            ),
            None => Ok(()),
        }
    }

    /// The layers of the text tower that have adapters if any do, shallowest first.
    fn text_layers(&self, base: &ClipSegConfig) -> Vec<usize> {
        let own = self.text_layers.clone();
        own.unwrap_or_else(|| self.layers(base))
    }

    /// The layers of the vision tower that have adapters, shallowest first.
    pub fn layers(&self, base: &ClipSegConfig) -> Vec<usize> {
        if let Some(layers) = &self.layers {
            return layers.clone();
        }
        match self.kind {
            MethodKind::Dense | MethodKind::Lora => {
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
        matches!(
            self.kind,
            MethodKind::Dense | MethodKind::Shallow | MethodKind::Lora
        )
    }

    /// Whether a parameter, by its published name, is trained. Parameters that the logits do not
    /// depend on are not.
    pub fn trains(&self, name: &str, base: &ClipSegConfig) -> bool {
        match self.kind {
            MethodKind::Dense | MethodKind::Shallow | MethodKind::Lora => {
                !name.starts_with("clipseg.")
                    || self.train_decoder && name.starts_with("clipseg.decoder.")
            }
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
        matches!(
            self.kind,
            MethodKind::Dense | MethodKind::Lora | MethodKind::Full
        )
    }

    /// Whether the decoder is trained.
    pub fn trains_decoder(&self) -> bool {
        match self.kind {
            MethodKind::Decoder | MethodKind::Full => true,
            MethodKind::ZeroShot => false,
            MethodKind::Dense | MethodKind::Shallow | MethodKind::Lora => self.train_decoder,
        }
    }

    /// Whether anything within the text tower or its projection is trained.
    pub fn trains_text_tower(&self) -> bool {
        match self.kind {
            MethodKind::Dense | MethodKind::Lora => self.towers.text(),
            MethodKind::Full => true,
            MethodKind::Shallow | MethodKind::Decoder | MethodKind::ZeroShot => false,
        }
    }

    /// The keys that say where adapters sit and of what form they are, with their values: the bottleneck, and what is set to
    /// something else than by default.
    pub fn form(&self) -> Vec<(String, String)> {
        let fields = |method: &Self| match serde_json::to_value(method) {
            Ok(serde_json::Value::Object(fields)) => fields,
            _ => serde_json::Map::new(),
        };
        let default = fields(&Self::default());
        let own = Self {
            bottleneck: Some(self.bottleneck()),
            ..self.clone()
        };
        fields(&own)
            .into_iter()
            .filter(|(key, value)| {
                !["kind", "towers", "profile"].contains(&key.as_str())
                    && default.get(key) != Some(value)
            })
            .map(|(key, value)| {
                let value = match value {
                    serde_json::Value::String(word) => word,
                    other => other.to_string().replace('"', "").replace(',', ", "),
                };
                (key, value)
            })
            .collect()
    }

    /// Whether the published code computes the same with the method's parameters.
    pub fn as_published(&self) -> bool {
        let published = Self {
            kind: self.kind,
            towers: self.towers,
            bottleneck: self.bottleneck.clone(),
            cond_bottleneck: self.cond_bottleneck,
            profile: Profile::Paper,
            ..Self::default()
        };
        self.kind != MethodKind::Lora && *self == published
    }

    /// Checks that the method goes with a base.
    ///
    /// # Errors
    /// If a key does not go with the kind or the profile, a width is 0, a layer does not exist, or the base's text tower does
    /// not fit.
    pub fn validate(&self, base: &ClipSegConfig) -> Result<()> {
        if !self.has_adapters() {
            return Ok(());
        }
        self.check_keys()?;
        let layers = self.layers(base);
        check_layers("", &layers, self.layers.is_some(), &self.bottleneck())?;
        let taps = &base.extract_layers;
        if self.kind != MethodKind::Shallow {
            if let Some(layer) = layers.iter().find(|layer| **layer > base.last_tap()) {
                return error(format!(
                    "`layers` names layer {layer}, but nothing behind the last tapped layer {} \
                     reaches the decoder",
                    base.last_tap()
                ));
            }
        } else if let Some(layer) = layers.iter().find(|layer| !taps.contains(layer)) {
            return error(format!(
                "`layers` names layer {layer}, but this base taps layers {taps:?}"
            ));
        }
        if !self.towers.text() {
            return Ok(());
        }
        let layers = self.text_layers(base);
        let own = self.layers.is_some() || self.text_layers.is_some();
        check_layers("text_", &layers, own, &self.text_bottleneck())?;
        let text = &base.text_config;
        let depth = text.num_hidden_layers;
        if let Some(layer) = layers.iter().find(|layer| **layer >= depth) {
            return error(format!(
                "text adapters are wanted in layer {layer}, but the text tower has {depth} \
                 layers; use `towers = \"v\"` or other `text_layers`"
            ));
        }
        if self.kind == MethodKind::Shallow && text.hidden_size != base.projection_dim {
            return error(format!(
                "shallow text adapters need a text width ({}) equal to the projection width \
                 ({}); use `towers = \"v\"` or dense adapters",
                text.hidden_size, base.projection_dim
            ));
        }
        Ok(())
    }

    /// Checks the keys that not all kinds and profiles have, and the widths.
    fn check_keys(&self) -> Result<()> {
        let default = Self::default();
        let form = [
            ("sublayers", self.sublayers != default.sublayers),
            ("connection", self.connection != default.connection),
            ("activation", self.activation != default.activation),
            ("projections", self.projections != default.projections),
        ];
        let (kind, known): (_, &[&str]) = match self.kind {
            MethodKind::Shallow => ("shallow", &["activation"]),
            MethodKind::Lora => ("lora", &["projections"]),
            _ => ("dense", &["sublayers", "connection", "activation"]),
        };
        for (key, set) in form {
            if set && !known.contains(&key) {
                return error(format!(
                    "`{key}` does not go with `kind = \"{kind}\"`; leave it out"
                ));
            }
        }
        let arithmetic = [
            ("connection", self.connection != default.connection),
            ("activation", self.activation != default.activation),
            ("init", self.init() != AdapterInit::Random),
            ("scale", self.scale != default.scale),
        ];
        if self.profile == Profile::Paper && self.kind != MethodKind::Lora {
            for (key, set) in arithmetic {
                if set {
                    return error(format!(
                        "`{key}` is not as published; leave it out, or use `profile = \"default\"`"
                    ));
                }
            }
        }
        if !self.scale.is_finite() || self.scale == 0.0 {
            return error(format!(
                "`scale` is {}; it must be a number other than 0",
                self.scale
            ));
        }
        if self.kind == MethodKind::Lora {
            let repeats = |at: usize| self.projections[..at].contains(&self.projections[at]);
            if self.projections.is_empty() || (0..self.projections.len()).any(repeats) {
                return error(
                    "`projections` must name at least one matrix, each once: query, key, value, \
                     output, fc1, fc2"
                        .into(),
                );
            }
        }
        if self.cond_bottleneck == 0 {
            return error("`cond_bottleneck` must be at least 1".into());
        }
        Ok(())
    }
}

fn error<T>(message: String) -> Result<T> {
    Err(ModelError::Method(message))
}

/// Layers with the widths of their blocks.
fn places(layers: Vec<usize>, bottleneck: &Bottleneck) -> Vec<(usize, usize)> {
    match bottleneck {
        Bottleneck::All(width) => layers.into_iter().map(|layer| (layer, *width)).collect(),
        Bottleneck::Each(widths) => layers.into_iter().zip(widths.iter().copied()).collect(),
    }
}

/// Checks the layers of a tower, whose keys start with `prefix`, and the widths of their blocks; `own` says that the layers were
/// named rather than the base's.
fn check_layers(prefix: &str, layers: &[usize], own: bool, bottleneck: &Bottleneck) -> Result<()> {
    if layers.is_empty() {
        return error(format!(
            "`{prefix}layers` is empty; name at least one layer"
        ));
    }
    // A base may tap its layers in any order.
    if own && !layers.is_sorted_by(|a, b| a < b) {
        return error(format!(
            "`{prefix}layers` must be ascending, each layer once"
        ));
    }
    let widths = match bottleneck {
        Bottleneck::All(width) => std::slice::from_ref(width),
        Bottleneck::Each(widths) => widths,
    };
    if widths.contains(&0) {
        return error(format!("`{prefix}bottleneck` must be at least 1"));
    }
    if matches!(bottleneck, Bottleneck::Each(_)) && widths.len() != layers.len() {
        return error(format!(
            "`{prefix}bottleneck` has {} widths for {} layers {layers:?}; give one for each, or one \
             number for all",
            widths.len(),
            layers.len()
        ));
    }
    Ok(())
}
