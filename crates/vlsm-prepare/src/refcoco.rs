//! RefCOCO, RefCOCO+ (Yu et al. 2016) and RefCOCOg (Mao et al. 2016): expressions about objects of COCO's images, as queries of
//! `vlsm refer`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;
use vlsm_image::fs::{refuse_occupied, write_folder};
use vlsm_image::{read_bytes, read_json, write_atomic_bytes};

use crate::error::{PrepareError, Result};

/// A public set of referring expressions.
#[derive(Debug)]
pub struct ReferringSet {
    /// Its name on the command line, and the folder of its files.
    pub name: &'static str,
    /// Its title.
    pub title: &'static str,
    /// Where to download it.
    pub download: &'static str,
    /// The files after unpacking.
    pub layout: &'static str,
    /// The file of expressions, a pickle.
    refs: &'static str,
}

const DOWNLOAD: &str = "https://github.com/lichengunc/refer (expressions) and https://cocodataset.org (train2014 images)";

impl ReferringSet {
    /// All of them.
    pub const ALL: [&'static Self; 3] = [
        &Self {
            name: "refcoco",
            title: "RefCOCO (unc)",
            download: DOWNLOAD,
            layout: "  refcoco/refs(unc).p\n  refcoco/instances.json\n  train2014/COCO_train2014_*.jpg",
            refs: "refs(unc).p",
        },
        &Self {
            name: "refcoco+",
            title: "RefCOCO+ (unc)",
            download: DOWNLOAD,
            layout: "  refcoco+/refs(unc).p\n  refcoco+/instances.json\n  train2014/COCO_train2014_*.jpg",
            refs: "refs(unc).p",
        },
        &Self {
            name: "refcocog",
            title: "RefCOCOg (umd)",
            download: DOWNLOAD,
            layout: "  refcocog/refs(umd).p\n  refcocog/instances.json\n  train2014/COCO_train2014_*.jpg",
            refs: "refs(umd).p",
        },
    ];
}

/// The folders of images in a download, as the published code has them, or next to the expressions.
const IMAGES: [&str; 3] = [
    "images/mscoco/images/train2014",
    "images/train2014",
    "train2014",
];

#[derive(Deserialize)]
struct Reference {
    ann_id: i64,
    image_id: i64,
    split: String,
    sentences: Vec<Sentence>,
}

#[derive(Deserialize)]
struct Sentence {
    sent: String,
}

#[derive(Deserialize)]
struct Instances {
    images: Vec<Image>,
    annotations: Vec<Annotation>,
}

#[derive(Deserialize)]
struct Image {
    id: i64,
    file_name: String,
}

#[derive(Deserialize)]
struct Annotation {
    id: i64,
    /// Left, top, width, height.
    bbox: [f64; 4],
}

/// Writes the queries of a downloaded set into the new folder `out`, which is complete or absent: a file for each split, such as
/// `train.jsonl` and `testA.jsonl`, whose images stay in the download. Returns the number of queries in each.
///
/// # Errors
/// [`PrepareError::Download`] if files are missing or do not belong together; another error if one cannot be read or written.
pub fn prepare_queries(
    set: &ReferringSet,
    from: &Path,
    out: &Path,
) -> Result<BTreeMap<String, usize>> {
    refuse_occupied(out)?;
    let incomplete = |reason: String| PrepareError::Download {
        set: set.title,
        root: from.into(),
        reason,
        download: set.download,
        layout: set.layout,
    };
    let folder = from.join(set.name);
    let (refs, instances) = (folder.join(set.refs), folder.join("instances.json"));
    let images = IMAGES.map(|name| from.join(name));
    let images = images.into_iter().find(|folder| folder.is_dir());
    let Some(images) = images.filter(|_| refs.is_file() && instances.is_file()) else {
        return Err(incomplete("files are missing".into()));
    };
    let images = std::path::absolute(&images).unwrap_or(images);
    // The public files are of Python 2, whose strings are bytes.
    let options = serde_pickle::DeOptions::new().decode_strings();
    let references: Vec<Reference> = serde_pickle::from_slice(&read_bytes(&refs)?, options)
        .map_err(|error| incomplete(format!("`{}`: {error}", refs.display())))?;
    let instances: Instances = read_json(&instances)?;
    let files: BTreeMap<i64, String> = (instances.images.into_iter())
        .map(|image| (image.id, image.file_name))
        .collect();
    let boxes: BTreeMap<i64, [f64; 4]> = (instances.annotations.into_iter())
        .map(|annotation| (annotation.id, annotation.bbox))
        .collect();
    let mut splits: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut known: BTreeMap<i64, PathBuf> = BTreeMap::new();
    for reference in references {
        let Reference {
            ann_id, image_id, ..
        } = reference;
        let (Some(file), Some([x, y, width, height])) = (files.get(&image_id), boxes.get(&ann_id))
        else {
            return Err(incomplete(format!(
                "`instances.json` has no image {image_id} or no annotation {ann_id}, of which `{}` has an expression",
                set.refs
            )));
        };
        let image = match known.entry(image_id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let path = images.join(file);
                if !path.is_file() {
                    return Err(incomplete(format!("`{}` is missing", path.display())));
                }
                new.insert(path)
            }
        };
        // It becomes a file's name.
        if reference.split.is_empty() || !reference.split.chars().all(char::is_alphanumeric) {
            return Err(incomplete(format!(
                "`{}` has the split `{}`, which is no word",
                set.refs, reference.split
            )));
        }
        let lines = splits.entry(reference.split).or_default();
        for Sentence { sent } in reference.sentences {
            if sent.trim().is_empty() {
                continue;
            }
            let query = json!({
                "image": image,
                "expression": sent,
                "truth_box": [*x, *y, x + width, y + height],
            });
            lines.push(query.to_string());
        }
    }
    write_folder(out, |out| -> Result<()> {
        for (split, lines) in &splits {
            let text = lines.join("\n") + "\n";
            write_atomic_bytes(&out.join(format!("{split}.jsonl")), text.as_bytes())?;
        }
        Ok(())
    })?;
    let counts = splits.into_iter();
    Ok(counts.map(|(split, lines)| (split, lines.len())).collect())
}
