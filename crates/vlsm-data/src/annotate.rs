//! Descriptions as annotation files of the published format.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::{Component, Path};

use serde::Serialize;
use vlsm_image::{read_image, read_mask, write_atomic};

use crate::config::DataConfig;
use crate::error::{DataError, Result};
use crate::formats::annotations::folders;
use crate::mask_prompts::{Description, describe};
use crate::prompt::Prompts;
use crate::sample::Sample;
use crate::split::Split;

/// An entry of an annotation file, as it is written.
#[derive(Serialize, Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// The image's path below the image folder, its parts joined by `/`.
    pub img_name: String,
    /// The mask's path below the mask folder, likewise.
    pub mask_name: String,
    /// As [`Sample::group`].
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The prompts.
    pub prompts: Prompts,
    /// The box around the foreground, as [`Description::bbox`]; `null` for an empty mask.
    pub bbox: Option<[usize; 4]>,
    /// What of each prompt is read from the ground truth, as [`Description::oracle`].
    pub oracle: BTreeMap<&'static str, Vec<&'static str>>,
}

impl Annotation {
    /// The entry for a mask that was described.
    pub fn new(img_name: String, mask_name: String, description: &Description) -> Self {
        Self {
            img_name,
            mask_name,
            group: String::new(),
            prompts: description.prompts(),
            bbox: description.bbox,
            oracle: description.oracle(),
        }
    }
}

/// Reads the image and mask files of a sample, whose foreground is of class `class`, and describes them: the entry, and
/// the description it was made from. `config` is the recipe section that the new annotation file will be read with.
///
/// # Errors
/// A sample that is not of files, an image or mask that cannot be read, or a pair of two sizes ([`DataError::SizeMismatch`]). [`DataError::Layout`] if a
/// file is outside the folders in which annotations are looked up, or has a name that JSON cannot hold.
pub fn annotate(
    config: &DataConfig,
    split: Split,
    sample: &Sample,
    class: &str,
) -> Result<(Annotation, Description)> {
    let Some((image_file, mask_file)) = sample.source.files() else {
        let reason = "annotations name files, and this is none; write it to a file first";
        return Err(DataError::source(sample.source.id(), reason));
    };
    let (images, masks) = folders(config, split);
    let img_name = name_below(&images, image_file)?;
    let mask_name = name_below(&masks, mask_file)?;
    let image = read_image(image_file)?;
    let mask = read_mask(mask_file)?;
    if (image.width, image.height) != (mask.width, mask.height) {
        return Err(DataError::SizeMismatch {
            image: image_file.to_path_buf(),
            image_size: (image.width, image.height),
            mask: mask_file.to_path_buf(),
            mask_size: (mask.width, mask.height),
        });
    }
    let description = describe(class, &image, &mask);
    Ok((
        Annotation::new(img_name, mask_name, &description),
        description,
    ))
}

/// Writes the annotation file of a split (`anns/train.json`, say): a list of objects with `img_name`, `mask_name`,
/// `prompts` (p0 to p6), `bbox` (`null` where there is nothing) and `oracle`, which says for each prompt what is read
/// from the ground truth ([`Description::oracle`]). One object a line.
///
/// # Errors
/// [`vlsm_image::ImageError::Write`]; the previous file at `path` is then unchanged.
pub fn write_annotations(path: &Path, annotations: &[Annotation]) -> Result<()> {
    write_atomic(path, |file| {
        let mut file = BufWriter::new(file);
        file.write_all(b"[")?;
        for (index, annotation) in annotations.iter().enumerate() {
            file.write_all(if index == 0 { b"\n" } else { b",\n" })?;
            serde_json::to_writer(&mut file, annotation)?;
        }
        file.write_all(b"\n]\n")?;
        file.flush()
    })?;
    Ok(())
}

/// The path of `file` below `folder` as a JSON string can hold it on every system.
fn name_below(folder: &Path, file: &Path) -> Result<String> {
    let layout = |what, fault, fix| DataError::Layout {
        what,
        path: file.to_path_buf(),
        fault,
        fix,
    };
    let below = file.strip_prefix(folder).map_err(|_| {
        layout(
            "file",
            "is outside the folder in which annotations look for it (`images/` and `masks/` at the root come before \
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
