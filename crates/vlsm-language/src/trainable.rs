//! A language model in training.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use vlsm_image::write_atomic_bytes;
use vlsm_models::tensor_file::{self, HostTensor};
use vlsm_models::weights::{self, StateDictMismatch};

use crate::builtin;
use crate::decoder::Decoder;
use crate::error::{LanguageError, Result};
use crate::lora::{Lora, LowRankConfig, Pass};
use crate::model::LanguageModel;
use crate::peft;

/// The tokens of a prompt and those of its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// The prompt's.
    pub prompt: Vec<u32>,
    /// The answer's.
    pub answer: Vec<u32>,
}

/// A language model whose parameters are trained: those of a LoRA, or all of its own.
#[derive(Module, Debug)]
pub struct TrainableModel {
    decoder: Decoder,
    lora: Option<Lora>,
}

impl TrainableModel {
    /// A model with a new LoRA, or without one, all of which is trained.
    ///
    /// # Errors
    /// If the LoRA is none of this model.
    pub fn new(model: &LanguageModel, lora: Option<&LowRankConfig>, seed: u64) -> Result<Self> {
        let decoder = model.decoder().clone();
        let device = model.device();
        let lora = lora.map(|lora| Lora::new(lora, &decoder, model.config(), seed, device));
        let lora = lora.transpose()?;
        let all = lora.is_none();
        let new = Self { decoder, lora };
        Ok(weights::tracked(new, |name| all || Self::is_of_lora(name)))
    }

    fn is_of_lora(name: &str) -> bool {
        name.starts_with("lora.")
    }

    /// Whether the parameter with that name is trained.
    pub fn trains(&self, name: &str) -> bool {
        self.lora.is_none() || Self::is_of_lora(name)
    }

    /// The number of trained parameters.
    pub fn trained_parameters(&self) -> usize {
        let mut count = 0;
        weights::for_each_parameter(self, |name, shape| {
            if self.trains(name) {
                count += shape.iter().product::<usize>();
            }
        });
        count
    }

    /// The trained parameters.
    pub fn export(&self) -> BTreeMap<String, HostTensor> {
        weights::export(self, |name| self.trains(name))
    }

    /// The same model with other values of the trained parameters, as [`export`](Self::export) returned them.
    pub fn import(self, tensors: BTreeMap<String, HostTensor>) -> (Self, StateDictMismatch) {
        let all = self.lora.is_none();
        weights::import(self, tensors, |name| all || Self::is_of_lora(name))
    }

    /// The cross entropy of the answers' tokens, `[1]`: their mean over all of the batch. Prompts have none. `random` is what
    /// dropout draws from.
    pub fn loss(&self, batch: &[Exchange], random: Option<ChaCha8Rng>) -> Tensor<1> {
        let length = |one: &Exchange| one.prompt.len() + one.answer.len();
        // The last token predicts nothing.
        let longest = batch.iter().map(length).max().unwrap_or(1).max(2) - 1;
        let mut ids = vec![0i64; batch.len() * longest];
        let (mut rows, mut truth) = (Vec::new(), Vec::new());
        for (row, one) in batch.iter().enumerate() {
            // Padding comes after all tokens, which therefore do not see it.
            let all = one.prompt.iter().chain(&one.answer).take(longest);
            for (to, id) in ids[row * longest..].iter_mut().zip(all) {
                *to = i64::from(*id);
            }
            for (at, id) in one.answer.iter().enumerate() {
                let before = one.prompt.len() + at;
                if before > 0 {
                    rows.push((row * longest + before - 1) as i64);
                    truth.push(i64::from(*id));
                }
            }
        }
        let device = self.device();
        let ids = TensorData::new(ids, [batch.len(), longest]);
        let pass = Pass::new(self.lora.as_ref(), random);
        let states = (self.decoder).states(Tensor::from_data(ids, &device), None, &pass);
        let width = states.dims()[2];
        let count = rows.len();
        let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [count]), &device);
        let states: Tensor<2> = states.reshape([batch.len() * longest, width]);
        let logits = (self.decoder).logits(states.select(0, rows).unsqueeze(), &pass);
        let truth = Tensor::<2, Int>::from_data(TensorData::new(truth, [count, 1]), &device);
        let right = log_softmax(logits.squeeze_dim::<2>(0), 1).gather(1, truth);
        right.mean().neg()
    }

    /// The device for inputs, without autodiff.
    pub fn device(&self) -> Device {
        let device = self.devices().first().cloned().unwrap_or_default();
        device.without_autodiff()
    }

    /// Writes a LoRA into a folder as peft does, or else a whole model as Transformers does, with the configuration and the
    /// tokenizer of its folder, `base`.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    pub fn write(&self, folder: &Path, base: &Path, lora: &LowRankConfig) -> Result<()> {
        let Some(own) = &self.lora else {
            return self.write_whole(folder, base);
        };
        let metadata = tensor_file::pytorch_metadata();
        let path = folder.join(peft::WEIGHTS);
        tensor_file::write_safetensors(&path, &own.export(), &metadata)?;
        let modules = own.modules();
        let targets: Vec<String> = match &lora.targets {
            Some(targets) => targets.clone(),
            None => {
                let last = |module: &String| module.rsplit('.').next().map(str::to_owned);
                let mut all: Vec<String> = modules.iter().filter_map(last).collect();
                all.sort();
                all.dedup();
                all
            }
        };
        let config = json!({
            "base_model_name_or_path": base,
            "bias": "none",
            "inference_mode": true,
            "lora_alpha": lora.alpha,
            "lora_dropout": lora.dropout,
            "peft_type": "LORA",
            "r": lora.rank,
            "target_modules": targets,
            "task_type": "CAUSAL_LM",
            "use_dora": false,
            "use_rslora": false,
        });
        let text = format!("{config:#}\n");
        Ok(write_atomic_bytes(
            &folder.join(peft::CONFIG),
            text.as_bytes(),
        )?)
    }

    fn write_whole(&self, folder: &Path, base: &Path) -> Result<()> {
        for name in ["config.json", "tokenizer.json"] {
            let path = base.join(name);
            let bytes = match (builtin::is_builtin(base), name) {
                (true, "config.json") => Ok(builtin::CONFIG.into()),
                (true, _) => Ok(builtin::TOKENIZER.into()),
                (false, _) => std::fs::read(&path),
            };
            let bytes = bytes.map_err(|error| LanguageError::File {
                path,
                message: format!("cannot be read: {error}"),
            })?;
            write_atomic_bytes(&folder.join(name), &bytes)?;
        }
        let tensors = weights::export(&self.decoder, |_| true);
        let path = folder.join("model.safetensors");
        let metadata = tensor_file::pytorch_metadata();
        Ok(tensor_file::write_safetensors(&path, &tensors, &metadata)?)
    }
}
