//! Recipes of trainings on segments.

use std::path::Path;

use serde::{Deserialize, Serialize};
use vlsm_data::DataConfig;
use vlsm_models::clip::TEMPLATES;
use vlsm_models::segments::ONE_TEMPLATE;
use vlsm_models::{CoopConfig, MethodConfig, VptConfig};

use super::negatives::Negatives;
use crate::error::Result;
use crate::recipe::{
    OptimConfig, ScheduleKind, absolute_base, absolute_data_paths, make_absolute, over_default,
    stored, table_over_default,
};

/// A recipe. Every key has a default, except `base` and `data.root` (or `data.pool`). What the paper leaves open is chosen here;
/// `docs/opendas.md` says what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentRecipe {
    /// The CLIP: a folder, a name on the hub, or a file.
    pub base: String,
    /// Classes that training does not see; the others are base classes. Default: none.
    pub novel: Vec<String>,
    /// The sentences in which names are put, with `{}` for the name; their mean direction counts. Learnt tokens of the text tower
    /// replace them. `"one"`, `"vild"` or a list. Default: `"one"`, that is "a photo of a {}.".
    pub templates: Templates,
    /// The share of the adapted CLIP in the embeddings of segments and names where nothing is trained, from 0 to 1; the base as it
    /// was has the rest. Default: 1, as in OpenDAS.
    pub blend: f64,
    /// Wrong names that are close to a class: a JSON file, `{"class": ["wrong name", ...]}`, or a language model that is asked for
    /// them. Default: not set; the other classes alone are negatives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub negatives: Option<Negatives>,
    /// Seed of initialisation and order.
    pub seed: u64,
    /// `cpu`, or an accelerator, as in `trainer.device` of other recipes.
    pub device: String,
    /// Segments per pass where nothing is trained.
    pub eval_batch_size: usize,
    /// Steps between checkpoints; 0 writes them at the end of epochs.
    pub checkpoint_every: usize,
    /// The data set, of class ids. Pooled data sets share classes by name.
    pub data: DataConfig,
    /// The first stage: visual prompts.
    pub stage1: StageConfig,
    /// The second stage: text prompts, on the frozen first.
    pub stage2: StageConfig,
}

/// What is trained in a stage, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageConfig {
    /// Passes over the training segments; 0 leaves the stage out.
    pub epochs: usize,
    /// Segments per step.
    pub batch_size: usize,
    /// Weight of the triplet loss; 0 turns it off.
    pub triplet: f64,
    /// Margin of the triplet loss, of a distance of 1 less the cosine.
    pub margin: f64,
    /// The method.
    pub method: MethodConfig,
    /// The optimiser.
    pub optim: OptimConfig,
}

/// The sentences in which names are put.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Templates {
    /// `"one"` or `"vild"`.
    Named(NamedTemplates),
    /// Sentences with `{}`.
    Texts(Vec<String>),
}

/// Lists of sentences by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NamedTemplates {
    /// "a photo of a {}."
    One,
    /// The fourteen of ViLD.
    Vild,
}

impl Templates {
    /// The sentences.
    pub fn texts(&self) -> Vec<&str> {
        match self {
            Self::Named(NamedTemplates::One) => vec![ONE_TEMPLATE],
            Self::Named(NamedTemplates::Vild) => TEMPLATES.to_vec(),
            Self::Texts(texts) => texts.iter().map(String::as_str).collect(),
        }
    }
}

impl StageConfig {
    fn new(method: MethodConfig, triplet: f64) -> Self {
        Self {
            epochs: 5,
            batch_size: 32,
            triplet,
            margin: 0.2,
            method,
            optim: OptimConfig {
                lr: 2e-3,
                schedule: ScheduleKind::Cosine,
                ..OptimConfig::default()
            },
        }
    }
}

impl Default for SegmentRecipe {
    fn default() -> Self {
        // As deep as MaPLe's.
        let text_prompts = CoopConfig {
            depth: 9,
            ..CoopConfig::default()
        };
        Self {
            base: String::new(),
            novel: Vec::new(),
            templates: Templates::Named(NamedTemplates::One),
            blend: 1.0,
            negatives: None,
            seed: 42,
            device: "cpu".into(),
            eval_batch_size: 32,
            checkpoint_every: 0,
            data: DataConfig::default(),
            stage1: StageConfig::new(VptConfig::default().into(), 0.0),
            stage2: StageConfig::new(text_prompts.into(), 1.0),
        }
    }
}

/// Keys that change no number.
const FREE: [&str; 5] = [
    "device",
    "checkpoint_every",
    "data.workers",
    // Its answers are kept in the run.
    "negatives.endpoint",
    "negatives.key_variable",
];

impl SegmentRecipe {
    /// Reads a recipe and applies overrides of the form `key=value`, such as `stage2.margin=0.1`.
    ///
    /// # Errors
    /// If the file is not a recipe. The error names the key.
    pub fn read(path: &Path, overrides: &[String]) -> Result<Self> {
        stored::read_file(path, overrides, Self::parse)
    }

    /// Parses a recipe like [`read`](Self::read).
    ///
    /// # Errors
    /// A message that names the key.
    pub fn parse(text: &str, overrides: &[String]) -> std::result::Result<Self, String> {
        let recipe: Self = over_default(text, overrides)?;
        recipe.validate()?;
        Ok(recipe)
    }

    /// The recipe of a table.
    ///
    /// # Errors
    /// A message that names the key.
    pub(crate) fn from_table(table: toml::Table) -> std::result::Result<Self, String> {
        let recipe: Self = table_over_default(table)?;
        recipe.validate()?;
        Ok(recipe)
    }

    fn validate(&self) -> std::result::Result<(), String> {
        if self.base.is_empty() {
            return Err(
                "`base` is not set; name a CLIP, such as \"openai/clip-vit-base-patch16\"".into(),
            );
        }
        if self.data.root.as_os_str().is_empty() && self.data.pool.is_empty() {
            return Err("`data.root` is not set; give the folder of the data set".into());
        }
        if self.seed > i64::MAX as u64 {
            return Err(format!(
                "`seed` is {}; give at most {}",
                self.seed,
                i64::MAX
            ));
        }
        if self.eval_batch_size == 0 {
            return Err("`eval_batch_size` is 0; give at least 1".into());
        }
        if !(0.0..=1.0).contains(&self.blend) {
            return Err(format!(
                "`blend` is {}; give the share of the adapted CLIP, from 0 to 1",
                self.blend
            ));
        }
        if let Some(Negatives::Endpoint(asked)) = &self.negatives {
            asked.validate()?;
        }
        let texts = self.templates.texts();
        if let Some(text) = texts.iter().find(|text| !text.contains("{}")) {
            return Err(format!(
                "`templates` has `{text}` without `{{}}` for the name"
            ));
        }
        if texts.is_empty() {
            return Err("`templates` is empty; give at least one sentence with `{}`".into());
        }
        for (name, stage) in [("stage1", &self.stage1), ("stage2", &self.stage2)] {
            if stage.batch_size == 0 {
                return Err(format!("`{name}.batch_size` is 0; give at least 1"));
            }
            let numbers = [
                ("triplet", stage.triplet, 1e6),
                ("margin", stage.margin, 2.0),
                ("optim.lr", stage.optim.lr, 1e6),
                ("optim.weight_decay", stage.optim.weight_decay, 1e6),
                ("optim.clip", stage.optim.clip, 1e6),
            ];
            for (key, value, most) in numbers {
                if !(0.0..=most).contains(&value) {
                    return Err(format!(
                        "`{name}.{key}` is {value}; give a number from 0 to {most}"
                    ));
                }
            }
            if stage.optim.schedule == ScheduleKind::Plateau {
                return Err(format!(
                    "`{name}.optim.schedule` is \"plateau\", but nothing is validated while segments are trained on; set it to \
                     \"cosine\" or \"constant\""
                ));
            }
        }
        if self.stages().next().is_none() {
            return Err("`epochs` of both stages are 0; raise one of them".into());
        }
        Ok(())
    }

    /// The stages that are trained.
    pub fn stages(&self) -> impl Iterator<Item = &StageConfig> {
        let stages = [&self.stage1, &self.stage2].into_iter();
        stages.filter(|stage| stage.epochs > 0)
    }

    /// The recipe as TOML, defaults filled in.
    ///
    /// # Errors
    /// If TOML cannot hold a value: a path that is not Unicode, or a number above `i64::MAX`.
    pub fn to_toml(&self) -> Result<String> {
        stored::to_toml(self)
    }

    /// The same recipe with absolute paths, so that a run's recipe means the same in any working folder.
    pub(crate) fn with_absolute_paths(&self) -> Self {
        let mut recipe = self.clone();
        absolute_data_paths(&mut recipe.data);
        if let Some(Negatives::File(path)) = &mut recipe.negatives {
            make_absolute(path);
        }
        absolute_base(&mut recipe.base);
        recipe
    }

    /// The keys in which two recipes differ, without those that change no number.
    pub(crate) fn changes_since(&self, existing: &Self) -> Result<Vec<String>> {
        let mut wanted = self.clone();
        // A run records the window that it computed.
        wanted.data.window = wanted.data.window.or(existing.data.window);
        stored::changes(&wanted, existing, &FREE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: &str = "base = \"clip\"\ndata.root = \"camvid\"\n";

    fn parse(text: &str) -> std::result::Result<SegmentRecipe, String> {
        SegmentRecipe::parse(&format!("{SHORT}{text}"), &[])
    }

    #[test]
    fn a_key_changes_nothing_but_itself() {
        let recipe = parse("stage2 = { margin = 0.1, optim.lr = 1e-4 }").unwrap();
        let expected = StageConfig {
            margin: 0.1,
            optim: OptimConfig {
                lr: 1e-4,
                schedule: ScheduleKind::Cosine,
                ..OptimConfig::default()
            },
            ..SegmentRecipe::default().stage2
        };
        assert_eq!(recipe.stage2, expected);
        let again = SegmentRecipe::parse(&recipe.to_toml().unwrap(), &[]).unwrap();
        assert_eq!(recipe, again);
        let overrides = [
            "stage1.method.kind=maple".to_owned(),
            "stage2.epochs=0".into(),
        ];
        let other = SegmentRecipe::parse(SHORT, &overrides).unwrap();
        assert_eq!(other.stages().count(), 1);
        assert_eq!(other.stage1.method.kind(), "maple");
        let changed = other.changes_since(&parse("stage2.epochs = 0").unwrap());
        assert!(changed.unwrap().contains(&"stage1.method.kind".to_owned()));
    }

    #[test]
    fn wrong_values_name_the_key() {
        for (text, key) in [
            ("stage1.batch_size = 0", "stage1.batch_size"),
            ("stage2.margin = -0.1", "stage2.margin"),
            ("stage2.margin = \"x\"", "stage2.margin"),
            ("stage2.epoch = 1", "epoch"),
            ("stage1.epochs = 0\nstage2.epochs = 0", "epochs"),
            ("templates = [\"a photo\"]", "templates"),
            ("templates = \"two\"", "templates"),
            ("blend = 1.5", "blend"),
            ("blend = nan", "blend"),
            ("negatives = 3", "negatives"),
            ("negatives.model = \"m\"", "negatives.endpoint"),
            (
                "negatives = { endpoint = \"http://a:b@c\", model = \"m\" }",
                "key_variable",
            ),
            ("negatives.llm = \"m\"", "llm"),
            (
                "negatives = { endpoint = \"http://c\", model = \"m\", count = 0 }",
                "negatives.count",
            ),
            ("stage1.method = { kind = \"coop\", rank = 3 }", "rank"),
            ("stage1.optim.schedule = \"plateau\"", "schedule"),
            ("data.rooot = \"x\"", "rooot"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(key), "{text}: {error}");
        }
        assert!(
            SegmentRecipe::parse("data.root = \"x\"", &[])
                .unwrap_err()
                .contains("base")
        );
    }
}
