//! Compares runs in one page:
//! `cargo run -p vlsm-cli --example compare -- report.html runs/dense runs/shallow`.
//!
//! All are evaluated on the test split of the first run's data set, under all of its prompts.

#![allow(clippy::print_stderr)]

use std::ops::ControlFlow;
use std::path::PathBuf;

use burn::module::Module;
use vlsm::models::SegmentationModel;
use vlsm::{Segmenter, data::Split};
use vlsm_train::report::{
    Curves, Report, ReportRun, oracle, pick_cases, predict_cases, recipe_facts,
};
use vlsm_train::{EvalConfig, PromptSet, Recipe, RunFolder, evaluate};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut paths = std::env::args_os().skip(1).map(PathBuf::from);
    let page = paths.next().unwrap_or("report.html".into());
    let folders: Vec<RunFolder> = paths.map(|path| RunFolder { path }).collect();
    let recipes = folders.iter().map(|run| Recipe::read(&run.recipe(), &[]));
    let recipes = recipes.collect::<vlsm_train::Result<Vec<Recipe>>>()?;
    let Some(first) = recipes.first() else {
        eprintln!("usage: compare PAGE RUN...");
        return Ok(());
    };
    let dataset = vlsm_synth::open(&first.data.config)?;
    let samples = dataset.require(Split::Test)?;
    let samples = &samples[..first
        .data
        .eval_limit
        .unwrap_or(samples.len())
        .min(samples.len())];
    let sets = PromptSet::every(first, samples)?;

    let mut report = Report {
        title: "Methods compared".into(),
        lead: format!("{} runs on {} samples.", folders.len(), samples.len()),
        oracle: oracle(samples),
        ..Report::default()
    };
    for (folder, recipe) in folders.iter().zip(&recipes) {
        let segmenter =
            Segmenter::from_pretrained(&recipe.model.base)?.with_adapter(folder.adapter())?;
        let (model, preprocessing) = (segmenter.model(), segmenter.preprocessing());
        let config = EvalConfig::new(recipe, &dataset, segmenter.tokenizer(), preprocessing);
        let rows = evaluate(
            model,
            samples,
            &sets,
            &config,
            |_| ControlFlow::Continue(()),
        )?
        .rows;
        let name = folder.path.file_name().unwrap_or_default();
        let run = ReportRun {
            name: name.to_string_lossy().into_owned(),
            trained: model.trained_parameters(),
            total: model.num_params(),
            curves: Some(Curves::read(&folder.metrics())?),
            rows,
            ..ReportRun::default()
        };
        // The first run says which samples are shown.
        if report.runs.is_empty() {
            report.cases = pick_cases(&run, samples, dataset.ignore)?;
            let base = &recipe.model.base;
            report.facts = recipe_facts(recipe, &dataset, base, preprocessing.image_size);
        }
        let tokenizer = segmenter.tokenizer();
        predict_cases(
            &mut report.cases,
            &run.name,
            model,
            tokenizer,
            preprocessing,
        )?;
        report.runs.push(run);
    }
    Ok(report.write(&page)?)
}
