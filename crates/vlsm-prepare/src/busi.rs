//! BUSI: 780 breast ultrasound images with benign, malignant and no tumours (Al-Dhabyani et al., Data in Brief 2020).
//!
//! Layout: `Dataset_BUSI_with_GT` of <https://www.kaggle.com/datasets/aryashah2k/breast-ultrasound-images-dataset>, the
//! source that `naamiinepal/medvlsm` names: in `benign`, `malignant` and `normal` the images `benign (1).png` with their
//! masks `benign (1)_mask.png`, and `benign (1)_mask_1.png`, ... where there are several tumours. Several masks of one
//! image are merged into their union; normal images have empty masks.
//!
//! The published splits (`data/busi/anns`) have 624, 78 and 78 images, 80 / 10 / 10 % of each of the three folders; the
//! shuffle here does the same. Prompts say `tumor` and never benign or malignant, which is the diagnosis. The folder's
//! name is each sample's group, by which scores are reported separately.

use std::collections::BTreeMap;
use std::path::PathBuf;

use vlsm_image::{ImageError, Mask, read_mask};

use crate::download::Download;
use crate::download::PublicSet;
use crate::error::Result;
use crate::plan::{
    Case, Cases, Picture, Plan, Target, eighty_ten_ten, eighty_ten_ten_rule, file_name,
};
use vlsm_data::splitting::shuffle;

pub(super) const SET: PublicSet = PublicSet {
    name: "busi",
    title: "BUSI (breast tumours, ultrasound)",
    download: "https://www.kaggle.com/datasets/aryashah2k/breast-ultrasound-images-dataset",
    layout: "  Dataset_BUSI_with_GT/benign/benign (1).png\n  \
             Dataset_BUSI_with_GT/benign/benign (1)_mask.png     (and ..._mask_1.png, where there are more)\n  \
             Dataset_BUSI_with_GT/malignant/...\n  Dataset_BUSI_with_GT/normal/...",
    folders: &["Dataset_BUSI_with_GT"],
    plan,
};

/// Folders, which are also the groups.
const GROUPS: [&str; 3] = ["benign", "malignant", "normal"];

/// What a mask's name appends to its image's name.
const SUFFIX: &str = "_mask";

fn plan(download: &Download<'_>, seed: u64) -> Result<Plan> {
    let (_, base) = download.find(&[&GROUPS])?;
    let mut splits = [Vec::new(), Vec::new(), Vec::new()];
    for group in GROUPS {
        let parts = eighty_ten_ten(cases(download, base.join(group), group)?, seed);
        for (split, part) in splits.iter_mut().zip(parts) {
            split.extend(part);
        }
    }
    // Sorted by folder, the first samples of a split would all be benign.
    splits.iter_mut().for_each(|split| shuffle(split, seed));
    Ok(Plan {
        rule: eighty_ten_ten_rule("images of each folder", seed),
        cases: Cases::Prompted { splits, grey: true },
    })
}

fn cases(
    download: &Download<'_>,
    folder: PathBuf,
    group: &'static str,
) -> Result<Vec<Case<Vec<Target>>>> {
    let (mut images, mut masks) = (Vec::new(), BTreeMap::<String, Vec<PathBuf>>::new());
    let files = download.stems(&folder)?;
    let total = files.len();
    for (stem, file) in files {
        match stem.rsplit_once(SUFFIX) {
            Some((image, _)) => masks.entry(image.to_string()).or_default().push(file),
            None => images.push((stem, file)),
        }
    }
    let image_count = images.len();
    let (mut cases, mut alone) = (Vec::new(), Vec::new());
    for (stem, image) in images {
        let Some(files) = masks.remove(&stem) else {
            alone.push(image);
            continue;
        };
        cases.push(Case {
            name: file_name(&image),
            image: Picture::File(image),
            masks: vec![Target {
                name: format!("{stem}{SUFFIX}.png"),
                class: "tumor",
                group,
                file: files[0].clone(),
                read: Box::new(move |_| union(&files)),
                only_if_present: false,
            }],
        });
    }
    download.none_missing("images have no mask", alone, image_count)?;
    let left = masks.into_values().flatten().collect();
    download.none_missing("masks have no image", left, total - image_count)?;
    Ok(cases)
}

/// The union of one or more masks.
fn union(files: &[PathBuf]) -> vlsm_image::Result<Mask> {
    let mut all = read_mask(&files[0])?;
    for file in &files[1..] {
        let mask = read_mask(file)?;
        if (mask.width, mask.height) != (all.width, all.height) {
            return Err(ImageError::image(
                file,
                format!(
                    "it is {}x{}, but `{}` of the same image is {}x{}",
                    mask.width,
                    mask.height,
                    file_name(&files[0]),
                    all.width,
                    all.height
                ),
            ));
        }
        for (pixel, other) in all.data.iter_mut().zip(mask.data) {
            *pixel |= other;
        }
    }
    Ok(all)
}
