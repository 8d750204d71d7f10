//! CLIP, CLIPSeg, BiomedCLIP, SAN, CRIS and VLSM adapters on Burn: configuration, tokenizer, weights in and out.
//!
//! Models know nothing of training or the command line: a [`Base`] is loaded, a
//! [`MethodConfig`] says what of it is trained, and a [`Model`] runs both.

mod activation;
mod adapter_file;
pub mod base;
pub mod biomedclip;
mod builtin;
pub mod clip;
pub mod clipseg;
pub mod contract;
pub mod cris;
pub mod description;
mod error;
mod files;
pub mod hub;
mod init;
mod kernel_weights;
pub mod methods;
pub mod predict;
pub mod preprocess;
mod registry;
mod resize;
pub mod san;
mod spec;
pub mod tensor_file;
pub mod tokenizer;
pub mod weights;

pub use activation::Activation;
pub use adapter_file::AdapterFile;
pub use base::Base;
pub use clip::TokenBatch;
pub use clipseg::ClipSegConfig;
pub use contract::{HiddenStates, SegmentationModel};
pub use cris::CrisConfig;
pub use error::{ModelError, Result};
pub use files::{BaseIdentity, fingerprint};
pub use methods::{
    AdapterInit, Adapters, BaseShape, Bottleneck, Connection, DecoderConfig, DenseConfig,
    FullConfig, LoraConfig, MethodConfig, Profile, Projection, ShallowConfig, Statistics,
    Sublayers, Towers, ZeroShotConfig,
};
pub use predict::device;
pub use preprocess::Preprocessing;
pub use registry::{Architecture, Model, Network, NetworkConfig, part_of_base};
pub use tokenizer::Tokenizer;
