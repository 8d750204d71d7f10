//! CLIP, CLIPSeg, BiomedCLIP, SAN, CRIS and VLSM adapters on Burn: configuration, tokenizer, weights in and out.
//!
//! Models know nothing of training or the command line: a [`Base`] is loaded, a [`MethodConfig`] says what is trained on
//! it, and a [`Model`] runs both.
//!
//! ```
//! use vlsm_image::RgbImage;
//! use vlsm_models::{Base, MethodConfig, Model, SegmentationModel, device};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let base = Base::load("builtin:tiny", &device("cpu")?)?;
//! let model = Model::new(&base, MethodConfig::zero_shot(), 0)?.for_inference();
//! let image = RgbImage::filled(64, 48, [200, 30, 30]);
//! let pixels = base.preprocessing.tensor(&[&image], &model.device())?;
//! let prompt = base.tokenizer.encode("a red circle", model.context_length())?;
//! let text = model.encode_text(&model.tokens(&[prompt])?)?;
//! let logits = model.decode(&model.encode_image(pixels)?, text)?;
//! assert_eq!(logits.dims(), [1, 168, 168]);
//! # Ok(())
//! # }
//! ```

mod activation;
mod adapter_file;
pub mod base;
mod base_precision;
pub mod biomedclip;
mod builtin;
pub mod clip;
pub mod clipseg;
mod compatibility;
mod composed;
pub mod contract;
pub mod cris;
pub mod description;
mod device;
mod dropout;
mod error;
mod files;
pub mod hub;
mod init;
mod kernel_weights;
pub mod methods;
pub mod onnx;
pub mod peft;
mod pool;
mod precision;
pub mod predict;
pub mod preprocess;
mod published;
mod registry;
mod resize;
pub mod san;
pub mod segments;
mod spec;
pub mod tensor_file;
pub mod tokenizer;
pub mod weights;

pub use activation::Activation;
pub use adapter_file::{AdapterFile, Inference};
pub use base::Base;
pub use clip::TokenBatch;
pub use clipseg::ClipSegConfig;
pub use contract::{HiddenStates, SegmentationModel, VocabularyMasks};
pub use cris::CrisConfig;
pub use device::{DeviceDescription, device, devices, is_cpu, on_device, takes_bytes};
pub use dropout::dropout;
pub use error::{ModelError, Result};
pub use files::{BaseIdentity, fingerprint};
pub use methods::{
    AdapterInit, Adapters, BaseShape, BitFitConfig, Bottleneck, Connection, CoopConfig,
    DecoderConfig, DenseConfig, DoraConfig, FullConfig, Ia3Config, LayerNormConfig, LoraConfig,
    MapleConfig, MethodConfig, Profile, Projection, ShallowConfig, SharedAttnConfig,
    SharedSeparateConfig, SsfConfig, Statistics, Sublayers, Towers, VptConfig, ZeroShotConfig,
};
pub use pool::on_pool;
pub use precision::Precision;
pub use preprocess::Preprocessing;
pub use registry::{Architecture, Model, Network, NetworkConfig, part_of_base};
pub use tokenizer::Tokenizer;
pub use vlsm_kernels::InstructionSet;
