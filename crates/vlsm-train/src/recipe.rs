//! Recipes: everything that determines a run, in one TOML file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vlsm_data::DataConfig;
use vlsm_models::{AdapterInit, Bottleneck, MethodConfig, Preprocessing, Statistics};

use crate::error::{Result, TrainError};
use crate::feature_cache::CacheDtype;
use crate::loss::LossConfig;

/// A recipe. Every key has a default but `model.base` and `data.root` (or `data.pool`).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// The base.
    pub model: ModelConfig,
    /// What is trained.
    pub method: MethodSection,
    /// Samples and prompts.
    pub data: DataSection,
    /// Weights of the loss's terms.
    pub loss: LossConfig,
    /// The optimiser and its schedule.
    pub optim: OptimConfig,
    /// The loop.
    pub trainer: TrainerConfig,
    /// Features kept from epoch to epoch.
    pub cache: CacheConfig,
}

/// `[model]`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// A folder, or a name on the hub, with a revision behind `@`.
    pub base: String,
    /// Side of the square input, in pixels; by default the base's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_size: Option<usize>,
}

impl ModelConfig {
    /// How the base's input is made, at the recipe's size.
    pub fn preprocessing(&self, base: &Preprocessing) -> Preprocessing {
        Preprocessing {
            image_size: self.image_size.unwrap_or(base.image_size),
            ..base.clone()
        }
    }
}

/// `[method]`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MethodSection {
    /// The method.
    #[serde(flatten)]
    pub config: MethodConfig,
    /// An adapter file to start from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_from: Option<PathBuf>,
}

/// `[data]`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DataSection {
    /// Where samples come from.
    #[serde(flatten)]
    pub config: DataConfig,
    /// At most this many validation samples and as many test samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_limit: Option<usize>,
}

/// How the learning rate changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleKind {
    /// Not at all.
    Constant,
    /// It falls when the validation loss no longer does.
    Plateau,
    /// It falls along half a cosine.
    Cosine,
}

/// `[optim]`: AdamW, or Muon beside it, and the schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimConfig {
    /// Learning rate.
    pub lr: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Greatest global norm of the gradients; 0 turns clipping off.
    pub clip: f64,
    /// Decay of the first and of the second moment.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Whether matrices of transformer layers and adapters are stepped by Muon (Jordan et al. 2024; momentum 0.95, and a
    /// learning rate that moves them as far as AdamW does) rather than by AdamW.
    pub muon: bool,
    /// How the learning rate changes.
    pub schedule: ScheduleKind,
    /// Steps in which it rises linearly to `lr`.
    pub warmup_steps: usize,
    /// Where `cosine` ends and below which `plateau` does not fall.
    pub min_lr: f64,
    /// `plateau`: what the learning rate is multiplied by.
    pub plateau_factor: f64,
    /// `plateau`: epochs without improvement that are borne.
    pub plateau_patience: usize,
}

impl Default for OptimConfig {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            weight_decay: 1e-3,
            clip: 0.5,
            betas: [0.9, 0.999],
            eps: 1e-8,
            muon: false,
            schedule: ScheduleKind::Plateau,
            warmup_steps: 0,
            min_lr: 0.0,
            plateau_factor: 0.3,
            plateau_patience: 5,
        }
    }
}

/// `[trainer]`: the loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainerConfig {
    /// Most passes over the training samples.
    pub epochs: usize,
    /// Most optimiser steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<usize>,
    /// Samples of one forward and backward pass.
    pub batch_size: usize,
    /// Passes whose gradients make one step.
    pub accumulate: usize,
    /// Parts of a batch that are computed side by side, each on its share of the cores. For small models on a CPU:
    /// memory grows, and so does speed. Each part has a cross entropy of its own; that of the batch is their mean.
    pub parts: usize,
    /// Whether the backward pass computes activations again rather than keeping them: less memory, the same numbers, slower.
    /// On the CPU.
    pub recompute: bool,
    /// Determines initialisation, order and random prompts.
    pub seed: u64,
    /// `cpu`, `vulkan`, `metal`, `webgpu`, `cuda` or `rocm`.
    pub device: String,
    /// Epochs without a better validation Dice after which training ends; 0 turns this off.
    pub patience: usize,
    /// By how much Dice must rise to count as better.
    pub min_delta: f64,
    /// Epochs that are run whatever `patience` says.
    pub min_epochs: usize,
    /// Steps between checkpoints within an epoch; 0 writes them at the end of epochs only.
    pub checkpoint_every: usize,
    /// Whether the validation split is evaluated after each epoch.
    pub validate: bool,
    /// Whether the test split is evaluated at the end.
    pub test: bool,
    /// Samples of one forward pass in evaluation.
    pub eval_batch_size: usize,
}

impl Default for TrainerConfig {
    fn default() -> Self {
        Self {
            epochs: 100,
            max_steps: None,
            batch_size: 8,
            accumulate: 1,
            parts: 1,
            recompute: false,
            seed: 42,
            device: "cpu".into(),
            patience: 20,
            min_delta: 1e-4,
            min_epochs: 0,
            checkpoint_every: 0,
            validate: true,
            test: true,
            eval_batch_size: 8,
        }
    }
}

impl TrainerConfig {
    /// Samples of one optimiser step.
    pub fn step_samples(&self) -> usize {
        self.batch_size * self.accumulate
    }

    /// Most optimiser steps over that many training samples.
    pub fn steps(&self, samples: usize) -> usize {
        let steps = self.epochs * samples.div_ceil(self.step_samples());
        self.max_steps.map_or(steps, |most| most.min(steps))
    }

    /// Whether training goes through that many samples more than once.
    pub fn repeats(&self, samples: usize) -> bool {
        self.steps(samples) > samples.div_ceil(self.step_samples())
    }
}

/// When features are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheMode {
    /// Where nothing in the vision tower is trained and images come again in later epochs.
    Auto,
    /// Always; where features change it is an error.
    On,
    /// Never.
    Off,
}

/// `[cache]`: features of images, kept on the disk for later epochs and other runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// When features are kept.
    pub features: CacheMode,
    /// How they are stored.
    pub dtype: CacheDtype,
    /// Most of the folder, in 10^9 bytes; where a run would need more, nothing is stored for it.
    pub max_gb: f64,
    /// The folder; by default [`default_folder`](crate::feature_cache::default_folder).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            features: CacheMode::Auto,
            dtype: CacheDtype::F32,
            max_gb: 20.0,
            dir: None,
        }
    }
}

/// The recipe with every optional key set, from which the known keys are read.
fn every_key() -> toml::Table {
    let mut recipe = Recipe::default();
    let path = || Some(PathBuf::from("x"));
    recipe.model.image_size = Some(1);
    recipe.method.init_from = path();
    let method = &mut recipe.method.config;
    method.bottleneck = Some(Bottleneck::All(1));
    method.text_bottleneck = Some(Bottleneck::All(1));
    method.layers = Some(vec![]);
    method.text_layers = Some(vec![]);
    method.init = Some(AdapterInit::Zero);
    method.statistics = Some(Statistics::Running);
    recipe.data.eval_limit = Some(1);
    let data = &mut recipe.data.config;
    data.pool = vec![PathBuf::new()];
    data.eval_prompt = Some(vlsm_data::PromptChoice::Named("p1".into()));
    data.prompts = path();
    data.classes = path();
    data.limit = Some(1);
    data.split.train_list = path();
    data.split.val_list = path();
    data.split.test_list = path();
    recipe.trainer.max_steps = Some(1);
    recipe.cache.dir = path();
    toml::Table::try_from(recipe).unwrap_or_default()
}

fn keys_of(table: &toml::Table, prefix: &str, keys: &mut Vec<String>) {
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        match value {
            toml::Value::Table(table) => keys_of(table, &format!("{key}."), keys),
            _ => keys.push(key),
        }
    }
}

/// Refuses a table with a key that no recipe has.
pub(crate) fn expect_known(table: &toml::Table) -> std::result::Result<(), String> {
    let (mut known, mut given) = (Vec::new(), Vec::new());
    keys_of(&every_key(), "", &mut known);
    keys_of(table, "", &mut given);
    match given.iter().find(|key| !known.contains(key)) {
        Some(key) => Err(unknown(key, &known)),
        None => Ok(()),
    }
}

impl Recipe {
    /// Reads a recipe and applies overrides of the form `key=value`, such as `optim.lr=3e-4`.
    /// A value that is not TOML is taken as a string.
    ///
    /// # Errors
    /// If the file is not a recipe: the key and, for an unknown one, the nearest known are named.
    pub fn read(path: &Path, overrides: &[String]) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|source| TrainError::Read {
            path: path.into(),
            source,
        })?;
        Self::parse(&text, overrides).map_err(|message| TrainError::Recipe {
            path: path.into(),
            message,
        })
    }

    /// Parses a recipe, as [`read`](Self::read) does.
    ///
    /// # Errors
    /// A message that names the key.
    pub fn parse(text: &str, overrides: &[String]) -> std::result::Result<Self, String> {
        let mut table: toml::Table = text
            .parse()
            .map_err(|error: toml::de::Error| error.to_string())?;
        for text in overrides {
            set(&mut table, text)?;
        }
        Self::from_table(table)
    }

    /// The recipe of a table, as [`parse`](Self::parse) makes one of a text.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn from_table(table: toml::Table) -> std::result::Result<Self, String> {
        expect_known(&table)?;
        let recipe = read(table.clone()).map_err(|(path, message)| {
            let (path, message) = within(&table, &path).unwrap_or((path, message));
            format!("`{path}`: {message}")
        })?;
        recipe.validate()?;
        Ok(recipe)
    }

    /// The recipe as TOML, defaults filled in.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).unwrap_or_default()
    }

    fn validate(&self) -> std::result::Result<(), String> {
        if self.model.base.is_empty() {
            return Err("`model.base` is not set; give a folder or a name such as \
                 \"CIDAS/clipseg-rd64-refined\""
                .into());
        }
        let data = &self.data.config;
        if data.root.as_os_str().is_empty() && data.pool.is_empty() {
            return Err("`data.root` is not set; give the folder of the data set".into());
        }
        let (optim, trainer) = (&self.optim, &self.trainer);
        let positive = [
            ("trainer.batch_size", trainer.batch_size),
            ("trainer.accumulate", trainer.accumulate),
            ("trainer.parts", trainer.parts),
            ("trainer.epochs", trainer.epochs),
            ("trainer.eval_batch_size", trainer.eval_batch_size),
        ];
        for (key, value) in positive {
            if value == 0 {
                return Err(format!("`{key}` is 0; give at least 1"));
            }
        }
        let not_negative = [
            ("optim.weight_decay", optim.weight_decay),
            ("optim.clip", optim.clip),
            ("optim.min_lr", optim.min_lr),
            ("optim.eps", optim.eps),
            ("optim.plateau_factor", optim.plateau_factor),
            ("loss.dice", self.loss.dice),
            ("loss.cross_entropy", self.loss.cross_entropy),
            ("cache.max_gb", self.cache.max_gb),
        ];
        for (key, value) in not_negative {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(format!("`{key}` is {value}; give a number of 0 or more"));
            }
        }
        if !(optim.lr > 0.0 && optim.lr.is_finite()) {
            return Err(format!("`optim.lr` is {}; give a number above 0", optim.lr));
        }
        for beta in optim.betas {
            if !(0.0..1.0).contains(&beta) {
                return Err(format!(
                    "`optim.betas` has {beta}; give numbers from 0 to below 1"
                ));
            }
        }
        Ok(())
    }

    /// The keys in which two recipes differ.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let table = |recipe: &Self| toml::Table::try_from(recipe).unwrap_or_default();
        let (a, b) = (table(self), table(other));
        let mut keys = Vec::new();
        keys_of(&a, "", &mut keys);
        keys_of(&b, "", &mut keys);
        keys.sort();
        keys.dedup();
        keys.retain(|key| get(&a, key) != get(&b, key));
        keys
    }
}

/// The recipe of a table, or the path of what is wrong in it and why.
fn read(table: toml::Table) -> std::result::Result<Recipe, (String, String)> {
    serde_path_to_error::deserialize(toml::Value::Table(table))
        .map_err(|error| (error.path().to_string(), error.inner().message().to_owned()))
}

/// The key of a section that is wrong, and why. Of a section that is read as a whole an error's path names none: it is the one
/// that cannot be read alone.
fn within(table: &toml::Table, section: &str) -> Option<(String, String)> {
    let keys = table.get(section)?.as_table()?;
    keys.iter().find_map(|(key, value)| {
        let alone = toml::Table::from_iter([(key.clone(), value.clone())]);
        let alone = toml::Table::from_iter([(section.to_owned(), toml::Value::Table(alone))]);
        let (_, message) = read(alone).err()?;
        Some((format!("{section}.{key}"), message))
    })
}

fn get<'a>(table: &'a toml::Table, key: &str) -> Option<&'a toml::Value> {
    let (first, rest) = key.split_once('.').unwrap_or((key, ""));
    let value = table.get(first)?;
    if rest.is_empty() {
        Some(value)
    } else {
        get(value.as_table()?, rest)
    }
}

/// Keys of `[data]` that take each other's place.
pub(crate) const EITHER: [(&str, &str); 2] = [("root", "pool"), ("pool", "root")];

/// Applies one `key=value`.
pub(crate) fn set(table: &mut toml::Table, text: &str) -> std::result::Result<(), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("--set {text}: write it as key=value, such as optim.lr=3e-4"))?;
    let (key, value) = (key.trim(), value.trim());
    let value = format!("x = {value}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut table| table.remove("x"))
        .unwrap_or_else(|| toml::Value::String(value.to_owned()));
    let mut table = table;
    let mut parts = key.split('.').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            for (_, other) in EITHER.iter().filter(|(key, _)| *key == part) {
                table.remove(*other);
            }
            table.insert(part.to_owned(), value);
            return Ok(());
        }
        table = table
            .entry(part)
            .or_insert_with(|| toml::Value::Table(toml::Table::new()))
            .as_table_mut()
            .ok_or_else(|| format!("--set {text}: `{part}` is not a section"))?;
    }
    Ok(())
}

/// The error for a key that is not among the known ones.
pub(crate) fn unknown(key: &str, known: &[impl AsRef<str>]) -> String {
    let likeness = |known: &str| {
        // The right key without its section is as near as can be.
        let own = known.rsplit('.').next() == Some(key);
        strsim::jaro_winkler(key, known) + f64::from(u8::from(own))
    };
    let nearest = known
        .iter()
        .map(AsRef::as_ref)
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
        .unwrap_or_default();
    format!("unknown key `{key}`; did you mean `{nearest}`?")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "[model]\nbase = \"b\"\n[data]\nroot = \"d\"\n";

    fn parse(text: &str, overrides: &[&str]) -> std::result::Result<Recipe, String> {
        let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
        Recipe::parse(text, &overrides)
    }

    #[test]
    fn defaults_fill_in_and_read_back() {
        let recipe = parse(LEAST, &[]).unwrap();
        assert_eq!(recipe.optim.lr, 1e-3);
        assert_eq!(parse(&recipe.to_toml(), &[]).unwrap(), recipe);
    }

    #[test]
    fn overrides_win() {
        let recipe = parse(
            LEAST,
            &[
                "optim.lr=3e-4",
                "data.prompt=a large polyp",
                "data.eval_prompt=p1",
                "method.kind=zero-shot",
                "trainer.max_steps=7",
                "method.layers=[1, 2]",
            ],
        )
        .unwrap();
        assert_eq!(recipe.optim.lr, 3e-4);
        assert_eq!(recipe.data.config.prompt.to_string(), "a large polyp");
        assert_eq!(recipe.trainer.max_steps, Some(7));
        assert_eq!(recipe.method.config.layers, Some(vec![1, 2]));
    }

    #[test]
    fn one_data_set_or_a_pool() {
        let recipe = parse(LEAST, &["data.pool=[\"a\", \"b\"]"]).unwrap();
        assert_eq!(recipe.data.config.roots(), ["a", "b"].map(PathBuf::from));
        let recipe = parse(&recipe.to_toml(), &["data.root=c"]).unwrap();
        assert_eq!(recipe.data.config.roots(), [PathBuf::from("c")]);
    }

    #[test]
    fn unknown_keys_name_the_nearest() {
        for (key, nearest) in [
            ("optim.learning_rate=1", "optim."),
            ("trainer.batchsize=1", "`trainer.batch_size`"),
            ("data.promt=x", "`data.prompt`"),
            ("method.botleneck=2", "`method.bottleneck`"),
            ("data.split.vall=0.1", "`data.split.val`"),
            ("method.profil=paper", "`method.profile`"),
            ("root=x", "`data.root`"),
        ] {
            let error = parse(LEAST, &[key]).unwrap_err();
            assert!(error.contains(nearest), "{error}");
        }
    }

    #[test]
    fn wrong_values_name_the_key() {
        for (key, named) in [
            ("optim.lr=0", "optim.lr"),
            ("optim.lr=fast", "optim.lr"),
            ("trainer.batch_size=0", "trainer.batch_size"),
            ("trainer.batch_size=-1", "trainer.batch_size"),
            ("method.kind=denser", "`method.kind`"),
            ("optim.betas=[0.9]", "optim.betas"),
            ("cache.dtype=f64", "cache.dtype"),
            ("cache.max_gb=-1", "cache.max_gb"),
            ("loss.dice=-1", "loss.dice"),
            (
                "method.bottleneck=wide",
                "`method.bottleneck`: expected a width, or a list",
            ),
            ("method.activation=swish", "`method.activation`"),
            ("data.workers=many", "`data.workers`"),
        ] {
            let error = parse(LEAST, &[key]).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
        assert!(parse("", &[]).unwrap_err().contains("model.base"));
        assert!(parse("[model\n", &[]).is_err());
    }

    #[test]
    fn differences_name_keys() {
        let a = parse(LEAST, &[]).unwrap();
        let b = parse(LEAST, &["optim.lr=1", "trainer.max_steps=3"]).unwrap();
        assert_eq!(a.differences(&b), ["optim.lr", "trainer.max_steps"]);
    }
}
