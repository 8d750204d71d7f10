//! LoRA on the linear layers of a decoder (Hu et al. 2022), as peft computes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use vlsm_models::tensor_file::HostTensor;
use vlsm_models::{dropout, weights};

use crate::config::LanguageConfig;
use crate::error::{LanguageError, Result};

/// Which layers get a LoRA, and of which size. The defaults are LLM-wrapper's published ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LowRankConfig {
    /// Rank of a change.
    pub rank: usize,
    /// A change is multiplied by this over the rank.
    pub alpha: f64,
    /// Share of a layer's inputs that a change does not see in a training step.
    pub dropout: f64,
    /// The layers, by the last part of their names, such as `q_proj`. Default: all linear layers, the output layer among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets: Option<Vec<String>>,
}

impl Default for LowRankConfig {
    fn default() -> Self {
        Self {
            rank: 128,
            alpha: 256.0,
            dropout: 0.1,
            targets: None,
        }
    }
}

/// The module of the output layer.
pub(crate) const HEAD: &str = "lm_head";

/// Low-rank changes of linear layers.
#[derive(Module, Debug)]
pub(crate) struct Lora {
    changes: Vec<LowRank>,
    /// The changed layers, in the order of `changes`.
    #[module(skip)]
    modules: Vec<String>,
    #[module(skip)]
    scale: f64,
    #[module(skip)]
    dropout: f64,
}

/// `B(A(x))`: `A` is `[rank, inputs]` in files, `B` `[outputs, rank]`.
#[derive(Module, Debug)]
struct LowRank {
    a: Linear,
    b: Linear,
}

impl Lora {
    /// Changes that are zero at first, with peft's random `A`, drawn from a seed.
    ///
    /// # Errors
    /// If a number is out of range, or a target is no linear layer.
    pub(crate) fn new(
        lora: &LowRankConfig,
        decoder: &impl Module,
        config: &LanguageConfig,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let sites = lora.sites(decoder, config)?;
        let linear = |from, to| LinearConfig::new(from, to).with_bias(false).init(device);
        let change = |[outputs, inputs]: &[usize; 2]| LowRank {
            a: linear(*inputs, lora.rank),
            b: linear(lora.rank, *outputs),
        };
        let new = Self {
            changes: sites.values().map(change).collect(),
            modules: sites.keys().cloned().collect(),
            scale: lora.alpha / lora.rank as f64,
            dropout: lora.dropout,
        };
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        Ok(weights::fill(new, |name, shape| {
            let count = shape.iter().product();
            if name.ends_with(".b.weight") {
                return Some(vec![0.0; count]);
            }
            // Kaiming's uniform distribution with a negative slope of the root of 5.
            let bound = 1.0 / (shape.last().copied().unwrap_or(1) as f32).sqrt();
            Some(
                (0..count)
                    .map(|_| random.random_range(-bound..bound))
                    .collect(),
            )
        }))
    }

    /// The layers with a change.
    pub(crate) fn modules(&self) -> &[String] {
        &self.modules
    }

    /// The tensors by peft's names.
    pub(crate) fn export(&self) -> BTreeMap<String, HostTensor> {
        let tensors = weights::export(self, |_| true).into_iter();
        let renamed = tensors.filter_map(|(name, tensor)| Some((self.peft_name(&name)?, tensor)));
        renamed.collect()
    }

    /// `changes.3.a.weight` as peft calls it.
    pub(crate) fn peft_name(&self, name: &str) -> Option<String> {
        let (index, rest) = name.strip_prefix("changes.")?.split_once('.')?;
        let module = self.modules.get(index.parse::<usize>().ok()?)?;
        let matrix = match rest {
            "a.weight" => "lora_A",
            _ => "lora_B",
        };
        Some(format!("base_model.model.{module}.{matrix}.weight"))
    }
}

impl LowRankConfig {
    /// The changed layers, with their outputs and inputs.
    fn sites(
        &self,
        decoder: &impl Module,
        config: &LanguageConfig,
    ) -> Result<BTreeMap<String, [usize; 2]>> {
        let wrong = |message: String| Err(LanguageError::Lora(message));
        if self.rank == 0 {
            return wrong("`rank` is 0; give at least 1".into());
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return wrong(format!("`alpha` is {}; give a number above 0", self.alpha));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return wrong(format!(
                "`dropout` is {}; give a share from 0 to below 1",
                self.dropout
            ));
        }
        let mut sites = BTreeMap::new();
        weights::for_each_parameter(decoder, |name, shape| {
            let module = name.strip_suffix(".weight");
            let embedding = ["embed_tokens", "wte", "wpe"];
            if let (Some(module), &[outputs, inputs]) = (module, shape)
                && !embedding.iter().any(|name| module.ends_with(name))
            {
                sites.insert(module.to_owned(), [outputs, inputs]);
            }
        });
        // A tied one is the embedding, which stays as it is.
        sites.insert(HEAD.into(), [config.vocabulary, config.width]);
        let Some(targets) = &self.targets else {
            return Ok(sites);
        };
        let last = |module: &str| module.rsplit('.').next().unwrap_or(module).to_owned();
        let known: BTreeSet<String> = sites.keys().map(|module| last(module)).collect();
        if let Some(target) = targets.iter().find(|target| !known.contains(*target)) {
            let known: Vec<String> = known.into_iter().collect();
            return wrong(format!(
                "`targets` has `{target}`; this model has `{}`",
                known.join("`, `")
            ));
        }
        if targets.is_empty() {
            return wrong("`targets` is empty; leave it out to change all layers".into());
        }
        sites.retain(|module, _| targets.contains(&last(module)));
        Ok(sites)
    }
}

/// A pass through a decoder: its changes, and the random numbers of dropout in training.
#[derive(Default)]
pub(crate) struct Pass<'a> {
    lora: Option<&'a Lora>,
    random: Option<Mutex<ChaCha8Rng>>,
}

impl<'a> Pass<'a> {
    /// With changes, and in training with what dropout draws from.
    pub(crate) fn new(lora: Option<&'a Lora>, random: Option<ChaCha8Rng>) -> Self {
        Self {
            lora,
            random: random.map(Mutex::new),
        }
    }

    /// A layer's part of it; `layers` is the name of all.
    pub(crate) fn of_layer(&self, layers: &'static str, index: usize) -> LayerPass<'_> {
        LayerPass {
            pass: self,
            layers,
            index,
        }
    }

    /// What a linear layer returned for `x`, with the change of that layer.
    pub(crate) fn changed(
        &self,
        y: Tensor<3>,
        x: Tensor<3>,
        module: impl FnOnce() -> String,
    ) -> Tensor<3> {
        let Some(lora) = self.lora else {
            return y;
        };
        let Ok(at) = lora.modules.binary_search(&module()) else {
            return y;
        };
        let x = match &self.random {
            Some(random) => {
                let mut random = random.lock().unwrap_or_else(PoisonError::into_inner);
                dropout(x, lora.dropout, &mut random)
            }
            None => x,
        };
        let LowRank { a, b } = &lora.changes[at];
        y + b.forward(a.forward(x)) * lora.scale
    }
}

/// A layer's part of a pass.
pub(crate) struct LayerPass<'a> {
    pass: &'a Pass<'a>,
    layers: &'static str,
    index: usize,
}

impl LayerPass<'_> {
    /// A linear layer, with its change.
    pub(crate) fn linear(&self, name: &str, linear: &Linear, x: Tensor<3>) -> Tensor<3> {
        let module = || format!("{}.{}.{name}", self.layers, self.index);
        let y = linear.forward(x.clone());
        self.pass.changed(y, x, module)
    }
}
