//! Studies of trainings on segments: data sets, variants of a recipe, and seeds.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::config::{entries, expect_seeds, set};
use super::file::{Parsed, read_file};
use super::plan::{Plan, Planned, plan};
use super::run::complete;
use super::{Entry, Failure};
use crate::claim::Claim;
use crate::error::{Result, TrainError};
use crate::observer::Observer;
use crate::recipe::{merge, unknown};
use crate::run_folder::RunFolder;
use crate::segments::{SegmentRecipe, SegmentSummary, train_claimed};

/// The keys of the file.
const KEYS: [&str; 6] = ["kind", "out", "seeds", "recipe", "method", "data"];
/// The value of `kind`.
const KIND: &str = "segments";

/// A study of trainings on segments.
#[derive(Debug, Clone)]
pub struct SegmentStudy {
    /// Its file's name.
    pub name: String,
    /// Where runs and tables go.
    pub out: PathBuf,
    /// The data sets.
    pub data: Vec<Entry>,
    /// The variants of the recipe.
    pub methods: Vec<Entry>,
    /// The seeds.
    pub seeds: Vec<u64>,
    /// The runs, in the order in which they are trained.
    pub cells: Vec<SegmentCell>,
}

/// One run of a study on segments.
#[derive(Debug, Clone)]
pub struct SegmentCell {
    /// The data set's name.
    pub data: String,
    /// The variant's name.
    pub method: String,
    /// The run's recipe, seed included.
    pub recipe: SegmentRecipe,
    /// Its folder.
    pub folder: RunFolder,
}

/// The file. Entries stay tables, since they hold keys of a recipe.
#[derive(Deserialize)]
struct File {
    out: Option<PathBuf>,
    seeds: Vec<u64>,
    #[serde(default)]
    recipe: Table,
    #[serde(default)]
    method: Vec<Table>,
    #[serde(default)]
    data: Vec<Table>,
}

impl SegmentStudy {
    /// Reads a study, and applies overrides as [`Study::read`](super::Study::read) does. `None` if the file does not say
    /// `kind = "segments"`: it is a study of other recipes then.
    ///
    /// # Errors
    /// If the file cannot be read or is not such a study. The error names the entry and the key.
    pub fn read(path: &Path, overrides: &[String]) -> Result<Option<Self>> {
        read_file(path, |text, name| Self::parse(text, name, overrides))
    }

    /// Parses a study with the given name like [`read`](Self::read).
    ///
    /// # Errors
    /// A message that names the key.
    pub fn parse(text: &str, name: &str, overrides: &[String]) -> Parsed<Option<Self>> {
        let mut table: Table = text
            .parse()
            .map_err(|error: toml::de::Error| error.to_string())?;
        match table.get("kind").and_then(Value::as_str) {
            Some(KIND) => {}
            Some(other) => return Err(format!("`kind` is \"{other}\"; only \"{KIND}\" is known")),
            None => return Ok(None),
        }
        for text in overrides {
            set(&mut table, text)?;
        }
        if let Some(key) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(unknown(key, &KEYS));
        }
        let file: File = serde_path_to_error::deserialize(Value::Table(table))
            .map_err(|error| format!("`{}`: {}", error.path(), error.inner().message()))?;
        expect_seeds(&file.seeds)?;
        let (data, methods) = (
            entries("data", &file.data)?,
            entries("method", &file.method)?,
        );
        let out = file.out.clone();
        let out = out.unwrap_or_else(|| PathBuf::from("runs").join(name));
        let mut cells = Vec::new();
        for (data, data_keys) in &data {
            for (method, method_keys) in &methods {
                let mut keys = file.recipe.clone();
                // The data set's keys override all others, as in other studies.
                merge(&mut keys, method_keys.clone());
                merge(&mut keys, data_keys.clone());
                let (data, method) = (&data.name, &method.name);
                let in_cell = |message: String| format!("{data}/{method}: {message}");
                if keys.contains_key("seed") {
                    return Err(in_cell(
                        "`seed` is set by the study's `seeds`; remove it".into(),
                    ));
                }
                let recipe = SegmentRecipe::from_table(keys).map_err(in_cell)?;
                cells.extend(file.seeds.iter().map(|seed| {
                    let path = out.join("runs").join(data).join(method);
                    SegmentCell {
                        data: data.clone(),
                        method: method.clone(),
                        recipe: SegmentRecipe {
                            seed: *seed,
                            ..recipe.clone()
                        },
                        folder: RunFolder {
                            path: path.join(format!("seed{seed}")),
                        },
                    }
                }));
            }
        }
        let names = |entries: Vec<(Entry, Table)>| entries.into_iter().map(|(entry, _)| entry);
        Ok(Some(Self {
            name: name.to_owned(),
            out,
            data: names(data).collect(),
            methods: names(methods).collect(),
            seeds: file.seeds,
            cells,
        }))
    }

    /// The state of every cell.
    ///
    /// # Errors
    /// If files cannot be read, or folders of cells hold runs of other recipes. The error names all such cells with the keys.
    pub fn plan(&self) -> Result<Plan<'_, SegmentCell>> {
        plan(&self.out, &self.cells)
    }

    /// Completes every cell that is not done, as [`Study::run`](super::Study::run) does.
    ///
    /// # Errors
    /// As [`plan`](Self::plan), before anything is run, or if the observer stops a training.
    pub fn run(&self, observer: &mut dyn Observer) -> Result<Vec<Failure>> {
        complete(&self.out, &self.cells, observer)
    }
}

impl SegmentCell {
    /// The cell's name, such as `camvid/both/seed41`.
    pub fn label(&self) -> String {
        format!("{}/{}/seed{}", self.data, self.method, self.recipe.seed)
    }

    /// The run's summary.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn summary(&self) -> Result<SegmentSummary> {
        Ok(vlsm_image::read_json(&self.folder.summary())?)
    }
}

impl Planned for SegmentCell {
    fn label(&self) -> String {
        Self::label(self)
    }

    fn folder(&self) -> &RunFolder {
        &self.folder
    }

    fn changes_since(&self, recipe: &Path) -> Result<Vec<String>> {
        let wanted = self.recipe.with_absolute_paths();
        wanted.changes_since(&SegmentRecipe::read(recipe, &[])?)
    }

    fn result(&self) -> PathBuf {
        self.folder.summary()
    }

    fn trains(&self) -> bool {
        true
    }

    fn seconds(&self) -> Option<f64> {
        // An edited file can hold any number.
        let seconds = self.summary().ok()?.seconds;
        (seconds >= 0.0).then_some(seconds)
    }

    /// A cell that differs in the seed alone takes as long.
    fn is_like(&self, other: &Self) -> bool {
        (&self.data, &self.method) == (&other.data, &other.method)
    }

    fn complete(&self, claim: &Claim, observer: &mut dyn Observer) -> Result<()> {
        let summary = train_claimed(self.recipe.with_absolute_paths(), claim, observer)?;
        match summary.stages.iter().all(|stage| stage.test.is_some()) {
            true => Ok(()),
            false => Err(TrainError::Study {
                path: self.folder.path.clone(),
                message: "the data set has no test split; a study reports results on test segments"
                    .into(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::plan::State;

    const STUDY: &str = r#"
        kind = "segments"
        seeds = [1, 2]
        [recipe]
        base = "builtin:tiny"
        stage2.margin = 0.5
        stage1.method = { kind = "vpt", tokens = 2 }
        [[method]]
        name = "both"
        [[method]]
        name = "lora"
        title = "LoRA"
        stage1.method = { kind = "lora", bottleneck = 2 }
        stage2.epochs = 0
        [[data]]
        name = "streets"
        data.root = "streets"
        novel = ["sign"]
    "#;

    #[test]
    fn a_method_changes_the_recipe_that_all_share() {
        let set = ["data.streets.novel=[\"car\"]", "recipe.stage2.triplet=2"].map(str::to_owned);
        let study = SegmentStudy::parse(STUDY, "x", &set).unwrap().unwrap();
        let labels: Vec<String> = study.cells.iter().map(SegmentCell::label).collect();
        let expected = [
            "streets/both/seed1",
            "streets/both/seed2",
            "streets/lora/seed1",
            "streets/lora/seed2",
        ];
        assert_eq!(labels, expected);
        let recipe = &study.cells[3].recipe;
        assert_eq!((recipe.seed, recipe.stage1.method.kind()), (2, "lora"));
        assert_eq!(recipe.stage2.epochs, 0);
        assert_eq!((recipe.stage2.margin, recipe.stage2.triplet), (0.5, 2.0));
        assert_eq!(recipe.novel, ["car"]);
        assert_eq!(study.cells[0].recipe.stage1.method.kind(), "vpt");
        let other = STUDY.replace("kind = \"segments\"\n", "");
        assert!(SegmentStudy::parse(&other, "x", &[]).unwrap().is_none());
    }

    #[test]
    fn a_cell_of_another_process_is_left_to_it() {
        let out = tempfile::tempdir().unwrap();
        let out = format!("out={:?}", out.path());
        let study = SegmentStudy::parse(STUDY, "x", &[out]).unwrap().unwrap();
        let claim = Claim::take(&study.cells[1].folder).unwrap().unwrap();
        assert_eq!(study.plan().unwrap().count(&State::Running), 1);
        // The others fail, since there is no data set.
        let failures = study.run(&mut ()).unwrap();
        let failed: Vec<&str> = failures.iter().map(|failure| &*failure.cell).collect();
        let expected = [
            "streets/both/seed1",
            "streets/lora/seed1",
            "streets/lora/seed2",
        ];
        assert_eq!(failed, expected);
        drop(claim);
        assert_eq!(study.plan().unwrap().count(&State::Open), 4);
    }

    #[test]
    fn wrong_studies_name_the_key() {
        for (old, new, fault) in [
            ("\"segments\"", "\"masks\"", "kind"),
            ("seeds = [1, 2]", "seeds = []", "seeds"),
            ("seeds = [1, 2]", "seeds = [1, 1]", "seeds"),
            ("seeds = [1, 2]", "seeds = [1]\nprompts = []", "prompts"),
            ("margin = 0.5", "marginn = 0.5", "marginn"),
            ("title = \"LoRA\"", "seed = 3", "seed"),
            ("name = \"lora\"", "name = \"both\"", "taken"),
            ("data.root = \"streets\"", "", "data.root"),
        ] {
            let error = SegmentStudy::parse(&STUDY.replace(old, new), "x", &[]).unwrap_err();
            assert!(error.contains(fault), "{new}: {error}");
        }
    }
}
