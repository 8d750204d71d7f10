//! Settings of a recipe, by what they do to a whole training.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use vlsm_models::DecoderConfig;
use vlsm_models::tensor_file;
use vlsm_train::recipe::ScheduleKind;
use vlsm_train::{Recipe, RunSummary, train};

/// Two epochs of two steps.
fn recipe() -> Recipe {
    let mut recipe = vlsm_train::demo::recipe(DecoderConfig::default().into());
    let data = &mut recipe.data.config;
    data.root = "builtin:endoscopy".into();
    data.generate.train = 8;
    data.generate.val = 3;
    data.generate.test = 2;
    data.generate.side = 64;
    recipe.optim.schedule = ScheduleKind::Constant;
    recipe.optim.warmup_steps = 0;
    recipe.trainer.data_parallel = 1;
    recipe.trainer.batch_size = 4;
    recipe.trainer.epochs = 2;
    recipe.trainer.test_prompts = Some(Vec::new());
    recipe.cache.features = vlsm_train::recipe::CacheMode::Off;
    recipe
}

/// A finished run.
struct Run {
    folder: TempDir,
    summary: RunSummary,
}

impl Run {
    fn of(change: impl FnOnce(&mut Recipe)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut recipe = recipe();
        change(&mut recipe);
        let summary = train(&recipe, folder.path(), false, &mut ()).unwrap();
        Self { folder, summary }
    }

    fn lines(&self, kind: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("metrics.jsonl")).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines
            .filter(|line: &Value| line.get(kind).is_some())
            .collect()
    }

    /// A value of each step.
    fn steps(&self, key: &str) -> Vec<f64> {
        let lines = self.lines("grad_norm");
        lines
            .iter()
            .map(|line| line[key].as_f64().unwrap())
            .collect()
    }

    /// A value of each epoch.
    fn epochs(&self, key: &str) -> Vec<f64> {
        let lines = self.lines("epoch");
        lines
            .iter()
            .map(|line| line[key].as_f64().unwrap())
            .collect()
    }

    fn parameters(&self) -> Vec<f32> {
        let file = tensor_file::read(&self.folder.path().join("adapter_last.safetensors")).unwrap();
        file.tensors
            .into_values()
            .flat_map(|tensor| tensor.data)
            .collect()
    }

    fn bytes(&self, file: &str) -> Vec<u8> {
        std::fs::read(self.folder.path().join(Path::new(file))).unwrap()
    }
}

/// The largest difference of two lists of numbers.
fn apart(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().zip(b);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// How far apart two runs' parameters are, relative to how far the first's moved from those of a run that barely moved.
fn parameters_apart(a: &Run, b: &Run) -> f64 {
    let still = Run::of(|recipe| recipe.optim.lr = 1e-12);
    let distance = |a: &Run, b: &Run| {
        let (a, b) = (a.parameters(), b.parameters());
        let squares = a.iter().zip(&b).map(|(a, b)| f64::from(a - b).powi(2));
        squares.sum::<f64>().sqrt()
    };
    distance(a, b) / distance(a, &still)
}

#[test]
fn accumulated_and_parallel_batches_equal_whole_ones() {
    let whole = Run::of(|_| {});
    let accumulated = Run::of(|recipe| {
        recipe.trainer.batch_size = 2;
        recipe.trainer.accumulate = 2;
    });
    let parallel = Run::of(|recipe| recipe.trainer.data_parallel = 2);
    for (name, run) in [("accumulate", accumulated), ("data_parallel", parallel)] {
        assert_eq!(run.steps("loss").len(), 4, "{name}");
        // Dice is a sample's own; the cross entropy of equal parts has the batch's mean.
        assert!(
            apart(&run.steps("loss")[..1], &whole.steps("loss")[..1]) < 1e-6,
            "{name}"
        );
        let norms = apart(&run.steps("grad_norm")[..1], &whole.steps("grad_norm")[..1]);
        assert!(
            norms < 1e-4 * whole.steps("grad_norm")[0],
            "{name}: {norms}"
        );
        let parameters = parameters_apart(&whole, &run);
        assert!(parameters < 0.1, "{name}: {parameters}");
    }
}

#[test]
fn workers_change_no_number() {
    let [none, four] =
        [Some(0), Some(4)].map(|workers| Run::of(|recipe| recipe.data.config.workers = workers));
    for file in ["metrics.jsonl", "adapter.safetensors"] {
        assert!(none.bytes(file) == four.bytes(file), "{file}");
    }
    assert_eq!(none.summary.rows, four.summary.rows);
}

#[test]
fn unshuffled_samples_come_in_their_order() {
    let fixed = |prompt: &str, shuffle| {
        Run::of(|recipe| {
            recipe.data.config.shuffle = shuffle;
            recipe.data.config.prompt = prompt.parse().unwrap();
            recipe.optim.lr = 1e-12;
            recipe.trainer.batch_size = 1;
        })
    };
    let ordered = fixed("polyp", false).steps("loss");
    // Without learning, both epochs have the same losses in the same order.
    assert!(apart(&ordered[..8], &ordered[8..]) < 1e-6, "{ordered:?}");
    let shuffled = fixed("polyp", true).steps("loss");
    assert!(apart(&shuffled[..8], &shuffled[8..]) > 1e-3);
    let sorted = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values
    };
    assert!(apart(&sorted(ordered), &sorted(shuffled)) < 1e-6);
}

#[test]
fn the_plateau_schedule_lowers_the_rate_of_a_run() {
    let run = Run::of(|recipe| {
        recipe.optim.schedule = ScheduleKind::Plateau;
        recipe.optim.lr = 1e-9;
        recipe.optim.plateau_patience = 1;
        recipe.optim.plateau_factor = 0.5;
        recipe.optim.min_lr = 2e-10;
        recipe.trainer.epochs = 8;
    });
    // No epoch is better than the first by 1e-4 of its loss, so every second lowers the rate.
    let rates: Vec<f64> = run.epochs("lr").iter().map(|rate| rate * 1e9).collect();
    let expected = [1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.2];
    assert!(apart(&rates, &expected) < 1e-9, "{rates:?}");
}

#[test]
fn the_cosine_schedule_runs_from_warm_up_to_the_lowest_rate() {
    let run = Run::of(|recipe| {
        recipe.optim.schedule = ScheduleKind::Cosine;
        recipe.optim.lr = 1e-3;
        recipe.optim.min_lr = 1e-4;
        recipe.optim.warmup_steps = 2;
        recipe.trainer.epochs = 3;
    });
    // Step t of the four after the warm-up has (1 + cos(pi t / 4)) / 2 of the way.
    let rates: Vec<f64> = run.steps("lr").iter().map(|rate| rate * 1e3).collect();
    let half = 0.5_f64.sqrt();
    let at = |cosine: f64| 0.1 + 0.9 * f64::midpoint(1.0, cosine);
    let expected = [0.5, 1.0, at(1.0), at(half), at(0.0), at(-half)];
    assert!(apart(&rates, &expected) < 1e-9, "{rates:?}");
}

#[test]
fn early_stopping_waits_for_patience_and_the_fewest_epochs() {
    let epochs = |patience, min_epochs| {
        let run = Run::of(|recipe| {
            recipe.optim.lr = 1e-12;
            recipe.trainer.patience = patience;
            recipe.trainer.min_epochs = min_epochs;
            recipe.trainer.epochs = 5;
        });
        run.summary.epochs
    };
    assert_eq!((epochs(2, 0), epochs(1, 4), epochs(0, 0)), (3, 4, 5));
}

#[test]
fn an_improvement_below_the_least_does_not_delay_early_stopping() {
    let run = |min_delta| {
        Run::of(|recipe| {
            recipe.trainer.patience = 1;
            recipe.trainer.min_delta = min_delta;
            recipe.trainer.epochs = 3;
        })
    };
    let any = run(0.0);
    let dice = any.epochs("val_dice");
    assert!(dice[1] > dice[0], "{dice:?}");
    assert_eq!((any.summary.epochs, run(0.9).summary.epochs), (3, 2));
}

#[test]
fn an_epoch_that_is_cut_short_is_not_the_best() {
    let cut = Run::of(|recipe| recipe.trainer.max_steps = Some(3));
    let dice = cut.epochs("val_dice");
    assert!(dice[1] > dice[0], "{dice:?}");
    assert_eq!(cut.summary.best_epoch, 1);
    assert_eq!(cut.summary.best_val_dice, Some(dice[0]));
}

#[test]
fn the_limit_and_the_switch_of_validation() {
    let whole = Run::of(|_| {});
    let limited = Run::of(|recipe| recipe.data.eval_limit = Some(1));
    assert_eq!(limited.summary.rows.len(), 1);
    assert_eq!(
        limited.summary.rows[..1].first().map(|row| &row.sample),
        whole.summary.rows.first().map(|row| &row.sample)
    );
    assert!(limited.epochs("val_dice") != whole.epochs("val_dice"));
    assert_eq!(limited.steps("loss"), whole.steps("loss"));

    let blind = Run::of(|recipe| recipe.trainer.validate = false);
    assert!(
        blind
            .lines("epoch")
            .iter()
            .all(|line| line.get("val_dice").is_none())
    );
    assert_eq!(blind.steps("loss"), whole.steps("loss"));
    assert!(blind.bytes("adapter.safetensors") == blind.bytes("adapter_last.safetensors"));
}

#[test]
fn the_loss_is_the_weighted_sum_of_its_terms() {
    let first = |dice, cross_entropy| {
        let run = Run::of(|recipe| {
            recipe.loss.dice = dice;
            recipe.loss.cross_entropy = cross_entropy;
            recipe.trainer.max_steps = Some(1);
        });
        run.steps("loss")[0]
    };
    let (dice, cross_entropy) = (first(1.0, 0.0), first(0.0, 1.0));
    assert!(dice > 0.0 && cross_entropy > 0.0 && dice != cross_entropy);
    assert!((first(1.5, 1.0) - (1.5 * dice + cross_entropy)).abs() < 1e-6);
}
