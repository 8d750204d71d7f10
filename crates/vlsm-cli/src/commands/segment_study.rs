//! `vlsm study` of a file with recipes of `vlsm segments train`.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;
use vlsm_train::study::{Failure, SegmentCell, SegmentStudy};

use super::shared::to_json;
use super::study::{end, failures_json, lines, summary};
use crate::output::{notice, print};
use crate::stop;
use crate::terminal::Terminal;

/// What to do with a study.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Task {
    Plan,
    Table,
    Run,
}

/// Lists, runs or tabulates a study.
pub(super) fn run(study: &SegmentStudy, task: Task, json: bool) -> Result<ExitCode> {
    let plan = study.plan()?;
    if task == Task::Plan {
        print(&lines(&plan, SegmentCell::label))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut failed = Vec::new();
    if task == Task::Run {
        notice(&summary(&plan));
        let run = || study.run(&mut Terminal::new());
        failed = match stop::stoppable(None, run)? {
            Ok(failed) => failed,
            Err(code) => return Ok(code),
        };
    }
    let document = match study.finished()?.is_empty() {
        true => None,
        false => Some(study.write_results()?),
    };
    let shown = match json {
        true => Some(to_text(study, &failed)?),
        false => None,
    };
    end(&study.out, document, shown, failed)
}

/// The finished runs with their summaries, and the runs that failed, as JSON.
fn to_text(study: &SegmentStudy, failed: &[Failure]) -> Result<String> {
    let runs: Vec<_> = study
        .finished()?
        .into_iter()
        .map(|(cell, summary)| {
            json!({
                "data": cell.data,
                "method": cell.method,
                "seed": cell.recipe.seed,
                "run": cell.folder.path,
                "summary": summary,
            })
        })
        .collect();
    to_json(&json!({ "study": study.out, "runs": runs, "failed": failures_json(failed) }))
}
