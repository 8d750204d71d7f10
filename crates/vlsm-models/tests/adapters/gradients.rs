//! Gradients of all forms of adapters.

use burn::tensor::Device;
use burn::tensor::Tensor;
use serde_json::{Value, json};
use vlsm_models::SegmentationModel;
use vlsm_models::weights::{self, to_host};

use super::{base, config, forms, key, logits, moved, of, wave};

/// The numerical derivative of a sum of logits along the gradient agrees with the gradient.
#[test]
fn all_forms_have_gradients() {
    let folder = tempfile::tempdir().unwrap();
    let base = base(folder.path());
    let forms = forms(config(&base)).into_iter().map(|(method, _)| method);
    let paper = of("dense", json!({ "profile": "paper" }));
    for method in forms.chain([paper]) {
        let model = moved(&base, &method).for_training();
        let output = logits(&model);
        let factors = Tensor::<3>::from_data(wave(&output.dims(), 0.11), &Device::flex());
        let sum = |logits: Tensor<3>| (logits * factors.clone()).sum();
        let mut gradients = sum(output).backward();
        let gradients = weights::take_gradients(&model, &mut gradients);
        let mut square = 0.0;
        weights::for_each_parameter(&model, |name, _| {
            if model.trains(name) {
                let values = gradients[name].to_file().data;
                let norm: f32 = values.iter().map(|x| x * x).sum();
                // A ReLU may be zero for every input.
                let off = [Value::Null, json!("relu")].contains(&key(&method, "activation"))
                    && name.contains("adapter");
                assert!(norm > 0.0 || off, "{name} {method:?}");
                square += norm;
            }
        });
        assert!(gradients.keys().all(|name| model.trains(name)));
        let step = 2e-4 / square.sqrt();
        let along = |step: f32| {
            let model = weights::update(model.clone(), |name, value| match gradients.get(name) {
                Some(gradient) => value + gradient.flat.clone() * step,
                None => value,
            });
            to_host(logits(&model))
                .iter()
                .zip(to_host(factors.clone()))
                .map(|(x, factor)| f64::from(*x) * f64::from(factor))
                .sum::<f64>()
        };
        let found = (along(step) - along(-step)) / f64::from(2.0 * step);
        let off = (found / f64::from(square) - 1.0).abs();
        assert!(off < 0.01, "{found} for {square}: {method:?}");
    }
}
