//! The report of a training.

use std::path::PathBuf;

use vlsm_data::Split;

use crate::error::Result;
use crate::measure::Measured;
use crate::report::{
    Curves, Report, ReportRun, oracle, pick_cases, predict_cases, recipe_facts, title,
};
use crate::setup::Setup;
use crate::summary::RunSummary;

/// Writes the report of a training to its folder and returns its path.
pub(crate) fn write_report(
    setup: &Setup<'_>,
    summary: &RunSummary,
    measured: Option<Measured>,
) -> Result<PathBuf> {
    let recipe = setup.recipe;
    let name = recipe.method.config.label();
    let mut report = Report {
        title: title(&name, &setup.dataset.root),
        lead: lead(setup, summary, measured.as_ref()),
        facts: recipe_facts(
            recipe,
            setup.dataset,
            &summary.base,
            setup.preprocessing.image_size,
        ),
        ..Report::default()
    };
    let mut trained = format!("{} epochs, {} steps", summary.epochs, summary.steps);
    if let Some(dice) = summary.best_val_dice {
        trained += &format!("; best epoch {} (Dice {dice:.3})", summary.best_epoch);
    }
    report.facts.push(("Trained".into(), trained));
    if let (Some(rate), Some(epoch)) = (summary.images_per_second, summary.seconds_per_epoch) {
        let speed = format!("{rate:.2} images/s, {epoch:.1} s per epoch");
        report.facts.push(("Speed".into(), speed));
    }
    let mut run = ReportRun {
        name,
        trained: summary.trainable_parameters,
        total: summary.total_parameters,
        seconds: Some(summary.seconds),
        peak_memory: summary.peak_memory_bytes,
        curves: Some(Curves::read(&setup.folder.metrics())?),
        rows: Vec::new(),
        pictures: Vec::new(),
        semantic: summary.semantic.clone(),
    };
    if let Some(Measured {
        model,
        split,
        evaluation,
    }) = measured
    {
        let samples = setup.samples(split);
        run.rows = evaluation.rows;
        run.pictures = evaluation.pictures;
        report.oracle = oracle(samples);
        report.cases = pick_cases(&run, samples, setup.dataset.ignore)?;
        predict_cases(
            &mut report.cases,
            &run.name,
            &model,
            setup.tokenizer,
            setup.preprocessing,
        )?;
    }
    report.runs.push(run);
    let path = setup.folder.report();
    report.write(&path)?;
    Ok(path)
}

fn lead(setup: &Setup<'_>, summary: &RunSummary, measured: Option<&Measured>) -> String {
    let training = format!(
        "{} epochs on {} samples",
        summary.epochs,
        setup.dataset.train.len()
    );
    let headline = measured.and_then(|measured| {
        let set = &measured.evaluation.rows.first()?.set;
        Some((measured.split, set, measured.evaluation.for_prompt_set(set)))
    });
    let Some((split, set, metrics)) = headline else {
        return format!("Trained for {training}; not evaluated.");
    };
    let of = match split {
        Split::Test => "test samples",
        Split::Val => "validation samples (there is no test split)",
        Split::Train => "training samples",
    };
    let few = metrics
        .few()
        .map_or(String::new(), |few| format!(" Caution: {few}."));
    format!(
        "Dice {} (95 % interval) on {} {of} under prompt {set}{}, after {training}.{few}",
        metrics.dice.with_interval(3),
        metrics.samples,
        metrics.oracle.mark()
    )
}
