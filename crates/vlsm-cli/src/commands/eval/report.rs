//! The report of `vlsm eval`.

use std::path::Path;

use anyhow::Result;
use burn::module::Module;
use vlsm::Segmenter;
use vlsm_data::{Dataset, Sample, Split};
use vlsm_models::SegmentationModel;
use vlsm_train::report::{oracle, pick_cases, predict_cases, title};
use vlsm_train::{Evaluation, Recipe, Report, ReportRun, SemanticMetrics, peak_memory};

/// What was evaluated.
pub(super) struct Evaluated<'a> {
    pub(super) recipe: &'a Recipe,
    pub(super) dataset: &'a Dataset,
    pub(super) split: Split,
    pub(super) samples: &'a [Sample],
    pub(super) segmenter: &'a Segmenter,
    pub(super) adapter: Option<&'a Path>,
    /// How long the evaluation took.
    pub(super) seconds: f64,
}

impl Evaluated<'_> {
    /// Writes the report.
    pub(super) fn write_report(&self, evaluation: Evaluation, file: &Path) -> Result<()> {
        let model = self.segmenter.model();
        let method = model.method().label();
        let set = evaluation.rows.first().map_or("", |row| row.set.as_str());
        let (set, metrics) = (set.to_owned(), evaluation.for_prompt_set(set));
        let run = ReportRun {
            name: method.clone(),
            trained: model.trained_parameters(),
            total: model.num_params(),
            peak_memory: peak_memory(),
            rows: evaluation.rows,
            pictures: evaluation.pictures,
            ..ReportRun::default()
        };
        let mut cases = pick_cases(&run, self.samples, self.dataset.ignore)?;
        predict_cases(
            &mut cases,
            &method,
            model,
            self.segmenter.tokenizer(),
            self.segmenter.preprocessing(),
        )?;
        let root = &self.dataset.root;
        let report = Report {
            title: title(&method, root),
            lead: format!(
                "Dice {:.3} ± {:.3} on {} samples of the {} split under prompt {set}.",
                metrics.dice.mean, metrics.dice.std, metrics.samples, self.split
            ),
            facts: self.facts(&method),
            oracle: oracle(self.samples),
            cases,
            runs: vec![run],
            notes: Vec::new(),
        };
        Ok(report.write(file)?)
    }

    /// Writes the report of an evaluation with `--semantic`.
    pub(super) fn write_semantic_report(
        &self,
        metrics: SemanticMetrics,
        file: &Path,
    ) -> Result<()> {
        let model = self.segmenter.model();
        let method = model.method().label();
        let report = Report {
            title: title(&method, &self.dataset.root),
            lead: format!(
                "mIoU {:.3}, pixel accuracy {:.3} on {} images of the {} split.",
                metrics.miou, metrics.pixel_accuracy, metrics.images, self.split
            ),
            facts: self.facts(&method),
            runs: vec![ReportRun {
                name: method,
                trained: model.trained_parameters(),
                total: model.num_params(),
                peak_memory: peak_memory(),
                semantic: Some(metrics),
                ..ReportRun::default()
            }],
            ..Report::default()
        };
        Ok(report.write(file)?)
    }

    fn facts(&self, method: &str) -> Vec<(String, String)> {
        let size = self.segmenter.preprocessing().image_size;
        let mut facts = vec![
            ("Base", self.recipe.model.base.clone()),
            ("Method", method.to_owned()),
        ];
        if let Some(adapter) = self.adapter {
            facts.push(("Adapter", adapter.display().to_string()));
        }
        facts.extend([
            ("Data set", self.dataset.root.display().to_string()),
            (
                "Split",
                format!("{}, {} samples", self.split, self.samples.len()),
            ),
            ("Input", format!("{size} × {size} pixels")),
            ("Device", self.recipe.trainer.device.clone()),
            ("Evaluation", format!("{:.1} s", self.seconds)),
        ]);
        let owned = |(name, value): (&str, String)| (name.to_owned(), value);
        facts.into_iter().map(owned).collect()
    }
}
