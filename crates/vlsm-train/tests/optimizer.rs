//! Muon, compared with numbers in f64 (`scripts/reference/make_muon.py`); clipping; weight decay.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use serde::Deserialize;
use vlsm_models::weights::{self, to_host};
use vlsm_train::optimizer::{Optimizer, clip, global_norm};
use vlsm_train::recipe::OptimConfig;

#[derive(Deserialize)]
struct Fixture {
    lr: f64,
    weight_decay: f64,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    shape: [usize; 2],
    start: Vec<f32>,
    gradients: Vec<Vec<f32>>,
    after3: Vec<f32>,
}

/// A matrix whose name, `adapter.matrix`, is that of an adapter.
#[derive(Module, Debug)]
struct Model {
    adapter: Adapter,
}

#[derive(Module, Debug)]
struct Adapter {
    matrix: Param<Tensor<2>>,
}

fn tensor(values: &[f32], shape: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

#[test]
fn muon_takes_the_published_steps() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/optimizer/muon.json");
    let fixture: Fixture = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let device = Device::flex().autodiff();
    for case in &fixture.cases {
        let mut optimizer = Optimizer::new(&OptimConfig {
            lr: fixture.lr,
            weight_decay: fixture.weight_decay,
            muon: true,
            ..OptimConfig::default()
        });
        let start = tensor(&case.start, case.shape, &device).require_grad();
        let mut model = Model {
            adapter: Adapter {
                matrix: Param::from_tensor(start),
            },
        };
        for gradient in &case.gradients {
            let gradient = tensor(gradient, case.shape, &device);
            let loss = (model.adapter.matrix.val() * gradient).sum();
            let gradients = weights::take_gradients(&model, &mut loss.backward());
            assert_eq!(gradients.len(), 1);
            model = optimizer.step(model, gradients, fixture.lr);
        }
        let after = to_host(model.adapter.matrix.val().inner());
        for ((after, expected), start) in after.iter().zip(&case.after3).zip(&case.start) {
            // A step is about 0.01.
            assert!(
                (after - expected).abs() < 1e-5,
                "{after} is not {expected} (at first {start})"
            );
        }
    }
}

/// `torch.nn.utils.clip_grad_norm_` divides by the norm plus 1e-6, which shows for gradients that are about to vanish.
#[test]
fn tiny_gradients_are_clipped_as_published() {
    let device = Device::flex().autodiff();
    let model = Model {
        adapter: Adapter {
            matrix: Param::from_tensor(tensor(&[0.0; 2], [1, 2], &device).require_grad()),
        },
    };
    let loss = (model.adapter.matrix.val() * tensor(&[3e-6, 4e-6], [1, 2], &device)).sum();
    let gradients = weights::take_gradients(&model, &mut loss.backward());
    let norm = global_norm(&gradients);
    assert!((norm - 5e-6).abs() < 1e-11, "{norm}");
    let clipped = global_norm(&clip(gradients.clone(), norm, 3e-6));
    assert!((clipped - 2.5e-6).abs() < 1e-11, "{clipped}");
    assert_eq!(global_norm(&clip(gradients, norm, 7e-6)), norm);
}

/// A parameter with a gradient of 0 shrinks by `1 - lr * weight_decay` with every step, and by nothing else.
#[test]
fn adamw_decays_weights() {
    let device = Device::flex().autodiff();
    let matrix = tensor(&[2.0, -4.0], [1, 2], &device).require_grad();
    let mut model = Model {
        adapter: Adapter {
            matrix: Param::from_tensor(matrix),
        },
    };
    let mut optimizer = Optimizer::new(&OptimConfig {
        weight_decay: 0.5,
        ..OptimConfig::default()
    });
    for _ in 0..2 {
        let loss = (model.adapter.matrix.val() * 0.0).sum();
        let gradients = weights::take_gradients(&model, &mut loss.backward());
        model = optimizer.step(model, gradients, 0.1);
    }
    let after = to_host(model.adapter.matrix.val().inner());
    for (after, expected) in after.iter().zip([2.0 * 0.9025, -4.0 * 0.9025]) {
        assert!((after - expected).abs() < 1e-6, "{after} is not {expected}");
    }
}

#[derive(Module, Debug)]
struct Two {
    first: Param<Tensor<2>>,
    second: Param<Tensor<2>>,
}

/// Updating all parameters together, alternating with one by one, and after a restart, is the same to the bit.
#[test]
fn parameters_together_take_the_steps_of_each() {
    let device = Device::flex().autodiff();
    let config = OptimConfig {
        weight_decay: 0.1,
        ..OptimConfig::default()
    };
    let wave = |count: usize, rate: f32| -> Vec<f32> {
        (0..count).map(|at| (at as f32 * rate).sin()).collect()
    };
    let model = || Two {
        first: Param::from_tensor(tensor(&wave(6, 1.1), [2, 3], &device).require_grad()),
        second: Param::from_tensor(tensor(&wave(4, 0.7), [2, 2], &device).require_grad()),
    };
    let run = |together: [bool; 4]| {
        let (mut model, mut optimizer) = (model(), Optimizer::new(&config));
        for (step, together) in together.into_iter().enumerate() {
            let weights = tensor(&wave(6, 0.3 + step as f32), [2, 3], &device);
            // The second parameter has no gradient in the last step.
            let mut loss = (model.first.val() * weights).sum();
            if step < 3 {
                loss = loss + model.second.val().square().sum();
            }
            let gradients = weights::take_gradients(&model, &mut loss.backward());
            model = match together {
                true => optimizer.clipped_step(model, gradients, 0.0, 0.01).0,
                false => optimizer.step(model, gradients, 0.01),
            };
            if step == 1 {
                let (mut state, steps) = optimizer.state();
                optimizer = Optimizer::new(&config);
                optimizer.restore(&mut state, steps, &Device::flex());
            }
        }
        let values = [model.first.val(), model.second.val()];
        let state = optimizer.state().0;
        let state: Vec<_> = state.into_iter().map(|(name, x)| (name, x.data)).collect();
        (values.map(|value| to_host(value.inner())), state)
    };
    let expected = run([false; 4]);
    assert_eq!(expected.1.len(), 4);
    for together in [
        [true; 4],
        [true, false, true, true],
        [false, true, true, false],
    ] {
        assert_eq!(run(together), expected, "{together:?}");
    }
}
