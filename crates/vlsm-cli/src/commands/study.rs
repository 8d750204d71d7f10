//! `vlsm study`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;
use vlsm_train::study::{Cell, Document, Failure, Plan, SegmentStudy, State};
use vlsm_train::{Metrics, Study};

use super::folder_study::{FolderStudy, write_file};
use super::segment_study::{self, Task};
use super::shared::to_json;
use super::shortcuts::toml_string;
use crate::output::{note, notice, print};
use crate::stop;
use crate::terminal::Terminal;

/// Run a grid of models, methods, data sets, training prompts and seeds, and write its tables.
///
/// With --data, --class and --methods, no file is needed: methods are compared on a folder of images
/// and masks. The study's folder gets a study.toml that repeats it.
///
/// Every run has its own folder, OUT/runs/DATA/MODEL/METHOD/PROMPT/SEED, with the files that `vlsm
/// train` writes. Start an interrupted study again to resume it: finished runs are kept, and an
/// unfinished run continues. Several processes can work on one study and share its runs. A run that
/// fails does not stop the others.
///
/// At the end, and at any time with --table, OUT gets results.csv (one line per test sample, prompt
/// and run), table.md, table.tex and table.html (scores by data set and method, by prompt, and
/// paired tests), tests.csv, and costs.md, .tex and .html (parameters, time and memory).
///
/// A file with `kind = "segments"` has recipes of `vlsm segments train`. Its runs are in
/// OUT/runs/DATA/METHOD/SEED, and its tables have the F1 of base and novel classes.
#[derive(clap::Args)]
#[command(
    override_usage = "vlsm study --data DIR --class WORD [--methods KINDS] [OPTIONS]
       vlsm study STUDY [OPTIONS]"
)]
#[command(after_help = "A study file:
  seeds = [41, 42, 43]
  prompts = [\"random\"]            # training prompts; default: the recipe's

  [recipe.trainer]                # any section of a recipe; all runs share it
  epochs = 20

  [[model]]                       # each entry: a name and any keys of a recipe
  name = \"clipseg\"
  model.base = \"CIDAS/clipseg-rd64-refined\"

  [[method]]
  name = \"zero-shot\"
  method.kind = \"zero-shot\"

  [[method]]
  name = \"dense\"
  method.kind = \"dense\"

  [[data]]
  name = \"kvasir\"
  title = \"Kvasir-SEG\"            # shown in tables
  data.root = \"data/kvasir_polyp\"

  [[data]]
  name = \"polyps\"                 # trained on all, scored separately
  data.pool = [\"data/kvasir_polyp\", \"data/bkai_polyp\"]

Examples:
  vlsm study --data scans --class polyp --methods dense,decoder
  vlsm study studies/builtin.toml --dry-run
  vlsm study studies/builtin.toml --set data.kvasir.data.root=PATH/kvasir_polyp
  vlsm study studies/builtin.toml --set 'seeds=[41]' \\
      --set recipe.trainer.epochs=2 --output runs/look
  vlsm study studies/builtin.toml --table
  vlsm study studies/opendas.toml --set data.camvid.data.root=PATH/camvid")]
pub(crate) struct Args {
    /// The study file, in TOML.
    #[arg(required_unless_present = "data", conflicts_with = "data")]
    study: Option<PathBuf>,
    #[command(flatten)]
    folder: FolderStudy,
    /// Set a key of the file, of the shared recipe (recipe.optim.lr=3e-4), or of an entry by its
    /// name (data.kvasir.data.root=PATH); can be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The study's folder [default: `out` of the file, else runs/ and the study's name].
    #[arg(short = 'o', long = "output", alias = "out", value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the finished runs and their metrics as one JSON object instead of the tables.
    #[arg(long, conflicts_with = "dry_run")]
    json: bool,
    /// List the runs, their state and the estimated time left, without running anything.
    #[arg(long, conflicts_with = "table")]
    dry_run: bool,
    /// Write the tables of the finished runs, without training.
    #[arg(long)]
    table: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let mut set = self.set;
        if let (Some(out), Some(_)) = (&self.out, &self.study) {
            // Set last so that it overrides the file; quoted because a path may contain any character.
            let out = toml_string(&out.display().to_string());
            set.push(format!("out={out}"));
        }
        let (study, text) = match &self.study {
            Some(path) => {
                self.folder.expect_unused()?;
                if let Some(study) = SegmentStudy::read(path, &set)? {
                    let task = match (self.dry_run, self.table) {
                        (true, _) => Task::Plan,
                        (_, true) => Task::Table,
                        _ => Task::Run,
                    };
                    return segment_study::run(&study, task, self.json);
                }
                (Study::read(path, &set)?, None)
            }
            None => {
                let (study, text) = self.folder.study(self.out.as_deref(), &set)?;
                (study, Some(text))
            }
        };
        if self.dry_run {
            print(&lines(&study.plan()?, Cell::label))?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut failed = Vec::new();
        if !self.table {
            let plan = study.plan()?;
            if let Some(text) = text {
                write_file(&study, &text, &set)?;
            }
            notice(&summary(&plan));
            let run = || study.run(&mut Terminal::new());
            failed = match stop::stoppable(None, run)? {
                Ok(failed) => failed,
                Err(code) => return Ok(code),
            };
        }
        let document = match study.plan()?.count(&State::Done) {
            0 => None,
            _ => Some(study.write_results()?),
        };
        let shown = match self.json {
            true => Some(json(&study, &failed)?),
            false => None,
        };
        end(&study.out, document, shown, failed)
    }
}

/// Prints a study's tables, or `shown` in their stead, and the runs that failed. There is no document if no run is finished.
pub(super) fn end(
    out: &Path,
    document: Option<Document>,
    shown: Option<String>,
    failed: Vec<Failure>,
) -> Result<ExitCode> {
    let Some(document) = document else {
        report_failures(failed);
        note(
            "error: no run is finished, so there are no tables; run the study first, without --table",
        );
        return Ok(ExitCode::FAILURE);
    };
    print(&shown.unwrap_or_else(|| {
        let out = out.display();
        format!(
            "{}\nresults: {out}/results.csv\ntables: {out}/table.html, .md, .tex\n",
            document.text()
        )
    }))?;
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    report_failures(failed);
    Ok(ExitCode::FAILURE)
}

/// The finished runs with their metrics under each prompt set, and the runs that failed.
fn json(study: &Study, failed: &[Failure]) -> Result<String> {
    let results = study.results()?;
    let runs = results.runs.iter().map(|run| {
        let mut sets: Vec<&str> = Vec::new();
        for (_, row) in &run.rows {
            if !sets.contains(&row.set.as_str()) {
                sets.push(&row.set);
            }
        }
        let prompts = sets.into_iter().map(|set| {
            let rows = run.rows.iter().map(|(_, row)| row);
            let metrics = Metrics::of(rows.filter(|row| row.set == set));
            Ok((set.to_owned(), serde_json::to_value(metrics)?))
        });
        let prompts: serde_json::Map<_, _> = prompts.collect::<Result<_>>()?;
        let cell = run.cell;
        Ok(json!({
            "data": cell.data,
            "model": cell.model,
            "method": cell.method,
            "train_prompt": cell.prompt,
            "fold": cell.fold,
            "seed": cell.seed,
            "run": cell.folder.path,
            "trainable_parameters": run.trained,
            "prompts": prompts,
        }))
    });
    to_json(&json!({
        "study": study.out,
        "runs": runs.collect::<Result<Vec<_>>>()?,
        "failed": failures_json(failed),
    }))
}

/// The runs that failed, as JSON.
pub(super) fn failures_json(failed: &[Failure]) -> Vec<serde_json::Value> {
    let failed = failed.iter();
    failed
        .map(|failure| json!({ "run": failure.cell, "error": failure.error.to_string() }))
        .collect()
}

fn report_failures(failed: Vec<Failure>) {
    if failed.is_empty() {
        return;
    }
    note(&format!("error: runs that failed: {}", failed.len()));
    for failure in failed {
        note(&format!("  {}: {}", failure.cell, failure.error));
    }
}

/// Each run's state and label, and the summary.
pub(super) fn lines<C>(plan: &Plan<'_, C>, label: impl Fn(&C) -> String) -> String {
    let cells = plan.cells.iter();
    let lines: String = cells
        .map(|(cell, state)| format!("{:<7}  {}\n", name(state), label(cell)))
        .collect();
    format!("{lines}{}\n", summary(plan))
}

/// The number of runs in each state, and the time left.
pub(super) fn summary<C>(plan: &Plan<'_, C>) -> String {
    let states = [State::Done, State::Running, State::Begun, State::Open];
    let counts = states.iter().map(|state| (plan.count(state), name(state)));
    let counts = counts.filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    let (runs, counts) = (plan.cells.len(), counts.join(", "));
    format!("{runs} runs: {counts}; {}", plan.estimate_in_words())
}

fn name(state: &State) -> &'static str {
    match state {
        State::Done => "done",
        State::Running => "running",
        State::Begun => "begun",
        State::Open => "open",
        State::Changed(_) => "changed",
    }
}
