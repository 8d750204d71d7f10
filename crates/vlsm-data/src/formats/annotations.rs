//! The published format: `anns/{train,val,test}.json`, each a list of objects with `img_name`, `mask_name` and
//! `prompts`, next to the image and mask folders. This project adds two fields: `group`, for which scores are reported
//! separately, and `oracle`, the attributes of each prompt that were read from the mask. Other fields are ignored.
//!
//! If `train/`, `val/` or `test/` have image folders and the root has none, as in [`folder`](super::folder), a split's
//! files are in its folder.

use std::collections::{BTreeSet, HashSet};
use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value};
use vlsm_image::fs::image_files;
use vlsm_image::read_json;

use super::folder::{has_mask, has_split_folders};
use super::{Pair, flat_stem};
use crate::config::DataConfig;
use crate::error::DataError;
use crate::prompt::{NO_PROMPTS_FIX, Prompts};
use crate::split::Split;

/// The pairs of the three splits in the order of their files. A split without a file is empty.
pub(crate) fn list(config: &DataConfig, faults: &mut Vec<DataError>) -> [Vec<Pair>; 3] {
    let folder = config.root.join("anns");
    let any = Split::ALL
        .into_iter()
        .any(|split| annotation_file(&folder, split).is_file());
    if !any {
        faults.push(DataError::Layout {
            what: "annotation folder",
            path: folder.clone(),
            fault: "contains none of train.json, val.json, test.json",
            fix: "add them, or set `data.format` to `folder` or `classes`",
        });
    }
    Split::ALL.map(|split| {
        let file = annotation_file(&folder, split);
        if file.is_file() {
            read_split(config, split, &file, faults)
        } else {
            Vec::new()
        }
    })
}

fn annotation_file(folder: &Path, split: Split) -> PathBuf {
    folder.join(format!("{split}.json"))
}

/// The image and mask folders that the names in a split's annotations are relative to.
pub(crate) fn folders(config: &DataConfig, split: Split) -> (PathBuf, PathBuf) {
    let by_split = !config.root.join(&config.images).is_dir() && has_split_folders(config);
    let base = if by_split {
        config.root.join(split.name())
    } else {
        config.root.clone()
    };
    (base.join(&config.images), base.join(&config.masks))
}

/// Images with a mask of the same stem that no split lists.
pub(crate) fn unlisted(config: &DataConfig, splits: &[Vec<Pair>; 3]) -> Vec<PathBuf> {
    let listed: HashSet<&Path> = splits
        .iter()
        .flatten()
        .map(|pair| pair.image.as_path())
        .collect();
    let mut folders: Vec<(PathBuf, PathBuf)> =
        Split::ALL.map(|split| folders(config, split)).into();
    folders.dedup();
    let mut unlisted = Vec::new();
    for (images, masks) in folders {
        // A folder that cannot be read has been reported if it is needed.
        let images = image_files(&images).unwrap_or_default();
        let masks = image_files(&masks).unwrap_or_default();
        let masks: BTreeSet<String> = masks.iter().map(|mask| flat_stem(name(mask))).collect();
        let is_unlisted = |image: &PathBuf| {
            !listed.contains(image.as_path()) && has_mask(&flat_stem(name(image)), &masks)
        };
        unlisted.extend(images.into_iter().filter(is_unlisted));
    }
    unlisted.sort();
    unlisted
}

/// A file's name.
fn name(path: &Path) -> &Path {
    path.file_name().unwrap_or_default().as_ref()
}

fn read_split(
    config: &DataConfig,
    split: Split,
    file: &Path,
    faults: &mut Vec<DataError>,
) -> Vec<Pair> {
    let folders = folders(config, split);
    let entries: Vec<Value> = match read_json(file) {
        Ok(entries) => entries,
        Err(fault) => {
            faults.push(fault.into());
            return Vec::new();
        }
    };
    let mut pairs = Vec::with_capacity(entries.len());
    for (index, entry) in entries.into_iter().enumerate() {
        let before = faults.len();
        let pair = read_entry(config, &folders, &Position { file, index }, entry, faults);
        if faults.len() == before {
            pairs.extend(pair);
        }
    }
    pairs
}

/// The position of an entry, for messages.
struct Position<'a> {
    file: &'a Path,
    index: usize,
}

impl Position<'_> {
    fn field(&self, field: &'static str, reason: impl Into<String>) -> DataError {
        DataError::Field {
            path: self.file.to_path_buf(),
            entry: self.index,
            field,
            reason: reason.into(),
        }
    }
}

fn read_entry(
    config: &DataConfig,
    (images, masks): &(PathBuf, PathBuf),
    position: &Position<'_>,
    entry: Value,
    faults: &mut Vec<DataError>,
) -> Option<Pair> {
    let Value::Object(mut fields) = entry else {
        faults.push(position.field("img_name", "is missing: the entry is not a JSON object"));
        return None;
    };
    let image = named_file(&fields, "img_name", images, position, faults);
    let mask = named_file(&fields, "mask_name", masks, position, faults);
    let prompts = match fields.remove("prompts") {
        None | Some(Value::Null) => Prompts::new(),
        Some(value) => match serde_json::from_value(value) {
            Ok(prompts) => prompts,
            Err(error) => {
                faults.push(position.field("prompts", format!("cannot be read: {error}")));
                return None;
            }
        },
    };
    let group = match fields.remove("group") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(group)) => group,
        Some(_) => {
            faults.push(position.field("group", "is not a string"));
            return None;
        }
    };
    let oracle = match fields.remove("oracle").map(serde_json::from_value) {
        None => None,
        Some(Ok(oracle)) => oracle,
        Some(Err(error)) => {
            let reason =
                format!("is not an object with a list of words for each prompt name: {error}");
            faults.push(position.field("oracle", reason));
            return None;
        }
    };
    let (image, mask) = (image?, mask?);
    let name = flat_stem(mask.strip_prefix(masks).unwrap_or(&mask));
    if prompts.is_empty() && !config.has_text() {
        let origin = format!(
            " in `{}`, entry {}",
            position.file.display(),
            position.index
        );
        faults.push(DataError::NoPrompts {
            sample: name.clone(),
            origin,
            fix: NO_PROMPTS_FIX,
        });
    }
    Some(Pair {
        name,
        image,
        mask,
        subject: String::new(),
        group,
        prompts,
        oracle,
    })
}

/// The file in `folder` that a field names.
fn named_file(
    fields: &Map<String, Value>,
    field: &'static str,
    folder: &Path,
    position: &Position<'_>,
    faults: &mut Vec<DataError>,
) -> Option<PathBuf> {
    let name = match fields.get(field) {
        Some(Value::String(name)) if !name.is_empty() => Path::new(name),
        Some(Value::String(_)) => {
            faults.push(position.field(field, "is empty"));
            return None;
        }
        Some(_) => {
            faults.push(position.field(field, "is not a string"));
            return None;
        }
        None => {
            faults.push(position.field(field, "is missing"));
            return None;
        }
    };
    if !name
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
    {
        let reason = format!("points outside its folder (`{}`)", name.display());
        faults.push(position.field(field, reason));
        return None;
    }
    let file = folder.join(name);
    if !file.is_file() {
        faults.push(DataError::MissingFile {
            list: position.file.to_path_buf(),
            entry: position.index,
            file,
        });
        return None;
    }
    Some(file)
}
