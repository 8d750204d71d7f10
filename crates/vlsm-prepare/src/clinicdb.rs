//! CVC-ClinicDB: 612 frames of 31 colonoscopy sequences, each with a polyp (Bernal et al., CMIG 2015).
//!
//! Layout: the Kaggle copy <https://www.kaggle.com/datasets/balraj98/cvcclinicdb>, which the published set names as its
//! source (`naamiinepal/medvlsm`, `DATASETS.MD`), with PNGs next to the original's TIFFs; or the original from
//! <https://polyp.grand-challenge.org/CVCClinicDB/>. Neither has splits. The published splits have 490, 61 and 61 images;
//! frames of one sequence can be in several splits, there and with the shuffle here.

use crate::download::Download;
use crate::download::PublicSet;
use crate::error::Result;
use crate::plan::{Cases, Plan, binary, eighty_ten_ten, eighty_ten_ten_rule};

pub(super) const SET: PublicSet = PublicSet {
    name: "cvc-clinicdb",
    title: "CVC-ClinicDB (polyps, colonoscopy)",
    download: "https://www.kaggle.com/datasets/balraj98/cvcclinicdb",
    layout: "  PNG/Original/*.png\n  PNG/Ground Truth/*.png     (same names)\n\
             or, as in the original archive:\n  CVC-ClinicDB/Original/*.tif\n  CVC-ClinicDB/Ground Truth/*.tif",
    folders: &["CVC-ClinicDB", "cvcclinicdb"],
    plan,
};

/// Folders of images and masks.
const FOLDERS: [[&str; 2]; 3] = [
    ["PNG/Original", "PNG/Ground Truth"],
    ["Original", "Ground Truth"],
    ["TIF/Original", "TIF/Ground Truth"],
];

fn plan(download: &Download<'_>, seed: u64) -> Result<Plan> {
    let (layout, base) = download.find(&FOLDERS.each_ref().map(<[_; 2]>::as_slice))?;
    let [images, masks] = FOLDERS[layout].map(|folder| base.join(folder));
    let pairs = download.pairs(&images, &masks, str::to_string)?;
    Ok(Plan {
        rule: eighty_ten_ten_rule("images", seed),
        cases: Cases::Prompted {
            splits: eighty_ten_ten(binary(pairs, "polyp"), seed),
            grey: false,
        },
    })
}
