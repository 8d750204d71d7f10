//! ETIS-LaribPolypDB: 196 frames of 34 colonoscopy sequences (Silva et al., IJCARS 2014), a test of generalisation.
//!
//! Layout: the archive `TestDataset` of PraNet (<https://github.com/DengPingFan/PraNet>), a folder for each data set with
//! PNGs in `images` and `masks`; or the original archive, whose masks `Ground Truth/p1.tif` have a `p` before the number.
//! The published lists (`naamiinepal/medvlsm`, `data/etis_polyp/anns`) take 20 images for training, none for validation,
//! and 176 for the test; the shuffle here does the same.

use crate::download::Download;
use crate::download::PublicSet;
use crate::error::Result;
use crate::plan::{Cases, Plan, binary, twenty_for_training, twenty_for_training_rule};

pub(super) const SET: PublicSet = PublicSet {
    name: "etis",
    title: "ETIS-LaribPolypDB (polyps, colonoscopy)",
    download: "https://github.com/DengPingFan/PraNet (testing data)",
    layout: "  TestDataset/ETIS-LaribPolypDB/images/*.png\n  \
             TestDataset/ETIS-LaribPolypDB/masks/*.png     (same names)\n\
             or, as in the original archive:\n  ETIS-LaribPolypDB/ETIS-LaribPolypDB/1.tif\n  \
             ETIS-LaribPolypDB/Ground Truth/p1.tif",
    folders: &["TestDataset/ETIS-LaribPolypDB", "ETIS-LaribPolypDB"],
    plan,
};

fn plan(download: &Download<'_>, seed: u64) -> Result<Plan> {
    let original = ["ETIS-LaribPolypDB", "Ground Truth"];
    let (layout, base) = download.find(&[&["images", "masks"], &original])?;
    let pairs = match layout {
        0 => download.pairs(&base.join("images"), &base.join("masks"), str::to_string)?,
        _ => {
            let [images, masks] = original.map(|folder| base.join(folder));
            download.pairs(&images, &masks, |stem| format!("p{stem}"))?
        }
    };
    Ok(Plan {
        rule: twenty_for_training_rule(seed),
        cases: Cases::Prompted {
            splits: twenty_for_training(binary(pairs, "polyp"), seed),
            grey: false,
        },
    })
}
