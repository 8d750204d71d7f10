//! KITTI-360: street scenes of nine drives in Karlsruhe (Liao et al., PAMI 2022), in the 19 classes of its benchmark; all other labels
//! are ignored.
//!
//! Layout: the perspective images and the 2D semantics of <https://www.cvlibs.net/datasets/kitti-360>, unpacked into one folder, with
//! paths `data_2d_raw/DRIVE/CAMERA/data_rect/FRAME.png` and `data_2d_semantics/train/DRIVE/CAMERA/semantic/FRAME.png`. Masks hold label
//! ids, converted to the training ids of `kitti360scripts/helpers/labels.py`: those of Cityscapes, and garages are buildings, gates
//! fences, small poles poles.
//!
//! Splits are those of the lists `data_2d_semantics/train/2013_05_28_drive_train_frames.txt` and `..._val_frames.txt`, whose lines
//! are the paths of an image and its mask, separated by a space. The labels of the test are not public.

use std::path::Path;

use vlsm_image::{ClassMap, read_class_map};

use crate::cityscapes::{IGNORE, class_names, converted, refuse, train_ids};
use crate::download::{Download, PublicSet};
use crate::error::Result;
use crate::plan::{Case, Cases, Labels, Picture, Plan, file_name};

pub(super) const SET: PublicSet = PublicSet {
    name: "kitti-360",
    title: "KITTI-360, 2D semantics (19 classes, street scenes)",
    download: "https://www.cvlibs.net/datasets/kitti-360 (perspective images, semantics of left perspective images)",
    layout: "  data_2d_raw/2013_05_28_drive_0000_sync/image_00/data_rect/0000000250.png\n  \
             data_2d_semantics/train/2013_05_28_drive_0000_sync/image_00/semantic/0000000250.png\n  \
             data_2d_semantics/train/2013_05_28_drive_train_frames.txt\n  \
             data_2d_semantics/train/2013_05_28_drive_val_frames.txt",
    folders: &["KITTI-360", "kitti-360", "KITTI360", "kitti360"],
    plan,
};

/// Labels that Cityscapes does not have, and the labels of their classes.
const OTHERS: [(u8, u8); 3] = [
    (34, 11), // garage: building
    (35, 13), // gate: fence
    (37, 17), // small pole: pole
];

/// The largest label.
const LAST_LABEL: u8 = 44;

const SEMANTICS: &str = "data_2d_semantics/train";
const LISTS: [&str; 2] = [
    "data_2d_semantics/train/2013_05_28_drive_train_frames.txt",
    "data_2d_semantics/train/2013_05_28_drive_val_frames.txt",
];

fn plan(download: &Download<'_>, _: u64) -> Result<Plan> {
    let (_, base) = download.find(&[&["data_2d_raw", SEMANTICS, LISTS[0], LISTS[1]]])?;
    let split = |list| cases(download, &base, list);
    Ok(Plan {
        rule: "official train and val; the labels of the test are not public".to_string(),
        cases: Cases::Classes {
            splits: [split(LISTS[0])?, split(LISTS[1])?, Vec::new()],
            names: class_names(),
            ignore: IGNORE,
        },
    })
}

/// The frames of a list.
fn cases(download: &Download<'_>, base: &Path, list: &str) -> Result<Vec<Case<Labels>>> {
    let text = std::fs::read_to_string(base.join(list))
        .map_err(|error| download.fault(format!("`{list}` cannot be read: {error}")))?;
    let (mut cases, mut missing, mut total) = (Vec::new(), Vec::new(), 0);
    let lines = text.lines().map(str::trim);
    for line in lines.filter(|line| !line.is_empty()) {
        let paths = line
            .split_once(' ')
            .map(|(image, mask)| [image, mask.trim()]);
        let Some([image, mask]) = paths else {
            let reason =
                format!("`{list}` has the line `{line}`, which is not an image and a mask");
            return Err(download.fault(reason));
        };
        total += 1;
        let (image, mask) = (base.join(image), base.join(mask));
        if let Some(lacking) = [&image, &mask].into_iter().find(|file| !file.is_file()) {
            missing.push(lacking.clone());
            continue;
        }
        cases.push(Case {
            name: frame_name(&image),
            image: Picture::File(image),
            masks: Labels {
                file: mask,
                read: Box::new(read),
            },
        });
    }
    if total == 0 {
        return Err(download.fault(format!("`{list}` names no frame")));
    }
    download.none_missing(&format!("frames of `{list}` are missing"), missing, total)?;
    Ok(cases)
}

/// A name for a frame of `DRIVE/CAMERA/data_rect/FRAME.png`: numbers of frames recur in other drives.
fn frame_name(image: &Path) -> String {
    let above = |levels| {
        image
            .ancestors()
            .nth(levels)
            .map(file_name)
            .unwrap_or_default()
    };
    format!("{}_{}_{}", above(3), above(2), file_name(image))
}

/// Converts a file's labels to training ids.
fn read(path: &Path) -> vlsm_image::Result<ClassMap> {
    let map = read_class_map(path)?;
    refuse(path, &map, "KITTI-360", |id| {
        id <= LAST_LABEL || id == IGNORE
    })?;
    let mut ids = train_ids();
    for (label, like) in OTHERS {
        ids[usize::from(label)] = ids[usize::from(like)];
    }
    Ok(converted(map, &ids))
}
