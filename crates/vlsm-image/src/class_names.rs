//! The file `classes.json`: the names of the class ids in masks.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{ImageError, Result};
use crate::json::read_json;

/// The content of a `classes.json`: `{"classes": ["Sky", null, ...], "ignore_index": 11}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassNames {
    /// The file.
    pub path: PathBuf,
    /// Names by id, at most 256; `None` for classes that are not segmented.
    pub names: Vec<Option<String>>,
    /// The id that is left out of loss and metrics.
    pub ignore: Option<u8>,
}

/// The structure of the file.
#[derive(Deserialize)]
struct ClassFile {
    classes: Vec<Option<String>>,
    #[serde(default)]
    ignore_index: Option<u8>,
}

impl ClassNames {
    /// Reads a file.
    ///
    /// # Errors
    /// Those of [`read_json`], and [`ImageError::Classes`] if it names more than 256 classes.
    pub fn read(path: &Path) -> Result<Self> {
        let file: ClassFile = read_json(path)?;
        if file.classes.len() > 256 {
            let reason = format!(
                "`{}` names {} classes; use at most 256, because ids go up to 255",
                path.display(),
                file.classes.len()
            );
            return Err(ImageError::Classes {
                field: "data.classes",
                reason,
            });
        }
        let named = |name: Option<String>| name.filter(|name| !name.is_empty());
        Ok(Self {
            path: path.to_path_buf(),
            names: file.classes.into_iter().map(named).collect(),
            ignore: file.ignore_index,
        })
    }

    /// Names by id, with `""` for classes that are not segmented.
    pub fn texts(&self) -> Vec<String> {
        let names = self.names.iter();
        names.map(|name| name.clone().unwrap_or_default()).collect()
    }
}
