//! Bases that are part of this library.

use crate::error::{ModelError, Result};

/// What a builtin base's name starts with.
const PREFIX: &str = "builtin:";

/// The files of a base, as in Hugging Face format.
pub(crate) struct Builtin {
    name: &'static str,
    pub(crate) config: &'static str,
    pub(crate) preprocessor: &'static str,
    pub(crate) weights: &'static [u8],
}

/// The README in each base's folder says how it was made and how good it is.
const BUILTINS: [Builtin; 1] = [Builtin {
    name: "tiny",
    config: include_str!("../builtin/tiny/config.json"),
    preprocessor: include_str!("../builtin/tiny/preprocessor_config.json"),
    weights: include_bytes!("../builtin/tiny/model.safetensors"),
}];

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
