//! Descriptions as annotation files of the published format.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::{Component, Path};

use serde::Serialize;

use super::{Description, describe};
use crate::config::DataConfig;
use crate::dataset::{Sample, Split};
use crate::decode::{read_image, read_mask};
use crate::error::{DataError, Result};
use crate::formats::annotations::folders;
use crate::fs::write_atomic;
use crate::prompt::Prompts;

/// An entry of an annotation file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// The image's path below the image folder, its parts joined by `/`.
    pub img_name: String,
    /// The mask's path below the mask folder, likewise.
    pub mask_name: String,
    /// What the mask shows.
    pub description: Description,
}

/// An entry as it is written.
#[derive(Serialize)]
struct Entry<'a> {
    img_name: &'a str,
    mask_name: &'a str,
    prompts: Prompts,
    /// `null` for an empty mask.
    bbox: Option<[usize; 4]>,
    oracle: BTreeMap<&'static str, Vec<&'static str>>,
}

/// Reads a sample's image and mask, whose foreground is of class `class`, and describes them. `config` says where the
/// annotation file that is to be made will be read from.
///
/// # Errors
/// An image or mask that cannot be read, or a pair of two sizes ([`DataError::SizeMismatch`]). [`DataError::Layout`] if a
/// file lies outside the folders in which annotations are looked up, or has a name that JSON cannot hold.
pub fn annotate(
    config: &DataConfig,
    split: Split,
    sample: &Sample,
    class: &str,
) -> Result<Annotation> {
    let (images, masks) = folders(config, split);
    let img_name = name_below(&images, &sample.image)?;
    let mask_name = name_below(&masks, &sample.mask)?;
    let image = read_image(&sample.image)?;
    let mask = read_mask(&sample.mask)?;
    if (image.width, image.height) != (mask.width, mask.height) {
        return Err(DataError::SizeMismatch {
            image: sample.image.clone(),
            image_size: (image.width, image.height),
            mask: sample.mask.clone(),
            mask_size: (mask.width, mask.height),
        });
    }
    Ok(Annotation {
        img_name,
        mask_name,
        description: describe(class, &image, &mask),
    })
}

/// Writes the annotation file of a split (`anns/train.json`, say): a list of objects with `img_name`, `mask_name`,
/// `prompts` (p0 to p6), `bbox` (`null` where there is nothing) and `oracle`, which tells for each prompt what is read
/// from the ground truth ([`Description::oracle`]). One object a line.
///
/// # Errors
/// [`DataError::Write`]; what stood under `path` is then still there.
pub fn write_annotations(path: &Path, annotations: &[Annotation]) -> Result<()> {
    write_atomic(path, |file| {
        let mut file = BufWriter::new(file);
        file.write_all(b"[")?;
        for (index, annotation) in annotations.iter().enumerate() {
            file.write_all(if index == 0 { b"\n" } else { b",\n" })?;
            let entry = Entry {
                img_name: &annotation.img_name,
                mask_name: &annotation.mask_name,
                prompts: annotation.description.prompts(),
                bbox: annotation.description.bbox,
                oracle: annotation.description.oracle(),
            };
            serde_json::to_writer(&mut file, &entry)?;
        }
        file.write_all(b"\n]\n")?;
        file.flush()
    })
}

/// The path of `file` below `folder` as a JSON string can hold it on every system.
fn name_below(folder: &Path, file: &Path) -> Result<String> {
    let layout = |what, fault, mend| DataError::Layout {
        what,
        path: file.to_path_buf(),
        fault,
        mend,
    };
    let below = file.strip_prefix(folder).map_err(|_| {
        layout(
            "file",
            "lies outside the folder in which annotations look for it (`images/` and `masks/` at the root come before \
             those of the splits)",
            "keep one of the two, or set `data.images` and `data.masks`",
        )
    })?;
    let part = |part: Component<'_>| {
        let name = part.as_os_str().to_str().map(str::to_string);
        name.ok_or_else(|| {
            layout(
                "the name of",
                "is not Unicode, so JSON cannot hold it",
                "rename the file",
            )
        })
    };
    let parts: Vec<String> = below.components().map(part).collect::<Result<_>>()?;
    Ok(parts.join("/"))
}

#[cfg(test)]
#[path = "annotate_tests.rs"]
mod tests;
