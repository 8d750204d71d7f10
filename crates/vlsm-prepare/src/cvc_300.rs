//! CVC-300: the 60 test images of EndoScene (Vázquez et al., JHE 2017), used in the field to measure generalisation.
//!
//! Layout: the archive `TestDataset` of PraNet (<https://github.com/DengPingFan/PraNet>), a folder for each data set with
//! PNGs in `images` and `masks`. All images are test images, as in PraNet. (The lists of `naamiinepal/medvlsm` for this set
//! are those of CVC-ColonDB.)

use crate::download::Download;
use crate::download::PublicSet;
use crate::error::Result;
use crate::plan::{Cases, Plan, binary};

pub(super) const SET: PublicSet = PublicSet {
    name: "cvc-300",
    title: "CVC-300 (polyps, colonoscopy)",
    download: "https://github.com/DengPingFan/PraNet (testing data)",
    layout: "  TestDataset/CVC-300/images/*.png\n  TestDataset/CVC-300/masks/*.png     (same names)",
    folders: &["TestDataset/CVC-300", "CVC-300"],
    plan,
};

fn plan(download: &Download<'_>, _: u64) -> Result<Plan> {
    let (_, base) = download.find(&[&["images", "masks"]])?;
    let pairs = download.pairs(&base.join("images"), &base.join("masks"), str::to_string)?;
    Ok(Plan {
        rule: "all images are for the test, as in PraNet's TestDataset".to_string(),
        cases: Cases::Prompted {
            splits: [Vec::new(), Vec::new(), binary(pairs, "polyp")],
            grey: false,
        },
    })
}
