//! Writes descriptions of masks as annotation files in the published format.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::{Component, Path};

use serde::Serialize;
use vlsm_image::write_atomic;

use crate::config::DataConfig;
use crate::error::{DataError, Result};
use crate::formats::annotations::folders;
use crate::mask_prompts::{Description, describe};
use crate::prompt::Prompts;
use crate::sample::Sample;
use crate::split::Split;

/// An entry of an annotation file.
#[derive(Serialize, Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// The image's path relative to the image folder, with `/` between its parts.
    pub img_name: String,
    /// The mask's path relative to the mask folder, likewise.
    pub mask_name: String,
    /// As [`Sample::group`].
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The prompts.
    pub prompts: Prompts,
    /// Bounding box of the foreground, as [`Description::bbox`]; `null` for an empty mask.
    pub bbox: Option<[usize; 4]>,
    /// The attributes of each prompt that come from the ground truth, as [`Description::oracle`].
    pub oracle: BTreeMap<&'static str, Vec<&'static str>>,
}

impl Annotation {
    /// The entry for a mask with this description.
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

/// Reads the image and mask files of a sample whose foreground has class `class`. Returns the annotation and the
/// description that it was made from. `config` is the recipe section that the new annotation file will be read with.
///
/// # Errors
/// If the sample is not made of files, a file cannot be read, or image and mask differ in size
/// ([`DataError::SizeMismatch`]). [`DataError::Layout`] if a file is outside the folders that annotations refer to, or its
/// name is not Unicode.
pub fn annotate(
    config: &DataConfig,
    split: Split,
    sample: &Sample,
    class: &str,
) -> Result<(Annotation, Description)> {
    let Some((image_file, mask_file)) = sample.source.files() else {
        let reason = "it is not a file, and annotations refer to files; save it as a file first";
        return Err(DataError::source(sample.source.id(), reason));
    };
    let (images, masks) = folders(config, split);
    let img_name = name_below(&images, image_file)?;
    let mask_name = name_below(&masks, mask_file)?;
    let (image, mask) = sample.read(None)?;
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

/// Writes the annotation file of a split, such as `anns/train.json`: a list with one [`Annotation`] on each line.
///
/// # Errors
/// [`vlsm_image::ImageError::Write`]; a previous file at `path` is then unchanged.
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

/// The path of `file` relative to `folder`, with `/` on every system.
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
            "is outside the folder that annotations refer to (`images/` and `masks/` at the root take precedence over \
             those of the splits)",
            "remove the folders at the root or those of the splits, or set `data.images` and `data.masks`",
        )
    })?;
    let part = |part: Component<'_>| {
        let name = part.as_os_str().to_str().map(str::to_string);
        name.ok_or_else(|| {
            layout(
                "the name of",
                "is not Unicode and cannot be written as JSON",
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
