//! The language model that is part of this library. The README in its folder says how it was made and how good it is.

use std::path::Path;

/// Its name, in place of a folder.
pub const BUILTIN: &str = "builtin:tiny";

/// Its files.
pub(crate) const CONFIG: &str = include_str!("../builtin/tiny/config.json");
pub(crate) const TOKENIZER: &str = include_str!("../builtin/tiny/tokenizer.json");
pub(crate) const WEIGHTS: &[u8] = include_bytes!("../builtin/tiny/model.safetensors");

/// Whether a folder is the name of the builtin model.
pub fn is_builtin(folder: &Path) -> bool {
    folder == Path::new(BUILTIN)
}
