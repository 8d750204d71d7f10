//! DFUC 2022: 2000 photographs of feet with diabetic ulcers and their masks (Kendrick et al., arXiv 2204.11618).
//!
//! Layout: the training release `DFUC2022_train_release` that the organisers send on request
//! (<https://dfu-challenge.github.io/dfuc2022.html>), with `DFUC2022_train_images` and `DFUC2022_train_masks`
//! (folder names from the public code of challenge entries); JPEGs and PNGs have the same stems as in the published set. The
//! masks of the challenge's validation and test images are not public; the published splits (`naamiinepal/medvlsm`,
//! `data/dfu/anns`) are 1600, 200 and 200 of these 2000.

use crate::download::Download;
use crate::download::PublicSet;
use crate::error::Result;
use crate::plan::{Cases, Plan, binary, eighty_ten_ten, eighty_ten_ten_rule};

pub(super) const SET: PublicSet = PublicSet {
    name: "dfu-2022",
    title: "DFUC 2022 (diabetic foot ulcers, photographs)",
    download: "https://dfu-challenge.github.io/dfuc2022.html (on request)",
    layout: "  DFUC2022_train_release/DFUC2022_train_images/*.jpg\n  \
             DFUC2022_train_release/DFUC2022_train_masks/*.png     (same stems)",
    folders: &["DFUC2022_train_release"],
    plan,
};

fn plan(download: &Download<'_>, seed: u64) -> Result<Plan> {
    let folders = ["DFUC2022_train_images", "DFUC2022_train_masks"];
    let (_, base) = download.find(&[&folders])?;
    let [images, masks] = folders.map(|folder| base.join(folder));
    let pairs = download.pairs(&images, &masks, str::to_string)?;
    Ok(Plan {
        rule: eighty_ten_ten_rule("images", seed),
        cases: Cases::Prompted {
            splits: eighty_ten_ten(binary(pairs, "foot ulcer"), seed),
            grey: false,
        },
    })
}
