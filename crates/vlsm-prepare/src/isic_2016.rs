//! ISIC 2016, task 1: 900 and 379 dermoscopy images with the outline of a skin lesion (Gutman et al., arXiv 1605.01397).
//!
//! Layout: the four archives of part 1 at <https://challenge.isic-archive.com/data/#2016>, named as
//! MMSegmentation has them (`projects/medical/2d_image/dermoscopy/isic2016_task1/tools/prepare_dataset.py`); masks are
//! `ISIC_0000000_Segmentation.png`. Training and test are the official ones; the published set (`naamiinepal/medvlsm`,
//! `data/isic/anns`) takes 90 of the 900 for validation. It calls every lesion `skin melanoma`, whatever the diagnosis;
//! so do the prompts here.

use crate::download::Download;
use crate::download::PublicSet;
use crate::error::Result;
use crate::plan::{Cases, Plan, binary};
use vlsm_data::splitting::by_fraction;

pub(super) const SET: PublicSet = PublicSet {
    name: "isic-2016",
    title: "ISIC 2016, task 1 (skin lesions, dermoscopy)",
    download: "https://challenge.isic-archive.com/data/#2016",
    layout: "  ISBI2016_ISIC_Part1_Training_Data/ISIC_*.jpg\n  \
             ISBI2016_ISIC_Part1_Training_GroundTruth/ISIC_*_Segmentation.png\n  \
             ISBI2016_ISIC_Part1_Test_Data/ISIC_*.jpg\n  \
             ISBI2016_ISIC_Part1_Test_GroundTruth/ISIC_*_Segmentation.png",
    folders: &["ISIC2016", "ISIC"],
    plan,
};

/// Images and masks of training, images and masks of the test.
const FOLDERS: [&str; 4] = [
    "ISBI2016_ISIC_Part1_Training_Data",
    "ISBI2016_ISIC_Part1_Training_GroundTruth",
    "ISBI2016_ISIC_Part1_Test_Data",
    "ISBI2016_ISIC_Part1_Test_GroundTruth",
];

fn plan(download: &Download<'_>, seed: u64) -> Result<Plan> {
    let (_, base) = download.find(&[&FOLDERS])?;
    let [images, masks, test_images, test_masks] = FOLDERS.map(|folder| base.join(folder));
    let mask_stem = |stem: &str| format!("{stem}_Segmentation");
    let lesions = |images, masks| -> Result<_> {
        let pairs = download.pairs(images, masks, mask_stem)?;
        Ok(binary(pairs, "skin melanoma"))
    };
    let [train, val, _] = by_fraction(lesions(&images, &masks)?, [0.1, 0.0], seed);
    Ok(Plan {
        rule: format!(
            "official training and test; validation is a tenth of training, shuffled with seed {seed}"
        ),
        cases: Cases::Prompted {
            splits: [train, val, lesions(&test_images, &test_masks)?],
            grey: false,
        },
    })
}
