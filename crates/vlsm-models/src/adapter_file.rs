//! Adapter files: trained parameters that travel alone, with what is needed to put them back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vlsm_image::{Fit, Window};

use crate::error::{ModelError, Result};
use crate::files::{BaseIdentity, fingerprint};
use crate::methods::{
    Bottleneck, DecoderConfig, DenseConfig, MethodConfig, Profile, ShallowConfig, Tensors, Towers,
};
use crate::tensor_file::{self, HostTensor};

/// How an adapter is meant to be used, as far as its training knows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Inference {
    /// The prompt, if the training was validated under one prompt for all images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The minimum probability of foreground with the best mean Dice on the validation images; `None` without such images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f32>,
    /// Some of the prompts of the training.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prompts: Vec<String>,
    /// The cosine of text embeddings up to which a prompt is unlike all of `prompts`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub least_similarity: Option<f32>,
}

/// Trained parameters with their published names, the method and the base they belong to.
///
/// For `decoder` and `full` the parameters are those of the base that were trained.
#[derive(Debug, Clone, Default)]
pub struct AdapterFile {
    /// Where it was read from; empty if it was not.
    pub path: PathBuf,
    /// The trained parameters, in PyTorch's layout.
    pub tensors: BTreeMap<String, HostTensor>,
    /// How they were made.
    pub method: MethodConfig,
    /// The base; `None` where the file does not say.
    pub base: Option<BaseIdentity>,
    /// Side of the square input that they were trained at; `None` where the file does not say.
    pub image_size: Option<usize>,
    /// The levels of 16-bit images that they saw as black and white; `None` if they saw no such images, or the file does not
    /// say.
    pub window: Option<Window>,
    /// How the images that they saw became squares.
    pub fit: Fit,
    /// How to use them; empty where the file does not say.
    pub inference: Inference,
    /// Digests of the pretrained tensors of a whole checkpoint, by their published names. They must be those of the base,
    /// since only the trained tensors are loaded.
    pub pretrained: BTreeMap<String, String>,
}

const METHOD: &str = "vlsm.method";
const BASE: &str = "vlsm.base";
const IMAGE_SIZE: &str = "vlsm.image_size";
const WINDOW: &str = "vlsm.window";
const FIT: &str = "vlsm.resize";
const INFERENCE: &str = "vlsm.inference";

/// What peft puts before the names of modules.
pub(crate) const PEFT: &str = "base_model.model.";

impl AdapterFile {
    /// Reads an adapter file; a bare safetensors with the published names and no metadata, of
    /// profile `paper` then; or a checkpoint of the published code (PyTorch Lightning's `.ckpt`).
    ///
    /// # Errors
    /// If the file is malformed or holds no adapter.
    pub fn read(path: &Path) -> Result<Self> {
        let file = tensor_file::read(path)?;
        file.expect_finite(path)?;
        let wrong = |message: String| ModelError::Adapter {
            path: path.into(),
            message,
        };
        let Some(method) = file.metadata.get(METHOD) else {
            return bare(path, file.tensors);
        };
        let method = serde_json::from_str(method)
            .map_err(|error| wrong(format!("metadata `{METHOD}`: {error}")))?;
        Ok(Self {
            tensors: file.tensors,
            method,
            ..Self::of_metadata(path, &file.metadata)?
        })
    }

    /// What a file's metadata says of an adapter, without its method.
    pub(crate) fn of_metadata(path: &Path, metadata: &BTreeMap<String, String>) -> Result<Self> {
        let wrong = |key: &str, error: serde_json::Error| ModelError::Adapter {
            path: path.into(),
            message: format!("metadata `{key}`: {error}"),
        };
        fn read<T: DeserializeOwned>(
            metadata: &BTreeMap<String, String>,
            key: &str,
        ) -> serde_json::Result<Option<T>> {
            let text = metadata.get(key);
            text.map(|text| serde_json::from_str(text)).transpose()
        }
        let inference: Option<Inference> =
            read(metadata, INFERENCE).map_err(|error| wrong(INFERENCE, error))?;
        let fit: Option<Fit> = read(metadata, FIT).map_err(|error| wrong(FIT, error))?;
        Ok(Self {
            path: path.into(),
            base: read(metadata, BASE).map_err(|error| wrong(BASE, error))?,
            image_size: read(metadata, IMAGE_SIZE).map_err(|error| wrong(IMAGE_SIZE, error))?,
            window: read(metadata, WINDOW).map_err(|error| wrong(WINDOW, error))?,
            fit: fit.unwrap_or_default(),
            inference: inference.unwrap_or_default(),
            ..Self::default()
        })
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut metadata = self.metadata()?;
        let method = serde_json::to_string(&self.method);
        let method = method.map_err(ModelError::serialise("the adapter's method"))?;
        metadata.insert(METHOD.into(), method);
        Ok(tensor_file::write_safetensors(
            path,
            &self.tensors,
            &metadata,
        )?)
    }

    /// The metadata of its file, without its method.
    pub(crate) fn metadata(&self) -> Result<BTreeMap<String, String>> {
        let mut metadata = tensor_file::pytorch_metadata();
        let json = |value: serde_json::Result<String>| {
            value.map_err(ModelError::serialise("the adapter's metadata"))
        };
        if let Some(base) = &self.base {
            metadata.insert(BASE.into(), json(serde_json::to_string(base))?);
        }
        if let Some(size) = self.image_size {
            metadata.insert(IMAGE_SIZE.into(), size.to_string());
        }
        if let Some(window) = &self.window {
            metadata.insert(WINDOW.into(), json(serde_json::to_string(window))?);
        }
        if self.fit != Fit::default() {
            metadata.insert(FIT.into(), json(serde_json::to_string(&self.fit))?);
        }
        if self.inference != Inference::default() {
            let inference = serde_json::to_string(&self.inference);
            metadata.insert(INFERENCE.into(), json(inference)?);
        }
        Ok(metadata)
    }

    /// Checks that the images of the training were not padded; `what` says what cannot be done with the file if they were.
    ///
    /// # Errors
    /// If they were.
    pub(crate) fn check_stretched(&self, what: &str) -> Result<()> {
        match self.fit {
            Fit::Stretch => Ok(()),
            Fit::Pad => Err(ModelError::Adapter {
                path: self.path.clone(),
                message: format!(
                    "was trained with `model.resize = \"pad\"`, so it cannot be {what}; train with \"stretch\" for that"
                ),
            }),
        }
    }

    /// Checks that the file belongs to a base.
    ///
    /// # Errors
    /// If the file names another base.
    pub fn check_base(&self, base: &BaseIdentity) -> Result<()> {
        match &self.base {
            Some(own) if own.fingerprint != base.fingerprint => Err(ModelError::Adapter {
                path: self.path.clone(),
                message: format!(
                    "was trained on base `{}` (weights {}), but the base given is `{}` (weights \
                     {}); use the base it was trained on",
                    own.name, own.fingerprint, base.name, base.fingerprint
                ),
            }),
            _ => Ok(()),
        }
    }
}

/// A digest of a tensor's values, whatever its shape.
pub(crate) fn digest(tensor: &HostTensor) -> String {
    tensor_file::fingerprint([("", [].as_slice(), tensor.data.as_slice())])
}

/// An adapter of parameters alone, or of the state of a Lightning module, whose keys start with
/// `net.`; the base's weights in it, if any, tell which base it belongs to.
fn bare(path: &Path, tensors: Tensors) -> Result<AdapterFile> {
    let (mut adapter, mut base) = (Tensors::new(), Tensors::new());
    let mut copy = Tensors::new();
    for (name, tensor) in tensors {
        let name = name.strip_prefix("net.").unwrap_or(&name);
        if let Some(name) = name.strip_prefix("clipseg.") {
            base.insert(name.to_owned(), tensor);
        } else if name.starts_with("decoder.") || name.starts_with("biomedclip.") {
            // MedVLSM's BiomedCLIPSeg has the decoder next to the towers.
            base.insert(name.to_owned(), tensor);
        } else if name.starts_with("clip.") {
            copy.insert(name.to_owned(), tensor);
        } else {
            adapter.insert(name.to_owned(), tensor);
        }
    }
    // The published shallow module holds the towers a second time as `clip.`; in a CLIPSeg alone they are the towers.
    if !base.keys().any(|name| name.starts_with("clip.")) {
        base.extend(copy);
    }
    if adapter.is_empty() {
        return base_parameters(path, base);
    }
    let method = infer(&adapter).map_err(|message| ModelError::Adapter {
        path: path.into(),
        message,
    })?;
    let base = (!base.is_empty()).then(|| BaseIdentity {
        name: path.display().to_string(),
        fingerprint: fingerprint(&base),
    });
    Ok(AdapterFile {
        path: path.into(),
        tensors: adapter,
        method,
        base,
        ..AdapterFile::default()
    })
}

/// A file without adapters is a model of which the decoder was trained, which is all that the published code trains. The
/// other tensors must be the base's; see [`AdapterFile::pretrained`].
fn base_parameters(path: &Path, base: Tensors) -> Result<AdapterFile> {
    let (decoder, towers): (Tensors, Tensors) = base
        .into_iter()
        .partition(|(name, _)| name.starts_with("decoder."));
    if decoder.is_empty() {
        return Err(ModelError::Adapter {
            path: path.into(),
            message: "holds no adapter: no tensor has a published name such as \
                      `v_attn_adapters.0.fc1.weight` or `vision_extract_adapters.0.fc1.weight`"
                .into(),
        });
    }
    let method = DecoderConfig {
        profile: Profile::Paper,
        ..DecoderConfig::default()
    };
    Ok(AdapterFile {
        path: path.into(),
        tensors: decoder
            .into_iter()
            .map(|(name, tensor)| (format!("clipseg.{name}"), tensor))
            .collect(),
        method: method.into(),
        pretrained: towers
            .iter()
            .map(|(name, tensor)| (name.clone(), digest(tensor)))
            .collect(),
        ..AdapterFile::default()
    })
}

/// Reads the method off the names and shapes of published parameters.
fn infer(tensors: &BTreeMap<String, HostTensor>) -> std::result::Result<MethodConfig, String> {
    let blocks = |list: &str| {
        (0..)
            .take_while(|index| tensors.contains_key(&format!("{list}.{index}.fc1.weight")))
            .count()
    };
    let hidden = |block: &str| {
        tensors
            .get(&format!("{block}.fc1.weight"))
            .and_then(|tensor| tensor.shape.first().copied())
    };
    let first = tensors.keys().next().map_or("", String::as_str);
    if first.starts_with(PEFT) {
        return Err(format!(
            "its tensors, such as `{first}`, are those of a file of peft; convert its folder with `vlsm model import FOLDER \
             --base BASE -o FILE`"
        ));
    }
    let dense = blocks("v_attn_adapters") > 0;
    let (list, text) = if dense {
        ("v_attn_adapters", "l_attn_adapters")
    } else if blocks("vision_extract_adapters") > 0 {
        ("vision_extract_adapters", "text_extract_adapters")
    } else {
        return Err(format!(
            "its tensors have no names of published CLIPSeg adapters; the first is `{}`; convert the checkpoint of a SAN or \
             a CRIS with `vlsm model import FILE --base BASE`",
            first
        ));
    };
    let towers = match (
        blocks(text) > 0,
        tensors.contains_key("cond_adapter.fc1.weight"),
    ) {
        (false, false) => Towers::V,
        (true, false) => Towers::Vl,
        (true, true) => Towers::Vlc,
        (false, true) => {
            return Err(format!(
                "has `cond_adapter` but no `{text}`: not one of the towers v, vl, vlc"
            ));
        }
    };
    let profile = Profile::Paper;
    let cond_bottleneck = hidden("cond_adapter");
    let bottleneck = hidden(&format!("{list}.0")).map(Bottleneck::All);
    if dense {
        let default = DenseConfig::default();
        let bottleneck = bottleneck.unwrap_or_else(|| default.bottleneck.clone());
        return Ok(DenseConfig {
            towers,
            bottleneck,
            cond_bottleneck,
            profile,
            ..default
        }
        .into());
    }
    let default = ShallowConfig::default();
    let bottleneck = bottleneck.unwrap_or_else(|| default.bottleneck.clone());
    Ok(ShallowConfig {
        towers,
        bottleneck,
        cond_bottleneck,
        profile,
        ..default
    }
    .into())
}
