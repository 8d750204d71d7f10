//! LoRA adapters in peft's format, merged into the weights.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};
use vlsm_image::read_json;
use vlsm_models::tensor_file::{self, HostTensor};

use crate::error::{LanguageError, Result};
use crate::lora::HEAD;

/// The configuration, in a folder of peft.
pub(crate) const CONFIG: &str = "adapter_config.json";
/// The tensors, in a folder of peft.
pub(crate) const WEIGHTS: &str = "adapter_model.safetensors";

/// What a tied output layer is, by layout.
const EMBEDDINGS: [&str; 2] = ["model.embed_tokens.weight", "transformer.wte.weight"];

/// Keys of `adapter_config.json` that change what is computed, in ways that are not known here.
const OFF: [&str; 14] = [
    "alora_invocation_tokens",
    "alpha_pattern",
    "fan_in_fan_out",
    "layer_replication",
    "lora_bias",
    "modules_to_save",
    "rank_pattern",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
    "use_rslora",
    "velora_config",
];

/// Adds the changes of an adapter's folder, `adapter_config.json` and `adapter_model.safetensors`, to a model's weights:
/// `W + lora_alpha / r B A`. A tied output layer that is changed gets weights of its own.
///
/// # Errors
/// If a file is missing or malformed, has an option that is not known here, or is of another model.
pub(crate) fn merge(folder: &Path, weights: &mut BTreeMap<String, HostTensor>) -> Result<()> {
    let path = folder.join(CONFIG);
    let config: Map<String, Value> = read_json(&path)?;
    let scale = scale(&config).map_err(|message| LanguageError::File { path, message })?;
    let path = folder.join(WEIGHTS);
    let tensors = tensor_file::read(&path)?.tensors;
    add(tensors, scale, weights).map_err(|message| LanguageError::File { path, message })
}

/// `lora_alpha / r`.
fn scale(config: &Map<String, Value>) -> std::result::Result<f32, String> {
    let kind = config.get("peft_type").and_then(Value::as_str);
    if kind != Some("LORA") {
        return Err(format!(
            "`peft_type` is `{}`; only `LORA` is known",
            kind.unwrap_or("missing")
        ));
    }
    for key in OFF {
        let on = match config.get(key) {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::Object(map)) => !map.is_empty(),
            Some(Value::Array(list)) => !list.is_empty(),
            Some(_) => true,
        };
        if on {
            return Err(format!(
                "`{key}` is not known here; merge the adapter with peft"
            ));
        }
    }
    let bias = config.get("bias").and_then(Value::as_str).unwrap_or("none");
    if bias != "none" {
        return Err(format!(
            "`bias` is `{bias}`; only `none` is known, so merge the adapter with peft"
        ));
    }
    let number = |key: &str| {
        let value = config.get(key).and_then(Value::as_f64);
        let valid = value.filter(|value| value.is_finite() && *value > 0.0);
        valid.ok_or_else(|| format!("`{key}` is missing or no positive number"))
    };
    Ok((number("lora_alpha")? / number("r")?) as f32)
}

fn add(
    mut tensors: BTreeMap<String, HostTensor>,
    scale: f32,
    weights: &mut BTreeMap<String, HostTensor>,
) -> std::result::Result<(), String> {
    let names: Vec<String> = tensors.keys().cloned().collect();
    let mut changed = 0;
    for name in names {
        let module = |end: &str| {
            let module = name.strip_prefix("base_model.model.")?;
            module.strip_suffix(end)
        };
        // A copy of the base's, which peft saves of embeddings and output layers.
        if module(".base_layer.weight").is_some() {
            tensors.remove(&name);
            continue;
        }
        let Some(module) = module(".lora_A.weight") else {
            continue;
        };
        let b = tensors.remove(&format!("base_model.model.{module}.lora_B.weight"));
        let (Some(a), Some(b)) = (tensors.remove(&name), b) else {
            return Err(format!("`{name}` has no `lora_B`"));
        };
        let own = format!("{module}.weight");
        if module == HEAD && !weights.contains_key(&own) {
            let embedding = EMBEDDINGS
                .iter()
                .find_map(|name| weights.get(*name).cloned());
            weights.extend(embedding.map(|embedding| (own.clone(), embedding)));
        }
        let Some(weight) = weights.get_mut(&own) else {
            return Err(format!(
                "`{name}` is of a layer that the model does not have; use the model that it was trained on"
            ));
        };
        let (&[rank, inputs], &[outputs, columns]) = (&a.shape[..], &b.shape[..]) else {
            return Err(format!("`{name}` is no matrix"));
        };
        if rank != columns || weight.shape != [outputs, inputs] {
            return Err(format!(
                "`{name}` is {:?} and its `lora_B` {:?}, but the layer is {:?}; use the model that it was trained on",
                a.shape, b.shape, weight.shape
            ));
        }
        for (row, values) in weight.data.chunks_mut(inputs.max(1)).enumerate() {
            for (factor, a) in b.data[row * rank..]
                .iter()
                .zip(a.data.chunks(inputs.max(1)))
            {
                for (value, a) in values.iter_mut().zip(a) {
                    *value += scale * factor * a;
                }
            }
        }
        changed += 1;
    }
    match tensors.keys().next() {
        Some(name) => Err(format!("`{name}` is not a tensor of a LoRA")),
        None if changed == 0 => Err("has no changes".into()),
        None => Ok(()),
    }
}
