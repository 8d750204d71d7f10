//! BKAI-IGH NeoPolyp-Small: 1000 colonoscopy images with colour-coded masks (Lan et al., ISVC 2021): neoplastic polyps are
//! red, non-neoplastic ones green.
//!
//! Layout: the Kaggle competition <https://www.kaggle.com/c/bkai-igh-neopolyp/data>, whose archive holds `train/train`,
//! `train_gt/train_gt` and `test/test` with JPEGs of the same names; the masks of `test` are not public.
//!
//! It yields two data sets. `bkai` has one mask per image, the whole polyp of either colour, as in the published
//! comparison (`naamiinepal/medvlsm`, `data/bkai_polyp/anns`: 800, 100 and 100 images, some of them without a polyp).
//! `bkai-classes` has one mask for each class present in the image, with the class as prompt. The two are not mixed, since
//! one image would then give up to three samples. The masks are JPEGs: a pixel is foreground if red or green is at least
//! 128; its class is that of the stronger colour. (By brightness alone, pure red would be background.)

use std::path::Path;

use vlsm_image::{Mask, read_image};

use crate::download::Download;
use crate::download::PublicSet;
use crate::error::Result;
use crate::plan::Paired;
use crate::plan::{
    Case, Cases, Picture, Plan, Target, eighty_ten_ten, eighty_ten_ten_rule, file_name, single,
};

pub(super) const SET: PublicSet = PublicSet {
    name: "bkai",
    title: "BKAI-IGH NeoPolyp (polyps, colonoscopy)",
    download: "https://www.kaggle.com/c/bkai-igh-neopolyp/data",
    layout: "  train/train/*.jpeg\n  train_gt/train_gt/*.jpeg     (same names, coloured)",
    folders: &["bkai-igh-neopolyp"],
    plan: |download, seed| plan(download, seed, whole),
};

pub(super) const CLASSES: PublicSet = PublicSet {
    name: "bkai-classes",
    title: "BKAI-IGH NeoPolyp by class (neoplastic and other polyps, colonoscopy)",
    plan: |download, seed| plan(download, seed, by_class),
    ..SET
};

/// Folders of images and masks.
const FOLDERS: [[&str; 2]; 2] = [["train/train", "train_gt/train_gt"], ["train", "train_gt"]];

fn plan(download: &Download<'_>, seed: u64, case: fn(Paired) -> Case<Vec<Target>>) -> Result<Plan> {
    let (layout, base) = download.find(&FOLDERS.each_ref().map(<[_; 2]>::as_slice))?;
    let [images, masks] = FOLDERS[layout].map(|folder| base.join(folder));
    let pairs = download.pairs(&images, &masks, str::to_string)?;
    Ok(Plan {
        rule: eighty_ten_ten_rule("images", seed),
        cases: Cases::Prompted {
            splits: eighty_ten_ten(pairs.into_iter().map(case).collect(), seed),
            grey: false,
        },
    })
}

fn whole(pair: Paired) -> Case<Vec<Target>> {
    single(pair, "polyp", |path| coloured(path, |_, _| true))
}

fn by_class(pair: Paired) -> Case<Vec<Target>> {
    let target = |suffix, class, is_class: fn(u8, u8) -> bool| Target {
        name: format!("{}_{suffix}.png", pair.stem),
        class,
        group: class,
        file: pair.mask.clone(),
        read: Box::new(move |path| coloured(path, is_class)),
        only_if_present: true,
    };
    Case {
        masks: vec![
            target("neoplastic", "neoplastic polyp", |red, green| red >= green),
            target("non_neoplastic", "non-neoplastic polyp", |red, green| {
                red < green
            }),
        ],
        name: file_name(&pair.image),
        image: Picture::File(pair.image),
    }
}

/// The polyp pixels of a mask whose red and green values satisfy the predicate.
fn coloured(path: &Path, wanted: impl Fn(u8, u8) -> bool) -> vlsm_image::Result<Mask> {
    let image = read_image(path)?;
    let inside = |pixel: &[u8]| pixel[0].max(pixel[1]) >= 128 && wanted(pixel[0], pixel[1]);
    let pixels = image.data.chunks_exact(3);
    Mask::new(
        image.width,
        image.height,
        pixels.map(|pixel| u8::from(inside(pixel))).collect(),
    )
}
