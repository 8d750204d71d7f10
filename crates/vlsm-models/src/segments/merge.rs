//! A CLIP with what training changed, as a base of its own.

use std::path::Path;

use serde_json::json;
use vlsm_image::fs::write_atomic_bytes;

use super::base::ClipBase;
use super::file::SegmentFile;
use super::model::SegmentModel;
use crate::error::{ModelError, Result};
use crate::files::{BaseIdentity, PREPROCESSOR, fingerprint};
use crate::tensor_file::{self, WrittenAs};
use crate::weights;

/// Files of a vocabulary that is not CLIP's own; [`Tokenizer::from_folder`](crate::Tokenizer::from_folder) reads them.
const VOCABULARY: [&str; 3] = ["tokenizer.json", "vocab.json", "merges.txt"];

impl ClipBase {
    /// The base with the trained parameters of a file in it, which names segments as base and file together do.
    ///
    /// # Errors
    /// If the file is for another base, does not fit, blends the base in, or holds parameters that a CLIP has no layers for: adapter
    /// blocks and tokens.
    pub fn merge(&self, file: SegmentFile) -> Result<Self> {
        let path = file.path.clone();
        if file.blend < 1.0 {
            return Err(ModelError::Adapter {
                path,
                message: format!(
                    "names by two CLIPs, the adapted one and the base (`blend = {}`), so they cannot be merged into one; keep the \
                     file and name it with --adapter, or train with `blend = 1`",
                    file.blend
                ),
            });
        }
        let model = SegmentModel::with_file(self, file)?.merged();
        if let Some(name) = model.names_outside_the_clip().first() {
            return Err(ModelError::Adapter {
                path,
                message: format!(
                    "holds parameters that a CLIP has no layers for, such as `{name}`, so they cannot be merged (adapter blocks, \
                     learnt tokens; LoRA with `towers = \"vlc\"` has a block on the text embedding, with \"vl\" none); keep the \
                     file and name it with --adapter"
                ),
            });
        }
        let clip = model.into_clip();
        Ok(Self {
            identity: BaseIdentity {
                name: path.display().to_string(),
                fingerprint: fingerprint(&weights::export(&clip, |_| true)),
            },
            clip,
            ..self.clone()
        })
    }

    /// Writes the files of a CLIP as Transformers' `CLIPModel` reads them into a folder, which is created if it does not exist:
    /// configuration, preprocessing, weights, and the vocabulary if it is not CLIP's own. Existing files are replaced.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, folder: &Path, written_as: WrittenAs) -> Result<()> {
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            |source| ModelError::Write { path, source }
        };
        std::fs::create_dir_all(folder).map_err(failed(folder))?;
        let mut config = serde_json::to_value(&self.config)
            .map_err(ModelError::serialise("a CLIP's configuration"))?;
        if let Some(object) = config.as_object_mut() {
            object.insert("architectures".into(), json!(["CLIPModel"]));
            object.insert("model_type".into(), json!("clip"));
        }
        let mut preprocessor = self.preprocessing.to_json();
        if let Some(object) = preprocessor.as_object_mut() {
            // Crops come with their side.
            object.insert("do_center_crop".into(), json!(false));
            object.insert("image_processor_type".into(), json!("CLIPImageProcessor"));
            object.insert("processor_class".into(), json!("CLIPProcessor"));
            // Bicubic.
            object.insert("resample".into(), json!(3));
        }
        for (name, value) in [("config.json", config), (PREPROCESSOR, preprocessor)] {
            let path = folder.join(name);
            let text = format!("{value:#}\n");
            write_atomic_bytes(&path, text.as_bytes())?;
        }
        let from = self.weights.parent().unwrap_or(Path::new(""));
        for name in VOCABULARY {
            let (from, to) = (from.join(name), folder.join(name));
            if from.is_file() && from != to {
                std::fs::copy(&from, &to).map_err(failed(&to))?;
            }
        }
        let path = folder.join("model.safetensors");
        let tensors = weights::export(&self.clip, |_| true);
        let metadata = tensor_file::pytorch_metadata();
        tensor_file::write_safetensors_as(&path, &tensors, &metadata, written_as)?;
        Ok(())
    }

    /// Number of parameters.
    pub fn parameters(&self) -> usize {
        let mut count = 0;
        weights::for_each_parameter(&self.clip, |_, shape| {
            count += shape.iter().product::<usize>()
        });
        count
    }
}
