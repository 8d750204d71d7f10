//! ADE20K-150: the 150 classes of the scene parsing challenge (Zhou et al., CVPR 2017).
//!
//! Layout: `ADEChallengeData2016.zip` of <http://sceneparsing.csail.mit.edu>. Masks hold 0 for pixels of no class, which are ignored,
//! and 1 to 150. `objectInfo150.txt` lists the classes under a line of headings, with tabs between columns; the last has a class's names,
//! separated by commas, of which the first is used.
//!
//! Splits are the official 20,210 and 2,000 images of training and validation. The labels of the test are not public; the
//! literature reports validation.

use std::path::Path;

use vlsm_data::DataError;
use vlsm_image::{ClassMap, read_class_map};

use crate::cityscapes::{IGNORE, converted, refuse};
use crate::download::{Download, PublicSet};
use crate::error::Result;
use crate::plan::{Case, Cases, Labels, Picture, Plan, file_name};

pub(super) const SET: PublicSet = PublicSet {
    name: "ade20k-150",
    title: "ADE20K of the scene parsing challenge (150 classes, scenes)",
    download: "http://sceneparsing.csail.mit.edu (ADEChallengeData2016.zip)",
    layout: "  ADEChallengeData2016/objectInfo150.txt\n  ADEChallengeData2016/images/training/*.jpg\n  \
             ADEChallengeData2016/annotations/training/*.png     (same names; likewise validation)",
    folders: &["ADEChallengeData2016"],
    plan,
};

/// The number of classes.
const CLASSES: usize = 150;

fn plan(download: &Download<'_>, _: u64) -> Result<Plan> {
    let needed = [
        "objectInfo150.txt",
        "images/training",
        "annotations/training",
        "images/validation",
        "annotations/validation",
    ];
    let (_, base) = download.find(&[&needed])?;
    let names = class_names(&base.join("objectInfo150.txt"))?;
    let split = |name| -> Result<Vec<Case<Labels>>> {
        let folder = |kind: &str| base.join(kind).join(name);
        let pairs = download.pairs(&folder("images"), &folder("annotations"), str::to_owned)?;
        let cases = pairs.into_iter().map(|pair| Case {
            name: file_name(&pair.image),
            image: Picture::File(pair.image),
            masks: Labels {
                file: pair.mask,
                read: Box::new(read),
            },
        });
        Ok(cases.collect())
    };
    Ok(Plan {
        rule: "official training and validation; the labels of the test are not public".to_string(),
        cases: Cases::Classes {
            splits: [split("training")?, split("validation")?, Vec::new()],
            names,
            ignore: IGNORE,
        },
    })
}

/// The first name of each class.
fn class_names(path: &Path) -> Result<Vec<String>> {
    let fault = |fault| DataError::Layout {
        what: "list of classes",
        path: path.to_path_buf(),
        fault,
        fix: "restore it from the archive",
    };
    let text = std::fs::read_to_string(path).map_err(|_| fault("cannot be read as text"))?;
    let mut names = Vec::new();
    for line in text.lines().skip(1).filter(|line| !line.trim().is_empty()) {
        let mut columns = line.split('\t').map(str::trim);
        if columns.next().and_then(|id| id.parse().ok()) != Some(names.len() + 1) {
            return Err(fault("does not number its classes from 1").into());
        }
        let name = columns
            .next_back()
            .and_then(|names| names.split(',').next());
        match name.map(str::trim) {
            Some(name) if !name.is_empty() => names.push(name.to_owned()),
            _ => return Err(fault("has a class without a name").into()),
        }
    }
    if names.len() != CLASSES {
        return Err(fault("does not have 150 classes").into());
    }
    Ok(names)
}

/// Class ids from 0; pixels of no class are ignored.
fn read(path: &Path) -> vlsm_image::Result<ClassMap> {
    let map = read_class_map(path)?;
    refuse(path, &map, "ADE20K-150", |id| usize::from(id) <= CLASSES)?;
    let mut ids = [IGNORE; 256];
    for (class, id) in (0u8..).zip(&mut ids[1..=CLASSES]) {
        *id = class;
    }
    Ok(converted(map, &ids))
}
