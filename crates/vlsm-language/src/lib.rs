//! Decoder-only language models with the layouts of Llama (Touvron et al. 2023) and GPT-Neo (Black et al. 2021), from folders in
//! Hugging Face's format.
//!
//! They compute in f32 on any device, which is for models of up to some hundred million parameters; larger ones belong in a server
//! made for them, and [`Endpoint`] asks those. LoRA adapters in peft's format are merged into the weights; [`TrainableModel`] trains
//! new ones.
//!
//! ```no_run
//! use burn::tensor::Device;
//! use vlsm_language::LanguageModel;
//!
//! # fn main() -> vlsm_language::Result<()> {
//! let model = LanguageModel::load("gpt-neo-125m".as_ref(), None, &Device::flex())?;
//! println!("{}", model.answer("1, 2, 3,", 8)?);
//! # Ok(())
//! # }
//! ```

mod attention;
mod builtin;
mod config;
mod decoder;
mod endpoint;
mod error;
mod files;
mod layers;
mod lora;
mod model;
mod peft;
mod trainable;

pub use builtin::{BUILTIN, is_builtin};
pub use config::{Architecture, LanguageConfig};
pub use decoder::{Cache, Decoder};
pub use endpoint::{Answer, Endpoint, EndpointConfig};
pub use error::{LanguageError, Result};
pub use lora::LowRankConfig;
pub use model::LanguageModel;
pub use trainable::{Exchange, TrainableModel};
