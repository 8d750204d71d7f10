//! Masks of class ids with class names: each class present in an image becomes a sample with its name as prompt.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Deserialize;

use super::json::read_json;
use super::{Pair, unique};
use crate::config::DataConfig;
use crate::dataset::{Sample, Target};
use crate::decode::read_class_map;
use crate::error::{DataError, Result};
use crate::prompt::Prompts;

/// The content of `classes.json`.
pub(crate) struct ClassNames {
    pub(crate) path: PathBuf,
    /// Names by id; `None` is a class that is no target.
    names: Vec<Option<String>>,
    pub(crate) ignore: Option<u8>,
}

/// `classes.json` as it is written.
#[derive(Deserialize)]
struct ClassFile {
    classes: Vec<Option<String>>,
    #[serde(default)]
    ignore_index: Option<u8>,
}

impl ClassNames {
    /// Reads the file that the recipe names, or `ROOT/classes.json`.
    pub(crate) fn read(config: &DataConfig) -> Result<Self> {
        let path = match &config.classes {
            Some(path) => config.resolve(path),
            None => config.root.join("classes.json"),
        };
        Self::read_file(&path)
    }

    /// Reads a file.
    pub(crate) fn read_file(path: &Path) -> Result<Self> {
        let file: ClassFile = read_json(path)?;
        if file.classes.len() > 256 {
            let reason = format!(
                "`{}` names {} classes; masks hold ids up to 255",
                path.display(),
                file.classes.len()
            );
            return Err(DataError::Config {
                field: "data.classes",
                reason,
            });
        }
        let names = file
            .classes
            .into_iter()
            .map(|name| name.filter(|name| !name.is_empty()))
            .collect();
        Ok(Self {
            path: path.to_path_buf(),
            names,
            ignore: file.ignore_index,
        })
    }

    /// Names by id, `""` for a class that is no target.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.names
            .iter()
            .map(|name| name.clone().unwrap_or_default())
            .collect()
    }

    /// The classes of a mask that become samples, with their names. Ids without a name are faults.
    pub(crate) fn targets(
        &self,
        mask: &Path,
        ids: &[u8],
        faults: &mut Vec<DataError>,
    ) -> Vec<(u8, &str)> {
        let mut targets = Vec::new();
        for &id in ids.iter().filter(|&&id| Some(id) != self.ignore) {
            match self.names.get(usize::from(id)) {
                Some(Some(name)) => targets.push((id, name.as_str())),
                Some(None) => {}
                None => faults.push(DataError::UnnamedClass {
                    mask: mask.to_path_buf(),
                    id,
                    classes: self.path.clone(),
                    named: self.names.len(),
                }),
            }
        }
        targets
    }
}

/// A sample for each class that is present in a mask, image by image, by rising id. Reads every mask, on all cores.
pub(crate) fn samples(
    splits: [Vec<Pair>; 3],
    classes: &ClassNames,
    faults: &mut Vec<DataError>,
) -> [Vec<Sample>; 3] {
    splits.map(|pairs| {
        let ids: Vec<Result<Vec<u8>>> = pairs
            .par_iter()
            .map(|pair| read_class_map(&pair.mask).map(|map| map.ids()))
            .collect();
        let mut taken = HashSet::new();
        let mut samples = Vec::new();
        for (pair, ids) in pairs.into_iter().zip(ids) {
            let ids = match ids {
                Ok(ids) => ids,
                Err(fault) => {
                    faults.push(fault);
                    continue;
                }
            };
            for (id, name) in classes.targets(&pair.mask, &ids, faults) {
                samples.push(Sample {
                    name: unique(format!("{}.{}", pair.name, file_name_of(name)), &mut taken),
                    image: pair.image.clone(),
                    mask: pair.mask.clone(),
                    target: Target::Class(id),
                    group: name.to_string(),
                    prompts: Prompts::from_texts(vec![name.to_string()]),
                    oracle: None,
                });
            }
        }
        samples
    })
}

/// A sample for each image: all its labels. Unlike [`samples`], it has those images too that show no class.
pub(crate) fn whole_images(pairs: &[Pair]) -> Vec<Sample> {
    let mut taken = HashSet::new();
    let sample = |pair: &Pair| Sample {
        name: unique(pair.name.clone(), &mut taken),
        image: pair.image.clone(),
        mask: pair.mask.clone(),
        target: Target::Labels,
        group: String::new(),
        prompts: Prompts::new(),
        oracle: None,
    };
    pairs.iter().map(sample).collect()
}

/// A class name as part of a file name.
fn file_name_of(class: &str) -> String {
    class
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || c == '-' {
                c
            } else {
                '_'
            }
        })
        .collect()
}
