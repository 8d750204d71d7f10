//! Logits and greedy answers equal those of Transformers (`scripts/reference/make_language.py`).

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde::Deserialize;
use vlsm_language::LanguageModel;
use vlsm_models::tensor_file;

#[derive(Deserialize)]
struct Expected {
    answers: Vec<Answer>,
    noise: f32,
    end: u32,
}

#[derive(Deserialize)]
struct Answer {
    text: String,
    ids: Vec<u32>,
    answer: Vec<u32>,
}

fn folder(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/language");
    root.join(name)
}

#[test]
fn logits_and_greedy_answers_are_those_of_transformers() {
    for name in ["llama", "llama_tied", "gpt_neo"] {
        let folder = folder(name);
        let model = LanguageModel::load(&folder, None, &Device::flex()).unwrap();
        let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
        let expected: Expected = serde_json::from_str(&text).unwrap();
        let tensors = tensor_file::read(&folder.join("expected.safetensors")).unwrap();
        for (at, case) in expected.answers.iter().enumerate() {
            assert_eq!(model.encode(&case.text).unwrap(), case.ids, "{name} {at}");
            let logits = model.logits(&case.ids).unwrap().into_data();
            let exact = &tensors.tensors[&format!("logits.{at}")].data;
            let pairs = logits.iter::<f32>().zip(exact);
            let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            let spread = exact.iter().fold(0f32, |most, x| most.max(x.abs()));
            // PyTorch's own f32 is `noise` from f64.
            let bound = (1e-4 * spread).max(2.0 * expected.noise);
            assert!(worst < bound, "{name} {at}: off by {worst} of {spread}");

            let until = |tokens: &[u32]| -> Vec<u32> {
                let tokens = tokens.iter().copied();
                tokens.take_while(|token| *token != expected.end).collect()
            };
            let answer = model.answer_tokens(&case.ids, 24).unwrap();
            assert_eq!(answer, until(&case.answer), "{name} {at}");
            // Without a cache.
            let mut tokens = case.ids.clone();
            for token in &answer {
                let logits = model.logits(&tokens).unwrap();
                let best = logits.narrow(0, tokens.len() - 1, 1).argmax(1);
                assert_eq!(
                    best.into_data().iter::<i64>().next(),
                    Some(i64::from(*token))
                );
                tokens.push(*token);
            }
        }
    }
}

/// The logits of peft, of all kinds of layers that LLM-wrapper adapts.
#[test]
fn a_lora_of_peft_is_merged() {
    let device = Device::flex();
    let adapter = folder("llama_lora");
    let model = LanguageModel::load(&folder("llama"), Some(&adapter), &device).unwrap();
    let expected = tensor_file::read(&adapter.join("expected.safetensors")).unwrap();
    let expected = &expected.tensors["logits"].data;
    let ids = model.encode("In box 0: 'cup'").unwrap();
    let logits = model.logits(&ids).unwrap().into_data();
    let pairs = logits.iter::<f32>().zip(expected);
    let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let spread = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
    assert!(worst < 1e-4 * spread, "off by {worst} of {spread}");
    let plain = LanguageModel::load(&folder("llama"), None, &device).unwrap();
    assert_ne!(plain.fingerprint(), model.fingerprint());

    let error = |change: &dyn Fn(&Path)| {
        let copy = tempfile::tempdir().unwrap();
        for name in ["adapter_config.json", "adapter_model.safetensors"] {
            std::fs::copy(adapter.join(name), copy.path().join(name)).unwrap();
        }
        change(copy.path());
        let loaded = LanguageModel::load(&folder("llama"), Some(copy.path()), &device);
        loaded.unwrap_err().to_string()
    };
    let with = |from: &'static str, to: &'static str| {
        error(&|copy: &Path| {
            let path = copy.join("adapter_config.json");
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.contains(from), "{from}");
            std::fs::write(path, text.replace(from, to)).unwrap();
        })
    };
    for (from, to, part) in [
        ("\"LORA\"", "\"IA3\"", "`peft_type` is `IA3`"),
        (
            "\"use_dora\": false",
            "\"use_dora\": true",
            "`use_dora` is not known",
        ),
        ("\"bias\": \"none\"", "\"bias\": \"all\"", "`bias` is `all`"),
        (
            "\"r\": 3",
            "\"r\": 0",
            "`r` is missing or no positive number",
        ),
    ] {
        let error = with(from, to);
        assert!(error.contains(part), "{error}");
    }
    let missing = error(&|copy: &Path| {
        std::fs::remove_file(copy.join("adapter_model.safetensors")).unwrap();
    });
    assert!(missing.contains("adapter_model.safetensors"), "{missing}");
    let other = LanguageModel::load(&folder("gpt_neo"), Some(&adapter), &device).unwrap_err();
    assert!(
        other
            .to_string()
            .contains("the model that it was trained on"),
        "{other}"
    );
}

/// An answer ends where the model's context does.
#[test]
fn a_text_longer_than_the_context_is_an_error() {
    let model = LanguageModel::load(&folder("gpt_neo"), None, &Device::flex()).unwrap();
    let error = model.answer_tokens(&[1; 129], 4).unwrap_err().to_string();
    assert_eq!(
        error,
        "the text has 129 tokens, and the model takes at most 128"
    );
    assert!(model.answer_tokens(&[1; 126], 9).unwrap().len() <= 2);
    assert!(model.answer_tokens(&[1; 128], 9).unwrap().is_empty());
    assert!(model.answer_tokens(&[], 9).is_err());
}

#[test]
fn what_is_not_known_is_an_error_that_names_the_key() {
    let temporary = tempfile::tempdir().unwrap();
    let load = |from: &str, replaced: &str, with: &str| {
        for entry in std::fs::read_dir(folder(from)).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, temporary.path().join(path.file_name().unwrap())).unwrap();
        }
        let path = temporary.path().join("config.json");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(replaced), "{replaced}");
        std::fs::write(&path, text.replace(replaced, with)).unwrap();
        let error = LanguageModel::load(temporary.path(), None, &Device::flex());
        error.unwrap_err().to_string()
    };
    for (from, replaced, with, part) in [
        ("llama", "\"llama\"", "\"mamba\"", "`model_type` is `mamba`"),
        ("llama", "\"silu\"", "\"relu\"", "the activation is `relu`"),
        ("llama", "\"default\"", "\"yarn\"", "`rope_type` is `yarn`"),
        (
            "llama",
            "\"num_key_value_heads\": 2",
            "\"num_key_value_heads\": 3",
            "not a multiple",
        ),
        (
            "llama",
            "\"hidden_size\": 24",
            "\"hidden_size\": 32",
            "embed_tokens",
        ),
        (
            "llama",
            "\"num_hidden_layers\": 3",
            "\"num_hidden_layers\": 2",
            "layers.2",
        ),
        (
            "gpt_neo",
            "\"num_layers\": 4",
            "\"num_layers\": 3",
            "`attention_types` is for 4 layers",
        ),
        ("gpt_neo", "\"vocab_size\"", "\"vocabulary\"", "vocab_size"),
    ] {
        let error = load(from, replaced, with);
        assert!(error.contains(part), "{error}");
    }
    std::fs::remove_file(temporary.path().join("model.safetensors")).unwrap();
    std::fs::copy(
        folder("gpt_neo").join("config.json"),
        temporary.path().join("config.json"),
    )
    .unwrap();
    let error = LanguageModel::load(temporary.path(), None, &Device::flex()).unwrap_err();
    assert!(
        error.to_string().contains("copy the weights here"),
        "{error}"
    );
}
