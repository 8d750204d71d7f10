//! Kvasir-SEG: 1000 colonoscopy images with polyps (Jha et al., MMM 2020). Images and masks are JPEGs of the same names;
//! masks are binarised at half, since JPEG compression adds levels between 0 and 255.
//!
//! Layout: `kvasir-seg.zip` of <https://datasets.simula.no/kvasir-seg/>, a folder `Kvasir-SEG` with `images`, `masks` and
//! `kavsir_bboxes.json` (sic), which is not used. It has no splits; the published ones
//! (`naamiinepal/medvlsm`, `data/kvasir_polyp/anns`) have 800, 100 and 100 images.

use crate::download::Download;
use crate::download::PublicSet;
use crate::error::Result;
use crate::plan::{Cases, Plan, binary, eighty_ten_ten, eighty_ten_ten_rule};

pub(super) const SET: PublicSet = PublicSet {
    name: "kvasir-seg",
    title: "Kvasir-SEG (polyps, colonoscopy)",
    download: "https://datasets.simula.no/kvasir-seg/",
    layout: "  Kvasir-SEG/images/*.jpg\n  Kvasir-SEG/masks/*.jpg     (same names)",
    folders: &["Kvasir-SEG", "kvasir-seg"],
    plan,
};

fn plan(download: &Download<'_>, seed: u64) -> Result<Plan> {
    let (_, base) = download.find(&[&["images", "masks"]])?;
    let pairs = download.pairs(&base.join("images"), &base.join("masks"), str::to_string)?;
    Ok(Plan {
        rule: eighty_ten_ten_rule("images", seed),
        cases: Cases::Prompted {
            splits: eighty_ten_ten(binary(pairs, "polyp"), seed),
            grey: false,
        },
    })
}
