//! `vlsm eval --semantic`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use vlsm_data::{Dataset, Sample};
use vlsm_image::write_atomic_bytes;
use vlsm_models::predict::uses_vocabulary;
use vlsm_train::{EvalConfig, Recipe, SemanticEvaluation, SemanticMetrics, evaluate_semantic};

use super::Args;
use super::report::Evaluated;
use crate::commands::shared::{report_findings, to_json};
use crate::output::{advance, print, progress_bar, table, thousands};

impl Args {
    /// Evaluates labels of whole images.
    pub(super) fn run_semantic(&self, recipe: &Recipe) -> Result<ExitCode> {
        let dataset = vlsm_synth::open(&recipe.data.config)?;
        report_findings(&dataset)?;
        let mut classes = dataset.class_list()?;
        if let Some(background) = self.background {
            classes = classes.with_background(background)?;
        }
        let images = self.images(recipe, &dataset)?;
        self.make_folders()?;
        let (segmenter, adapter) = self.segmenter(recipe)?;
        let started = Instant::now();
        let (tokenizer, preprocessing) = (segmenter.tokenizer(), segmenter.preprocessing());
        let config = EvalConfig::new(recipe, &dataset, tokenizer, preprocessing)
            .with_masks(self.masks.as_deref());
        let bar = progress_bar("labelling", images.len());
        let evaluation =
            evaluate_semantic(segmenter.model(), images, &classes, &config, advance(&bar))?;
        drop(bar);
        let seconds = started.elapsed().as_secs_f64();
        if let Some(path) = &self.csv {
            write_csv(path, &evaluation)?;
        }
        let metrics = evaluation.metrics();
        let vocabulary = uses_vocabulary(segmenter.model(), &classes);
        print(&if self.json {
            to_json(&Json {
                metrics: &metrics,
                random: segmenter.random_part(),
                vocabulary,
                confusion: evaluation.confusion.rows().collect(),
            })?
        } else {
            report(&metrics, vocabulary)
        })?;
        if let Some(file) = self.report_file() {
            let evaluated = Evaluated {
                recipe,
                dataset: &dataset,
                split: self.split,
                samples: images,
                segmenter: &segmenter,
                adapter: adapter.as_deref(),
                seconds,
            };
            self.print_report_path(evaluated.write_semantic_report(metrics, &file), &file)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The images to evaluate: those that have labels, at most `eval_limit`.
    fn images<'a>(&self, recipe: &Recipe, dataset: &'a Dataset) -> Result<&'a [Sample]> {
        let images = dataset.labelled(self.split);
        if images.is_empty() {
            dataset.require(self.split)?;
            bail!(
                "no image of the {} split has class ids; --semantic needs a data set of format `classes`",
                self.split
            );
        }
        let limit = recipe.data.eval_limit.unwrap_or(images.len());
        Ok(&images[..limit.min(images.len())])
    }
}

fn report(metrics: &SemanticMetrics, vocabulary: bool) -> String {
    let value = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.4}"));
    let mut rows: Vec<Vec<String>> = metrics
        .classes
        .iter()
        .map(|class| {
            vec![
                class.name.clone(),
                class.id.to_string(),
                value(class.iou),
                value(class.accuracy),
                thousands(class.pixels.truth as usize),
            ]
        })
        .collect();
    rows.push(vec![
        "mean".into(),
        String::new(),
        value(Some(metrics.miou)),
        value(Some(metrics.mean_accuracy)),
        thousands(metrics.pixels as usize),
    ]);
    let header = ["class", "id", "IoU", "accuracy", "pixels"];
    let none = if metrics.background > 0.0 {
        let background = metrics.background;
        format!("Pixels where no class reaches a probability of {background} get no class.\n")
    } else {
        String::new()
    };
    let mode = match vocabulary {
        true => "Each mask of the model is given to one of the classes, as SAN does it.\n",
        false => "",
    };
    table(&header, &rows)
        + &format!(
            "mIoU {:.4}, pixel accuracy {:.4}, mean class accuracy {:.4} on {} images.\n\
             IoU and accuracy are computed over the pixels of all images, at the masks' own size, without ignored \
             pixels.\n{none}{mode}",
            metrics.miou, metrics.pixel_accuracy, metrics.mean_accuracy, metrics.images
        )
}

/// What `--json` prints.
#[derive(Serialize)]
struct Json<'a> {
    #[serde(flatten)]
    metrics: &'a SemanticMetrics,
    /// The part of the model that has random weights, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    random: Option<&'static str>,
    /// Whether the labels are those of a SAN's vocabulary, not of a prompt for each class.
    vocabulary: bool,
    /// For each true id, the pixels by predicted id; the last entry counts pixels without a class.
    confusion: Vec<&'a [u64]>,
}

/// Writes one line per image and class that occurs in its labels or its prediction.
fn write_csv(path: &Path, evaluation: &SemanticEvaluation) -> Result<()> {
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(["image", "id", "class", "truth", "predicted", "both", "iou"])?;
    for image in &evaluation.images {
        for (id, pixels) in (0..=u8::MAX).zip(&image.classes) {
            let Some(iou) = pixels.iou() else {
                continue;
            };
            table.write_record([
                &image.sample,
                &id.to_string(),
                evaluation.classes.name(id),
                &pixels.truth.to_string(),
                &pixels.predicted.to_string(),
                &pixels.both.to_string(),
                &iou.to_string(),
            ])?;
        }
    }
    let bytes = table.into_inner().context("cannot finish the CSV table")?;
    Ok(write_atomic_bytes(path, &bytes)?)
}
