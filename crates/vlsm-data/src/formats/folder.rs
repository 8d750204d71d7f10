//! Plain folders of images and masks, paired by stem: `ROOT/images` and `ROOT/masks`, or the same under `ROOT/train`,
//! `ROOT/val` and `ROOT/test`. Sub-folders, and files without an image's extension, are ignored.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use vlsm_image::fs::image_files;
use vlsm_image::read_json;

use super::subjects::Subjects;
use super::{Pair, splits};
use crate::config::DataConfig;
use crate::error::{DataError, Result};
use crate::prompt::{Prompts, Texts};
use crate::split::Split;

/// What may follow the image's stem in a mask's stem, in upper or lower case.
const MASK_SUFFIXES: [&str; 4] = ["_mask", "_segmentation", "_seg", "_gt"];

/// The pairs of the three splits; with `prompted`, also their prompts if there is a JSON file of prompts.
pub(crate) fn list(
    config: &DataConfig,
    subjects: &Subjects,
    prompted: bool,
    faults: &mut Vec<DataError>,
) -> [Vec<Pair>; 3] {
    let mut splits = if has_split_folders(config) {
        let mut splits = Split::ALL.map(|split| {
            let folder = config.root.join(split.name());
            if folder.is_dir() {
                pair_up(config, &folder, faults)
            } else {
                Vec::new()
            }
        });
        subjects.assign(splits.iter_mut().flatten(), faults);
        splits
    } else {
        let mut pairs = pair_up(config, &config.root, faults);
        subjects.assign(pairs.iter_mut(), faults);
        splits::assign(config, pairs, faults)
    };
    if prompted {
        match PromptFile::read(config) {
            Ok(None) => {}
            Ok(Some(file)) => file.apply(config, &mut splits, faults),
            Err(fault) => faults.push(fault),
        }
    }
    splits
}

/// Whether there are images in `ROOT/train`, `ROOT/val` or `ROOT/test`, so that the folders define the splits.
pub(crate) fn has_split_folders(config: &DataConfig) -> bool {
    Split::ALL
        .into_iter()
        .any(|split| config.root.join(split.name()).join(&config.images).is_dir())
}

/// The pairs of one folder, sorted by the image's stem.
fn pair_up(config: &DataConfig, folder: &Path, faults: &mut Vec<DataError>) -> Vec<Pair> {
    let images = by_stem(
        &folder.join(&config.images),
        "image folder",
        "set `data.images` to its name",
        faults,
    );
    let masks = by_stem(
        &folder.join(&config.masks),
        "mask folder",
        "set `data.masks` to its name",
        faults,
    );
    let (Some(images), Some(mut masks)) = (images, masks) else {
        return Vec::new();
    };
    let mut pairs = Vec::with_capacity(images.len());
    let mut unpaired = Vec::new();
    for (stem, image) in images {
        match take_mask(&stem, &mut masks) {
            Some((name, mask)) => pairs.push(Pair {
                name,
                image,
                mask,
                subject: String::new(),
                group: String::new(),
                prompts: Prompts::new(),
                oracle: None,
            }),
            None => unpaired.push(image),
        }
    }
    if !unpaired.is_empty() || !masks.is_empty() {
        faults.push(DataError::Unpaired {
            images: unpaired,
            masks: masks.into_values().collect(),
        });
    }
    pairs
}

/// The mask for an image's stem: the one with the same stem, else one with a suffix after it.
fn take_mask(stem: &str, masks: &mut BTreeMap<String, PathBuf>) -> Option<(String, PathBuf)> {
    if let Some(found) = masks.remove_entry(stem) {
        return Some(found);
    }
    let names = masks.range(stem.to_string()..).map(|(name, _)| name);
    let name = suffixed(stem, names)?.clone();
    masks.remove_entry(&name)
}

/// Whether a mask belongs to an image's stem.
pub(super) fn has_mask(stem: &str, masks: &BTreeSet<String>) -> bool {
    masks.contains(stem) || suffixed(stem, masks.range(stem.to_string()..)).is_some()
}

/// The first of the sorted names that is the stem with a mask's suffix.
fn suffixed<'a>(stem: &str, names: impl Iterator<Item = &'a String>) -> Option<&'a String> {
    names
        .take_while(|name| name.starts_with(stem))
        .find(|name| {
            let rest = name.strip_prefix(stem).unwrap_or_default();
            MASK_SUFFIXES
                .iter()
                .any(|suffix| rest.eq_ignore_ascii_case(suffix))
        })
}

/// The images of a folder by stem. `None` if the folder does not exist or is empty.
fn by_stem(
    folder: &Path,
    what: &'static str,
    fix: &'static str,
    faults: &mut Vec<DataError>,
) -> Option<BTreeMap<String, PathBuf>> {
    let layout = |fault, fix| DataError::Layout {
        what,
        path: folder.to_path_buf(),
        fault,
        fix,
    };
    if !folder.is_dir() {
        faults.push(layout("does not exist", fix));
        return None;
    }
    let mut files = match image_files(folder) {
        Ok(files) => files,
        Err(fault) => {
            faults.push(fault.into());
            return None;
        }
    };
    files.sort();
    if files.is_empty() {
        faults.push(layout(
            "contains no image (JPEG, PNG, BMP, TIFF or WebP)",
            "add the image files",
        ));
        return None;
    }
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    for path in files {
        let stem = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        match found.get(&stem) {
            Some(first) => faults.push(DataError::Ambiguous {
                stem,
                first: first.clone(),
                second: path,
            }),
            None => drop(found.insert(stem, path)),
        }
    }
    Some(found)
}

/// A JSON file of prompts by stem.
struct PromptFile {
    path: PathBuf,
    by_stem: BTreeMap<String, StemPrompts>,
}

/// The prompts of a stem: texts without names, or prompts by name.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "must be a string, a list of strings, or an object of prompts {\"p0\": ..}"
)]
enum StemPrompts {
    Texts(Texts),
    Named(Prompts),
}

impl PromptFile {
    /// The recipe's file, or `ROOT/prompts.json` if it exists, or `None`.
    fn read(config: &DataConfig) -> Result<Option<Self>> {
        let path = match &config.prompts {
            Some(path) => config.resolve(path),
            None => config.root.join("prompts.json"),
        };
        if config.prompts.is_none() && !path.is_file() {
            return Ok(None);
        }
        Ok(Some(Self {
            by_stem: read_json(&path)?,
            path,
        }))
    }

    /// Sets each pair's prompts by its image's stem. A stem without an image is a fault, because it is probably misspelt.
    fn apply(
        mut self,
        config: &DataConfig,
        splits: &mut [Vec<Pair>; 3],
        faults: &mut Vec<DataError>,
    ) {
        let mut known = BTreeSet::new();
        for pair in splits.iter_mut().flatten() {
            let stem = pair
                .image
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            match self.by_stem.remove(&stem) {
                Some(StemPrompts::Texts(texts)) => {
                    pair.prompts = Prompts::from_texts(texts.into_vec())
                }
                Some(StemPrompts::Named(prompts)) => pair.prompts = prompts,
                None if config.has_text() || known.contains(&stem) => {}
                None => faults.push(DataError::NoPrompts {
                    sample: pair.name.clone(),
                    origin: format!(" in `{}`", self.path.display()),
                    fix: crate::prompt::NO_PROMPTS_FIX,
                }),
            }
            known.insert(stem);
        }
        let listed = config.split.has_lists();
        if let (Some((stem, _)), false) = (self.by_stem.into_iter().next(), listed) {
            let reason = format!(
                "`{}` has prompts for `{stem}`, but no image has that stem",
                self.path.display()
            );
            faults.push(DataError::Config {
                field: "data.prompts",
                reason: format!("{reason}; correct or remove it"),
            });
        }
    }
}
