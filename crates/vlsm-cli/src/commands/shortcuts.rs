//! Options for the keys of a recipe that most trainings set, so that a folder can be trained on without a file.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use vlsm_data::{DataConfig, Format, PromptChoice};

use crate::output::notice;

/// The base that the paper fine-tunes.
const BASE: &str = "CIDAS/clipseg-rd64-refined";

/// The options.
#[derive(clap::Args)]
pub(super) struct Shortcuts {
    /// The data set's folder, with the sub-folders images and masks, whose files have the same names
    /// (data.root).
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// What the masks show, in the words of the prompts, such as polyp (data.class).
    #[arg(long, value_name = "WORD")]
    class: Option<String>,
    /// The base: a folder, a name on the hub, or builtin:tiny (model.base)
    /// [default: CIDAS/clipseg-rd64-refined].
    #[arg(long)]
    base: Option<String>,
    /// Maximum number of passes over the training images (trainer.epochs).
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
}

impl Shortcuts {
    /// The `key=value` pairs of a recipe that the options set. Without a recipe, `is_alone`, the base has a default.
    pub(super) fn settings(&self, is_alone: bool) -> Vec<String> {
        let data = self.data.as_ref().map(|data| data.display().to_string());
        let base = self.base.clone().or(is_alone.then(|| BASE.to_owned()));
        let texts = [
            ("data.root", data),
            ("data.class", self.class.clone()),
            ("model.base", base),
        ];
        let mut settings: Vec<String> = texts
            .into_iter()
            .filter_map(|(key, text)| Some(format!("{key}={}", toml_string(&text?))))
            .collect();
        settings.extend(self.epochs.map(|epochs| format!("trainer.epochs={epochs}")));
        settings
    }

    /// The first option that is given, other than `--data`.
    pub(super) fn first_set(&self) -> Option<&'static str> {
        let given = [
            ("--class", self.class.is_some()),
            ("--base", self.base.is_some()),
            ("--epochs", self.epochs.is_some()),
        ];
        given
            .iter()
            .find(|(_, given)| *given)
            .map(|(name, _)| *name)
    }

    /// The name of the data set's folder.
    ///
    /// # Errors
    /// If there is neither a folder nor a file.
    pub(super) fn data_name(&self, file: &str) -> Result<String> {
        let Some(data) = &self.data else {
            bail!("give {file}, or the folder of a data set with --data and --class");
        };
        // `.` has a name once it is absolute.
        let data = std::path::absolute(data).unwrap_or_else(|_| data.clone());
        let name = data.file_name().unwrap_or("data".as_ref());
        // `builtin:street` would be no name of a file on Windows.
        Ok(name.to_string_lossy().replace(':', "-"))
    }
}

/// Refuses a plain folder without prompts, and says what is ignored.
pub(super) fn check_prompts(config: &DataConfig) -> Result<()> {
    let root = config.root.display();
    let has_prompts = config.class.is_some()
        || config.prompts.is_some()
        || config.root.join("prompts.json").is_file()
        || matches!(config.prompt, PromptChoice::Text(_));
    if config.pool.is_empty() && config.resolve_format() == Format::Folder && !has_prompts {
        bail!(
            "`{root}` has no prompts; say what its masks show with --class, such as --class polyp"
        );
    }
    let has_annotations = config.root.join("anns").is_dir();
    if config.class.is_some() && has_annotations && config.resolve_format() == Format::Folder {
        notice(&format!(
            "note: the annotations in `{root}/anns` are not used, since --class is given; leave it out to use their \
             prompts and splits"
        ));
    }
    Ok(())
}

/// A text as a quoted TOML string.
pub(super) fn toml_string(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// The folder that a run or study gets without `--output`.
pub(super) fn default_folder(name: impl AsRef<Path>) -> PathBuf {
    PathBuf::from("runs").join(name)
}
