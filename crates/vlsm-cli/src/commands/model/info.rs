//! `vlsm model info`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;
use vlsm_models::description::{BaseDescription, PartCounts};
use vlsm_models::{AdapterFile, Base, BaseIdentity, MethodConfig, base, part_of_base};

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
            let info = BaseInfo {
                kind: "base",
                base: Base::load(&self.model, &vlsm_models::device("cpu")?)?.describe(),
            };
            if self.json {
                to_json(&info)?
            } else {
                info.text()
            }
        })?;
        Ok(())
    }
}

/// A base's description in JSON.
#[derive(Serialize)]
struct BaseInfo {
    kind: &'static str,
    #[serde(flatten)]
    base: BaseDescription,
}

impl BaseInfo {
    fn text(&self) -> String {
        let base = &self.base;
        let network = &base.network;
        let mut rows = vec![
            ("base", base.identity.name.clone()),
            ("architecture", base.architecture.to_owned()),
            ("weights", base.weights.display().to_string()),
            ("fingerprint", base.identity.fingerprint.clone()),
        ];
        if let Some(revision) = &base.revision {
            rows.push(("revision", revision.clone()));
        }
        let size = |side: usize| format!("{side} x {side} pixels");
        let input = format!("{}, {}", size(base.image_size), network.input);
        rows.push(("input", input));
        rows.push(("output", size(network.output_size)));
        rows.push(("vision", network.vision.clone()));
        rows.push(("text", network.text.clone()));
        rows.push(network.head.clone());
        let tokenizer = format!("{} ({} tokens)", base.tokenizer, base.vocabulary);
        rows.push(("tokenizer", tokenizer));
        rows.push(("parameters", thousands(base.total_parameters)));
        key_value_table(&rows) + &counts(&base.parameters)
    }
}

/// An adapter's description in JSON.
#[derive(Serialize)]
struct AdapterInfo {
    kind: &'static str,
    file: PathBuf,
    method: MethodConfig,
    base: Option<BaseIdentity>,
    total_parameters: usize,
    parameters: PartCounts,
}

impl AdapterInfo {
    fn read(path: &Path) -> Result<Self> {
        let adapter = AdapterFile::read(path)?;
        let mut parameters = PartCounts::default();
        for (name, tensor) in &adapter.tensors {
            // An adapter's own parameters are grouped by the first part of their names.
            let first = || name.split('.').next().unwrap_or(name);
            let group = part_of_base(name).unwrap_or_else(first);
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
            None => rows.push(("base", "not recorded in the file".into())),
        }
        rows.push(("parameters", thousands(self.total_parameters)));
        key_value_table(&rows) + &counts(&self.parameters)
    }
}

/// The number of parameters of each part, one row per part.
fn counts(parts: &PartCounts) -> String {
    let names: Vec<(String, usize)> = parts
        .iter()
        .map(|(name, count)| (format!("  {name}"), count))
        .collect();
    let rows: Vec<(&str, String)> = names
        .iter()
        .map(|(name, count)| (name.as_str(), format!("{:>12}", thousands(*count))))
        .collect();
    key_value_table(&rows)
}
