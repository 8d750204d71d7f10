//! `vlsm train`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use vlsm_data::FindingKind;
use vlsm_models::MethodConfig;
use vlsm_train::evaluate::MeanStd;
use vlsm_train::{Existing, RunFolder};
use vlsm_train::{Metrics, Recipe, RunSummary};

use super::shared::to_json;
use super::shortcuts::{Shortcuts, check_prompts, default_folder, toml_string};
use crate::output::{key_value_table, note, print, thousands};
use crate::stop;
use crate::terminal::Terminal;

/// Fine-tune a base on a data set: a folder of images and masks, or what a recipe describes.
///
/// With --data and --class, no file is needed: prompts are made from the masks in memory, and the
/// images are split into training, validation and test. With a recipe, these options override it.
///
/// Everything is written to the run's folder: the recipe with all defaults filled in,
/// `metrics.jsonl` (one line per step and per epoch), `adapter.safetensors` (the best epoch),
/// `adapter_last.safetensors`, `checkpoint/`, `summary.json` and `report.html`.
#[derive(clap::Args)]
#[command(override_usage = "vlsm train --data DIR --class WORD [OPTIONS]
       vlsm train RECIPE [OPTIONS]")]
#[command(after_help = "Examples:
  vlsm train --data scans --class polyp
  vlsm train --data scans --class polyp --base builtin:tiny \\
      --method shallow --epochs 20 -o runs/quick
  vlsm train recipes/clipseg_dense_vlc.toml
  vlsm train recipes/clipseg_dense_vlc.toml --set optim.lr=3e-4 \\
      --set trainer.seed=41 --output runs/seed41
  vlsm train recipes/clipseg_dense_vlc.toml --resume")]
pub(crate) struct Args {
    /// The recipe, a TOML file, or the folder of a run, whose recipe is then used.
    recipe: Option<PathBuf>,
    #[command(flatten)]
    shortcuts: Shortcuts,
    #[arg(long, value_name = "KIND",
          help = format!("What is trained: {} (method.kind) [default: dense]", MethodConfig::KINDS.join(", ")))]
    method: Option<String>,
    /// Set a key of the recipe, such as optim.lr=3e-4; can be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Accept a finding about masks or images by its name, such as inverted; can be given several
    /// times.
    #[arg(long, value_name = "NAME")]
    accept: Vec<FindingKind>,
    /// The run's folder [default: runs/ and the name of the recipe or of the data's folder].
    #[arg(short = 'o', long = "output", alias = "out", value_name = "RUN")]
    out: Option<PathBuf>,
    /// Print the summary as one JSON object instead of text.
    #[arg(long)]
    json: bool,
    /// Continue a run that was interrupted, or that should get more epochs or steps.
    #[arg(long)]
    resume: bool,
    /// Start over in a folder that holds a run; the run's files are deleted.
    #[arg(long, conflicts_with = "resume")]
    force: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let (mut recipe, out) = self.recipe()?;
        recipe.data.config.accept.extend(self.accept);
        check_prompts(&recipe.data.config)?;
        let existing = match self.force {
            true => Existing::Replace,
            false => self.resume.into(),
        };
        let train = || vlsm_train::train(&recipe, &out, existing, &mut Terminal::new());
        let summary = match stop::stoppable(Some("--resume"), train)? {
            Ok(summary) => summary,
            Err(code) => return Ok(code),
        };
        let folder = RunFolder { path: out };
        print(&match self.json {
            true => json(&summary, &folder)?,
            false => report(&summary, &folder),
        })?;
        if let Some(warning) = summary.test.as_ref().and_then(Metrics::few) {
            note(&format!("warning: {warning}"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Args {
    /// The recipe with all options applied, and the run's folder.
    fn recipe(&self) -> Result<(Recipe, PathBuf)> {
        let mut settings = self.shortcuts.settings(self.recipe.is_none());
        let method = self.method.iter();
        settings.extend(method.map(|kind| format!("method.kind={}", toml_string(kind))));
        settings.extend(self.set.iter().cloned());
        let (recipe, out) = match &self.recipe {
            None => {
                let recipe = Recipe::parse("", &settings).map_err(anyhow::Error::msg);
                let name = self.shortcuts.data_name("a recipe")?;
                (recipe?, default_folder(name))
            }
            Some(path) if path.is_dir() => {
                let file = RunFolder { path: path.clone() }.recipe();
                if !file.is_file() {
                    bail!(
                        "`{0}` is a folder, but not that of a run; to train on its images, write --data {0} --class WORD",
                        path.display()
                    );
                }
                (Recipe::read(&file, &settings)?, path.clone())
            }
            Some(path) => {
                let name = path.file_stem().unwrap_or("run".as_ref());
                (Recipe::read(path, &settings)?, default_folder(name))
            }
        };
        Ok((recipe, self.out.clone().unwrap_or(out)))
    }
}

/// The summary as JSON, with the paths of the run's files.
fn json(summary: &RunSummary, folder: &RunFolder) -> Result<String> {
    let path = |path: &Path| path.display().to_string();
    let mut json = serde_json::to_value(summary)?;
    json["run"] = path(&folder.path).into();
    json["adapter"] = path(&folder.adapter()).into();
    json["report"] = summary.report.as_deref().map(path).into();
    to_json(&json)
}

fn report(summary: &RunSummary, folder: &RunFolder) -> String {
    let mut rows = Vec::new();
    if let Some(test) = &summary.test {
        let prompt = summary.test_prompt.as_deref().unwrap_or("-");
        let mark = test.oracle.mark();
        let of = format!("{} samples, prompt {prompt}{mark}", test.samples);
        rows.push(("test Dice", format!("{} ({of})", value(&test.dice, 4))));
        rows.push(("test IoU", value(&test.iou, 4)));
        let empty = match test.one_empty {
            0 => String::new(),
            n => format!(" ({n} with exactly one side empty count the image's diagonal)"),
        };
        let hd95 = format!("{} pixels", value(&test.hd95, 2));
        rows.push(("test HD95", hd95 + &empty));
        let mut label = "Dice under other prompts";
        for (set, metrics) in summary.other_prompts() {
            let mark = metrics.oracle.mark();
            rows.push((label, format!("{} {set}{mark}", value(&metrics.dice, 4))));
            label = "";
        }
    }
    if let Some(labels) = &summary.semantic {
        let of = format!("{} whole images", labels.images);
        rows.push(("test mIoU", format!("{:.4} ({of})", labels.miou)));
    }
    if let Some(dice) = summary.best_val_dice {
        let best = format!("{dice:.4} (epoch {})", summary.best_epoch);
        rows.push(("best validation Dice", best));
    }
    if let Some(threshold) = summary.threshold {
        let dice = format!(
            "{:.2} (validation Dice {:.4}, at 0.5 {:.4}); see `vlsm predict --threshold auto`",
            threshold.value, threshold.val_dice, threshold.val_dice_at_half
        );
        rows.push(("best threshold", dice));
    }
    let steps = format!("{} ({} whole epochs)", summary.steps, summary.epochs);
    rows.push(("steps", steps));
    let (trained, total) = (summary.trainable_parameters, summary.total_parameters);
    let share = 100.0 * trained as f64 / total.max(1) as f64;
    let parameters = format!(
        "{} trained of {} ({share:.2} %)",
        thousands(trained),
        thousands(total)
    );
    rows.push(("parameters", parameters));
    if let Some(seconds) = summary.seconds_per_epoch {
        rows.push(("seconds per epoch", format!("{seconds:.1}")));
    }
    if let Some(rate) = summary.images_per_second {
        rows.push(("training images/s", format!("{rate:.2}")));
    }
    if let Some(bytes) = summary.peak_memory_bytes {
        let peak = format!("{:.2} GB", bytes as f64 / 1e9);
        rows.push(("peak memory", peak));
    }
    let path = |path: PathBuf| path.display().to_string();
    rows.push(("adapter", path(folder.adapter())));
    rows.push(("summary", path(folder.summary())));
    if let Some(report) = &summary.report {
        rows.push(("report", report.display().to_string()));
    }
    let run = folder.path.display();
    rows.push(("use it", format!("vlsm predict {run} IMAGE... -o OUT")));
    key_value_table(&rows)
}

/// Mean ± standard deviation over samples, and the interval of the mean.
fn value(metric: &MeanStd, digits: usize) -> String {
    let spread = format!("{:.digits$} ± {:.digits$}", metric.mean, metric.std);
    match metric.ci95 {
        Some([low, high]) => format!("{spread}, 95 % interval {low:.digits$} to {high:.digits$}"),
        None => spread,
    }
}
