//! `vlsm model info`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;
use vlsm_models::weights::for_each_parameter;
use vlsm_models::{AdapterFile, Base, BaseIdentity, MethodConfig, base};

use super::network::{NetworkInfo, TextInfo, describe};
use crate::commands::shared::to_json;
use crate::output::{key_value_table, print, thousands};

/// Describe a base or an adapter, with the number of parameters of each part.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  vlsm model info CIDAS/clipseg-rd64-refined
  vlsm model info builtin:tiny
  vlsm model info runs/clipseg_dense_vlc/adapter.safetensors --json")]
pub(crate) struct Args {
    /// A base (a folder, a file of weights, or a name on the hub) or an adapter file.
    #[arg(value_name = "BASE_OR_ADAPTER")]
    model: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let path = Path::new(&self.model);
        print(&if path.is_file() && !base::is_base(path)? {
            let info = AdapterInfo::read(path)?;
            if self.json {
                to_json(&info)?
            } else {
                info.text()
            }
        } else {
            let info = BaseInfo::load(&self.model)?;
            if self.json {
                to_json(&info)?
            } else {
                info.text()
            }
        })?;
        Ok(())
    }
}

/// Parameter counts of parts, in the order in which they first come up.
#[derive(Default)]
struct Counts(Vec<(String, usize)>);

impl Counts {
    fn add(&mut self, part: &str, count: usize) {
        match self.0.iter_mut().find(|(name, _)| name == part) {
            Some((_, sum)) => *sum += count,
            None => self.0.push((part.to_owned(), count)),
        }
    }

    fn total(&self) -> usize {
        self.0.iter().map(|(_, count)| count).sum()
    }

    fn rows(&self) -> impl Iterator<Item = (&str, String)> {
        let rows = self.0.iter();
        rows.map(|(name, count)| (name.as_str(), thousands(*count)))
    }
}

impl Serialize for Counts {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, count)| (name, count)))
    }
}

/// What names of a base's parameters start with in adapter files.
const NETWORKS: [&str; 3] = ["clipseg.", "san.", "cris."];

/// The part of a base that a parameter belongs to, by its name.
fn part(name: &str) -> &'static str {
    let mut networks = NETWORKS
        .iter()
        .filter_map(|network| name.strip_prefix(network));
    let name = networks.next().unwrap_or(name);
    if name.starts_with("clip.vision_model.") || name.starts_with("backbone.visual.") {
        "vision tower"
    } else if name.starts_with("clip.text_model.") || name.starts_with("backbone.text_model.") {
        "text tower"
    } else if name.starts_with("clip.") || name.starts_with("backbone.") {
        "projections"
    } else if name.starts_with("side_adapter_network.") {
        "side network"
    } else if name == "bg_embed" {
        "background"
    } else if name.starts_with("neck.") {
        "neck"
    } else if name.starts_with("proj.") {
        "projector"
    } else {
        "decoder"
    }
}

/// What there is to say of a base.
#[derive(Serialize)]
struct BaseInfo {
    kind: &'static str,
    architecture: &'static str,
    #[serde(flatten)]
    identity: BaseIdentity,
    revision: Option<String>,
    weights: PathBuf,
    image_size: usize,
    mean: [f32; 3],
    std: [f32; 3],
    output_size: usize,
    #[serde(flatten)]
    network: NetworkInfo,
    #[serde(flatten)]
    text_tower: TextInfo,
    tokenizer: String,
    vocabulary: usize,
    total_parameters: usize,
    parameters: Counts,
}

impl BaseInfo {
    fn load(name: &str) -> Result<Self> {
        let base = Base::load(name, &vlsm_models::device("cpu")?)?;
        let mut parameters = Counts::default();
        for_each_parameter(&base.network, |name, shape| {
            parameters.add(part(name), shape.iter().product());
        });
        let (architecture, text_tower, output_size, network) = describe(&base);
        let preprocessing = &base.preprocessing;
        Ok(Self {
            kind: "base",
            architecture,
            revision: base.revision.clone(),
            weights: base.weights.clone(),
            image_size: preprocessing.image_size,
            mean: preprocessing.mean,
            std: preprocessing.std,
            output_size,
            network,
            text_tower,
            tokenizer: tokenizer(&base.weights),
            vocabulary: base.tokenizer.vocabulary_size(),
            total_parameters: parameters.total(),
            parameters,
            identity: base.identity,
        })
    }

    fn text(&self) -> String {
        let mut rows = vec![
            ("base", self.identity.name.clone()),
            ("architecture", self.architecture.to_owned()),
            ("weights", self.weights.display().to_string()),
            ("fingerprint", self.identity.fingerprint.clone()),
        ];
        if let Some(revision) = &self.revision {
            rows.push(("revision", revision.clone()));
        }
        let size = |side: usize| format!("{side} x {side} pixels");
        let input = format!("{}, {}", size(self.image_size), self.network.input());
        rows.push(("input", input));
        rows.push(("output", size(self.output_size)));
        rows.push(("vision", self.network.vision()));
        rows.push(("text", self.text_tower.text()));
        rows.push(self.network.head());
        let tokenizer = format!("{} ({} tokens)", self.tokenizer, self.vocabulary);
        rows.push(("tokenizer", tokenizer));
        rows.push(("parameters", thousands(self.total_parameters)));
        key_value_table(&rows) + &counts(&self.parameters)
    }
}

/// Where the vocabulary of the base with those weights comes from, as [`vlsm_models::Tokenizer::from_folder`] looks.
fn tokenizer(weights: &Path) -> String {
    let folder = weights.parent().unwrap_or(Path::new(""));
    // A builtin base has no files, whatever may lie in the working folder.
    let there = |name: &str| weights.is_file() && folder.join(name).is_file();
    if there("tokenizer.json") {
        folder.join("tokenizer.json").display().to_string()
    } else if there("vocab.json") && there("merges.txt") {
        format!("{} and merges.txt", folder.join("vocab.json").display())
    } else {
        "CLIP's vocabulary, built in".into()
    }
}

/// What there is to say of an adapter.
#[derive(Serialize)]
struct AdapterInfo {
    kind: &'static str,
    file: PathBuf,
    method: MethodConfig,
    base: Option<BaseIdentity>,
    total_parameters: usize,
    parameters: Counts,
}

impl AdapterInfo {
    fn read(path: &Path) -> Result<Self> {
        let adapter = AdapterFile::read(path)?;
        let mut parameters = Counts::default();
        for (name, tensor) in &adapter.tensors {
            let of_base = NETWORKS.iter().any(|network| name.starts_with(network));
            let group = if of_base {
                part(name)
            } else {
                name.split('.').next().unwrap_or(name)
            };
            parameters.add(group, tensor.data.len());
        }
        Ok(Self {
            kind: "adapter",
            file: path.into(),
            method: adapter.method,
            base: adapter.base,
            total_parameters: parameters.total(),
            parameters,
        })
    }

    fn text(&self) -> String {
        let method = &self.method;
        let profile = format!("{:?}", method.profile()).to_lowercase();
        let mut rows = vec![
            ("adapter", self.file.display().to_string()),
            ("method", method.kind().to_owned()),
            ("profile", profile),
        ];
        if let Some(towers) = method.towers() {
            rows.push(("towers", towers.name().to_owned()));
        }
        let form = method.form();
        if !form.is_empty() {
            let form = form.iter().map(|(key, value)| format!("{key} {value}"));
            rows.push(("adapters", form.collect::<Vec<_>>().join(", ")));
        }
        match &self.base {
            Some(base) => {
                rows.push(("base", base.name.clone()));
                rows.push(("base fingerprint", base.fingerprint.clone()));
            }
            None => rows.push(("base", "the file does not say".into())),
        }
        rows.push(("parameters", thousands(self.total_parameters)));
        key_value_table(&rows) + &counts(&self.parameters)
    }
}

/// Counts of parts, as rows of their own.
fn counts(parts: &Counts) -> String {
    let names: Vec<(String, String)> = parts
        .rows()
        .map(|(name, count)| (format!("  {name}"), count))
        .collect();
    let rows: Vec<(&str, String)> = names
        .iter()
        .map(|(name, count)| (name.as_str(), format!("{count:>12}")))
        .collect();
    key_value_table(&rows)
}
