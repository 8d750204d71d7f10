//! A base: the pretrained model that a method starts from.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Device;

use crate::adapter_file::AdapterFile;
use crate::composed::{architecture, find};
use crate::contract::SegmentationModel;
use crate::description::{BaseDescription, PartCounts};
use crate::error::{ModelError, Result};
use crate::files::{BaseIdentity, Loaded, TOKENIZER, fingerprint};
use crate::methods::{MethodConfig, Profile, Start, Tensors};
use crate::precision::Precision;
use crate::preprocess::Preprocessing;
use crate::registry::{Architecture, Model, Network, NetworkConfig};
use crate::tensor_file::{self, HostTensor, WrittenAs};
use crate::tokenizer::{Tokenizer, wordpiece};
use crate::weights;

/// A loaded base: its network, vocabulary and preprocessing.
#[derive(Debug, Clone)]
pub struct Base {
    /// Its name and the fingerprint of its weights.
    pub identity: BaseIdentity,
    /// The file of its weights; for a builtin base its name.
    pub weights: PathBuf,
    /// The commit on the hub; `None` for a folder or a builtin base.
    pub revision: Option<String>,
    /// How images become its input.
    pub preprocessing: Preprocessing,
    /// Its vocabulary.
    pub tokenizer: Tokenizer,
    /// Its network.
    pub network: Network,
    /// The content of its `tokenizer.json`, if bases of this architecture need their own.
    vocabulary: Option<Arc<[u8]>>,
    pub(crate) precision: Precision,
}

impl Base {
    /// Loads a base by the name of a folder, a repository on the hub (`CIDAS/clipseg-rd64-refined`, optionally with
    /// `@REVISION`), or a builtin base (`builtin:tiny`). The architecture is detected from the files.
    ///
    /// A file of weights alone is enough for a SAN with CLIP ViT-B/16 and for a CRIS: a released checkpoint, one of
    /// VLSM-Adapter's code, or a plain CLIP, which gets a random side network (ViT-B/16) or a random neck and decoder (a
    /// ResNet, such as OpenAI's `RN50.pt`).
    ///
    /// `TOWERS+DECODER` takes the towers of one base and the decoder of another. So `ViT-B-16.pt+rd64-uni.pth` is the original
    /// release of CLIPSeg, as a folder with these two files is. BiomedCLIP's towers with a CLIPSeg's
    /// decoder are the BiomedCLIPSeg-D of Poudel et al. (2023);
    /// `microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224` alone is their BiomedCLIPSeg, whose decoder is random.
    ///
    /// # Errors
    /// If the base cannot be found, a file is malformed, or a tensor is missing, extra or of another shape.
    pub fn load(name: &str, device: &Device) -> Result<Self> {
        let mut files = find(name)?;
        let identity = BaseIdentity {
            name: name.to_owned(),
            fingerprint: fingerprint(&files.tensors),
        };
        let (weights, revision) = (files.weights.clone(), files.revision.take());
        let Some(architecture) = architecture(&files) else {
            return Err(ModelError::Unknown {
                first: files.tensors.keys().next().cloned().unwrap_or_default(),
                path: files.weights,
            });
        };
        let Loaded {
            network,
            preprocessing,
            tokenizer,
        } = architecture.load(files, device)?;
        // Only needed to write the base, so a missing file is no error here.
        let vocabulary = network.config().vocabulary_size();
        let vocabulary =
            vocabulary.and_then(|_| std::fs::read(weights.with_file_name(TOKENIZER)).ok());
        Ok(Self {
            identity,
            weights,
            revision,
            preprocessing,
            tokenizer,
            network,
            vocabulary: vocabulary.map(Arc::from),
            precision: Precision::F32,
        })
    }

    /// A base with random weights, which depend on the configuration and `seed` alone. Where CLIP's vocabulary is not the
    /// default, the vocabulary is single letters.
    ///
    /// # Errors
    /// If the vocabulary is too small.
    pub fn random(
        config: &NetworkConfig,
        preprocessing: Preprocessing,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let name = PathBuf::from(format!("random weights of seed {seed}"));
        let network = config.network(config.random_weights(seed), &name, device)?;
        let vocabulary = match config.vocabulary_size() {
            Some(size) => Some(pretty_json(&wordpiece::letters(size), TOKENIZER)?),
            None => None,
        };
        let tokenizer = match &vocabulary {
            Some(json) => Tokenizer::from_json(json.as_bytes(), Path::new(TOKENIZER))?,
            None => Tokenizer::embedded()?,
        };
        Ok(Self {
            identity: identity(&name, config, &network),
            weights: name,
            revision: None,
            preprocessing,
            tokenizer,
            network,
            vocabulary: vocabulary.map(|json| Arc::from(json.into_bytes())),
            precision: Precision::F32,
        })
    }

    /// Writes the base's files into a folder, which is created if it does not exist: configuration, weights, and the
    /// vocabulary if the architecture needs its own. Existing files are replaced.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, folder: &Path, written_as: WrittenAs) -> Result<()> {
        self.expect_f32("writing a base")?;
        let config = self.network.config();
        std::fs::create_dir_all(folder).map_err(|source| ModelError::Write {
            path: folder.into(),
            source,
        })?;
        for (name, value) in config.config_files(&self.preprocessing)? {
            let text = pretty_json(&value, name)?;
            write_file(&folder.join(name), text.as_bytes())?;
        }
        if config.vocabulary_size().is_some() {
            let Some(vocabulary) = &self.vocabulary else {
                return Err(ModelError::Config {
                    path: self.weights.with_file_name(TOKENIZER),
                    message:
                        "the base needs this file to be written; copy it there from where the \
                              model came from"
                            .into(),
                });
            };
            write_file(&folder.join(TOKENIZER), vocabulary)?;
        }
        let tensors = config.to_file(weights::export(&self.network, |_| true));
        let path = folder.join(config.weights_file());
        tensor_file::write_safetensors_as(
            &path,
            &tensors,
            &tensor_file::pytorch_metadata(),
            written_as,
        )?;
        Ok(())
    }

    /// The base with the trained parameters of a file in it. It computes the same as base and file together, to the bit.
    /// Changes of parameters, such as LoRA's, are merged into them; adapter blocks and prompt tokens cannot be merged.
    ///
    /// # Errors
    /// If the file is for another base, does not fit, or holds parameters that the base has no layers for.
    pub fn merge(&self, trained: AdapterFile) -> Result<Self> {
        self.expect_f32("merging")?;
        trained.check_stretched("merged into a base, whose files cannot say so")?;
        let (path, profile) = (trained.path.clone(), trained.method.profile());
        let image_size = trained.image_size.unwrap_or(self.preprocessing.image_size);
        let config = self.network.config();
        let mut tensors = weights::export(&self.network, |_| true);
        let merged = Model::with_adapter(self, trained)?.for_inference().merged();
        let kept = |name: &str| !merged.adaptation().merges(name);
        for (name, tensor) in weights::export(&merged, kept) {
            let Some(base_name) = name.strip_prefix(self.network.prefix()) else {
                return Err(ModelError::Adapter {
                    path,
                    message: format!(
                        "holds parameters that a {} has no layers for, such as `{name}`, so they cannot be merged (adapter \
                         blocks, prompt tokens; LoRA with `towers = \"vlc\"` has a block on the text embedding, with \"vl\" \
                         none); keep the file and name both it and its base (--base, --adapter)",
                        config.shape(profile).name
                    ),
                });
            };
            tensors.insert(base_name.to_owned(), tensor);
        }
        let config = config.merged(profile);
        let device = self.network.devices().first().cloned().unwrap_or_default();
        let network = config.network(tensors, &path, &device)?;
        Ok(Self {
            identity: identity(&path, &config, &network),
            weights: self.weights.clone(),
            revision: None,
            preprocessing: Preprocessing {
                image_size,
                ..self.preprocessing.clone()
            },
            tokenizer: self.tokenizer.clone(),
            network,
            vocabulary: self.vocabulary.clone(),
            precision: Precision::F32,
        })
    }

    /// Every parameter under the names of the published code, in which a profile can have other names.
    pub fn published(&self, profile: Profile) -> Tensors {
        let tensors = weights::export(&self.network, |_| true);
        self.network.config().published(tensors, profile)
    }

    /// Number of parameters.
    pub fn parameters(&self) -> usize {
        self.network.num_params()
    }

    /// Describes the base for users.
    pub fn describe(&self) -> BaseDescription {
        let mut parameters = PartCounts::default();
        weights::for_each_parameter(&self.network, |name, shape| {
            parameters.add(self.network.part(name), shape.iter().product());
        });
        let Preprocessing {
            image_size,
            mean,
            std,
            ..
        } = self.preprocessing;
        BaseDescription {
            architecture: self.network.architecture().name(),
            identity: self.identity.clone(),
            revision: self.revision.clone(),
            weights: self.weights.clone(),
            image_size,
            mean,
            std,
            network: self.network.describe(image_size),
            tokenizer: tokenizer_source(&self.weights),
            vocabulary: self.tokenizer.vocabulary_size(),
            total_parameters: parameters.total(),
            parameters,
        }
    }
}

impl Start for Base {
    fn parameter(&self, name: &str) -> Result<HostTensor> {
        let mut found = weights::export(&self.network, |own| own == name);
        let missing = || ModelError::Method(format!("the base has no parameter `{name}`"));
        found.remove(name).ok_or_else(missing)
    }

    fn ids(&self, text: &str) -> Result<Vec<u32>> {
        // Without those of start and end.
        let ids = self.tokenizer.encode(text, usize::MAX)?;
        Ok(ids.get(1..ids.len() - 1).unwrap_or_default().to_vec())
    }

    fn device(&self) -> Device {
        let device = self.network.devices().first().cloned().unwrap_or_default();
        device.without_autodiff()
    }
}

impl Model {
    /// A base with a method, whose parameters are initialised by `seed`. A base whose decoder is random and stays so gives a
    /// warning.
    ///
    /// # Errors
    /// If the method does not fit the base, or trains something else than the decoder of a base whose decoder is random.
    pub fn new(base: &Base, method: MethodConfig, seed: u64) -> Result<Self> {
        base.check_precision(&method)?;
        match method {
            MethodConfig::ZeroShot(_) => base.warn_of_random_part(),
            _ => base.check_method(&method)?,
        }
        let model = Self::of_network(&base.network, method, seed)?;
        let start = model.adaptation().start(base)?;
        if start.is_empty() {
            return Ok(model);
        }
        let names: BTreeSet<String> = start.keys().cloned().collect();
        Ok(weights::import(model, start, |name| names.contains(name)).0)
    }

    /// A base with the trained parameters of an adapter file.
    ///
    /// # Errors
    /// If the file is for another base or does not fit this one.
    pub fn with_adapter(base: &Base, adapter: AdapterFile) -> Result<Self> {
        base.check(&adapter)?;
        Self::new(base, adapter.method.clone(), 0)?.load(adapter)
    }
}

/// Whether [`Base::load`] can load a file of weights alone.
///
/// # Errors
/// If the file cannot be read.
pub fn is_base(path: &Path) -> Result<bool> {
    let tensors = tensor_file::read(path)?.tensors;
    Ok(Architecture::of_tensors(&tensors).is_some())
}

/// The identity of a network that was not loaded.
fn identity(name: &Path, config: &NetworkConfig, network: &Network) -> BaseIdentity {
    BaseIdentity {
        name: name.display().to_string(),
        fingerprint: fingerprint(&config.to_file(weights::export(network, |_| true))),
    }
}

/// JSON in the format of written files; errors name `what`.
fn pretty_json(value: &serde_json::Value, what: &str) -> Result<String> {
    let text = serde_json::to_string_pretty(value);
    let text = text.map_err(ModelError::serialise(what))?;
    Ok(text + "\n")
}

/// Writes a file, whole or not at all.
fn write_file(path: &Path, content: &[u8]) -> Result<()> {
    let written = vlsm_image::fs::replace(path, |file| file.write_all(content));
    written.map_err(|source| ModelError::Write {
        path: path.into(),
        source,
    })
}

/// Where the vocabulary of the base with these weights comes from; [`Tokenizer::from_folder`] reads the same files.
fn tokenizer_source(weights: &Path) -> String {
    let folder = weights.parent().unwrap_or(Path::new(""));
    // A builtin base has no files; files with these names in the working folder are not its own.
    let exists = |name: &str| weights.is_file() && folder.join(name).is_file();
    if exists(TOKENIZER) {
        folder.join(TOKENIZER).display().to_string()
    } else if exists("vocab.json") && exists("merges.txt") {
        format!("{} and merges.txt", folder.join("vocab.json").display())
    } else {
        "CLIP's vocabulary, built in".into()
    }
}
