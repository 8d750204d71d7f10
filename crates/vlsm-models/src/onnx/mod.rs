//! ONNX graphs of a model with its adapter, for programs without this library.
//!
//! The graph is made from the model's configuration and the names of its parameters, operation by operation as
//! [`SegmentationModel`] computes. Low-rank changes are merged into their matrices; adapter blocks are nodes.
//!
//! | graph | input | output |
//! |---|---|---|
//! | [`OnnxExport::segmenter`] | `image` `[images, 3, side, side]`, normalised; `embedding` `[prompts, projection]` | `logits` `[images, prompts, side, side]` |
//! | [`OnnxExport::text`] | `tokens` `[prompts, tokens]` | `embedding` `[prompts, projection]` |
//!
//! Each image is encoded once and decoded for every prompt. Operator set 17, which onnxruntime has since 1.13.

mod adapters;
mod clipseg;
mod graph;
mod layers;
mod proto;
mod san;
mod towers;

#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::Path;

use prost::Message;
use serde_json::json;
use vlsm_image::Fit;

use self::adapters::Blocks;
use self::graph::{Dim, Graph};
use self::proto::{GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto};
use crate::adapter_file::AdapterFile;
use crate::base::Base;
use crate::contract::SegmentationModel;
use crate::error::{ModelError, Result};
use crate::files::fingerprint;
use crate::methods::{MethodConfig, Tensors};
use crate::preprocess::Preprocessing;
use crate::registry::{Model, NetworkConfig};
use crate::tensor_file::HostTensor;
use crate::weights::{self, to_host};

/// The version of the file format that goes with operator set 17.
const IR_VERSION: i64 = 8;
const OPERATOR_SET: i64 = 17;

/// A message of Protocol Buffers has a length of 31 bits.
const MOST_BYTES: usize = i32::MAX as usize;

/// A model on its way to ONNX. Each graph takes its weights out of it, so each can be made once.
#[derive(Debug)]
pub struct OnnxExport {
    config: NetworkConfig,
    method: MethodConfig,
    blocks: Blocks,
    parameters: Tensors,
    preprocessing: Preprocessing,
    /// Side of the logits.
    side: usize,
    /// The prompts that the graph has an answer to without further input, and their embeddings.
    prompts: Vec<String>,
    default: Option<HostTensor>,
    metadata: Vec<(&'static str, String)>,
}

/// A graph with its weights, as an ONNX file has it.
#[derive(Debug)]
pub struct OnnxModel(ModelProto);

impl OnnxExport {
    /// A base, with an adapter if there is one. The input has the side that the adapter was trained at, else the base's, unless
    /// `image_size` is given: position embeddings are part of the graph. `prompts`, if any, are what the graph segments when
    /// it is given no embedding.
    ///
    /// # Errors
    /// If the adapter is for another base; if the architecture or the method has no form in ONNX here; if a prompt or the size
    /// does not go with the model.
    pub fn new(
        base: &Base,
        adapter: Option<AdapterFile>,
        image_size: Option<usize>,
        prompts: &[String],
    ) -> Result<Self> {
        base.expect_f32("exporting to ONNX")?;
        let config = base.network.config();
        if matches!(config, NetworkConfig::Cris(_)) {
            return Err(ModelError::Onnx(format!(
                "base `{}` is a CRIS, which has no export to ONNX: its decoder reads every word's state, not one embedding; \
                 CLIPSeg, BiomedCLIPSeg and SAN have one",
                base.identity.name
            )));
        }
        let trained_at = adapter.as_ref().and_then(|adapter| adapter.image_size);
        let size = image_size.or(trained_at);
        let preprocessing = Preprocessing {
            image_size: size.unwrap_or(base.preprocessing.image_size),
            ..base.preprocessing.clone()
        };
        let window = adapter.as_ref().and_then(|adapter| adapter.window);
        let fit = adapter.as_ref().map(|adapter| adapter.fit);
        let adapter_fingerprint = adapter
            .as_ref()
            .map(|adapter| fingerprint(&adapter.tensors));
        let model = match adapter {
            Some(adapter) => Model::with_adapter(base, adapter)?,
            None => Model::new(base, MethodConfig::zero_shot(), 0)?,
        };
        let method = model.method().clone();
        let blocks = Blocks::of(&method, &config.shape(method.profile()))?;
        let side = model.output_size(preprocessing.image_size)?;
        let model = model.merged();
        let mut default = None;
        if !prompts.is_empty() {
            let ids = prompts
                .iter()
                .map(|prompt| base.tokenizer.encode(prompt, model.context_length()));
            let ids = ids.collect::<std::result::Result<Vec<_>, _>>()?;
            let states = model.encode_text(&model.tokens(&ids)?)?;
            let states = states.into_iter().next();
            default = states.map(|state| HostTensor {
                shape: vec![prompts.len(), state.dims()[2]],
                data: to_host(state),
            });
        }
        let mut metadata = vec![
            (
                "vlsm.architecture",
                base.network.architecture().name().to_owned(),
            ),
            ("vlsm.base", base.identity.name.clone()),
            ("vlsm.base_fingerprint", base.identity.fingerprint.clone()),
            ("vlsm.method", json_text(&method)?),
        ];
        if let Some(fingerprint) = adapter_fingerprint {
            metadata.push(("vlsm.adapter_fingerprint", fingerprint));
        }
        if let Some(fit @ Fit::Pad) = fit {
            metadata.push(("vlsm.resize", fit.name().to_owned()));
        }
        if let Some(window) = window {
            metadata.push(("vlsm.window", json_text(&window)?));
        }
        let parameters = weights::export(&model, |_| true);
        Ok(Self {
            config,
            method,
            blocks,
            parameters,
            preprocessing,
            side,
            prompts: prompts.to_vec(),
            default,
            metadata,
        })
    }

    /// The graph from pixels and text embeddings to logits.
    ///
    /// # Errors
    /// If it has been made before, or is larger than an ONNX file can be.
    pub fn segmenter(&mut self) -> Result<OnnxModel> {
        let size = self.preprocessing.image_size;
        let profile = self.method.profile();
        let projection = self.config.shape(profile).projection;
        let mut graph = Graph::new("segmenter", &mut self.parameters);
        let dims = [
            Dim::Named("images"),
            Dim::Fixed(3),
            Dim::Fixed(size),
            Dim::Fixed(size),
        ];
        let pixels = graph.float_input(
            "image",
            &dims,
            "RGB pixels, resized and normalised as the metadata say",
        );
        let about = match self.prompts.is_empty() {
            true => "one text embedding for each prompt",
            false => {
                "one text embedding for each prompt; if left out, those of the prompts in the metadata"
            }
        };
        let dims = [Dim::Named("prompts"), Dim::Fixed(projection)];
        let embedding = graph.float_input("embedding", &dims, about);
        if let Some(default) = &self.default {
            graph.default_of(&embedding, default);
        }
        let inputs = [&pixels, &embedding];
        let logits = match &self.config {
            NetworkConfig::BiomedClip(config) | NetworkConfig::ClipSeg(config) => {
                clipseg::segmenter(&mut graph, inputs, size, config, profile, &self.blocks)?
            }
            NetworkConfig::San(config) => {
                san::segmenter(&mut graph, inputs, size, config, profile, &self.blocks)?
            }
            NetworkConfig::Cris(_) => {
                return Err(ModelError::Onnx("a CRIS has no export to ONNX".into()));
            }
        };
        let side = Dim::Fixed(self.side);
        let dims = [
            Dim::Named("images"),
            Dim::Named("prompts"),
            side,
            Dim::Fixed(self.side),
        ];
        let graph = graph.finish(
            "logits",
            &logits,
            &dims,
            "a pixel belongs to the object above 0",
        );
        let mut metadata = self.metadata.clone();
        metadata.push((
            "vlsm.preprocessing",
            self.preprocessing.to_json().to_string(),
        ));
        if !self.prompts.is_empty() {
            metadata.push(("vlsm.prompts", json_text(&self.prompts)?));
        }
        OnnxModel::new(
            graph,
            metadata,
            "Pixels and text embeddings to a mask's logits for each image and prompt.",
        )
    }

    /// The graph from token ids to text embeddings.
    ///
    /// # Errors
    /// As [`segmenter`](Self::segmenter).
    pub fn text(&mut self) -> Result<OnnxModel> {
        let projection = self.config.shape(self.method.profile()).projection;
        let (config, prefix) = match &self.config {
            NetworkConfig::BiomedClip(config) | NetworkConfig::ClipSeg(config) => {
                (&config.text_config, "clipseg.clip.")
            }
            NetworkConfig::San(config) => (&config.text_config, "san.clip."),
            NetworkConfig::Cris(_) => {
                return Err(ModelError::Onnx("a CRIS has no export to ONNX".into()));
            }
        };
        let mut graph = Graph::new("text", &mut self.parameters);
        let embedding = towers::text(&mut graph, config, prefix, &self.blocks)?;
        let dims = [Dim::Named("prompts"), Dim::Fixed(projection)];
        let graph = graph.finish(
            "embedding",
            &embedding,
            &dims,
            "what the segmenter's graph takes",
        );
        let mut metadata = self.metadata.clone();
        let mut tokens = json!({
            "context_length": config.max_position_embeddings,
            "padding": config.pad_token_id,
        });
        if config.bert.is_none() {
            // BERT's are in the vocabulary that comes with the base.
            let last = config.vocab_size as u32 - 1;
            let (start, end) = match config.eos_token_id {
                // An older file, whose ids are wrong: the end is the largest id.
                2 => (last - 1, last),
                end => (config.bos_token_id, end),
            };
            tokens["start"] = start.into();
            tokens["end"] = end.into();
        }
        metadata.push(("vlsm.tokens", tokens.to_string()));
        OnnxModel::new(graph, metadata, "Token ids of prompts to text embeddings.")
    }
}

impl OnnxModel {
    fn new(graph: GraphProto, metadata: Vec<(&'static str, String)>, about: &str) -> Result<Self> {
        let metadata = metadata
            .into_iter()
            .map(|(key, value)| StringStringEntryProto {
                key: key.to_owned(),
                value,
            });
        let model = Self(ModelProto {
            ir_version: IR_VERSION,
            opset_import: vec![OperatorSetIdProto {
                domain: String::new(),
                version: OPERATOR_SET,
            }],
            producer_name: "vlsm".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            doc_string: about.into(),
            graph: Some(graph),
            metadata_props: metadata.collect(),
        });
        check_size(model.bytes())?;
        Ok(model)
    }

    /// Size of the file, in bytes.
    pub fn bytes(&self) -> usize {
        self.0.encoded_len()
    }

    /// Number of operations.
    pub fn operations(&self) -> usize {
        self.0.graph.as_ref().map_or(0, |graph| graph.node.len())
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let bytes = self.0.encode_to_vec();
        let written = vlsm_image::fs::replace(path, |file| file.write_all(&bytes));
        written.map_err(|source| ModelError::Write {
            path: path.into(),
            source,
        })
    }
}

/// Refuses a graph that no ONNX file can hold.
fn check_size(bytes: usize) -> Result<()> {
    match bytes > MOST_BYTES {
        true => Err(ModelError::Onnx(format!(
            "the graph has {:.1} GB, but an ONNX file can have at most 2 GB; use a smaller base",
            bytes as f64 / 1e9
        ))),
        false => Ok(()),
    }
}

fn json_text(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(ModelError::serialise("the graph's metadata"))
}
