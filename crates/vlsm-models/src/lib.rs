//! CLIP, CLIPSeg, BiomedCLIP, SAN, CRIS and VLSM adapters on Burn: configuration, tokenizer, weights in and out.
//!
//! Models know nothing of training or the command line: a [`Base`] is loaded, a
//! [`MethodConfig`] says what of it is trained, and a [`Model`] runs both.

pub mod adapter;
mod architecture;
pub mod base;
pub mod biomedclip;
mod builtin;
pub mod clip;
pub mod clipseg;
pub mod config;
pub mod cris;
mod error;
pub mod hub;
pub mod init;
mod linear;
pub mod method;
pub mod model;
mod network_config;
pub mod predict;
pub mod preprocess;
mod resize;
pub mod san;
pub mod tensor_file;
pub mod tokenizer;
pub mod weights;

pub use adapter::{AdapterFile, BaseIdentity};
pub use base::{Base, Network};
pub use clip::TokenBatch;
pub use config::ClipSegConfig;
pub use cris::CrisConfig;
pub use error::{ModelError, Result};
pub use method::{
    AdapterInit, Bottleneck, Connection, MethodConfig, MethodKind, Profile, Projection, Statistics,
    Sublayers, Towers,
};
pub use model::{Model, SegmentationModel, States};
pub use network_config::NetworkConfig;
pub use predict::device;
pub use preprocess::Preprocessing;
pub use tokenizer::Tokenizer;
