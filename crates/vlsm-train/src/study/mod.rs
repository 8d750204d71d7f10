//! Studies: a grid of models, methods, data sets, training prompts and seeds from one file, and its tables.
//!
//! A [`Study`] is read from a file and consists of [`Cell`]s, each an ordinary run in its own folder. [`Study::plan`] returns their
//! states, [`Study::run`] completes those that are not done, [`Study::results`] gathers the finished ones, and
//! [`Study::write_results`] writes the tables.
//!
//! [`SegmentStudy`] is the same for recipes of trainings on segments.
//!
//! ```
//! use vlsm_train::Study;
//!
//! # fn main() -> vlsm_train::Result<()> {
//! # let folder = tempfile::tempdir().expect("a folder for the test");
//! # let out = format!("out={:?}", folder.path());
//! let study = r#"
//!     seeds = [1]
//!     [recipe.trainer]
//!     epochs = 1
//!     [recipe.cache]
//!     features = "off"
//!     [[model]]
//!     name = "tiny"
//!     model.base = "builtin:tiny"
//!     [[method]]
//!     name = "zero-shot"
//!     method.kind = "zero-shot"
//!     [[method]]
//!     name = "decoder"
//!     method.kind = "decoder"
//!     [[data]]
//!     name = "endoscopy"
//!     data.root = "builtin:endoscopy"
//!     data.generate = { train = 4, val = 1, test = 2 }
//! "#;
//! let study = Study::parse(study, "example", &[out]).expect("the study is valid");
//! let failures = study.run(&mut ())?;
//! assert!(failures.is_empty());
//! println!("{}", study.write_results()?.text());
//! # Ok(())
//! # }
//! ```

mod axes;
mod config;
mod costs;
mod document;
mod file;
mod folds;
mod html;
mod latex;
mod markdown;
mod paired;
mod plan;
mod results;
mod run;
mod segments;
mod segments_table;
mod table;
mod wilcoxon;

use std::path::PathBuf;

use crate::recipe::Recipe;
use crate::run_folder::RunFolder;

pub use document::{Document, Sheet, SheetCell};
pub use plan::{Plan, State};
pub use results::{Results, ScoredRun};
pub use run::Failure;
pub use segments::{SegmentCell, SegmentStudy};
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
    /// The methods.
    pub methods: Vec<Entry>,
    /// The seeds.
    pub seeds: Vec<u64>,
    /// The runs, in the order in which they are trained.
    pub cells: Vec<Cell>,
}

/// One of the models, methods or data sets of a study.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name in folders and CSV files.
    pub name: String,
    /// The name in tables.
    pub title: String,
}

/// One run of a study.
#[derive(Debug, Clone)]
pub struct Cell {
    /// The data set's name.
    pub data: String,
    /// The model's name.
    pub model: String,
    /// The method's name.
    pub method: String,
    /// The training prompt, as written in a recipe.
    pub prompt: String,
    /// The fold that is tested on, from 1, if the study lists folds.
    pub fold: Option<usize>,
    /// The seed; `None` if nothing is trained.
    pub seed: Option<u64>,
    /// The names of the pooled data sets; empty if there is one data set.
    pub members: Vec<String>,
    /// The run's recipe.
    pub recipe: Recipe,
    /// Its folder.
    pub folder: RunFolder,
}

impl Cell {
    /// The cell's name, such as `kvasir/clipseg/dense/random/seed41`.
    pub fn label(&self) -> String {
        let mut label = [&*self.data, &self.model, &self.method, &self.prompt].join("/");
        if let Some(fold) = self.fold {
            label += &format!("/fold{fold}");
        }
        if let Some(seed) = self.seed {
            label += &format!("/seed{seed}");
        }
        label
    }
}
