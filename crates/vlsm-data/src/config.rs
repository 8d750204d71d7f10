//! The `[data]` section of a recipe.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use vlsm_image::Window;

use crate::error::{DataError, Result};
use crate::finding::FindingKind;
use crate::generate_config::GenerateConfig;
use crate::prompt::{PromptChoice, Prompts};
use crate::split_config::SplitConfig;

/// `[data]`: the samples and their prompts.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// Folder of the data set, or `builtin:scenes`, `builtin:endoscopy`, `builtin:ultrasound`, `builtin:street`, which
    /// are drawn. Default: none, required unless `pool` is given.
    pub root: PathBuf,
    /// Instead of `root`: several data sets that are trained on together and scored separately. The other keys apply to
    /// each of them. Default: not set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pool: Vec<PathBuf>,
    /// Layout of the folder.
    pub format: Format,
    /// Name of the sub-folder with the images.
    pub images: String,
    /// Name of the sub-folder with the masks.
    pub masks: String,
    /// What the masks of a plain folder show, such as `"polyp"`: the prompts p0 to p6 that `vlsm data prompts` writes are then
    /// made in memory, and `anns/` and `prompts.json` are not read. With format `annotations`, replaces the prompts of
    /// the annotations. Default: not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The prompt for training: `p0`, `p1`, ... (that prompt of each sample), `random` (one of all but `p0`, drawn
    /// for each sample and epoch), or a text for all samples. Default: `"random"`.
    pub prompt: PromptChoice,
    /// The prompt for validation and test, as `prompt`. It decides the best epoch, early stopping and the headline.
    /// Default: `prompt`, unless that is `random`; then `p1`, the class name alone, which is all that a user knows of a
    /// new image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_prompt: Option<PromptChoice>,
    /// Format `folder`: JSON file with the prompts of each image, by stem:
    /// `{"stem": "text"}`, `{"stem": ["text", "other text"]}` or `{"stem": {"p0": "", "p1": "text"}}`. A relative path is
    /// looked up in `root`, then in the working folder. Default: `ROOT/prompts.json`, if it exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompts: Option<PathBuf>,
    /// Format `classes`: JSON file with the class names, `{"classes": ["Sky", ...], "ignore_index": 11}`. The index of
    /// a name is its class id; `null` or `""` is a class that is no target (a background). Looked up as `prompts`.
    /// Default: `ROOT/classes.json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<PathBuf>,
    /// Levels of 16-bit images that become black and white, such as `[0, 4095]`. Default: 0 and 65535; if the training
    /// images use less than half of the range, their 0.5th and 99.5th percentiles. A run records it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// Findings of `vlsm data check` and `vlsm train` that are right for this data set, by the name in brackets after
    /// their messages, such as `["inverted"]`. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accept: Vec<FindingKind>,
    /// The subject (patient, specimen) of each image: a regular expression whose first group, or whole match, in an
    /// image's stem is the subject, or a `.csv` file with the columns `image` and `group`, looked up as `prompts`. Splits
    /// by fraction and folds never divide a subject. Default: each image is its own subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// How a data set that comes without splits is split.
    pub split: SplitConfig,
    /// How much of a generated data set there is; generated are the roots `builtin:scenes`, ....
    pub generate: GenerateConfig,
    /// Maximum number of training samples of each data set, in the order of the split. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Shuffle the training samples in each epoch.
    pub shuffle: bool,
    /// Threads that decode and resize images ahead of the step; 0 decodes on the training thread. The number never changes
    /// a result. Default: one for each core, at least 2 and at most 8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<usize>,
}

/// Layout of a data set's folder.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `annotations` if there is a folder `anns/`, `classes` if there is a `classes.json` or `data.classes` is given, else
    /// `folder`.
    #[default]
    Auto,
    /// The published format: `anns/{train,val,test}.json`, `images/` and `masks/`.
    Annotations,
    /// Images and binary masks paired by stem.
    Folder,
    /// Images and masks of class ids paired by stem; each class present in an image is a sample.
    Classes,
    /// Drawn on demand, for roots such as `builtin:scenes`.
    Generated,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            root: PathBuf::new(),
            pool: Vec::new(),
            format: Format::Auto,
            images: "images".to_string(),
            masks: "masks".to_string(),
            class: None,
            prompt: PromptChoice::Random,
            eval_prompt: None,
            prompts: None,
            classes: None,
            window: None,
            accept: Vec::new(),
            group: None,
            split: SplitConfig::default(),
            generate: GenerateConfig::default(),
            limit: None,
            shuffle: true,
            workers: None,
        }
    }
}

impl DataConfig {
    /// The defaults for the data set at `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            ..Self::default()
        }
    }

    /// The choice of prompt for validation and test. This is `eval_prompt` if set, else `prompt` unless that is random, else
    /// [`PromptChoice::default_eval`] for the sample's prompts.
    pub fn eval_choice(&self, prompts: &Prompts) -> PromptChoice {
        match (&self.eval_prompt, &self.prompt) {
            (Some(choice), _) => choice.clone(),
            (None, PromptChoice::Random) => PromptChoice::default_eval(prompts),
            (None, choice) => choice.clone(),
        }
    }

    /// The format, with `auto` replaced by the format detected from the folder.
    pub fn resolve_format(&self) -> Format {
        match self.format {
            Format::Auto if self.builtin().is_some() => Format::Generated,
            Format::Auto if self.class.is_none() && self.root.join("anns").is_dir() => {
                Format::Annotations
            }
            Format::Auto if self.classes.is_some() || self.root.join("classes.json").is_file() => {
                Format::Classes
            }
            Format::Auto => Format::Folder,
            given => given,
        }
    }

    /// The folders of the data sets: `pool`, or `root` alone.
    pub fn roots(&self) -> &[PathBuf] {
        if self.pool.is_empty() {
            std::slice::from_ref(&self.root)
        } else {
            &self.pool
        }
    }

    /// Number of threads that load samples: `workers`, or one for each core, at least 2 and at most 8.
    pub fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
        self.workers.unwrap_or_else(|| cores().clamp(2, 8))
    }

    /// The name after `builtin:` in `root`, if the data set is drawn.
    pub fn builtin(&self) -> Option<&str> {
        self.root.to_str()?.strip_prefix("builtin:")
    }

    /// A path from the recipe: relative to `root` if it exists there, else unchanged.
    pub(crate) fn resolve(&self, path: &std::path::Path) -> PathBuf {
        let under = self.root.join(path);
        if under.exists() {
            under
        } else {
            path.to_path_buf()
        }
    }

    /// Whether the files may lack prompts, because they are made from the masks, or one text is used for all in training or
    /// evaluation.
    pub(crate) fn has_text(&self) -> bool {
        let is_text = |choice: &PromptChoice| matches!(choice, PromptChoice::Text(_));
        self.class.is_some()
            || is_text(&self.prompt)
            || self.eval_prompt.as_ref().is_some_and(is_text)
    }

    /// The class whose prompts are made from the masks.
    ///
    /// # Errors
    /// If the masks of the format already have a class or prompts.
    pub(crate) fn described_class(&self, format: Format) -> Result<Option<&str>> {
        let Some(class) = &self.class else {
            return Ok(None);
        };
        let why = match format {
            Format::Classes => "has masks of class ids, whose names are its prompts",
            Format::Generated => "is drawn together with its prompts",
            Format::Annotations | Format::Folder | Format::Auto => return Ok(Some(class)),
        };
        Err(DataError::Config {
            field: "data.class",
            reason: format!(
                "is set, but `{}` {why}; remove the key, or set `data.format` to \"folder\" if the masks are binary",
                self.root.display()
            ),
        })
    }

    /// Checks the values of the section, without looking at files.
    pub(crate) fn validate(&self) -> Result<()> {
        let config = |field, reason: String| Err(DataError::Config { field, reason });
        if !self.pool.is_empty() && !self.root.as_os_str().is_empty() {
            return config(
                "data.pool",
                "is set along with `data.root`; set only one of them".to_string(),
            );
        }
        if self.roots().iter().any(|root| root.as_os_str().is_empty()) {
            return config(
                "data.root",
                "is not set; set it to the data set's folder".to_string(),
            );
        }
        for (field, fraction) in [
            ("data.split.val", self.split.val),
            ("data.split.test", self.split.test),
        ] {
            if !(0.0..1.0).contains(&fraction) {
                return config(
                    field,
                    format!("{fraction} is not a fraction; use a number from 0 to below 1"),
                );
            }
        }
        if self
            .class
            .as_ref()
            .is_some_and(|class| class.trim().is_empty())
        {
            return config(
                "data.class",
                "is empty; give the word that the prompts should use, such as polyp".to_string(),
            );
        }
        if self.class.is_some() && self.prompts.is_some() {
            return config(
                "data.class",
                "is set along with `data.prompts`; remove one of them".to_string(),
            );
        }
        self.split.validate_folds()?;
        if self.split.folds.is_none() && self.split.val + self.split.test >= 1.0 {
            return config(
                "data.split.val",
                "with `data.split.test` leaves nothing for training; lower one of them".to_string(),
            );
        }
        if let Some([low, high]) = self.window
            && low >= high
        {
            return config(
                "data.window",
                format!(
                    "[{low}, {high}] has no levels; give black before white, such as [0, 4095]"
                ),
            );
        }
        for kind in &self.accept {
            if let Err(error) = kind.to_string().parse::<FindingKind>() {
                return config("data.accept", error.to_string());
            }
        }
        if self.limit == Some(0) {
            return config(
                "data.limit",
                "0 leaves nothing for training; remove the key to use all samples".to_string(),
            );
        }
        if self.eval_prompt == Some(PromptChoice::Random) {
            return Err(DataError::RandomEval);
        }
        Ok(())
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Annotations => "annotations",
            Self::Folder => "folder",
            Self::Classes => "classes",
            Self::Generated => "generated",
        })
    }
}

impl FromStr for Format {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self> {
        [
            Self::Auto,
            Self::Annotations,
            Self::Folder,
            Self::Classes,
            Self::Generated,
        ]
        .into_iter()
        .find(|format| format.to_string() == text)
        .ok_or_else(|| DataError::Config {
            field: "data.format",
            reason: format!(
                "`{text}` is unknown; use auto, annotations, folder, classes or generated"
            ),
        })
    }
}
