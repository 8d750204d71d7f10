//! Trainings of small language models: they learn, and a stopped and resumed one ends like an uninterrupted one.

#![allow(clippy::unwrap_used)]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use vlsm_train::language::{LanguageExample, LanguageRecipe, train_language};
use vlsm_train::{Observer, StepReport, TrainError};

fn fixture(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/language");
    root.join(name)
}

/// Stops after a step.
struct Stop(usize);

impl Observer for Stop {
    fn step(&mut self, report: &StepReport) -> ControlFlow<()> {
        match report.metrics.step == self.0 {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

fn examples() -> Vec<LanguageExample> {
    let example = |at: usize| LanguageExample {
        prompt: format!("{} box\nAnswer:", ["left", "right"][at % 2]),
        answer: (at % 2).to_string(),
    };
    (0..7).map(example).collect()
}

fn recipe(llm: &str, method: &str) -> LanguageRecipe {
    let settings = [
        format!("method={method}"),
        "epochs=4".into(),
        "batch_size=3".into(),
        "optim.lr=1e-2".into(),
        "lora.rank=4".into(),
        "lora.alpha=8".into(),
    ];
    LanguageRecipe {
        llm: fixture(llm),
        ..LanguageRecipe::parse("", &settings).unwrap()
    }
}

/// The mean losses of epochs.
fn losses(run: &Path) -> Vec<f64> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let key = "\"train_loss\":";
    let values = text.lines().filter_map(|line| line.split_once(key));
    let values = values.map(|(_, rest)| rest.split(',').next().unwrap().parse().unwrap());
    values.collect()
}

#[test]
fn a_stopped_training_ends_like_an_uninterrupted_one() {
    for (llm, method, file) in [
        ("llama", "lora", "adapter_model.safetensors"),
        ("gpt_neo", "lora", "adapter_model.safetensors"),
        ("llama_tied", "full", "model.safetensors"),
        ("gpt_neo", "scratch", "model.safetensors"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let recipe = recipe(llm, method);
        let whole = folder.path().join("whole");
        let summary = train_language(&recipe, &examples(), &whole, false, &mut ()).unwrap();
        assert_eq!((summary.steps, summary.examples), (12, 7));
        let losses = losses(&whole);
        assert!(losses[3] < losses[0], "{llm} {method}: {losses:?}");

        let stopped = folder.path().join("stopped");
        for step in [1, 3, 7, 12] {
            let stop = &mut Stop(step);
            let error = train_language(&recipe, &examples(), &stopped, true, stop).unwrap_err();
            assert!(matches!(error, TrainError::Stopped), "{error}");
        }
        train_language(&recipe, &examples(), &stopped, true, &mut ()).unwrap();
        for file in [file, "metrics.jsonl"] {
            let [a, b] = [&whole, &stopped].map(|run| std::fs::read(run.join(file)).unwrap());
            assert!(a == b, "{llm} {method}: {file} differs");
        }
    }
}

#[test]
fn a_run_of_other_weights_examples_or_settings_is_not_continued() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let first = recipe("llama", "lora");
    train_language(&first, &examples(), &run, false, &mut Stop(2)).unwrap_err();
    let error = |recipe: &LanguageRecipe, examples: &[LanguageExample], resume| {
        let result = train_language(recipe, examples, &run, resume, &mut ());
        result.unwrap_err().to_string()
    };
    assert!(error(&first, &examples(), false).contains("--resume"));
    assert!(error(&recipe("gpt_neo", "lora"), &examples(), true).contains("`llm`"));
    assert!(error(&first, &examples()[1..], true).contains("7, now 6"));
    let none = folder.path().join("none");
    let short = LanguageRecipe {
        max_tokens: 3,
        ..first
    };
    let error = train_language(&short, &examples(), &none, false, &mut ()).unwrap_err();
    assert!(error.to_string().contains("`max_tokens`"), "{error}");
    // A start that fails leaves nothing.
    assert!(!none.exists());
}
