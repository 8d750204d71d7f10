//! Skin, feet and ultrasound.

use super::*;

#[test]
fn isic_has_official_splits_and_validates_on_a_tenth_of_training() {
    let download = Download::new("isic-2016");
    for (part, numbers) in [("Training", 0..10), ("Test", 20..23)] {
        for number in numbers {
            download.image(&format!(
                "ISBI2016_ISIC_Part1_{part}_Data/ISIC_{number}.png"
            ));
            let mask =
                format!("ISBI2016_ISIC_Part1_{part}_GroundTruth/ISIC_{number}_Segmentation.png");
            download.mask(&mask, rows(number));
        }
    }
    assert_eq!(download.prepare().images, [9, 1, 3]);
    let test = download.entries("test");
    assert_eq!(test[0]["img_name"], "ISIC_20.png");
    for (image, mask, class) in download.samples() {
        let number: usize = image[5..image.len() - 4].parse().unwrap();
        assert_eq!(download.written(&mask), rows(number));
        assert_eq!(class, "skin melanoma");
    }
    download.remove("../out");
    download.remove("ISBI2016_ISIC_Part1_Test_GroundTruth/ISIC_21_Segmentation.png");
    let error = download.fails();
    assert!(
        error.contains("1 of 3 images have no mask: `ISBI2016_ISIC_Part1_Test_Data/ISIC_21.png`"),
        "{error}"
    );
    download.remove("ISBI2016_ISIC_Part1_Test_Data");
    download.remove("ISBI2016_ISIC_Part1_Test_GroundTruth");
    let error = download.fails();
    let missing =
        "no `ISBI2016_ISIC_Part1_Test_Data`, no `ISBI2016_ISIC_Part1_Test_GroundTruth` in";
    assert!(error.contains(missing), "{error}");
}

#[test]
fn dfu_splits_the_training_release() {
    let download = Download::new("dfu-2022");
    let folder = "DFUC2022_train_release/DFUC2022_train";
    for number in 100_000..100_010 {
        download.image(&format!("{folder}_images/{number}.png"));
        download.mask(&format!("{folder}_masks/{number}.png"), rows(number));
    }
    assert_eq!(download.prepare().images, [8, 1, 1]);
    for (image, mask, class) in download.samples() {
        assert_eq!(image, mask);
        assert_eq!(download.written(&mask), rows(image[..6].parse().unwrap()));
        assert_eq!(class, "foot ulcer");
    }
    download.remove("../out");
    download.remove("DFUC2022_train_release/DFUC2022_train_masks");
    let error = download.fails();
    assert!(
        error.contains("there is no `DFUC2022_train_masks` in"),
        "{error}"
    );
}

fn busi() -> Download {
    let download = Download::new("busi");
    for group in ["benign", "malignant", "normal"] {
        for number in 1..=10 {
            let stem = format!("Dataset_BUSI_with_GT/{group}/{group} ({number})");
            download.image(&format!("{stem}.png"));
            let rows = if group == "normal" {
                "..... ..... ..... ....."
            } else {
                rows(number)
            };
            download.mask(&format!("{stem}_mask.png"), rows);
        }
    }
    let stem = "Dataset_BUSI_with_GT/benign/benign (4)";
    download.mask(&format!("{stem}_mask_1.png"), "..... ..... ....# .....");
    download.mask(&format!("{stem}_mask_2.png"), "#.... ..... ....# #....");
    download
}

#[test]
fn busi_masks_of_an_image_are_merged() {
    let download = busi();
    let prepared = download.prepare();
    // 80 / 10 / 10 % of each folder.
    assert_eq!(prepared.images, [24, 3, 3]);
    assert_eq!(prepared.empty, [8, 1, 1]);
    let text = |a: &str, b: &str, c: &str| (a.to_string(), b.to_string(), c.to_string());
    let samples = download.samples();
    assert_eq!(
        samples[0],
        text("benign (1).png", "benign (1)_mask.png", "tumor")
    );
    assert_eq!(
        download.written("benign (4)_mask.png"),
        "#.... .###. .#### #...."
    );
    assert_eq!(download.written("malignant (5)_mask.png"), rows(5));
    assert_eq!(
        download.written("normal (2)_mask.png"),
        "..... ..... ..... ....."
    );
    // The diagnosis is the group and is not in the prompts, and grey images have no colour.
    for entry in download.entries("val") {
        let group = entry["group"].as_str().unwrap();
        assert!(entry["img_name"].as_str().unwrap().starts_with(group));
        let prompts = entry["prompts"].to_string();
        assert!(
            !prompts.contains("benign") && !prompts.contains("malignant"),
            "{prompts}"
        );
        assert_eq!(entry["prompts"]["p3"], entry["prompts"]["p2"]);
        assert!(!entry["oracle"].to_string().contains("colour"));
    }
}

#[test]
fn broken_busi_is_refused() {
    let download = busi();
    download.remove("Dataset_BUSI_with_GT/normal/normal (7)_mask.png");
    let error = download.fails();
    assert!(
        error.contains("1 of 10 images have no mask: `Dataset_BUSI_with_GT/normal/normal (7).png`"),
        "{error}"
    );
    let download = busi();
    download.remove("Dataset_BUSI_with_GT/benign/benign (4).png");
    assert!(download.fails().contains("3 of 12 masks have no image"));
    let download = busi();
    download.mask("Dataset_BUSI_with_GT/benign/benign (4)_mask_1.png", "# .");
    let error = download.fails();
    assert!(
        error.contains("benign (4)_mask_1.png") && error.contains("1x2"),
        "{error}"
    );
    let download = busi();
    download.remove("Dataset_BUSI_with_GT/malignant");
    assert!(download.fails().contains("there is no `malignant` in"));
}
