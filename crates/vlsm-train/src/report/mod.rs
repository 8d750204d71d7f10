//! The report of one or several runs: one HTML file that contains its pictures and charts and needs no network. Its gallery
//! of all cases needs the page's script, everything else does not.
//!
//! The caller fills a [`Report`]. [`pick_cases`] and [`predict_cases`] make the pictures,
//! [`Curves::read`] reads a run's `metrics.jsonl`, and [`recipe_facts`] describes a recipe.
//!
//! ```no_run
//! # use vlsm_data::Sample;
//! # use vlsm_models::{Preprocessing, SegmentationModel, Tokenizer};
//! # use vlsm_train::report::{self, Curves, Report, ReportRun};
//! # use vlsm_train::{Evaluation, Result, RunFolder};
//! # fn page<M: SegmentationModel>(
//! #     model: &M, tokenizer: &Tokenizer, preprocessing: &Preprocessing,
//! #     samples: &[Sample], evaluation: Evaluation, folder: &RunFolder,
//! # ) -> Result<()> {
//! let run = ReportRun {
//!     name: "dense".into(),
//!     curves: Some(Curves::read(&folder.metrics())?),
//!     rows: evaluation.rows,
//!     pictures: evaluation.pictures,
//!     ..ReportRun::default()
//! };
//! let mut cases = report::pick_cases(&run, samples, None)?;
//! report::predict_cases(&mut cases, &run.name, model, tokenizer, preprocessing)?;
//! let report = Report {
//!     title: "Dense adapters on polyps".into(),
//!     runs: vec![run],
//!     cases,
//!     oracle: report::oracle(samples),
//!     ..Report::default()
//! };
//! report.write(&folder.report())
//! # }
//! ```

mod cases;
mod chart;
mod curves;
mod facts;
mod gallery;
mod guide;
mod labels;
mod page;
mod pictures;
mod prompts;
mod sections;
mod subjects;
mod system;

use std::collections::BTreeMap;
use std::path::Path;

use vlsm_data::Sample;
use vlsm_image::write_atomic_bytes;

use crate::error::Result;
use crate::evaluate::SemanticMetrics;
use crate::evaluate::{CasePictures, SampleScores};

pub use cases::{Case, CaseKind, CasePrediction, pick_cases, predict_cases};
pub use curves::Curves;
pub use facts::{recipe_facts, title};
pub(crate) use page::shell;
pub(crate) use sections::section;
pub use system::{SystemCase, SystemReport};

/// The content of a report. Empty parts are left out.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The heading.
    pub title: String,
    /// One sentence below it.
    pub lead: String,
    /// What was run: names and values.
    pub facts: Vec<(String, String)>,
    /// One run, or several to be compared.
    pub runs: Vec<ReportRun>,
    /// Samples with their pictures.
    pub cases: Vec<Case>,
    /// The parts of the prompts that were read from the true masks, by prompt name; see [`oracle`].
    pub oracle: Option<BTreeMap<String, Vec<String>>>,
    /// Further notes, a paragraph each.
    pub notes: Vec<String>,
}

/// A run in a report.
#[derive(Debug, Clone, Default)]
pub struct ReportRun {
    /// A short name, unique in the report: `dense`, `zero-shot`.
    pub name: String,
    /// Number of trained parameters.
    pub trained: usize,
    /// Number of all parameters.
    pub total: usize,
    /// Seconds of the training, validation included.
    pub seconds: Option<f64>,
    /// Peak resident memory, in bytes.
    pub peak_memory: Option<u64>,
    /// The curves of the training.
    pub curves: Option<Curves>,
    /// The scores of every sample under every prompt set, in the order of an evaluation. The headline
    /// numbers are those of the first set.
    pub rows: Vec<SampleScores>,
    /// The pictures of every sample, in the order of the first prompt set's rows; empty if none were made.
    pub pictures: Vec<CasePictures>,
    /// Metrics of whole-image labels.
    pub semantic: Option<SemanticMetrics>,
}

impl Report {
    /// The report as an HTML page that needs no other file.
    ///
    /// # Errors
    /// If a chart cannot be drawn or a picture cannot be encoded.
    pub fn html(&self) -> Result<String> {
        Ok(page::page(self)?.into_string())
    }

    /// Writes the page, whole or not at all.
    ///
    /// # Errors
    /// As [`html`](Self::html), or if the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        Ok(write_atomic_bytes(path, self.html()?.as_bytes())?)
    }
}

impl ReportRun {
    /// The prompt sets, in the order of the rows.
    fn sets(&self) -> Vec<&str> {
        let mut sets: Vec<&str> = Vec::new();
        for row in &self.rows {
            // All sets of a sample precede those of the next.
            if sets.contains(&row.set.as_str()) {
                break;
            }
            sets.push(&row.set);
        }
        sets
    }

    /// The rows of a prompt set.
    fn of_set(&self, set: &str) -> impl Iterator<Item = &SampleScores> + Clone {
        self.rows.iter().filter(move |row| row.set == set)
    }

    /// The rows of the first prompt set.
    fn headline(&self) -> impl Iterator<Item = &SampleScores> + Clone {
        self.of_set(self.rows.first().map_or("", |row| row.set.as_str()))
    }
}

/// For each prompt name, the parts that were read from the true mask in some sample; `None` if no
/// sample states any.
pub fn oracle(samples: &[Sample]) -> Option<BTreeMap<String, Vec<String>>> {
    let mut all: Option<BTreeMap<String, Vec<String>>> = None;
    for (name, parts) in samples.iter().flat_map(|sample| &sample.oracle).flatten() {
        let known = all.get_or_insert_default().entry(name.clone()).or_default();
        for part in parts {
            if !known.contains(part) {
                known.push(part.clone());
            }
        }
    }
    all.or_else(|| {
        let says = |sample: &Sample| sample.oracle.is_some();
        samples.iter().any(says).then(BTreeMap::new)
    })
}

#[cfg(test)]
mod tests;
