//! Cityscapes: street scenes of 50 cities with fine annotations (Cordts et al., CVPR 2016), in the 19 classes of the
//! benchmark; all other labels are ignored.
//!
//! Layout: `leftImg8bit_trainvaltest.zip` and `gtFine_trainvaltest.zip` of <https://www.cityscapes-dataset.com>,
//! unpacked into one folder, with paths `{type}/{split}/{city}/{city}_{sequence}_{frame}_{type}{ext}`
//! (`mcordts/cityscapesScripts`, `README.md`). Masks are `..._gtFine_labelIds.png`, converted to the training ids of
//! `cityscapesscripts/helpers/labels.py`; if missing, `..._gtFine_labelTrainIds.png`.
//!
//! Splits are the official 2975 and 500 images of train and val. The labels of test are not public, so there is no test
//! split; the literature reports val.

use std::path::{Path, PathBuf};

use vlsm_image::{ClassMap, ImageError, read_class_map};

use crate::download::Download;
use crate::download::PublicSet;
use crate::error::Result;
use crate::plan::{Case, Cases, Labels, Picture, Plan, Read, file_name};

pub(super) const SET: PublicSet = PublicSet {
    name: "cityscapes",
    title: "Cityscapes, fine annotations (19 classes, street scenes)",
    download: "https://www.cityscapes-dataset.com (leftImg8bit_trainvaltest.zip, gtFine_trainvaltest.zip)",
    layout: "  leftImg8bit/train/CITY/CITY_000000_000019_leftImg8bit.png\n  \
             gtFine/train/CITY/CITY_000000_000019_gtFine_labelIds.png\n  leftImg8bit/val/...\n  gtFine/val/...",
    folders: &["cityscapes", "Cityscapes"],
    plan,
};

/// Classes by training id, with their ids in `labelIds`.
const CLASSES: [(u8, &str); 19] = [
    (7, "road"),
    (8, "sidewalk"),
    (11, "building"),
    (12, "wall"),
    (13, "fence"),
    (17, "pole"),
    (19, "traffic light"),
    (20, "traffic sign"),
    (21, "vegetation"),
    (22, "terrain"),
    (23, "sky"),
    (24, "person"),
    (25, "rider"),
    (26, "car"),
    (27, "truck"),
    (28, "bus"),
    (31, "train"),
    (32, "motorcycle"),
    (33, "bicycle"),
];

/// Training id of ignored pixels.
pub(super) const IGNORE: u8 = 255;

/// The largest id in `labelIds`.
const LAST_LABEL: u8 = 33;

fn plan(download: &Download<'_>, _: u64) -> Result<Plan> {
    let needed = [
        "leftImg8bit/train",
        "gtFine/train",
        "leftImg8bit/val",
        "gtFine/val",
    ];
    let (_, base) = download.find(&[&needed])?;
    let split = |name| {
        cases(
            download,
            &base.join("leftImg8bit").join(name),
            &base.join("gtFine").join(name),
        )
    };
    Ok(Plan {
        rule: "official train and val; the labels of test are not public".to_string(),
        cases: Cases::Classes {
            splits: [split("train")?, split("val")?, Vec::new()],
            names: class_names(),
            ignore: IGNORE,
        },
    })
}

/// The images of a split, city by city.
fn cases(download: &Download<'_>, images: &Path, labels: &Path) -> Result<Vec<Case<Labels>>> {
    let (mut cases, mut missing, mut total) = (Vec::new(), Vec::new(), 0);
    for city in download.folders(images, "")? {
        let labels = labels.join(file_name(&city));
        for (stem, image) in download.stems(&city)? {
            total += 1;
            let stem = stem.strip_suffix("_leftImg8bit").unwrap_or(&stem);
            let ids = labels.join(format!("{stem}_gtFine_labelIds.png"));
            let train_ids = labels.join(format!("{stem}_gtFine_labelTrainIds.png"));
            let (file, read): (PathBuf, Read<ClassMap>) = if ids.is_file() {
                (ids, Box::new(from_labels))
            } else if train_ids.is_file() {
                (train_ids, Box::new(checked_train_ids))
            } else {
                missing.push(ids);
                continue;
            };
            cases.push(Case {
                name: file_name(&image),
                image: Picture::File(image),
                masks: Labels { file, read },
            });
        }
    }
    download.none_missing("masks are missing", missing, total)?;
    Ok(cases)
}

/// The classes in words, by training id.
pub(super) fn class_names() -> Vec<String> {
    CLASSES.map(|(_, name)| name.to_owned()).to_vec()
}

/// The training ids of labels; other labels have [`IGNORE`].
pub(super) fn train_ids() -> [u8; 256] {
    let mut train_ids = [IGNORE; 256];
    for (train_id, (label, _)) in (0u8..).zip(CLASSES) {
        train_ids[usize::from(label)] = train_id;
    }
    train_ids
}

/// Converts a file's label ids to training ids.
fn from_labels(path: &Path) -> vlsm_image::Result<ClassMap> {
    let map = read_class_map(path)?;
    refuse(path, &map, "Cityscapes", |id| {
        id <= LAST_LABEL || id == IGNORE
    })?;
    Ok(converted(map, &train_ids()))
}

/// A map with other ids.
pub(super) fn converted(mut map: ClassMap, ids: &[u8; 256]) -> ClassMap {
    for id in &mut map.data {
        *id = ids[usize::from(*id)];
    }
    map
}

fn checked_train_ids(path: &Path) -> vlsm_image::Result<ClassMap> {
    let map = read_class_map(path)?;
    refuse(path, &map, "Cityscapes", |id| {
        usize::from(id) < CLASSES.len() || id == IGNORE
    })?;
    Ok(map)
}

/// Fails if an id is not `known` to the data set.
pub(super) fn refuse(
    path: &Path,
    map: &ClassMap,
    set: &str,
    known: impl Fn(u8) -> bool,
) -> vlsm_image::Result<()> {
    match map.ids().into_iter().find(|&id| !known(id)) {
        None => Ok(()),
        Some(id) => Err(ImageError::ClassMap {
            path: path.to_path_buf(),
            reason: format!("it holds id {id}, which {set} does not have"),
            fix: "restore the file from the archive",
        }),
    }
}
