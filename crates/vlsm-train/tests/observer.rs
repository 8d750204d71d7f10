//! Observers: the events they get, and that a stopped and resumed training ends like an uninterrupted one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::ops::ControlFlow;
use std::path::Path;

use vlsm_data::Split;
use vlsm_models::DecoderConfig;
use vlsm_train::recipe::ScheduleKind;
use vlsm_train::{
    EpochMetrics, Observer, Recipe, RunFolder, RunSummary, StepReport, TrainError, train, train_on,
};

/// Two epochs of three steps on drawn phantoms, with the builtin base.
fn recipe() -> Recipe {
    let mut recipe = vlsm_train::demo::recipe(DecoderConfig::default().into());
    let data = &mut recipe.data.config;
    data.root = "builtin:endoscopy".into();
    data.generate.train = 5;
    data.generate.val = 3;
    data.generate.test = 3;
    recipe.optim.schedule = ScheduleKind::Cosine;
    recipe.optim.warmup_steps = 1;
    recipe.trainer.data_parallel = 1;
    recipe.trainer.batch_size = 2;
    recipe.trainer.eval_batch_size = 2;
    recipe.trainer.epochs = 2;
    recipe.cache.features = vlsm_train::recipe::CacheMode::Off;
    recipe
}

/// Events at which an observer can stop a training.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Event {
    Step(usize),
    Evaluation(Split),
    Epoch(usize),
}

/// Records the events, and stops the training at one of them.
#[derive(Default)]
struct Notebook {
    stop: Option<Event>,
    steps: usize,
    events: Vec<Event>,
    checkpoints: usize,
}

impl Notebook {
    fn note(&mut self, event: Event) -> ControlFlow<()> {
        self.events.push(event);
        match self.stop {
            Some(stop) if stop == event => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

impl Observer for Notebook {
    fn start(&mut self, steps: usize) {
        self.steps = steps;
    }

    fn step(&mut self, report: &StepReport) -> ControlFlow<()> {
        assert!(report.epoch_loss > 0.0 && report.metrics.grad_norm > 0.0);
        self.note(Event::Step(report.metrics.step))
    }

    fn evaluation(&mut self, split: Split, done: usize, total: usize) -> ControlFlow<()> {
        assert!(done <= total && total == 3);
        self.note(Event::Evaluation(split))
    }

    fn epoch(&mut self, metrics: &EpochMetrics) -> ControlFlow<()> {
        assert!(metrics.val_dice.is_some());
        self.note(Event::Epoch(metrics.epoch))
    }

    fn checkpoint(&mut self, path: &Path) {
        assert!(path.is_file());
        self.checkpoints += 1;
    }
}

fn expect_same(run: &Path, whole: &Path, context: &str) {
    for file in [
        "metrics.jsonl",
        "adapter.safetensors",
        "adapter_last.safetensors",
    ] {
        let [run, whole] = [run, whole].map(|folder| std::fs::read(folder.join(file)).unwrap());
        assert!(run == whole, "{context}: {file} differs");
    }
}

fn scores(summary: &RunSummary) -> (&[vlsm_train::SampleScores], Option<f64>, usize) {
    (&summary.rows, summary.best_val_dice, summary.best_epoch)
}

#[test]
fn a_training_that_an_observer_stops_can_be_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let mut notebook = Notebook::default();
    let summary = train(&recipe(), &whole, false, &mut notebook).unwrap();
    assert_eq!((notebook.steps, notebook.checkpoints), (6, 2));
    let val = Event::Evaluation(Split::Val);
    let test = Event::Evaluation(Split::Test);
    let mut events = notebook.events;
    events.dedup();
    let expected = [
        Event::Step(1),
        Event::Step(2),
        Event::Step(3),
        val,
        Event::Epoch(1),
        Event::Step(4),
        Event::Step(5),
        Event::Step(6),
        val,
        Event::Epoch(2),
        // For the threshold.
        val,
        test,
    ];
    assert_eq!(events, expected);

    let stops = [
        Event::Step(2),
        // The last step of an epoch, before its validation.
        Event::Step(3),
        val,
        Event::Epoch(1),
        Event::Step(6),
        test,
    ];
    for stop in stops {
        let path = folder.path().join("run");
        let mut notebook = Notebook {
            stop: Some(stop),
            ..Notebook::default()
        };
        let error = train(&recipe(), &path, false, &mut notebook).unwrap_err();
        assert!(matches!(error, TrainError::Stopped), "{error}");
        assert!(RunFolder { path: path.clone() }.checkpoint().is_file());
        let resumed = train(&recipe(), &path, true, &mut ()).unwrap();
        let context = format!("stopped at {stop:?}");
        expect_same(&path, &whole, &context);
        assert_eq!(scores(&resumed), scores(&summary), "{context}");
        std::fs::remove_dir_all(path).unwrap();
    }
}

/// The last epoch, which `max_steps` cuts short, is validated after its checkpoint is written.
#[test]
fn resuming_a_finished_run_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut recipe = recipe();
    recipe.trainer.max_steps = Some(5);
    let [run, once] = ["run", "once"].map(|name| folder.path().join(name));
    for path in [&run, &once] {
        train(&recipe, path, false, &mut ()).unwrap();
    }
    train(&recipe, &run, true, &mut ()).unwrap();
    expect_same(&run, &once, "resumed when finished");
}

#[test]
fn an_open_data_set_is_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let [run, other] = ["run", "other"].map(|name| folder.path().join(name));
    let recipe = recipe();
    let dataset = vlsm_synth::open(&recipe.data.config).unwrap();
    train_on(&recipe, &dataset, &run, false, &mut ()).unwrap();
    train(&recipe, &other, false, &mut ()).unwrap();
    expect_same(&run, &other, "on an open data set");
}

#[test]
fn a_recipe_built_in_code_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let mut recipe = recipe();
    recipe.trainer.seed = u64::MAX;
    let error = train(&recipe, folder.path(), false, &mut ()).unwrap_err();
    assert!(error.to_string().contains("`trainer.seed`"), "{error}");
}

/// Copies the run at every checkpoint, as a kill right after it would leave it.
struct Copies {
    run: std::path::PathBuf,
    copies: Vec<std::path::PathBuf>,
}

impl Observer for Copies {
    fn checkpoint(&mut self, _: &Path) {
        let copy = self
            .run
            .with_file_name(format!("copy{}", self.copies.len()));
        std::fs::create_dir_all(copy.join("checkpoint")).unwrap();
        let files = [
            "recipe.toml",
            "metrics.jsonl",
            "adapter.safetensors",
            "checkpoint/state.safetensors",
        ];
        for file in files {
            // The first checkpoint is written before there is an adapter.
            let _ = std::fs::copy(self.run.join(file), copy.join(file));
        }
        self.copies.push(copy);
    }
}

/// With a checkpoint at every step, one is written between the last step of an epoch and its validation.
#[test]
fn a_run_killed_after_any_checkpoint_ends_like_an_unbroken_one() {
    for max_steps in [None, Some(5)] {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let mut recipe = recipe();
        recipe.trainer.checkpoint_every = 1;
        recipe.trainer.max_steps = max_steps;
        let mut copies = Copies {
            run: run.clone(),
            copies: Vec::new(),
        };
        let whole = train(&recipe, &run, false, &mut copies).unwrap();
        assert!(copies.copies.len() >= 7);
        for copy in &copies.copies {
            let resumed = train(&recipe, copy, true, &mut ()).unwrap();
            let context = format!("{max_steps:?}, {}", copy.display());
            expect_same(copy, &run, &context);
            assert_eq!(scores(&resumed), scores(&whole), "{context}");
        }
    }
}

#[test]
fn a_data_set_in_memory_is_trained_on() {
    use std::sync::Arc;
    use vlsm_data::{Arrays, Dataset, Prompts, Sample};
    use vlsm_image::{Mask, RgbImage};

    let sample = |index: u8| {
        let image = RgbImage::from_fn(48, 48, |x, _| [x as u8, 9 * index, 0]);
        let mask = Mask::from_fn(48, 48, |x, y| u8::from(x > 20 && y > 20));
        let prompts = Prompts::from_texts(vec!["polyp".into()]);
        let name = format!("case {index}");
        Sample::new(
            name.clone(),
            Arc::new(Arrays::new(name, image, mask)),
            prompts,
        )
    };
    let splits = [0..4, 4..6, 6..8].map(|range: std::ops::Range<u8>| range.map(sample).collect());
    let dataset = Dataset::from_splits("memory", splits).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut recipe = recipe();
    recipe.data.config.root = std::path::PathBuf::new();
    recipe.data.config.eval_prompt = None;
    let summary = train_on(&recipe, &dataset, folder.path(), false, &mut ()).unwrap();
    assert_eq!((summary.steps, summary.rows.len()), (4, 4));
    assert_eq!(summary.test_prompt.as_deref(), Some("p1"));
    // Other samples are another run.
    let splits = [1..5, 5..6, 6..8].map(|range: std::ops::Range<u8>| range.map(sample).collect());
    let other = Dataset::from_splits("memory", splits).unwrap();
    let error = train_on(&recipe, &other, folder.path(), true, &mut ()).unwrap_err();
    assert!(error.to_string().contains("other samples"), "{error}");
    // 255 is left out, so nothing would be learned.
    let white = |index: u8| {
        let image = RgbImage::from_fn(48, 48, |x, _| [x as u8, 9 * index, 0]);
        let mask = Mask::from_fn(48, 48, |x, y| 255 * u8::from(x > 20 && y > 20));
        let prompts = Prompts::from_texts(vec!["polyp".into()]);
        let name = format!("case {index}");
        let source = Arc::new(Arrays::new(name.clone(), image, mask));
        Sample::new(name, source, prompts)
    };
    let dataset = Dataset::from_splits(
        "white",
        [0..4, 4..6, 6..8].map(|range| range.map(white).collect()),
    );
    let other = folder.path().join("white");
    let error = train_on(&recipe, &dataset.unwrap(), &other, false, &mut ()).unwrap_err();
    assert!(error.to_string().contains("levels 0 and 255"), "{error}");
}
