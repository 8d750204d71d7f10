//! Losses and gradients equal those of Transformers and peft (`scripts/reference/make_language_training.py`).

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use vlsm_language::{Exchange, LanguageModel, LowRankConfig, TrainableModel};
use vlsm_models::tensor_file::{self, HostTensor};
use vlsm_models::weights;

fn folder(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/language");
    root.join(name)
}

fn small() -> LowRankConfig {
    LowRankConfig {
        rank: 3,
        alpha: 6.0,
        dropout: 0.1,
        targets: None,
    }
}

/// The batch of the script.
fn batch(model: &LanguageModel) -> Vec<Exchange> {
    let encode = |text| model.encode(text).unwrap();
    let texts = [
        ("In box 0: 'cup'.\nAnswer:", " 0"),
        ("the largest box\nAnswer:", "12"),
    ];
    let exchange = |(prompt, answer)| Exchange {
        prompt: encode(prompt),
        answer: encode(answer),
    };
    texts.map(exchange).into()
}

/// Loss and gradients, by names in the module.
fn gradients(model: &TrainableModel, batch: &[Exchange]) -> (f32, BTreeMap<String, HostTensor>) {
    let loss = model.loss(batch, None);
    let value = loss.clone().inner().into_scalar::<f32>();
    let gradients = weights::take_gradients(model, &mut loss.backward());
    let gradients = gradients.into_iter();
    let gradients = gradients.map(|(name, gradient)| (name, gradient.to_file()));
    (value, gradients.collect())
}

fn expect_close(found: &HostTensor, expected: &HostTensor, name: &str) {
    assert_eq!(found.shape, expected.shape, "{name}");
    let pairs = found.data.iter().zip(&expected.data);
    let off = pairs.map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt();
    let norm = expected.data.iter().map(|x| x * x).sum::<f32>().sqrt();
    assert!(off <= 1e-3 * norm, "{name}: off by {off} of {norm}");
}

/// The names of a module's LoRA parameters, `lora.changes.3.a.weight`, by those of peft.
fn peft_names(modules: &[String]) -> BTreeMap<String, String> {
    let name = |(index, module): (usize, &String)| {
        [("a", "lora_A"), ("b", "lora_B")].map(|(own, theirs)| {
            let theirs = format!("base_model.model.{module}.{theirs}.weight");
            (theirs, format!("lora.changes.{index}.{own}.weight"))
        })
    };
    modules.iter().enumerate().flat_map(name).collect()
}

#[test]
fn losses_and_gradients_are_those_of_transformers_and_peft() {
    for name in ["llama", "gpt_neo"] {
        let model = LanguageModel::load(&folder(name), None, &Device::flex()).unwrap();
        let file = folder(&format!("{name}_training")).join("expected.safetensors");
        let expected = tensor_file::read(&file).unwrap().tensors;
        let of = |prefix: &str| -> BTreeMap<String, HostTensor> {
            let named = expected.iter();
            let named =
                named.filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?, tensor)));
            named
                .map(|(name, tensor)| (name.to_owned(), tensor.clone()))
                .collect()
        };
        let batch = batch(&model);

        let whole = TrainableModel::new(&model, None, 1).unwrap();
        let (loss, found) = gradients(&whole, &batch);
        assert!(
            (loss - expected["loss.full"].data[0]).abs() < 1e-4,
            "{loss}"
        );
        for (parameter, gradient) in of("full.") {
            expect_close(
                &found[&format!("decoder.{parameter}")],
                &gradient,
                &parameter,
            );
        }

        let adapted = TrainableModel::new(&model, Some(&small()), 1).unwrap();
        let start = of("start.");
        let modules: Vec<String> = start
            .keys()
            .filter_map(|name| name.strip_prefix("base_model.model."))
            .filter_map(|name| name.strip_suffix(".lora_A.weight"))
            .map(str::to_owned)
            .collect();
        let names = peft_names(&modules);
        let tensors = start
            .into_iter()
            .map(|(name, tensor)| (names[&name].clone(), tensor));
        let (adapted, mismatch) = adapted.import(tensors.collect());
        assert!(mismatch.is_empty(), "{}", mismatch.describe());
        let (loss, found) = gradients(&adapted, &batch);
        assert!(
            (loss - expected["loss.lora"].data[0]).abs() < 1e-4,
            "{loss}"
        );
        // The base has none.
        assert_eq!(found.len(), names.len());
        for (parameter, gradient) in of("lora.") {
            expect_close(&found[&names[&parameter]], &gradient, &parameter);
        }

        // What is written is what peft calls it, and merged it computes the same.
        let written = tempfile::tempdir().unwrap();
        adapted
            .write(written.path(), &folder(name), &small())
            .unwrap();
        let file = written.path().join("adapter_model.safetensors");
        assert_eq!(tensor_file::read(&file).unwrap().tensors, of("start."));
        let merged = LanguageModel::load(&folder(name), Some(written.path()), &Device::flex());
        let merged = merged.unwrap();
        let logits = merged.logits(&batch[0].prompt).unwrap();
        let [rows, columns] = logits.dims();
        let logits = HostTensor {
            shape: vec![rows, columns],
            data: weights::to_host(logits),
        };
        expect_close(&logits, &expected["logits"], "logits");
    }
}

#[test]
fn a_whole_model_is_written_as_a_folder() {
    let model = LanguageModel::load(&folder("llama_tied"), None, &Device::flex()).unwrap();
    let whole = TrainableModel::new(&model, None, 1).unwrap();
    let written = tempfile::tempdir().unwrap();
    whole
        .write(written.path(), &folder("llama_tied"), &small())
        .unwrap();
    let again = LanguageModel::load(written.path(), None, &Device::flex()).unwrap();
    assert_eq!(again.fingerprint(), model.fingerprint());
}

#[test]
fn dropout_depends_on_the_random_numbers_and_is_off_without() {
    let model = LanguageModel::load(&folder("llama"), None, &Device::flex()).unwrap();
    let batch = batch(&model);
    let adapted = TrainableModel::new(&model, Some(&small()), 1).unwrap();
    let random = |seed| Some(ChaCha8Rng::seed_from_u64(seed));
    let loss =
        |model: &TrainableModel, random| weights::to_host(model.loss(&batch, random).inner());
    // A new LoRA changes nothing.
    let whole = TrainableModel::new(&model, None, 1).unwrap();
    assert_eq!(loss(&adapted, random(1)), loss(&whole, None));
    let tensors = adapted.export();
    assert_eq!(
        tensors,
        TrainableModel::new(&model, Some(&small()), 1)
            .unwrap()
            .export()
    );
    let ones = tensors.into_iter().map(|(name, mut tensor)| {
        tensor.data.iter_mut().for_each(|x| *x += 0.1);
        (name, tensor)
    });
    let (adapted, _) = adapted.import(ones.collect());
    assert_eq!(loss(&adapted, random(1)), loss(&adapted, random(1)));
    assert_ne!(loss(&adapted, random(1)), loss(&adapted, random(2)));
    assert_eq!(loss(&adapted, None), loss(&adapted, None));
    assert_ne!(loss(&adapted, None), loss(&adapted, random(1)));
}

#[test]
fn what_is_no_lora_of_the_model_is_an_error_that_names_the_key() {
    let model = LanguageModel::load(&folder("gpt_neo"), None, &Device::flex()).unwrap();
    let error = |lora: LowRankConfig| {
        let new = TrainableModel::new(&model, Some(&lora), 1);
        new.err().unwrap().to_string()
    };
    let targets = |names: &[&str]| LowRankConfig {
        targets: Some(names.iter().map(|name| name.to_string()).collect()),
        ..small()
    };
    let unknown = error(targets(&["o_proj"]));
    assert!(
        unknown.contains("`o_proj`") && unknown.contains("out_proj"),
        "{unknown}"
    );
    assert!(error(targets(&[])).contains("`targets` is empty"));
    assert!(error(LowRankConfig { rank: 0, ..small() }).contains("`rank` is 0"));
    assert!(
        error(LowRankConfig {
            dropout: 1.0,
            ..small()
        })
        .contains("`dropout` is 1")
    );
    assert!(
        error(LowRankConfig {
            alpha: 0.0,
            ..small()
        })
        .contains("`alpha` is 0")
    );
    let some = TrainableModel::new(&model, Some(&targets(&["q_proj", "lm_head"])), 1).unwrap();
    assert_eq!(some.export().len(), 2 * 5);
}
