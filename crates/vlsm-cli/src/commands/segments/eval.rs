//! `vlsm segments eval`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use vlsm_data::{Dataset, Sample, Split};
use vlsm_image::write_atomic_bytes;
use vlsm_models::AdapterFile;
use vlsm_train::segments::{
    Named, SegmentClasses, SegmentEvaluation, SegmentScores, evaluate_segments,
};

use super::whole::{Whole, WholeOptions};
use super::{ModelOptions, percent};
use crate::commands::shared::{adapter_file, data_recipe, make_parent, report_findings, to_json};
use crate::output::{advance, notice, print, progress_bar, table, thousands};

/// Pairs of confused classes that are printed.
const PAIRS: usize = 5;

/// Evaluate how well a CLIP names the segments of a data set.
///
/// A segment is a class in an image of a data set with class ids (format `classes`), cut out by its
/// ground-truth mask. It gets the most similar of all class names. F1 is averaged over classes,
/// weighted by their segments.
///
/// With --proposals, whole images are labelled: a segmenter finds parts, the CLIP names them, and the
/// IoU of the labels is printed for the segmenter alone and with the CLIP, with means over all, base
/// and novel classes (mIoU, computed as `vlsm eval --semantic` does).
#[derive(clap::Args)]
#[command(after_help = "Examples:
  vlsm segments eval --base openai/clip-vit-base-patch16 --data camvid
  vlsm segments eval --base openai/clip-vit-base-patch16 --data camvid \\
      --novel Fence --novel Bicyclist --templates vild --csv names.csv
  vlsm segments eval --base openai/clip-vit-base-patch16 --data camvid \\
      --adapter runs/opendas --proposals-adapter runs/camvid_dense \\
      --novel Fence --novel Bicyclist")]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    whole: WholeOptions,
    /// The data set's folder.
    #[arg(long, value_name = "ROOT")]
    data: PathBuf,
    /// The split: train, val or test.
    #[arg(long, default_value = "test")]
    split: Split,
    /// A class that counts as novel; can be given several times. The others are base classes.
    #[arg(long, value_name = "CLASS")]
    novel: Vec<String>,
    /// Number of segments per pass.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    batch_size: u16,
    /// Print one JSON object instead of tables.
    #[arg(long)]
    json: bool,
    /// Write the name of every segment to this CSV file.
    #[arg(long, value_name = "FILE", conflicts_with = "segmenter")]
    csv: Option<PathBuf>,
    /// Set a key of the recipe's `data` section, such as data.format=classes; can be given several
    /// times.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        // The section has no key of the base, but a recipe must name one.
        let mut recipe = data_recipe("builtin:tiny", &self.data, &self.set)?;
        let window = &mut recipe.data.config.window;
        if let (None, Some(path)) = (&window, self.whole.adapter()) {
            // 16-bit images as those that the segmenter was trained on.
            *window = AdapterFile::read(&adapter_file(path)?)?.window;
        }
        let dataset = vlsm_synth::open(&recipe.data.config)?;
        let classes = SegmentClasses::new(&dataset, &self.novel)?;
        report_findings(&dataset)?;
        if self.whole.are_given() {
            let whole = Whole {
                options: &self.whole,
                loaded: &self.model.load()?,
                device: &self.model.device,
                batch: self.batch_size.into(),
            };
            let limit = recipe.data.eval_limit;
            return whole.evaluate(&dataset, self.split, limit, &classes, self.json);
        }
        let samples = recipe.data.limited(dataset.require(self.split)?);
        if let Some(path) = &self.csv {
            make_parent(path)?;
        }
        let loaded = self.model.load()?;
        let config = SegmentEvaluation {
            tokenizer: &loaded.base.tokenizer,
            preprocessing: &loaded.base.preprocessing,
            dataset: &dataset,
            classes: &classes,
            templates: &loaded.templates(),
            batch: self.batch_size.into(),
        };
        let bar = progress_bar("naming", samples.len());
        let (named, scores) = evaluate_segments(&loaded.model, samples, &config, advance(&bar))?;
        drop(bar);
        if let Some(path) = &self.csv {
            write_csv(path, &dataset, samples, &named, &classes)?;
        }
        print(&match self.json {
            true => to_json(&scores)?,
            false => report(&scores, PAIRS),
        })?;
        let without = scores.classes.iter().filter(|class| class.segments == 0);
        for class in without {
            notice(&format!(
                "note: `{}` has no segment in the {} split; it is a query, but has no F1",
                class.name, self.split
            ));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The scores as tables.
pub(super) fn report(scores: &SegmentScores, pairs: usize) -> String {
    let rows: Vec<Vec<String>> = scores
        .classes
        .iter()
        .map(|class| {
            vec![
                class.name.clone(),
                if class.novel { "novel" } else { "base" }.into(),
                thousands(class.segments),
                thousands(class.named),
                percent(Some(class.precision)),
                percent(class.recall),
                percent(class.f1),
            ]
        })
        .collect();
    let header = [
        "class",
        "kind",
        "segments",
        "named",
        "precision",
        "recall",
        "F1",
    ];
    let mut text = table(&header, &rows);
    text += &format!(
        "accuracy {}, weighted F1 {}, base F1 {}, novel F1 {}, mean F1 {} (%) on {} segments\n",
        percent(Some(scores.accuracy)),
        percent(Some(scores.weighted_f1)),
        percent(scores.base_f1),
        percent(scores.novel_f1),
        percent(Some(scores.mean_f1)),
        thousands(scores.segments),
    );
    let confused: Vec<Vec<String>> = scores
        .confusions
        .iter()
        .take(pairs)
        .map(|pair| {
            let share = pair.segments as f64 / pair.of as f64;
            vec![
                pair.truth.clone(),
                pair.named.clone(),
                format!("{} of {}", pair.segments, pair.of),
                percent(Some(share)),
            ]
        })
        .collect();
    if !confused.is_empty() {
        text.push('\n');
        text += &table(&["most confused", "named", "segments", "%"], &confused);
    }
    text
}

fn write_csv(
    path: &Path,
    dataset: &Dataset,
    samples: &[Sample],
    named: &[Named],
    classes: &SegmentClasses,
) -> Result<()> {
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(["segment", "class", "named", "probability"])?;
    for (sample, named) in samples.iter().zip(named) {
        table.write_record([
            &sample.name,
            dataset.class_of(sample).unwrap_or_default(),
            &classes.names()[named.class],
            &named.probability.to_string(),
        ])?;
    }
    let bytes = table.into_inner().context("cannot finish the CSV table")?;
    Ok(write_atomic_bytes(path, &bytes)?)
}
