//! Files of trained parameters for naming segments.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{ModelError, Result};
use crate::files::BaseIdentity;
use crate::methods::{MethodConfig, Tensors};
use crate::tensor_file;

/// Trained parameters, the methods that they belong to, and their base.
#[derive(Debug, Clone)]
pub struct SegmentFile {
    /// Where it was read from or is written to.
    pub path: PathBuf,
    /// The parameters, in PyTorch's layout.
    pub tensors: Tensors,
    /// The methods, in the order in which they were trained.
    pub methods: Vec<MethodConfig>,
    /// The base.
    pub base: BaseIdentity,
    /// The sentences in which names were put, with `{}` for the name.
    pub templates: Vec<String>,
    /// The share of the adapted CLIP in embeddings, from 0 to 1; the base has the rest: their weighted mean, scaled to length 1, in
    /// the towers that a method changes.
    ///
    /// Not part of OpenDAS, but an ensemble of both models as WiSE-FT's (Wortsman et al. 2022, arXiv 2109.01903), of embeddings
    /// instead of weights, since learnt tokens have no counterpart in the base.
    pub blend: f64,
}

const METHODS: &str = "vlsm.segments.methods";
const BASE: &str = "vlsm.base";
const TEMPLATES: &str = "vlsm.segments.templates";
const BLEND: &str = "vlsm.segments.blend";

impl SegmentFile {
    /// Whether a file was written by a training on segments.
    ///
    /// # Errors
    /// If it is malformed.
    pub fn is_one(path: &Path) -> Result<bool> {
        Ok(tensor_file::read_metadata(path)?.contains_key(METHODS))
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If it is malformed or was not written by a training on segments.
    pub fn read(path: &Path) -> Result<Self> {
        let file = tensor_file::read_safetensors(path)?;
        file.expect_finite(path)?;
        let wrong = |message: String| ModelError::Adapter {
            path: path.into(),
            message,
        };
        let field = |name: &str| {
            file.metadata.get(name).ok_or_else(|| {
                wrong(format!(
                    "has no metadata `{name}`; only files of `vlsm segments train` name segments"
                ))
            })
        };
        let malformed =
            |name: &str, error: serde_json::Error| wrong(format!("metadata `{name}`: {error}"));
        let methods =
            serde_json::from_str(field(METHODS)?).map_err(|error| malformed(METHODS, error))?;
        let base = serde_json::from_str(field(BASE)?).map_err(|error| malformed(BASE, error))?;
        let templates =
            serde_json::from_str(field(TEMPLATES)?).map_err(|error| malformed(TEMPLATES, error))?;
        let blend = match file.metadata.get(BLEND) {
            Some(text) => serde_json::from_str(text).map_err(|error| malformed(BLEND, error))?,
            None => 1.0,
        };
        if !(0.0..=1.0).contains(&blend) {
            return Err(wrong(format!(
                "metadata `{BLEND}` is {blend}; it is a share from 0 to 1"
            )));
        }
        Ok(Self {
            path: path.into(),
            tensors: file.tensors,
            methods,
            base,
            templates,
            blend,
        })
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self) -> Result<()> {
        let json = |value: serde_json::Result<String>| {
            value.map_err(ModelError::serialise("the adapter's metadata"))
        };
        let mut metadata = BTreeMap::from([
            (METHODS.into(), json(serde_json::to_string(&self.methods))?),
            (BASE.into(), json(serde_json::to_string(&self.base))?),
            (
                TEMPLATES.into(),
                json(serde_json::to_string(&self.templates))?,
            ),
            (BLEND.into(), json(serde_json::to_string(&self.blend))?),
        ]);
        metadata.extend(tensor_file::pytorch_metadata());
        Ok(tensor_file::write_safetensors(
            &self.path,
            &self.tensors,
            &metadata,
        )?)
    }

    /// Checks that the file belongs to a base.
    ///
    /// # Errors
    /// If it names another base.
    pub(super) fn check_base(&self, base: &BaseIdentity) -> Result<()> {
        if self.base.fingerprint == base.fingerprint {
            return Ok(());
        }
        Err(ModelError::Adapter {
            path: self.path.clone(),
            message: format!(
                "was trained on base `{}` (weights {}), but the base given is `{}` (weights {}); use the base it was trained on",
                self.base.name, self.base.fingerprint, base.name, base.fingerprint
            ),
        })
    }
}
