//! `config.json` of a language model.

use std::path::Path;

use serde::Deserialize;
use vlsm_image::read_json;

use crate::error::{LanguageError, Result};

/// The layouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// Rotary positions, RMS norms, a gated MLP; Llama 2 and 3, SmolLM2 and others.
    Llama,
    /// Learnt positions, layer norms, and in every other layer attention to the last tokens only.
    GptNeo,
}

/// What a language model is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct LanguageConfig {
    /// The layout.
    pub architecture: Architecture,
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
    /// Width of a token.
    pub width: usize,
    /// Width between the layers of an MLP.
    pub hidden: usize,
    /// Layers.
    pub layers: usize,
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values; each serves as many heads of queries.
    pub key_value_heads: usize,
    /// Width of a head.
    pub head_width: usize,
    /// Tokens that the model takes, its answer included.
    pub context: usize,
    /// Added to the variance in norms.
    pub epsilon: f64,
    /// Llama: the base of the rotation's frequencies.
    pub rope_theta: f64,
    /// Llama: whether the projections of attention have biases.
    pub attention_bias: bool,
    /// Llama: whether the layers of the MLP have biases.
    pub mlp_bias: bool,
    /// GPT-Neo: the tokens that each layer attends to; none if to all.
    pub windows: Vec<Option<usize>>,
    /// Whether the output layer is the embedding of tokens.
    pub tied: bool,
    /// Tokens that end an answer.
    pub end: Vec<u32>,
    /// Standard deviation of random matrices.
    pub deviation: f64,
}

/// An identifier, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Ends {
    One(u32),
    Several(Vec<u32>),
}

#[derive(Deserialize)]
struct Rope {
    rope_theta: Option<f64>,
    #[serde(alias = "type")]
    rope_type: Option<String>,
}

/// The keys of `config.json` that are used; there are many more.
#[derive(Deserialize)]
struct File {
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: Option<usize>,
    #[serde(alias = "num_layers")]
    num_hidden_layers: usize,
    #[serde(alias = "num_heads")]
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    max_position_embeddings: usize,
    rms_norm_eps: Option<f64>,
    layer_norm_epsilon: Option<f64>,
    rope_theta: Option<f64>,
    rope_parameters: Option<Rope>,
    rope_scaling: Option<Rope>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    tie_word_embeddings: Option<bool>,
    eos_token_id: Option<Ends>,
    hidden_act: Option<String>,
    activation_function: Option<String>,
    window_size: Option<usize>,
    attention_types: Option<Vec<(Vec<String>, usize)>>,
    initializer_range: Option<f64>,
}

impl LanguageConfig {
    /// Reads a file.
    ///
    /// # Errors
    /// If it is none of a known layout, or has an option that is not known here.
    pub fn read(path: &Path) -> Result<Self> {
        let file: File = read_json(path)?;
        Self::checked(file).map_err(|message| LanguageError::File {
            path: path.into(),
            message,
        })
    }

    /// Parses the text of a file.
    pub(crate) fn parse(text: &str) -> std::result::Result<Self, String> {
        let file = serde_json::from_str(text).map_err(|error| error.to_string())?;
        Self::checked(file)
    }

    fn checked(file: File) -> std::result::Result<Self, String> {
        let architecture = match file.model_type.as_str() {
            "llama" => Architecture::Llama,
            "gpt_neo" => Architecture::GptNeo,
            other => {
                return Err(format!(
                    "`model_type` is `{other}`; only `llama` and `gpt_neo` run in the program, others in a server"
                ));
            }
        };
        let llama = architecture == Architecture::Llama;
        let activation = file.hidden_act.or(file.activation_function);
        let expected = if llama { "silu" } else { "gelu_new" };
        if activation.as_deref().is_some_and(|name| name != expected) {
            return Err(format!(
                "the activation is `{}`; only `{expected}` is known",
                activation.unwrap_or_default()
            ));
        }
        let ropes = [&file.rope_parameters, &file.rope_scaling];
        for rope in ropes.into_iter().flatten() {
            let kind = rope.rope_type.as_deref().unwrap_or("default");
            if kind != "default" {
                return Err(format!(
                    "`rope_type` is `{kind}`; only `default` is known, so run this model in a server"
                ));
            }
        }
        let heads = file.num_attention_heads;
        let width = file.hidden_size;
        let positive = [
            ("vocab_size", file.vocab_size),
            ("hidden_size", width),
            ("num_hidden_layers", file.num_hidden_layers),
            ("num_attention_heads", heads),
            ("max_position_embeddings", file.max_position_embeddings),
        ];
        for (key, value) in positive {
            if value == 0 {
                return Err(format!("`{key}` is 0"));
            }
        }
        let head_width = match file.head_dim.filter(|_| llama) {
            Some(width) => width,
            None if width.is_multiple_of(heads) => width / heads,
            None => {
                return Err(format!(
                    "`hidden_size` {width} is not a multiple of `num_attention_heads` {heads}"
                ));
            }
        };
        let key_value_heads = file.num_key_value_heads.filter(|_| llama).unwrap_or(heads);
        if key_value_heads == 0 || !heads.is_multiple_of(key_value_heads) {
            return Err(format!(
                "`num_attention_heads` {heads} is not a multiple of `num_key_value_heads` {key_value_heads}"
            ));
        }
        if llama && (head_width == 0 || !head_width.is_multiple_of(2)) {
            return Err(format!("the width of a head, {head_width}, is not even"));
        }
        let theta = file.rope_parameters.and_then(|rope| rope.rope_theta);
        let windows = match llama {
            true => vec![None; file.num_hidden_layers],
            false => windows(
                file.attention_types.unwrap_or_default(),
                file.window_size.unwrap_or(256),
                file.num_hidden_layers,
            )?,
        };
        Ok(Self {
            architecture,
            vocabulary: file.vocab_size,
            width,
            hidden: file.intermediate_size.unwrap_or(4 * width),
            layers: file.num_hidden_layers,
            heads,
            key_value_heads,
            head_width,
            context: file.max_position_embeddings,
            epsilon: file
                .rms_norm_eps
                .or(file.layer_norm_epsilon)
                .unwrap_or(1e-5),
            rope_theta: theta.or(file.rope_theta).unwrap_or(10_000.0),
            attention_bias: file.attention_bias.unwrap_or(false),
            mlp_bias: file.mlp_bias.unwrap_or(false),
            windows,
            tied: file.tie_word_embeddings.unwrap_or(!llama),
            end: match file.eos_token_id {
                Some(Ends::One(end)) => vec![end],
                Some(Ends::Several(ends)) => ends,
                None => Vec::new(),
            },
            deviation: file.initializer_range.unwrap_or(0.02),
        })
    }
}

/// The window of each layer: `[[["global", "local"], 6]]` is six times one of each.
fn windows(
    types: Vec<(Vec<String>, usize)>,
    size: usize,
    layers: usize,
) -> std::result::Result<Vec<Option<usize>>, String> {
    let mut windows = Vec::new();
    for (kinds, times) in types {
        for _ in 0..times.min(layers) {
            for kind in &kinds {
                windows.push(match kind.as_str() {
                    "global" => None,
                    "local" => Some(size),
                    other => {
                        return Err(format!(
                            "`attention_types` has `{other}`; only `global` and `local` are known"
                        ));
                    }
                });
            }
        }
    }
    if windows.len() != layers {
        return Err(format!(
            "`attention_types` is for {} layers, and there are {layers}",
            windows.len()
        ));
    }
    Ok(windows)
}
