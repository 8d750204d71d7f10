//! Bases that are part of this library.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{ModelError, Result};
use crate::tensor_file::{HostTensor, parse_safetensors};

/// What a builtin base's name starts with.
const PREFIX: &str = "builtin:";

/// The files of a base, as in Hugging Face format.
pub(crate) struct Builtin {
    name: &'static str,
    pub(crate) config: &'static str,
    pub(crate) preprocessor: &'static str,
    weights: &'static [u8],
    /// The weights of a CLIPSeg whose CLIP gives the tensors that `weights` lacks.
    others: Option<&'static [u8]>,
}

const TINY: &[u8] = include_bytes!("../builtin/tiny/model.safetensors");

/// The README in each base's folder says how it was made and how good it is.
const BUILTINS: [Builtin; 2] = [
    Builtin {
        name: "tiny",
        config: include_str!("../builtin/tiny/config.json"),
        preprocessor: include_str!("../builtin/tiny/preprocessor_config.json"),
        weights: TINY,
        others: None,
    },
    Builtin {
        name: "tiny-clip",
        config: include_str!("../builtin/tiny-clip/config.json"),
        preprocessor: include_str!("../builtin/tiny-clip/preprocessor_config.json"),
        weights: include_bytes!("../builtin/tiny-clip/model.safetensors"),
        others: Some(TINY),
    },
];

impl Builtin {
    /// The tensors; `path` is the name for errors.
    pub(crate) fn tensors(&self, path: &Path) -> Result<BTreeMap<String, HostTensor>> {
        let mut tensors = parse_safetensors(self.weights, path)?.tensors;
        if let Some(others) = self.others {
            for (name, tensor) in parse_safetensors(others, path)?.tensors {
                if let Some(name) = name.strip_prefix("clip.") {
                    tensors.entry(name.to_owned()).or_insert(tensor);
                }
            }
        }
        Ok(tensors)
    }
}

/// The builtin base of a name, `None` if the name is not of that form.
///
/// # Errors
/// If there is none of that name.
pub(crate) fn find(name: &str) -> Result<Option<&'static Builtin>> {
    let Some(short) = name.strip_prefix(PREFIX) else {
        return Ok(None);
    };
    let found = BUILTINS.iter().find(|builtin| builtin.name == short);
    found.map(Some).ok_or_else(|| ModelError::Builtin {
        name: name.to_owned(),
        known: BUILTINS
            .map(|builtin| format!("{PREFIX}{}", builtin.name))
            .join(", "),
    })
}
