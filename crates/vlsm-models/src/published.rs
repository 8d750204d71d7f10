//! Exchange of weights with the published code of each architecture.
//!
//! Adapter blocks are published for CLIPSeg alone. Everything else that is trained are parameters of the base, so the whole
//! model is written, which the published code loads with no missing and no unexpected name:
//!
//! | architecture | loaded by |
//! |---|---|
//! | CLIPSeg | Transformers' `CLIPSegForImageSegmentation` |
//! | BiomedCLIPSeg | MedVLSM's `BiomedCLIPSeg` |
//! | SAN | SAN; with profile `paper`, VLSM-Adapter's `SAN` |
//! | CRIS | CRIS |

use std::path::Path;

use crate::adapter_file::AdapterFile;
use crate::base::Base;
use crate::contract::SegmentationModel;
use crate::error::{ModelError, Result};
use crate::files::{read_weights, weights_error};
use crate::methods::{DecoderConfig, FullConfig, MethodConfig, Tensors};
use crate::registry::{Architecture, Model};
use crate::weights;

impl AdapterFile {
    /// Whether the parameters are adapter blocks, which are published for CLIPSeg alone.
    fn has_blocks(&self) -> bool {
        matches!(
            self.method,
            MethodConfig::Dense(_) | MethodConfig::Shallow(_)
        )
    }

    /// Checks that the published code has modules for the adapter blocks, if these are blocks.
    ///
    /// # Errors
    /// If it has none, or computes something else with them.
    pub fn check_published(&self) -> Result<()> {
        self.check_stretched("exported to the published code, which squashes images")?;
        if !self.has_blocks() || self.method.as_published() {
            return Ok(());
        }
        Err(self.refused(format!(
            "the published code has {} only in profile \"paper\" with towers \"v\", \"vl\" or \"vlc\", and in no other form; \
             it would drop some of these tensors or compute something else with them (its blocks end in a ReLU, so they only \
             add); train with `--set method.profile=paper` to export, or write an ONNX graph with --onnx",
            self.method.label()
        )))
    }

    /// The parameters for the published code, by its names: adapter blocks alone, or the whole model with the trained
    /// parameters in it, which needs the base.
    ///
    /// # Errors
    /// As [`check_published`](Self::check_published), or if the parameters do not fit the base.
    pub fn published(&self, base: Option<&Base>) -> Result<Tensors> {
        self.check_published()?;
        if !self.has_blocks() {
            let base = base.ok_or_else(|| {
                self.refused("the file does not name its base; name it with --base".into())
            })?;
            return Ok(base.merge(self.clone())?.published(self.method.profile()));
        }
        if let Some(base) = base {
            let architecture = base.network.architecture();
            if architecture != Architecture::ClipSeg {
                return Err(self.refused(format!(
                    "no published code has {} on a {}",
                    self.method.label(),
                    architecture.name()
                )));
            }
            Model::with_adapter(base, self.clone())?;
        }
        Ok(self.tensors.clone())
    }

    fn refused(&self, reason: String) -> ModelError {
        ModelError::Adapter {
            path: self.path.clone(),
            message: format!("cannot be exported: {reason}"),
        }
    }

    /// Reads the trained parameters of a checkpoint of the published code. With a base, they are checked against it and the
    /// file names it. Without a base, only CLIPSeg's and BiomedCLIPSeg's can be read.
    ///
    /// # Errors
    /// If the file is malformed, holds nothing trained, or does not fit the base.
    pub fn import(path: &Path, base: Option<&Base>) -> Result<Self> {
        let Some(base) = base else {
            return Self::read(path);
        };
        let adapter = match from_published(path, base)? {
            Some(adapter) => adapter,
            None => Self::read(path)?,
        };
        Model::with_adapter(base, adapter.clone())?;
        Ok(Self {
            base: Some(base.identity.clone()),
            ..adapter
        })
    }
}

/// The trained parameters of a whole checkpoint of SAN or CRIS; `None` for other architectures, whose checkpoints are
/// recognised without the base, and for adapter files.
fn from_published(path: &Path, base: &Base) -> Result<Option<AdapterFile>> {
    let tensors = read_weights(path)?;
    let config = base.network.config();
    let prefix = base.network.prefix();
    let is_own = tensors.keys().any(|name| name.starts_with(prefix));
    let Some(found) = (!is_own).then(|| config.of_published(tensors)).flatten() else {
        return Ok(None);
    };
    let (tensors, profile) = found.map_err(weights_error(path))?;
    let decoder = DecoderConfig {
        profile,
        ..DecoderConfig::default()
    };
    let trained = Model::new(base, decoder.clone().into(), 0)?;
    let whole = Model::new(base, FullConfig::default().into(), 0)?;
    let own = weights::export(&base.network, |_| true);
    let mut adapter = AdapterFile {
        path: path.into(),
        method: decoder.into(),
        ..AdapterFile::default()
    };
    let mut differing = Vec::new();
    for (name, tensor) in tensors {
        let in_file = format!("{prefix}{name}");
        if trained.saves(&in_file) {
            adapter.tensors.insert(in_file, tensor);
        } else if whole.trains(&in_file)
            && own.get(&name).map(|own| &own.data) != Some(&tensor.data)
        {
            differing.push(name);
        }
    }
    match differing.first() {
        None => Ok(Some(adapter)),
        Some(first) => Err(ModelError::Adapter {
            path: path.into(),
            message: format!(
                "is a whole model, and {} of its pretrained tensors are not those of base `{}` (the first is `{first}`); \
                 use the base it was trained from, or name the file itself, or its folder, as --base",
                differing.len(),
                base.identity.name
            ),
        }),
    }
}
