//! A language model with its tokenizer.

use std::fmt;
use std::path::Path;

use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use vlsm_models::weights;

use crate::builtin;
use crate::config::LanguageConfig;
use crate::decoder::{Cache, Decoder};
use crate::error::{LanguageError, Result};
use crate::files::read_weights;
use crate::peft;

/// A language model with its tokenizer.
pub struct LanguageModel {
    config: LanguageConfig,
    decoder: Decoder,
    tokenizer: tokenizers::Tokenizer,
    device: Device,
    fingerprint: String,
}

impl fmt::Debug for LanguageModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LanguageModel")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl LanguageModel {
    /// Loads a folder: `config.json`, `tokenizer.json` and weights; with the LoRA of an `adapter`'s folder in peft's format, if one is
    /// given. The folder can be [`BUILTIN`](crate::BUILTIN).
    ///
    /// # Errors
    /// If a file is missing or malformed, the weights are not those of the configuration, or the adapter is of another model.
    pub fn load(folder: &Path, adapter: Option<&Path>, device: &Device) -> Result<Self> {
        let (mut config, tokenizer) = read_description(folder)?;
        let (path, mut tensors) = read_weights(folder)?;
        if config.tied {
            // Some files have the embedding once more.
            tensors.remove("lm_head.weight");
        }
        // Constants of old files: the causal mask and the rotation's frequencies.
        let constant = |name: &str| {
            let ends = [".attention.bias", ".masked_bias", ".rotary_emb.inv_freq"];
            ends.iter().any(|end| name.ends_with(end))
        };
        tensors.retain(|name, _| !constant(name));
        if let Some(adapter) = adapter {
            peft::merge(adapter, &mut tensors)?;
            config.tied &= !tensors.contains_key("lm_head.weight");
        }
        let fingerprint = vlsm_models::fingerprint(&tensors);
        let decoder = Decoder::new(&config, device);
        let (decoder, mismatch) = weights::import(decoder, tensors, |_| true);
        if !mismatch.is_empty() {
            return Err(LanguageError::File {
                path,
                message: format!("is not of `config.json`: {}", mismatch.describe()),
            });
        }
        Ok(Self {
            config,
            decoder,
            tokenizer,
            device: device.clone(),
            fingerprint,
        })
    }

    /// A model with random weights, drawn from a seed, for a folder with `config.json` and `tokenizer.json`: matrices are normal with
    /// the deviation `initializer_range`, 0.02 by default, as in Transformers.
    ///
    /// # Errors
    /// If a file is missing or malformed.
    pub fn random(folder: &Path, seed: u64, device: &Device) -> Result<Self> {
        let (config, tokenizer) = read_description(folder)?;
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let deviation = config.deviation as f32;
        let decoder = weights::fill(Decoder::new(&config, device), |name, shape| {
            let count = shape.iter().product();
            let normal = || deviation * random.sample::<f32, _>(StandardNormal);
            Some(match shape.len() {
                1 if name.ends_with(".bias") => vec![0.0; count],
                1 => vec![1.0; count],
                _ => std::iter::repeat_with(normal).take(count).collect(),
            })
        });
        let fingerprint = vlsm_models::fingerprint(&weights::export(&decoder, |_| true));
        Ok(Self {
            config,
            decoder,
            tokenizer,
            device: device.clone(),
            fingerprint,
        })
    }

    /// The transformer.
    pub(crate) fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The device that it is on.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// What it is made of.
    pub fn config(&self) -> &LanguageConfig {
        &self.config
    }

    /// A digest of the weights.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The tokens of a text, without any added at its start or end.
    ///
    /// # Errors
    /// If the tokenizer cannot encode it.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoded = self.tokenizer.encode_fast(text, false);
        let encoded = encoded.map_err(|error| LanguageError::Tokenizer(error.to_string()))?;
        let ids = encoded.get_ids().to_vec();
        match ids
            .iter()
            .find(|id| **id as usize >= self.config.vocabulary)
        {
            Some(id) => Err(LanguageError::Tokenizer(format!(
                "token {id} is not in the model's vocabulary of {}; `tokenizer.json` is of another model",
                self.config.vocabulary
            ))),
            None => Ok(ids),
        }
    }

    /// Logits of the next token after each of a text, `[tokens, vocabulary]`.
    ///
    /// # Errors
    /// If there are more tokens than the model takes.
    pub fn logits(&self, tokens: &[u32]) -> Result<Tensor<2>> {
        self.check(tokens.len())?;
        Ok(self
            .decoder
            .forward(self.batch(tokens), None)
            .squeeze_dim(0))
    }

    /// The greedy answer to a text: at most `most` tokens, up to one that ends an answer, which is not returned.
    ///
    /// # Errors
    /// If the text is empty, or longer than the model takes.
    pub fn answer_tokens(&self, tokens: &[u32], most: usize) -> Result<Vec<u32>> {
        self.check(tokens.len())?;
        let most = most.min(self.config.context - tokens.len());
        let mut cache = Cache::default();
        let mut answer = Vec::new();
        let mut next = tokens.to_vec();
        while answer.len() < most {
            let count = next.len();
            let logits = self.decoder.forward(self.batch(&next), Some(&mut cache));
            let last = logits.narrow(1, count - 1, 1);
            let best = last.argmax(2).into_data().iter::<i64>().next();
            let token = best.unwrap_or_default() as u32;
            if self.config.end.contains(&token) {
                break;
            }
            answer.push(token);
            next = vec![token];
        }
        Ok(answer)
    }

    /// The greedy answer to a text, as text.
    ///
    /// # Errors
    /// As [`answer_tokens`](Self::answer_tokens), or if the tokenizer cannot encode or decode.
    pub fn answer(&self, text: &str, most: usize) -> Result<String> {
        self.decode(&self.answer_tokens(&self.encode(text)?, most)?)
    }

    /// The text of tokens, without those that mark a text's start or end.
    ///
    /// # Errors
    /// If the tokenizer cannot decode them.
    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        let text = self.tokenizer.decode(tokens, true);
        text.map_err(|error| LanguageError::Tokenizer(error.to_string()))
    }

    fn check(&self, tokens: usize) -> Result<()> {
        let most = self.config.context;
        if tokens == 0 {
            return Err(LanguageError::Tokenizer("the text is empty".into()));
        }
        match tokens > most {
            true => Err(LanguageError::TooLong { tokens, most }),
            false => Ok(()),
        }
    }

    fn batch(&self, tokens: &[u32]) -> Tensor<2, Int> {
        let ids: Vec<i64> = tokens.iter().map(|id| i64::from(*id)).collect();
        let data = TensorData::new(ids, [1, tokens.len()]);
        Tensor::from_data(data, &self.device)
    }
}

/// The configuration and the tokenizer of a folder.
fn read_description(folder: &Path) -> Result<(LanguageConfig, tokenizers::Tokenizer)> {
    if builtin::is_builtin(folder) {
        let parsed = LanguageConfig::parse(builtin::CONFIG).and_then(|config| {
            let tokenizer = builtin::TOKENIZER.parse::<tokenizers::Tokenizer>();
            Ok((config, tokenizer.map_err(|error| error.to_string())?))
        });
        return parsed.map_err(|message| LanguageError::File {
            path: folder.into(),
            message,
        });
    }
    let config = LanguageConfig::read(&folder.join("config.json"))?;
    let path = folder.join("tokenizer.json");
    match tokenizers::Tokenizer::from_file(&path) {
        Ok(tokenizer) => Ok((config, tokenizer)),
        Err(error) => Err(LanguageError::File {
            path,
            message: error.to_string(),
        }),
    }
}
