//! A study of a folder, without a file.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use vlsm_image::write_atomic_bytes;
use vlsm_models::MethodConfig;
use vlsm_train::{Recipe, Study};

use super::shared::make_folder;
use super::shortcuts::{Shortcuts, check_prompts, default_folder, toml_string};

/// The file in the study's folder that repeats it.
const FILE: &str = "study.toml";

/// The options for a study without a file.
#[derive(clap::Args)]
pub(super) struct FolderStudy {
    #[command(flatten)]
    shortcuts: Shortcuts,
    #[arg(long, value_name = "KINDS", value_delimiter = ',', requires = "data",
          help = format!("The methods to compare, separated by commas: {} [default: dense,decoder]", MethodConfig::KINDS.join(", ")))]
    methods: Vec<String>,
    /// The seeds to run each method with, separated by commas [default: 42].
    #[arg(long, value_name = "SEEDS", value_delimiter = ',', requires = "data")]
    seeds: Vec<u64>,
}

impl FolderStudy {
    /// Refuses the options along with a study file, which has its own values.
    pub(super) fn expect_unused(&self) -> Result<()> {
        match self.shortcuts.first_set() {
            Some(option) => bail!(
                "{option} is for a study without a file; set the file's value with --set, such as --set recipe.trainer.epochs=5"
            ),
            None => Ok(()),
        }
    }

    /// The study of the folder, and the text of the file that repeats it. `overrides` are those of
    /// [`Study::read`].
    pub(super) fn study(
        &self,
        out: Option<&Path>,
        overrides: &[String],
    ) -> Result<(Study, String)> {
        let name = plain(&self.shortcuts.data_name("a study file")?);
        let out = match out {
            Some(out) => out.to_owned(),
            None => default_folder(format!("{name}-study")),
        };
        let text = self.text(&name, &out)?;
        let study = Study::parse(&text, &name, overrides).map_err(anyhow::Error::msg)?;
        for cell in study.cells.iter().take(1) {
            check_prompts(&cell.recipe.data.config)?;
        }
        Ok((study, text))
    }

    /// The study file.
    fn text(&self, name: &str, out: &Path) -> Result<String> {
        // The recipe gives every key its section, and paths that mean the same in any folder.
        let recipe =
            Recipe::parse("", &self.shortcuts.settings(true)).map_err(anyhow::Error::msg)?;
        let data = &recipe.data.config;
        let root = match data.builtin() {
            Some(_) => data.root.clone(),
            None => std::path::absolute(&data.root)?,
        };
        let mut base = PathBuf::from(&recipe.model.base);
        if base.exists() {
            base = std::path::absolute(base)?;
        }
        let text = |path: &Path| match path.to_str() {
            Some(path) => Ok(toml_string(path)),
            None => bail!(
                "`{}` is not Unicode and cannot be written into a study; rename it",
                path.display()
            ),
        };
        let model = base
            .file_name()
            .unwrap_or("base".as_ref())
            .to_string_lossy();
        let model = plain(model.strip_prefix("builtin:").unwrap_or(&model));
        let seeds = match self.seeds.is_empty() {
            true => vec![recipe.trainer.seed],
            false => self.seeds.clone(),
        };
        let mut file = format!(
            "out = {}\nseeds = {seeds:?}\n\n[recipe.trainer]\nepochs = {}\n\n[[model]]\nname = \"{model}\"\nmodel.base = {}\n",
            text(out)?,
            recipe.trainer.epochs,
            text(&base)?
        );
        let kinds: Vec<&str> = match self.methods.is_empty() {
            true => vec!["dense", "decoder"],
            false => self.methods.iter().map(|kind| kind.trim()).collect(),
        };
        for kind in kinds {
            let kind = toml_string(kind);
            file += &format!("\n[[method]]\nname = {kind}\nmethod.kind = {kind}\n");
        }
        file += &format!(
            "\n[[data]]\nname = \"{name}\"\ndata.root = {}\n",
            text(&root)?
        );
        if let Some(class) = &data.class {
            file += &format!("data.class = {}\n", toml_string(class));
        }
        Ok(file)
    }
}

/// Writes the file that repeats a study into its folder.
pub(super) fn write_file(study: &Study, text: &str, overrides: &[String]) -> Result<()> {
    make_folder(&study.out)?;
    let path = study.out.join(FILE);
    let set: String = overrides
        .iter()
        .map(|set| format!(" --set '{set}'"))
        .collect();
    let head = format!(
        "# Repeat or continue this study: vlsm study {}{set}\n",
        path.display()
    );
    Ok(write_atomic_bytes(&path, (head + text).as_bytes())?)
}

/// A name of letters, digits, `_` and `-`, as the entries of a study have.
fn plain(name: &str) -> String {
    let plain = |c: char| match c.is_ascii_alphanumeric() || "_-".contains(c) {
        true => c,
        false => '-',
    };
    name.chars().map(plain).collect()
}
