//! CVC-ColonDB: 380 frames of 15 colonoscopy sequences (Tajbakhsh et al., TMI 2016), a test of generalisation.
//!
//! Layout: the archive `TestDataset` of PraNet (<https://github.com/DengPingFan/PraNet>), a folder for each data set with
//! PNGs in `images` and `masks`. The published lists (`naamiinepal/medvlsm`, `data/colondb_polyp/anns`) take 20 images
//! for training, none for validation, and 360 for the test; the shuffle here does the same.

use crate::download::Download;
use crate::download::PublicSet;
use crate::error::Result;
use crate::plan::{Cases, Plan, binary, twenty_for_training, twenty_for_training_rule};

pub(super) const SET: PublicSet = PublicSet {
    name: "cvc-colondb",
    title: "CVC-ColonDB (polyps, colonoscopy)",
    download: "https://github.com/DengPingFan/PraNet (testing data)",
    layout: "  TestDataset/CVC-ColonDB/images/*.png\n  TestDataset/CVC-ColonDB/masks/*.png     (same names)",
    folders: &["TestDataset/CVC-ColonDB", "CVC-ColonDB"],
    plan,
};

fn plan(download: &Download<'_>, seed: u64) -> Result<Plan> {
    let (_, base) = download.find(&[&["images", "masks"]])?;
    let pairs = download.pairs(&base.join("images"), &base.join("masks"), str::to_string)?;
    Ok(Plan {
        rule: twenty_for_training_rule(seed),
        cases: Cases::Prompted {
            splits: twenty_for_training(binary(pairs, "polyp"), seed),
            grey: false,
        },
    })
}
