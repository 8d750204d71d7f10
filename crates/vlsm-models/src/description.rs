//! Descriptions of bases, as `vlsm model info` prints them.

use std::path::PathBuf;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::clip::config::TextConfig;
use crate::files::BaseIdentity;

/// What there is to say about a base.
#[derive(Debug, Clone, Serialize)]
pub struct BaseDescription {
    /// The name of its architecture.
    pub architecture: &'static str,
    /// Its name and the fingerprint of its weights.
    #[serde(flatten)]
    pub identity: BaseIdentity,
    /// The commit on the hub.
    pub revision: Option<String>,
    /// The file of its weights.
    pub weights: PathBuf,
    /// Side of the square input, in pixels.
    pub image_size: usize,
    /// Mean of each channel, of values in 0..1.
    pub mean: [f32; 3],
    /// Standard deviation of each channel.
    pub std: [f32; 3],
    /// What its architecture has to say.
    #[serde(flatten)]
    pub network: NetworkDescription,
    /// Where the vocabulary comes from.
    pub tokenizer: String,
    /// Number of tokens.
    pub vocabulary: usize,
    /// Number of parameters.
    pub total_parameters: usize,
    /// Number of parameters by part.
    pub parameters: PartCounts,
}

/// What there is to say about a network: facts for programs, and sentences for people.
#[derive(Debug, Clone, Serialize)]
pub struct NetworkDescription {
    /// Side of the logits, in pixels.
    pub output_size: usize,
    /// Sizes by name.
    #[serde(flatten)]
    pub facts: Map<String, Value>,
    /// How the input is divided.
    #[serde(skip)]
    pub input: String,
    /// The vision tower.
    #[serde(skip)]
    pub vision: String,
    /// The text tower.
    #[serde(skip)]
    pub text: String,
    /// The part after or next to the towers: its name and what it is.
    #[serde(skip)]
    pub head: (&'static str, String),
}

impl NetworkDescription {
    /// The facts of a text tower, and its sentence.
    pub(crate) fn text_tower(
        config: &TextConfig,
        context_length: usize,
        projection: usize,
    ) -> (Value, String) {
        let (layers, width) = (config.num_hidden_layers, config.hidden_size);
        let facts = json!({
            "text_layers": layers,
            "text_width": width,
            "context_length": context_length,
            "projection_width": projection,
        });
        let tower = transformer(layers, width);
        (facts, format!("{tower}, {context_length} tokens"))
    }
}

/// The entries of some JSON objects.
pub(crate) fn joined(objects: impl IntoIterator<Item = Value>) -> Map<String, Value> {
    let objects = objects.into_iter().filter_map(|object| match object {
        Value::Object(entries) => Some(entries),
        _ => None,
    });
    objects.flatten().collect()
}

/// A transformer's size, for people.
pub(crate) fn transformer(layers: usize, width: usize) -> String {
    format!("{layers} layers, width {width}")
}

/// Marks a part without pretrained weights.
pub(crate) fn random(fresh: bool) -> &'static str {
    if fresh { ", random" } else { "" }
}

/// Parameter counts by part, in the order in which the parts first appear.
#[derive(Debug, Clone, Default)]
pub struct PartCounts(Vec<(String, usize)>);

impl PartCounts {
    /// Adds parameters to a part.
    pub fn add(&mut self, part: &str, count: usize) {
        match self.0.iter_mut().find(|(name, _)| name == part) {
            Some((_, sum)) => *sum += count,
            None => self.0.push((part.to_owned(), count)),
        }
    }

    /// The sum over all parts.
    pub fn total(&self) -> usize {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// Parts and their counts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, usize)> {
        self.0.iter().map(|(name, count)| (name.as_str(), *count))
    }
}

impl Serialize for PartCounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}
