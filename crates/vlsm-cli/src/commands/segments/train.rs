//! `vlsm segments train`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use vlsm_train::RunFolder;
use vlsm_train::segments::{SegmentRecipe, SegmentSummary, train_segments};

use super::percent;
use crate::commands::shared::to_json;
use crate::commands::shortcuts::default_folder;
use crate::output::{print, table, thousands};
use crate::stop;
use crate::terminal::Terminal;

/// Adapt a CLIP to name the segments of a data set, as OpenDAS does: visual prompts first, then text
/// prompts.
///
/// The first stage trains visual prompts by the cross entropy of segments and queries (base classes
/// and negatives). The second freezes them and trains text prompts by the cross entropy and a triplet
/// loss with the hardest negative. Each stage can have another method, such as lora; `epochs = 0`
/// leaves it out. See docs/opendas.md.
///
/// Everything is written to the run's folder: the recipe with all defaults filled in,
/// `metrics.jsonl`, `adapter.safetensors`, `checkpoint/` and `summary.json`, with the scores of the
/// test split before the training and after each stage.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  vlsm segments train recipes/opendas_camvid.toml
  vlsm segments train recipes/opendas_camvid.toml \\
      --set stage2.margin=0.1 -o runs/margin
  vlsm segments train recipes/opendas_camvid.toml --resume
  vlsm segments train recipes/opendas_camvid.toml \\
      --set stage1.method.kind=maple --set stage2.epochs=0 -o runs/maple")]
pub(crate) struct Args {
    /// The recipe, a TOML file, or the folder of a run, whose recipe is then used.
    recipe: PathBuf,
    /// Set a key of the recipe, such as stage2.margin=0.1; can be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The run's folder [default: runs/ and the name of the recipe].
    #[arg(short = 'o', long = "output", alias = "out", value_name = "RUN")]
    out: Option<PathBuf>,
    /// Print the summary as one JSON object instead of text.
    #[arg(long)]
    json: bool,
    /// Continue a run that was interrupted.
    #[arg(long)]
    resume: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let (file, out) = match self.recipe.is_dir() {
            true => {
                let folder = RunFolder {
                    path: self.recipe.clone(),
                };
                if !folder.recipe().is_file() {
                    bail!(
                        "`{}` is a folder, but not that of a run",
                        self.recipe.display()
                    );
                }
                (folder.recipe(), self.recipe.clone())
            }
            false => {
                let name = self.recipe.file_stem().unwrap_or("run".as_ref());
                (self.recipe.clone(), default_folder(name))
            }
        };
        let recipe = SegmentRecipe::read(&file, &self.set)?;
        let out = self.out.unwrap_or(out);
        let train = || train_segments(&recipe, &out, self.resume, &mut Terminal::new());
        let summary = match stop::stoppable(Some("--resume"), train)? {
            Ok(summary) => summary,
            Err(code) => return Ok(code),
        };
        print(&match self.json {
            true => to_json(&summary)?,
            false => report(&summary, &RunFolder { path: out }),
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

fn report(summary: &SegmentSummary, folder: &RunFolder) -> String {
    let rows: Vec<Vec<String>> = summary
        .stages
        .iter()
        .map(|stage| {
            let mut row = vec![stage.trained.clone(), thousands(stage.trained_parameters)];
            let test = stage.test.as_ref();
            row.extend([
                percent(test.map(|test| test.accuracy)),
                percent(test.map(|test| test.weighted_f1)),
                percent(test.and_then(|test| test.base_f1)),
                percent(test.and_then(|test| test.novel_f1)),
            ]);
            row
        })
        .collect();
    let header = ["after", "parameters", "accuracy", "W-F1", "B-F1", "N-F1"];
    let test = summary.stages.first().and_then(|stage| stage.test.as_ref());
    let test = test.map_or(0, |test| test.segments);
    table(&header, &rows)
        + &format!(
            "{} training segments, {} steps in {:.0} s; % of {} test segments\nuse it  vlsm segments predict IMAGE MASK --adapter {} \
             --name NAME --name NAME\n",
            thousands(summary.segments),
            thousands(summary.steps),
            summary.seconds,
            thousands(test),
            folder.path.display()
        )
}
