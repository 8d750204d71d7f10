//! `vlsm data prepare`.

use vlsm::image::{Mask, RgbImage, write_png_mask, write_png_rgb};

use crate::support::{Workshop, train_args};

/// Ultrasound images in the layout of BUSI, in `download`: tumours are bright squares.
pub(crate) fn make_busi(shop: &Workshop) {
    for (shade, group) in [(30, "benign"), (50, "malignant"), (70, "normal")] {
        std::fs::create_dir_all(shop.path("download/Dataset_BUSI_with_GT").join(group)).unwrap();
        for number in 0..10 {
            let inside = |at: usize| {
                let (x, y) = (at % 44, at / 44);
                group != "normal" && (number..number + 20).contains(&x) && (8..24).contains(&y)
            };
            let level = |at| {
                if inside(at) {
                    180
                } else {
                    shade + number as u8
                }
            };
            let image = (0..44 * 36).flat_map(|at| [level(at); 3]).collect();
            let mask = (0..44 * 36).map(|at| u8::from(inside(at))).collect();
            let stem = format!("download/Dataset_BUSI_with_GT/{group}/{group} ({number})");
            let (image, mask) = (RgbImage::new(44, 36, image), Mask::new(44, 36, mask));
            write_png_rgb(&shop.path(&format!("{stem}.png")), &image.unwrap()).unwrap();
            write_png_mask(&shop.path(&format!("{stem}_mask.png")), &mask.unwrap()).unwrap();
        }
    }
}

fn busi() -> Workshop {
    let shop = Workshop::new();
    make_busi(&shop);
    shop
}

const PREPARE: [&str; 7] = [
    "data", "prepare", "busi", "--from", "download", "-o", "busi",
];

#[test]
fn a_download_becomes_a_data_set_that_trains() {
    let shop = busi();
    let printed = shop.ok(&PREPARE);
    assert!(
        printed.starts_with("BUSI (breast tumours, ultrasound) in busi\n"),
        "{printed}"
    );
    assert!(
        printed.contains("train      24       24      8\n"),
        "{printed}"
    );
    assert!(
        printed.contains("images of each folder shuffled with seed 42"),
        "{printed}"
    );
    assert_eq!(shop.names("busi"), ["anns", "images", "masks", "splits"]);
    let entry = &shop.json("busi/anns/test.json")[0];
    assert_eq!(entry["prompts"]["p1"], "tumor");
    let checked = shop.ok(&["data", "check", "busi"]);
    assert!(checked.contains("\n0 errors"), "{checked}");
    shop.ok(&train_args("run", &["data.root=busi", "trainer.epochs=1"]));
    assert!(shop.path("run/summary.json").is_file());
    let error = shop.fails(&PREPARE);
    assert!(
        error.contains("`busi`") && error.contains("choose another folder"),
        "{error}"
    );
}

#[test]
fn a_broken_download_is_reported_and_leaves_nothing() {
    let shop = busi();
    std::fs::remove_file(shop.path("download/Dataset_BUSI_with_GT/normal/normal (3)_mask.png"))
        .unwrap();
    let before = shop.names(".");
    let error = shop.fails(&PREPARE);
    assert!(error.contains("1 of 10 images have no mask"), "{error}");
    assert!(
        error.contains("normal (3).png") && error.contains("kaggle.com"),
        "{error}"
    );
    assert_eq!(shop.names("."), before);
}

#[test]
fn names_and_instructions_are_printed() {
    let shop = Workshop::new();
    let list = shop.ok(&["data", "prepare"]);
    assert_eq!(shop.ok(&["data", "prepare", "--list"]), list);
    for name in [
        "kvasir-seg",
        "bkai",
        "isic-2016",
        "camus",
        "chexlocalize",
        "cityscapes",
        "camvid",
    ] {
        assert!(
            list.lines()
                .any(|line| line.starts_with(&format!("{name} "))),
            "{list}"
        );
    }
    let printed = shop.ok(&["data", "prepare", "etis"]);
    assert!(
        printed.contains("https://github.com/DengPingFan/PraNet"),
        "{printed}"
    );
    assert!(
        printed.contains("TestDataset/ETIS-LaribPolypDB/masks/*.png"),
        "{printed}"
    );
    // A name alone prints instructions, but --from without --out is an error.
    for order in [
        &["etis", "--from", "x"][..],
        &["etis", "-o", "y"],
        &["--from", "x", "-o", "y"],
        &["polyps"],
    ] {
        let output = shop.run(&[&["data", "prepare"], order].concat());
        assert_eq!(output.status.code(), Some(2), "{order:?}");
    }
}
