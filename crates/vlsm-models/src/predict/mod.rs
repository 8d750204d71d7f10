//! Prediction: from images and prompts to masks and labels.
//!
//! [`Engine`] serves many requests and caches the states that they share. The lower-level API ([`logits`], [`masks()`],
//! [`label_images`], [`PromptEncoder`]) caches nothing about images; it is meant for passes over a data set.

mod adapter;
mod cache;
mod class_maps;
mod engine;
mod engine_config;
mod familiar;
mod image;
mod keys;
mod labels;
mod masks;
mod prompts;
mod request;
mod tiles;

pub use adapter::Adapter;
pub use class_maps::ClassMaps;
pub use engine::Engine;
pub use engine_config::{EngineConfig, EngineStats};
pub use image::EncodedImage;
pub use labels::{label_images, label_prompts, uses_vocabulary};
pub use masks::{Prediction, logits, masks, threshold};
pub use prompts::{PromptEncoder, PromptStates};
pub use request::Request;
pub use tiles::Tiles;
