//! A training with the towers in half precision follows one in f32.
//!
//! `VLSM_TEST_DEVICE` names another device than the CPU, which computes products in half precision too and so scales the loss.

#![allow(clippy::unwrap_used)]

use std::ops::ControlFlow;

use vlsm_models::{DenseConfig, Precision};
use vlsm_train::recipe::CacheMode;
use vlsm_train::{Observer, StepReport, train};

#[derive(Default)]
struct Losses(Vec<[f64; 2]>);

impl Observer for Losses {
    fn step(&mut self, report: &StepReport) -> ControlFlow<()> {
        let metrics = &report.metrics;
        self.0.push([metrics.loss, metrics.grad_norm]);
        ControlFlow::Continue(())
    }
}

#[test]
fn losses_and_gradients_follow_those_in_f32() {
    let run = |precision| {
        let mut recipe = vlsm_train::demo::recipe(DenseConfig::default().into());
        recipe.model.precision = precision;
        recipe.data.config.root = "builtin:endoscopy".into();
        recipe.data.config.generate.train = 8;
        recipe.data.config.generate.val = 1;
        recipe.data.config.generate.test = 1;
        recipe.trainer.device = std::env::var("VLSM_TEST_DEVICE").unwrap_or_else(|_| "cpu".into());
        recipe.trainer.data_parallel = 1;
        recipe.trainer.batch_size = 2;
        recipe.trainer.epochs = 2;
        recipe.trainer.validate = false;
        recipe.trainer.test = false;
        recipe.cache.features = CacheMode::Off;
        let folder = tempfile::tempdir().unwrap();
        let mut losses = Losses::default();
        train(&recipe, &folder.path().join("run"), false, &mut losses).unwrap();
        losses.0
    };
    let (half, full) = (run(Precision::F16), run(Precision::F32));
    assert_eq!(half.len(), 8);
    assert_ne!(half, full);
    for (step, (half, full)) in half.iter().zip(&full).enumerate() {
        assert!(
            (half[0] / full[0] - 1.0).abs() < 0.01,
            "loss of step {step}: {half:?} {full:?}"
        );
        assert!(
            (half[1] / full[1] - 1.0).abs() < 0.05,
            "norm of step {step}: {half:?} {full:?}"
        );
    }
}
