//! Fine-tuning methods: which parameters of a model are trained, and how.
//!
//! A method is one file here: its section of a recipe (`…Config`, with [`Method`]), the parameters that it adds, and its
//! hooks ([`Adaptation`]). To add one, write the file and add its line to the table at the end of this module. A method sees
//! only a base's [`BaseShape`], so it works on every architecture with the parts that it needs.

mod adaptation;
mod bitfit;
mod block;
mod changed_layers;
mod changes;
mod cocoop;
mod coop;
mod decoder;
mod dense;
mod dora;
mod full;
mod head;
mod ia3;
mod init;
mod keys;
mod layer_norm;
mod lora;
mod maple;
mod prompts;
mod pvl;
mod shallow;
mod shape;
mod shared_attn;
mod shared_separate;
mod sites;
mod ssf;
mod start;
mod statistics;
mod trained_layers;
mod vpt;
mod zero_shot;

use std::collections::BTreeMap;
use std::fmt::Debug;

use burn::module::Module;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use adaptation::{Adaptation, Draws, LayerAdapters, Pairing, Part, Touches, Tower, Unadapted};
pub use bitfit::BitFitConfig;
pub use block::{AdapterBlock, Connection};
pub use changed_layers::ChangedLayers;
pub use changes::{Change, LayerChanges, LayerPart, Matrices, Projection};
pub(crate) use changes::{changed_linear, merged};
pub use cocoop::{CocoopConfig, ConditionalContext, ConditionalPrompts, NormScale, Shift};
pub use coop::{CoopConfig, TextPrompts};
pub use decoder::{DecoderConfig, TrainedDecoder};
pub use dense::{DenseAdapters, DenseConfig, Sublayers};
pub use dora::{Decomposed, DoraAdapters, DoraConfig};
pub use full::{FullConfig, TrainedNetwork};
pub use head::OutputHead;
pub use ia3::{Ia3Adapters, Ia3Config, Rescaling};
pub use init::AdapterInit;
pub use keys::KeyError;
pub use layer_norm::LayerNormConfig;
pub use lora::{LoraAdapters, LoraConfig, LowRank};
pub use maple::{CoupledContext, CoupledPrompts, Coupling, MapleConfig};
pub use prompts::{Context, Norm};
pub use pvl::{FirstLinear, ProbabilisticAttention, PvlAdapter, PvlAdapters, PvlConfig, TwoWay};
pub use shallow::{ShallowAdapters, ShallowConfig};
pub use shape::{BaseShape, TowerShape};
pub use shared_attn::{
    AttendingContext, AttendingPrompts, SharedAttention, SharedAttnConfig, SharedLayer,
};
pub use shared_separate::{ProjectedContext, ProjectedPrompts, SharedSeparateConfig};
pub use sites::{AdapterSites, Bottleneck, Towers};
pub use ssf::{ScaleShift, SsfAdapters, SsfConfig, SsfLayer};
pub use start::Start;
pub use statistics::Statistics;
pub use trained_layers::TrainedLayers;
pub use vpt::{VisionPrompts, VptConfig};
pub use zero_shot::ZeroShotConfig;

use self::sites::{COND_BOTTLENECK, Placement, check_scale};
use crate::error::{ModelError, Result};
use crate::tensor_file::HostTensor;

/// Tensors by their names in files.
pub type Tensors = BTreeMap<String, HostTensor>;

/// Which arithmetic is used: that of the published code with its faults, or the corrected one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// The published code's.
    Paper,
    /// The correct one.
    Default,
}

/// A method's section of a recipe.
pub trait Method: Debug {
    /// Which arithmetic is used.
    fn profile(&self) -> Profile;

    /// The method in words, such as `dense adapters (vlc)`.
    fn label(&self) -> String;

    /// The parts that have adapters; `None` for a method without.
    fn towers(&self) -> Option<Towers> {
        None
    }

    /// What batch normalisation uses in training.
    fn statistics(&self) -> Statistics {
        Statistics::Running
    }

    /// Whether the published code computes the same with the trained parameters.
    fn as_published(&self) -> bool {
        false
    }

    /// Whether the base's decoder is trained.
    fn trains_decoder(&self) -> bool {
        false
    }

    /// Whether TuneVLSeg's output head is added to the decoder.
    fn has_head(&self) -> bool {
        false
    }

    /// Whether matrices of the towers are trained, or replaced by changed ones.
    fn changes_matrices(&self) -> bool {
        false
    }
}

fn error<T>(message: String) -> Result<T> {
    Err(ModelError::Method(message))
}

impl MethodConfig {
    /// Reads a method's keys and values, as in a recipe's `[method]`. Without `kind` it is "dense".
    ///
    /// # Errors
    /// If a key is not one of the kind's, or its value is wrong; the error names the key.
    pub fn read(mut keys: Map<String, Value>) -> std::result::Result<Self, KeyError> {
        let kind = match keys.remove("kind") {
            None => "dense".to_owned(),
            Some(Value::String(kind)) => kind,
            Some(other) => other.to_string(),
        };
        let Some(known) = Self::keys_of(&kind) else {
            let kinds = Self::KINDS.map(|kind| format!("\"{kind}\"")).join(", ");
            let message = format!("unknown kind \"{kind}\"; the kinds are {kinds}");
            return Err(KeyError::value("kind", &message));
        };
        match keys.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(KeyError::foreign(key, &kind, &Self::kinds_with(key), known)),
            None => Self::read_kind(&kind, keys),
        }
    }

    /// The kinds that have a key; none for `kind` itself.
    pub fn kinds_with(key: &str) -> Vec<&'static str> {
        let kinds = Self::KINDS.into_iter();
        let has = |kind: &&str| Self::keys_of(kind).is_some_and(|keys| keys.contains(&key));
        kinds.filter(has).collect()
    }

    /// All keys of all kinds.
    pub fn all_keys() -> Vec<&'static str> {
        let kinds = Self::KINDS.into_iter();
        let mut keys: Vec<&str> = kinds.filter_map(Self::keys_of).flatten().copied().collect();
        keys.push("kind");
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// The method that trains nothing.
    pub fn zero_shot() -> Self {
        ZeroShotConfig::default().into()
    }

    /// Which arithmetic is used.
    pub fn profile(&self) -> Profile {
        self.section().profile()
    }

    /// The method in words, such as `dense adapters (vlc)`.
    pub fn label(&self) -> String {
        self.section().label()
    }

    /// The parts that have adapters; `None` for a method without.
    pub fn towers(&self) -> Option<Towers> {
        self.section().towers()
    }

    /// What batch normalisation uses in training.
    pub fn statistics(&self) -> Statistics {
        self.section().statistics()
    }

    /// Whether the published code computes the same with the trained parameters.
    pub fn as_published(&self) -> bool {
        self.section().as_published() && !self.has_head()
    }

    /// Whether TuneVLSeg's output head is added to the decoder.
    pub fn has_head(&self) -> bool {
        self.section().has_head()
    }

    /// Whether matrices of the towers are trained, or replaced by changed ones.
    pub fn changes_matrices(&self) -> bool {
        self.section().changes_matrices()
    }

    /// The bottleneck and all keys that differ from their defaults, with their values.
    pub fn form(&self) -> Vec<(String, String)> {
        let fields = |method: &Self| match serde_json::to_value(method) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        };
        let default = Self::of_kind(self.kind()).map(|default| fields(&default));
        let default = default.unwrap_or_default();
        fields(self)
            .into_iter()
            .filter(|(key, value)| {
                !["kind", "towers", "profile"].contains(&key.as_str())
                    && (key == "bottleneck" || default.get(key) != Some(value))
            })
            .map(|(key, value)| {
                let value = match value {
                    Value::String(word) => word,
                    other => other.to_string().replace('"', "").replace(',', ", "),
                };
                (key, value)
            })
            .collect()
    }
}

impl Default for MethodConfig {
    fn default() -> Self {
        Self::Dense(DenseConfig::default())
    }
}

impl<'de> Deserialize<'de> for MethodConfig {
    fn deserialize<D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> std::result::Result<Self, D::Error> {
        let keys = Map::deserialize(deserializer)?;
        Self::read(keys).map_err(serde::de::Error::custom)
    }
}

/// The enums over all methods, generated from a table: kind, section of a recipe, parameters.
macro_rules! methods {
    ($($(#[$doc:meta])* $kind:literal => $name:ident($config:ident, $parameters:ident),)*) => {
        /// A method: what is trained, and how. In a recipe, `kind` selects it; the other keys must be keys of that kind.
        #[derive(Debug, Clone, PartialEq, Serialize)]
        #[serde(tag = "kind")]
        pub enum MethodConfig {
            $($(#[$doc])* #[serde(rename = $kind)] $name($config),)*
        }

        /// A method applied to a base: the parameters that it adds to a model, and its hooks.
        #[derive(Module, Debug)]
        #[allow(clippy::large_enum_variant)]
        pub enum Adapters {
            $($(#[$doc])* $name($parameters),)*
        }

        impl MethodConfig {
            /// The kinds of methods, as recipes name them.
            pub const KINDS: [&'static str; [$($kind),*].len()] = [$($kind),*];

            /// The kind, as recipes name it.
            pub fn kind(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => $kind,)*
                }
            }

            /// A method with the defaults of a kind; `None` if there is no such kind.
            pub fn of_kind(kind: &str) -> Option<Self> {
                match kind {
                    $($kind => Some(Self::$name($config::default())),)*
                    _ => None,
                }
            }

            fn keys_of(kind: &str) -> Option<&'static [&'static str]> {
                match kind {
                    $($kind => Some(keys::of::<$config>()),)*
                    _ => None,
                }
            }

            fn read_kind(kind: &str, keys: Map<String, Value>) -> std::result::Result<Self, KeyError> {
                match kind {
                    $($kind => keys::read(keys).map(Self::$name),)*
                    _ => Err(KeyError::value("kind", "unknown kind")),
                }
            }

            fn section(&self) -> &dyn Method {
                match self {
                    $(Self::$name(config) => config,)*
                }
            }
        }

        $(impl From<$config> for MethodConfig {
            fn from(config: $config) -> Self {
                Self::$name(config)
            }
        })*

        impl Adapters {
            /// A method's parameters for a base, initialised by `seed`.
            ///
            /// # Errors
            /// If the method does not fit the base.
            pub fn new(
                method: &MethodConfig,
                base: &BaseShape,
                seed: u64,
                device: &Device,
            ) -> Result<Self> {
                match method {
                    $(MethodConfig::$name(config) => config.build(base, seed, device).map(Self::$name),)*
                }
            }

            /// The method's hooks.
            pub fn hooks(&self) -> &dyn Adaptation {
                match self {
                    $(Self::$name(parameters) => parameters,)*
                }
            }

            /// The same method once its changes of parameters have been merged into the base.
            fn without_changes(self) -> Self {
                match self {
                    $(Self::$name(parameters) => Self::$name(parameters.without_changes()),)*
                }
            }
        }
    };
}

methods! {
    /// Adapters inside the towers' layers; everything pretrained is frozen.
    "dense" => Dense(DenseConfig, DenseAdapters),
    /// Adapters between the towers and the decoder; everything pretrained is frozen.
    "shallow" => Shallow(ShallowConfig, ShallowAdapters),
    /// Low-rank changes of matrices in the towers' layers; everything pretrained is frozen.
    "lora" => Lora(LoraConfig, LoraAdapters),
    /// Low-rank changes of the direction of matrices' columns, and their trained length; everything pretrained is frozen.
    "dora" => Dora(DoraConfig, DoraAdapters),
    /// Vectors that scale keys, values and hidden units; everything pretrained is frozen.
    "ia3" => Ia3(Ia3Config, Ia3Adapters),
    /// A scale and a shift after every linear layer and norm of the towers' layers; everything pretrained is frozen.
    "ssf" => Ssf(SsfConfig, SsfAdapters),
    /// The biases of the towers' layers are trained.
    "bitfit" => BitFit(BitFitConfig, TrainedLayers),
    /// The layer norms of the towers' layers are trained.
    "layer-norm" => LayerNorm(LayerNormConfig, TrainedLayers),
    /// Learnt tokens in the text tower; everything pretrained is frozen.
    "coop" => Coop(CoopConfig, TextPrompts),
    /// Learnt tokens in the text tower that depend on the image; everything pretrained is frozen.
    "cocoop" => Cocoop(CocoopConfig, ConditionalPrompts),
    /// Learnt tokens in the vision tower; everything pretrained is frozen.
    "vpt" => Vpt(VptConfig, VisionPrompts),
    /// Learnt tokens in the text tower, and tokens in the vision tower computed from them; everything pretrained is frozen.
    "maple" => Maple(MapleConfig, CoupledPrompts),
    /// Learnt tokens of a small width, projected to both towers; everything pretrained is frozen.
    "shared-separate" => SharedSeparate(SharedSeparateConfig, ProjectedPrompts),
    /// Learnt tokens for both towers at once, through a transformer layer; everything pretrained is frozen.
    "shared-attn" => SharedAttn(SharedAttnConfig, AttendingPrompts),
    /// Adapters in which image and text tokens attend to each other; everything pretrained is frozen.
    "pvl" => Pvl(PvlConfig, PvlAdapters),
    /// The pretrained decoder is trained and the towers are frozen.
    "decoder" => Decoder(DecoderConfig, TrainedDecoder),
    /// Everything that the logits depend on is trained.
    "full" => Full(FullConfig, TrainedNetwork),
    /// Nothing is trained.
    "zero-shot" => ZeroShot(ZeroShotConfig, Unadapted),
}
