//! `vlsm eval`.

mod outputs;
mod report;
mod scores;
mod semantic;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use vlsm::Segmenter;
use vlsm_data::{Dataset, PromptChoice, Sample, Split};
use vlsm_models::{AdapterFile, Precision};
use vlsm_train::RunFolder;
use vlsm_train::evaluate::file_name;
use vlsm_train::{EvalConfig, Evaluation, PromptSet, Recipe, evaluate, write_scores};

use self::report::Evaluated;
use self::scores::{SetResult, json_text, table_text};
use super::shared::{adapter_file, data_recipe, only_data, report_findings, segmenter};
use crate::output::{advance, notice, print, progress_bar};

/// Evaluate a base, with or without an adapter, on a data set.
///
/// Dice, IoU and HD95 are computed per image, at the mask's own size, and averaged. Several prompts
/// in one call cost little more than one, because each image goes through the vision tower once.
///
/// With --semantic, whole images are labelled: each pixel gets the most likely class of a data set
/// with class ids (format `classes`). IoU is computed over the whole data set, per class and as
/// their mean (mIoU).
///
/// With a run, also writes a report to RUN/eval.html, with pictures of every sample under the first
/// prompt; --report names another file. With other data, another base or another
/// adapter than the run's, a report is only written with --report.
#[derive(clap::Args)]
#[command(override_usage = "vlsm eval RUN [OPTIONS]
       vlsm eval --base BASE --data ROOT [OPTIONS]")]
#[command(after_help = "Examples:
  vlsm eval runs/clipseg_dense_vlc
  vlsm eval runs/clipseg_dense_vlc \\
      --prompt-set p1 --prompt-set p6 --prompt \"a polyp\" --csv rows.csv
  vlsm eval --base CIDAS/clipseg-rd64-refined --data data/kvasir_polyp \\
      --prompt-set p1
  vlsm eval --base CIDAS/clipseg-rd64-refined --data data/camvid \\
      --semantic --csv pixels.csv")]
pub(crate) struct Args {
    /// A run's folder. Base, adapter, data, prompts and input size come from it unless given as options.
    #[arg(required_unless_present_all = ["base", "data"])]
    run: Option<PathBuf>,
    /// The base: a folder, or a name on the hub.
    #[arg(long)]
    base: Option<String>,
    /// An adapter file, or a run's folder; without one, and without a run, the base is evaluated as it
    /// is (zero-shot).
    #[arg(long, value_name = "FILE_OR_RUN")]
    adapter: Option<PathBuf>,
    /// The data set's folder.
    #[arg(long, value_name = "ROOT")]
    data: Option<PathBuf>,
    /// The split: train, val or test.
    #[arg(long, default_value = "test")]
    split: Split,
    /// Prompts by their name in the data set (p0, p1, ...); can be given several times [default: those
    /// of the run's validation, else p1].
    #[arg(long, value_name = "NAME", value_parser = prompt_name)]
    prompt_set: Vec<PromptChoice>,
    /// A text for all samples; can be given several times.
    #[arg(long, value_name = "TEXT", value_parser = prompt_text)]
    prompt: Vec<PromptChoice>,
    /// Label whole images and compute mIoU. The prompts are the class names.
    #[arg(long, conflicts_with_all = ["prompt", "prompt_set"])]
    semantic: bool,
    /// Minimum probability for a pixel to get a class; 0 always picks the most likely class
    /// [default: 0 if every id of the data set has a name, else 0.5].
    #[arg(long, value_name = "P", requires = "semantic")]
    background: Option<f32>,
    /// Side of the square input, in pixels [default: that of the run, else of the adapter, else of the base].
    #[arg(long, value_name = "N")]
    image_size: Option<usize>,
    /// Number of images per pass of the vision tower, and of prompts per pass of the decoder
    /// [default: that of the run, else 8].
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Device: cpu, auto, or one that `vlsm devices` lists, such as cuda or cuda:1
    /// [default: that of the run, else cpu].
    #[arg(long)]
    device: Option<String>,
    /// Precision of the towers' linear layers: `f32`, or for CLIPSeg and BiomedCLIPSeg `f16`, `int8` on the CPU and `bf16` on accelerators
    /// [default: that of the run, else f32].
    #[arg(long, value_name = "NAME")]
    precision: Option<Precision>,
    /// Use only the first N samples (images with --semantic).
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    json: bool,
    /// Write the metrics of every sample and prompt to this CSV file; with --semantic, the pixel
    /// counts of every image and class.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write the predicted masks to this folder, as PROMPT/SAMPLE.png at the masks' own size; with
    /// --semantic, the predicted class ids, as IMAGE.png.
    #[arg(long, value_name = "DIR")]
    masks: Option<PathBuf>,
    /// Write the report to this file [default: eval.html in the run's folder; without a run, no
    /// report is written].
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Overwrite existing files of --csv, --report and --masks.
    #[arg(long)]
    force: bool,
    /// Set a key of the recipe's `data` section, such as data.format=folder; can be given several
    /// times.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        self.check_outputs()?;
        let mut recipe = self.recipe()?;
        if self.semantic {
            return self.run_semantic(&recipe);
        }
        let choices = self.choices();
        // A text prompt also replaces prompts that the samples lack.
        let text = choices
            .iter()
            .find(|choice| matches!(choice, PromptChoice::Text(_)));
        if let Some(text) = text {
            recipe.data.config.eval_prompt = Some(text.clone());
        }
        let dataset = vlsm_synth::open(&recipe.data.config)?;
        report_findings(&dataset)?;
        let samples = dataset.require(self.split)?;
        let samples = &samples[..recipe
            .data
            .eval_limit
            .unwrap_or(samples.len())
            .min(samples.len())];
        let sets = prompt_sets(&choices, &recipe, samples)?;
        if self.masks.is_some() {
            check_folders(&sets)?;
        }
        self.make_folders()?;
        let (segmenter, adapter) = self.segmenter(&recipe)?;
        let started = Instant::now();
        let evaluation = self.evaluate(&segmenter, &recipe, &dataset, samples, &sets)?;
        let seconds = started.elapsed().as_secs_f64();
        if let Some(path) = &self.csv {
            write_scores(path, &evaluation.rows)?;
        }
        let results: Vec<SetResult<'_>> = sets
            .iter()
            .map(|set| SetResult::new(&set.name, &evaluation))
            .collect();
        print(&if self.json {
            json_text(
                &evaluation,
                samples.len(),
                segmenter.random_part(),
                &results,
            )?
        } else {
            table_text(&results)
        })?;
        let Some(file) = self.report_file() else {
            return Ok(ExitCode::SUCCESS);
        };
        let evaluated = Evaluated {
            recipe: &recipe,
            dataset: &dataset,
            split: self.split,
            samples,
            segmenter: &segmenter,
            adapter: adapter.as_deref(),
            seconds,
        };
        self.print_report_path(evaluated.write_report(evaluation, &file), &file)?;
        Ok(ExitCode::SUCCESS)
    }

    /// The model to evaluate, and its adapter file.
    fn segmenter(&self, recipe: &Recipe) -> Result<(Segmenter, Option<PathBuf>)> {
        let adapter = match (&self.adapter, &self.run) {
            (Some(path), _) => Some(adapter_file(path)?),
            (None, Some(path)) => Some(run_adapter(path)?),
            (None, None) => None,
        };
        let segmenter = segmenter(
            &recipe.model.base,
            adapter.as_deref(),
            recipe.model.image_size,
            &recipe.trainer.device,
            recipe.model.precision,
        )?;
        segmenter.warn_of_random_part();
        Ok((segmenter, adapter))
    }

    /// The run's recipe, or one made from `--base` and `--data`. The other options override it.
    fn recipe(&self) -> Result<Recipe> {
        only_data(&self.set)?;
        let mut recipe = match &self.run {
            Some(path) => {
                let file = RunFolder { path: path.clone() }.recipe();
                if !file.is_file() {
                    bail!(
                        "`{}` is not a run's folder: it has no recipe.toml; give a folder that \
                         `vlsm train` wrote, or --base and --data",
                        path.display()
                    );
                }
                Recipe::read(&file, &self.set)?
            }
            // clap requires both if there is no run.
            None => data_recipe(
                self.base.as_deref().unwrap_or_default(),
                self.data.as_deref().unwrap_or(Path::new("")),
                &self.set,
            )?,
        };
        if let Some(base) = &self.base {
            recipe.model.base.clone_from(base);
        }
        if let Some(root) = &self.data {
            recipe.data.config.root.clone_from(root);
            recipe.data.config.pool.clear();
        }
        if let Some(device) = &self.device {
            recipe.trainer.device.clone_from(device);
        }
        if let Some(precision) = self.precision {
            recipe.model.precision = precision;
        }
        if let Some(size) = self.batch_size {
            if size == 0 {
                bail!("--batch-size is 0; give at least 1");
            }
            recipe.trainer.eval_batch_size = size;
        }
        if self.limit == Some(0) {
            bail!("--limit is 0; give at least 1");
        }
        recipe.data.eval_limit = self.limit.or(recipe.data.eval_limit);
        recipe.model.image_size = self.image_size.or(recipe.model.image_size);
        let window = &mut recipe.data.config.window;
        if let (None, Some(path)) = (&window, &self.adapter) {
            // 16-bit images as those that the adapter was trained on.
            *window = AdapterFile::read(&adapter_file(path)?)?.window;
        }
        Ok(recipe)
    }

    /// The prompts of `--prompt-set`, then those of `--prompt`, without duplicates.
    fn choices(&self) -> Vec<PromptChoice> {
        let mut choices: Vec<PromptChoice> = Vec::new();
        for choice in self.prompt_set.iter().chain(&self.prompt) {
            if !choices.contains(choice) {
                choices.push(choice.clone());
            }
        }
        choices
    }

    fn evaluate(
        &self,
        segmenter: &Segmenter,
        recipe: &Recipe,
        dataset: &Dataset,
        samples: &[Sample],
        sets: &[PromptSet],
    ) -> Result<Evaluation> {
        let (tokenizer, preprocessing) = (segmenter.tokenizer(), segmenter.preprocessing());
        let config = EvalConfig::new(recipe, dataset, tokenizer, preprocessing)
            .with_masks(self.masks.as_deref());
        let config = match self.report_file() {
            Some(_) => config.with_pictures(),
            None => config,
        };
        let bar = progress_bar("evaluating", samples.len());
        Ok(evaluate(
            segmenter.model(),
            samples,
            sets,
            &config,
            advance(&bar),
        )?)
    }
}

/// A value of `--prompt-set`.
fn prompt_name(text: &str) -> Result<PromptChoice, String> {
    match text.parse() {
        Ok(choice @ PromptChoice::Named(_)) => Ok(choice),
        _ => Err(format!(
            "is not the name of prompts, such as p1; write --prompt \"{text}\" for the text itself"
        )),
    }
}

/// A value of `--prompt`.
fn prompt_text(text: &str) -> Result<PromptChoice, String> {
    match text.parse() {
        Ok(choice @ PromptChoice::Text(_)) => Ok(choice),
        Ok(PromptChoice::Random) => {
            Err("prompts of an evaluation are fixed; write `text:random` for the word".to_owned())
        }
        _ => Err(format!(
            "names prompts of the data set; write --prompt-set {}, or `text:{text}` for the text itself",
            text.trim().to_lowercase()
        )),
    }
}

/// The adapter of a run, which may still be going on or have been stopped.
fn run_adapter(path: &Path) -> Result<PathBuf> {
    let run = RunFolder {
        path: path.to_owned(),
    };
    if !run.summary().is_file() {
        notice(&format!(
            "note: the run `{}` has not ended; its adapter is that of the best epoch so far, and `vlsm train --resume` \
             continues it",
            path.display()
        ));
    }
    adapter_file(path)
}

/// The prompt of every sample for each choice. Without a choice, the recipe's evaluation prompts.
fn prompt_sets(
    choices: &[PromptChoice],
    recipe: &Recipe,
    samples: &[Sample],
) -> Result<Vec<PromptSet>> {
    if choices.is_empty() {
        return Ok(vec![PromptSet::of_recipe(&recipe.data.config, samples)?]);
    }
    let sets = choices.iter().map(|choice| PromptSet::new(choice, samples));
    Ok(sets.collect::<vlsm_train::Result<_>>()?)
}

/// An error if the masks of two prompts would go into the same folder.
fn check_folders(sets: &[PromptSet]) -> Result<()> {
    for (index, set) in sets.iter().enumerate() {
        let folder = file_name(&set.name);
        if let Some(other) = sets[..index]
            .iter()
            .find(|set| file_name(&set.name) == folder)
        {
            bail!(
                "the masks of prompts `{}` and `{}` would both go into the folder `{folder}`; \
                 evaluate them in two calls",
                other.name,
                set.name
            );
        }
    }
    Ok(())
}
