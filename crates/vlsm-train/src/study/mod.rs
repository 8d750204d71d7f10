//! Studies: a grid of models, methods, data sets, training prompts and seeds from one file, and its tables.
//!
//! A [`Study`] is read from a file and stands for [`Cell`]s, each an ordinary run in a folder of its own. [`Study::plan`] says
//! where they stand, [`Study::run`] trains what is open, [`Study::results`] gathers what is done, and
//! [`Study::write_results`] makes the tables of it.
//!
//! ```no_run
//! use vlsm_train::Study;
//!
//! # fn main() -> vlsm_train::Result<()> {
//! let study = Study::read("studies/builtin.toml".as_ref(), &[])?;
//! let failed = study.run(&mut ())?;
//! study.write_results()?;
//! # Ok(())
//! # }
//! ```

mod axes;
mod config;
mod document;
mod html;
mod latex;
mod markdown;
mod paired;
mod plan;
mod results;
mod run;
mod table;
mod wilcoxon;

use std::path::PathBuf;

use crate::recipe::Recipe;
use crate::run_folder::RunFolder;

pub use document::{Document, Sheet, SheetCell};
pub use plan::{Plan, State};
pub use results::{Results, ScoredRun};
pub use run::Failure;
pub use wilcoxon::{Wilcoxon, holm, wilcoxon};

/// A study.
#[derive(Debug, Clone)]
pub struct Study {
    /// Its file's name.
    pub name: String,
    /// Where runs and tables go.
    pub out: PathBuf,
    /// The data sets.
    pub data: Vec<Entry>,
    /// The bases.
    pub models: Vec<Entry>,
    /// What is trained of them.
    pub methods: Vec<Entry>,
    /// The seeds.
    pub seeds: Vec<u64>,
    /// The runs, in the order in which they are taken.
    pub cells: Vec<Cell>,
}

/// One of the models, methods or data sets of a study.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name, as folders and the CSV carry it.
    pub name: String,
    /// The words for it in tables.
    pub title: String,
}

/// One run of a study.
#[derive(Debug, Clone)]
pub struct Cell {
    /// The data set's name.
    pub data: String,
    /// The model's.
    pub model: String,
    /// The method's.
    pub method: String,
    /// The training prompt, as a recipe has it.
    pub prompt: String,
    /// The seed; `None` where nothing is trained.
    pub seed: Option<u64>,
    /// The names of the data sets where several are pooled.
    pub members: Vec<String>,
    /// All that determines the run.
    pub recipe: Recipe,
    /// Its folder.
    pub folder: RunFolder,
}

impl Cell {
    /// `kvasir/clipseg/dense/random/seed41`.
    pub fn label(&self) -> String {
        let mut label = [&*self.data, &self.model, &self.method, &self.prompt].join("/");
        if let Some(seed) = self.seed {
            label += &format!("/seed{seed}");
        }
        label
    }
}
