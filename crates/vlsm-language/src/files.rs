//! Weights of a folder in Hugging Face's format.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use vlsm_image::read_json;
use vlsm_models::tensor_file::{self, HostTensor};

use crate::builtin;
use crate::error::{LanguageError, Result};

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The tensors of `model.safetensors`, of the files that its index names, or of `pytorch_model.bin`.
pub(crate) fn read_weights(folder: &Path) -> Result<(PathBuf, BTreeMap<String, HostTensor>)> {
    if builtin::is_builtin(folder) {
        let file = tensor_file::parse_safetensors(builtin::WEIGHTS, folder)?;
        return Ok((folder.into(), file.tensors));
    }
    let single = folder.join("model.safetensors");
    let index = folder.join("model.safetensors.index.json");
    let pytorch = folder.join("pytorch_model.bin");
    let found = [&single, &index, &pytorch]
        .into_iter()
        .find(|path| path.is_file());
    let Some(found) = found else {
        return Err(LanguageError::File {
            path: folder.into(),
            message: "has no `model.safetensors`, `model.safetensors.index.json` or `pytorch_model.bin`; copy the weights here"
                .into(),
        });
    };
    if *found != index {
        return Ok((found.clone(), tensor_file::read(found)?.tensors));
    }
    let parts: Index = read_json(&index)?;
    let names: BTreeSet<String> = parts.weight_map.into_values().collect();
    let mut all = BTreeMap::new();
    for name in names {
        if Path::new(&name).components().count() != 1 {
            return Err(LanguageError::File {
                path: index,
                message: format!("names `{name}`, which is not a file of this folder"),
            });
        }
        all.extend(tensor_file::read(&folder.join(name))?.tensors);
    }
    Ok((index, all))
}
