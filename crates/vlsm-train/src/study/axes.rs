//! The rows and columns of a study's tables: data sets and training prompts down, models and methods across.

use super::results::{Results, ScoredRun};
use super::{Entry, Study};

/// A row of a table: a test data set and a training prompt.
pub(super) struct Line<'a> {
    pub(super) label: String,
    /// The data set trained on, the one tested on, and the training prompt.
    pub(super) data: &'a str,
    pub(super) test: &'a str,
    pub(super) prompt: &'a str,
    /// The prompt set that the recipes evaluate under; empty if no run is done yet.
    pub(super) headline: String,
}

/// A column of a table: a model and a method.
pub(super) struct Column<'a> {
    pub(super) label: String,
    pub(super) model: &'a str,
    pub(super) method: &'a str,
    /// Number of trained parameters, if they are the same in all runs.
    pub(super) trained: Option<usize>,
}

pub(super) fn lines<'a>(results: &'a Results<'a>) -> Vec<Line<'a>> {
    let study = results.study;
    let mut lines: Vec<Line<'a>> = Vec::new();
    let mut prompts: Vec<&str> = study.cells.iter().map(|cell| &*cell.prompt).collect();
    prompts.dedup();
    let one_prompt = prompts.iter().all(|prompt| *prompt == prompts[0]);
    for cell in &study.cells {
        let single = std::slice::from_ref(&cell.data);
        let pooled = !cell.members.is_empty();
        for test in if pooled { &cell.members } else { single } {
            let known = |line: &Line<'_>| {
                (line.data, line.test, line.prompt) == (&*cell.data, &**test, &*cell.prompt)
            };
            if lines.iter().any(known) {
                continue;
            }
            let mut label = title(&study.data, &cell.data).to_owned();
            if pooled {
                label += &format!(": {test}");
            }
            if !one_prompt {
                label += &format!(", {}", cell.prompt);
            }
            let of_line = |run: &&ScoredRun<'_>| {
                (&run.cell.data, &run.cell.prompt) == (&cell.data, &cell.prompt)
            };
            let mut runs = results.runs.iter().filter(of_line);
            let first = runs.find_map(|run| run.rows.iter().find(|(data, _)| data == test));
            lines.push(Line {
                label,
                data: &cell.data,
                test,
                prompt: &cell.prompt,
                headline: first.map(|(_, row)| row.set.clone()).unwrap_or_default(),
            });
        }
    }
    // Lines of one data set are grouped together.
    let position = |line: &Line<'_>| {
        let of_data = study.data.iter().position(|entry| entry.name == line.data);
        let of_test = study.cells.iter().find(|cell| cell.data == line.data);
        let of_test =
            of_test.and_then(|cell| cell.members.iter().position(|member| member == line.test));
        (of_data, of_test)
    };
    lines.sort_by_key(position);
    lines
}

pub(super) fn columns<'a>(results: &'a Results<'a>) -> Vec<Column<'a>> {
    let study = results.study;
    let mut columns = Vec::new();
    for model in &study.models {
        for method in &study.methods {
            let is_of = |cell: &super::Cell| cell.model == model.name && cell.method == method.name;
            if !study.cells.iter().any(is_of) {
                continue;
            }
            let mut trained = results
                .runs
                .iter()
                .filter(|run| is_of(run.cell))
                .map(|run| run.trained);
            let first = trained.next();
            columns.push(Column {
                label: label(study, model, method),
                model: &model.name,
                method: &method.name,
                trained: first.filter(|first| trained.all(|other| other == *first)),
            });
        }
    }
    columns
}

/// A column's name: only the parts that differ between columns.
fn label(study: &Study, model: &Entry, method: &Entry) -> String {
    match (study.models.len(), study.methods.len()) {
        (1, _) => method.title.clone(),
        (_, 1) => model.title.clone(),
        _ => format!("{} {}", model.title, method.title),
    }
}

fn title<'a>(entries: &'a [Entry], name: &str) -> &'a str {
    let entry = entries.iter().find(|entry| entry.name == name);
    entry.map_or("", |entry| &*entry.title)
}
