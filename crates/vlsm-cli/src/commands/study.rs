//! `vlsm study`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use vlsm_train::Study;
use vlsm_train::study::{Plan, State};

use crate::output::{note, print};

/// Run a grid of models, methods, data sets, training prompts and seeds, and make its tables.
///
/// Every run has a folder of its own, OUT/runs/DATA/MODEL/METHOD/PROMPT/SEED, as `vlsm train` makes
/// it. A study that was killed goes on where it was when it is started again: complete runs are
/// kept, one that was begun is resumed. Several processes may be started on one study and share its
/// runs. A run that fails does not stop the others.
///
/// At the end, and by --table at any time, OUT has results.csv (one line for each test sample,
/// prompt and run), table.md, table.tex and table.html (scores by data set and method, by prompt,
/// and paired tests) and tests.csv.
#[derive(clap::Args)]
#[command(after_help = "A study's file:
  seeds = [41, 42, 43]
  prompts = [\"random\"]            # training prompts [default: the recipe's]

  [recipe.trainer]                # what all runs share: any section of a recipe
  epochs = 20

  [[model]]                       # an entry is a name and any keys of a recipe
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
  title = \"Kvasir-SEG\"            # the words for it in tables
  data.root = \"data/kvasir_polyp\"

  [[data]]
  name = \"polyps\"                 # trained on together, scored on each
  data.pool = [\"data/kvasir_polyp\", \"data/bkai_polyp\"]

Examples:
  vlsm study studies/builtin.toml --dry-run
  vlsm study studies/builtin.toml --set data.kvasir.data.root=PATH/kvasir_polyp
  vlsm study studies/builtin.toml --set 'seeds=[41]' --set recipe.trainer.epochs=2 --out runs/look
  vlsm study studies/builtin.toml --table")]
pub(crate) struct Args {
    /// The study, a TOML file.
    study: PathBuf,
    /// Set a key of the file, of the shared recipe (recipe.optim.lr=3e-4), or of an entry by its
    /// name (data.kvasir.data.root=PATH); may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The study's folder [default: what the file says, else runs/ and the study's name].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the runs, where they stand and how long the rest will take, and do nothing.
    #[arg(long, conflicts_with = "table")]
    dry_run: bool,
    /// Make the tables of what is done, and train nothing.
    #[arg(long)]
    table: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let mut set = self.set;
        if let Some(out) = &self.out {
            // The last word, whatever characters the path has.
            let out = toml_string(&out.display().to_string());
            set.push(format!("out={out}"));
        }
        let study = Study::read(&self.study, &set)?;
        if self.dry_run {
            print(&plan(&study.plan()?))?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut failed = Vec::new();
        if !self.table {
            let plan = study.plan()?;
            note(&format!("{}; {}", counts(&plan), plan.estimate_in_words()));
            failed = study.run(note)?;
        }
        let document = study.write_results()?;
        print(&document.text())?;
        let out = study.out.display();
        print(&format!(
            "\nresults: {out}/results.csv\ntables: {out}/table.html, .md, .tex\n"
        ))?;
        if failed.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        note(&format!("error: runs that failed: {}", failed.len()));
        for failure in failed {
            note(&format!("  {}: {}", failure.cell, failure.error));
        }
        Ok(ExitCode::FAILURE)
    }
}

/// A text as TOML has it between quotes.
fn toml_string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn plan(plan: &Plan<'_>) -> String {
    let line = |state: &State, label: String| format!("{:<7}  {label}\n", name(state));
    let lines = plan
        .cells
        .iter()
        .map(|(cell, state)| line(state, cell.label()));
    let (counts, estimate) = (counts(plan), plan.estimate_in_words());
    format!("{}{counts}; {estimate}\n", lines.collect::<String>())
}

fn counts(plan: &Plan<'_>) -> String {
    let states = [State::Done, State::Running, State::Begun, State::Open];
    let counts = states.iter().map(|state| (plan.count(state), name(state)));
    let counts = counts.filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    format!("{} runs: {}", plan.cells.len(), counts.join(", "))
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
