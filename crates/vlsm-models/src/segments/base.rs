//! A CLIP as a base for naming segments.

use std::path::PathBuf;

use burn::module::Module;
use burn::tensor::Device;

use super::config::ClipConfig;
use super::open_clip;
use crate::clip::{Clip, openai};
use crate::error::{ModelError, Result};
use crate::files::{
    BaseIdentity, Files, config_error, fill, fingerprint, weights_error, without_wrappers,
};
use crate::hub::OPEN_CLIP_CONFIG;
use crate::methods::{Start, Tensors};
use crate::preprocess::{Preprocessing, check_image_size};
use crate::tensor_file::HostTensor;
use crate::tokenizer::Tokenizer;
use crate::weights;

/// A loaded CLIP: its network, vocabulary and preprocessing.
#[derive(Debug, Clone)]
pub struct ClipBase {
    /// Its name and the fingerprint of its weights.
    pub identity: BaseIdentity,
    /// The file of its weights; for a builtin base its name.
    pub weights: PathBuf,
    /// Side and normalisation of its input.
    pub preprocessing: Preprocessing,
    /// Its vocabulary.
    pub tokenizer: Tokenizer,
    pub(super) clip: Clip,
    pub(super) config: ClipConfig,
}

/// What the CLIP's parameters start with in a CLIPSeg.
const INSIDE: &str = "clip.";

impl ClipBase {
    /// Loads a CLIP with a vision transformer by the name of a folder, a repository on the hub (`openai/clip-vit-base-patch16`), a
    /// builtin base, or a file of weights.
    ///
    /// The folder is one of Transformers' `CLIPModel` or of open_clip, or that of a CLIPSeg, which holds a whole CLIP. A file
    /// alone is one of OpenAI (`ViT-B-16.pt`), or has its shapes.
    ///
    /// # Errors
    /// If it cannot be found, a file is malformed, or a tensor is missing, extra or of another shape.
    pub fn load(name: &str, device: &Device) -> Result<Self> {
        let mut files = Files::find(name)?;
        let identity = BaseIdentity {
            name: name.to_owned(),
            fingerprint: fingerprint(&files.tensors),
        };
        let tensors = clip_tensors(std::mem::take(&mut files.tensors));
        let (config, default) = match &files.config {
            Some((path, text)) if path.ends_with(OPEN_CLIP_CONFIG) => {
                open_clip::parse(text).map_err(config_error(path))?
            }
            Some((path, text)) => {
                let config = ClipConfig::parse(text).map_err(config_error(path))?;
                let default = Preprocessing::clip(config.vision_config.image_size);
                (config, default)
            }
            None => {
                let config = ClipConfig::of_tensors(&tensors);
                let config = config.map_err(|reason| {
                    let message = format!("it is not a CLIP with a vision transformer: {reason}");
                    weights_error(&files.weights)(message)
                })?;
                let default = Preprocessing::clip(config.vision_config.image_size);
                (config, default)
            }
        };
        let preprocessing = files.preprocessing(default)?;
        check_image_size(preprocessing.image_size, config.vision_config.patch_size)?;
        let clip = Clip::new(
            &config.text_config,
            &config.vision_config,
            config.projection_dim,
            device,
        );
        Ok(Self {
            clip: fill(clip, tensors, &files.weights)?,
            tokenizer: files.tokenizer_or_clip()?,
            identity,
            weights: files.weights,
            preprocessing,
            config,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &ClipConfig {
        &self.config
    }
}

/// The tensors of a CLIP in Transformers' names, from a file in the names of OpenAI or Transformers, of a CLIP or of a CLIPSeg.
fn clip_tensors(tensors: Tensors) -> Tensors {
    let inside = tensors
        .keys()
        .any(|name| name.starts_with("clip.vision_model."));
    let tensors = tensors.into_iter().filter_map(|(name, tensor)| {
        let name = match inside {
            true => name.strip_prefix(INSIDE)?,
            false => without_wrappers(&name),
        };
        Some((name.to_owned(), tensor))
    });
    openai::to_transformers(tensors.collect())
}

impl Start for ClipBase {
    fn parameter(&self, name: &str) -> Result<HostTensor> {
        let inside = name.strip_prefix(INSIDE).unwrap_or(name);
        let mut found = weights::export(&self.clip, |own| own == inside);
        let missing = || ModelError::Method(format!("the base has no parameter `{name}`"));
        found.remove(inside).ok_or_else(missing)
    }

    fn ids(&self, text: &str) -> Result<Vec<u32>> {
        // Without those of start and end.
        let ids = self.tokenizer.encode(text, usize::MAX)?;
        Ok(ids.get(1..ids.len() - 1).unwrap_or_default().to_vec())
    }

    fn device(&self) -> Device {
        let device = self.clip.devices().first().cloned().unwrap_or_default();
        device.without_autodiff()
    }
}
