//! peft's `adapter_config.json`.

use serde_json::{Map, Value, json};

/// The methods that peft has too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Lora,
    Dora,
    Ia3,
}

/// What is computed with the tensors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct PeftConfig {
    pub(super) kind: Kind,
    /// Factor on a low-rank change.
    pub(super) scale: f64,
}

/// Keys that do not change what is computed. Those that say which modules are changed are among them, since the names of the
/// tensors say so too.
const FREE: [&str; 18] = [
    "auto_mapping",
    "base_model_name_or_path",
    "ensure_weight_tying",
    "exclude_modules",
    "feedforward_modules",
    "inference_mode",
    "init_ia3_weights",
    "layers_pattern",
    "layers_to_transform",
    "lora_dropout",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "target_modules",
    "task_type",
    // Read below.
    "init_lora_weights",
    "peft_type",
];

/// Keys of low-rank changes that are read.
const LOW_RANK: [&str; 4] = ["lora_alpha", "r", "use_dora", "use_rslora"];

/// Keys that change what is computed in a way that no method here does, unless they are off.
const OFF: [&str; 21] = [
    "alora_invocation_tokens",
    "alpha_pattern",
    "arrow_config",
    "bias",
    "corda_config",
    "eva_config",
    "fan_in_fan_out",
    "kasa_config",
    "layer_replication",
    "loftq_config",
    "lora_bias",
    "lora_ga_config",
    "megatron_config",
    "modules_to_save",
    "monteclora_config",
    "rank_pattern",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
    "velora_config",
];

fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(word) => word == "none",
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.is_empty(),
        _ => false,
    }
}

impl PeftConfig {
    /// Reads a configuration.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let config: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let config = config.as_object().ok_or("it is no JSON object")?;
        for (key, value) in config {
            let known = |keys: &[&str]| keys.contains(&key.as_str());
            if known(&OFF) && !is_off(value) {
                return Err(format!(
                    "`{key}` is {value}, which no method of vlsm computes; train with it off (null, false or \"none\")"
                ));
            }
            if !known(&OFF) && !known(&FREE) && !known(&LOW_RANK) {
                return Err(format!(
                    "`{key}` is not a key of peft 0.21's LoRA or IA3, so what it changes is unknown; the keys are `{}`",
                    [&FREE[..], &LOW_RANK, &OFF].concat().join("`, `")
                ));
            }
        }
        let init = config.get("init_lora_weights").unwrap_or(&Value::Null);
        // The others, such as PiSSA, start from a changed base, which the adapter alone does not hold.
        if !(init.is_null() || init.is_boolean() || init == "gaussian" || init == "orthogonal") {
            return Err(format!(
                "`init_lora_weights` is {init}, which changes the base's own weights; save the adapter with peft's \
                 `path_initial_model_for_weight_conversion`, which makes it an ordinary one"
            ));
        }
        match config.get("peft_type").and_then(Value::as_str) {
            Some("IA3") => Ok(Self {
                kind: Kind::Ia3,
                scale: 1.0,
            }),
            Some("LORA") => Self::low_rank(config),
            _ => Err(format!(
                "`peft_type` is {}; it can be \"LORA\" (DoRA with `use_dora`) or \"IA3\"",
                config.get("peft_type").unwrap_or(&Value::Null)
            )),
        }
    }

    fn low_rank(config: &Map<String, Value>) -> Result<Self, String> {
        let flag = |key: &str| config.get(key) == Some(&Value::Bool(true));
        let number = |key: &str| {
            let value = config.get(key).and_then(Value::as_f64);
            let value = value.filter(|value| value.is_finite() && *value > 0.0);
            value.ok_or_else(|| format!("`{key}` is missing or not a number above 0"))
        };
        let (rank, alpha) = (number("r")?, number("lora_alpha")?);
        let divisor = if flag("use_rslora") {
            rank.sqrt()
        } else {
            rank
        };
        Ok(Self {
            kind: if flag("use_dora") {
                Kind::Dora
            } else {
                Kind::Lora
            },
            scale: alpha / divisor,
        })
    }

    /// The configuration of changes of `modules`, all of one rank, on the base with a name. Those of `feedforward` are scaled at
    /// their inputs.
    pub(super) fn to_json(
        self,
        rank: usize,
        base: &str,
        modules: &[String],
        feedforward: &[String],
    ) -> Value {
        let mut config = json!({
            "base_model_name_or_path": base,
            "inference_mode": true,
            "peft_type": if self.kind == Kind::Ia3 { "IA3" } else { "LORA" },
            "target_modules": modules,
            "task_type": null,
        });
        let more = match self.kind {
            Kind::Ia3 => json!({ "feedforward_modules": feedforward }),
            Kind::Lora | Kind::Dora => json!({
                "bias": "none",
                "lora_alpha": self.scale * rank as f64,
                "lora_dropout": 0.0,
                "r": rank,
                "use_dora": self.kind == Kind::Dora,
                "use_rslora": false,
            }),
        };
        if let (Some(config), Value::Object(more)) = (config.as_object_mut(), more) {
            config.extend(more);
        }
        config
    }
}
