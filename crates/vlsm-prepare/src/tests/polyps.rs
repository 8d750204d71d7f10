use image::codecs::jpeg::JpegEncoder;

use super::*;

/// Writes numbered pairs into the folders of images and masks.
fn pairs(
    download: &Download,
    count: usize,
    image: impl Fn(usize) -> String,
    mask: impl Fn(usize) -> String,
) {
    for number in 1..=count {
        download.image(&image(number));
        download.mask(&mask(number), rows(number));
    }
}

/// Asserts that the written masks equal those of the download, have the class, and that images are unchanged.
fn same(download: &Download, count: usize, class: &str, image: impl Fn(usize) -> String) {
    let samples = download.samples();
    assert_eq!(samples.len(), count);
    for number in 1..=count {
        let from = image(number);
        let name = from.rsplit('/').next().unwrap();
        let found = samples.iter().find(|(image, ..)| image == name).unwrap();
        assert_eq!(found.2, class);
        assert_eq!(download.written(&found.1), rows(number), "{name}");
        assert!(download.is_same(&from, &format!("images/{name}")), "{name}");
    }
}

#[test]
fn kvasir_jpeg_masks_are_binarised() {
    let download = kvasir();
    // A mask as published: a JPEG with levels between black and white.
    let levels = [
        [250u8, 240, 130, 8, 3],
        [255, 251, 127, 0, 0],
        [0; 5],
        [0; 5],
    ]
    .concat();
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 100)
        .encode(&levels, 5, 4, image::ExtendedColorType::L8)
        .unwrap();
    download.remove("Kvasir-SEG/masks/cju0.png");
    download.write("Kvasir-SEG/masks/cju0.jpg", bytes);
    download.prepare();
    let written = download.written("cju0.png");
    assert!(
        written.starts_with("##") && written.ends_with("..... ....."),
        "{written}"
    );
    for number in 1..10 {
        assert_eq!(download.written(&format!("cju{number}.png")), rows(number));
        let image = format!("cju{number}.png");
        assert!(download.is_same(
            &format!("Kvasir-SEG/images/{image}"),
            &format!("images/{image}")
        ));
    }
    let entry = &download.entries("val")[0];
    assert_eq!(entry["prompts"]["p1"], "polyp");
    assert!(
        entry["prompts"]["p6"]
            .as_str()
            .unwrap()
            .ends_with("of the image")
    );
    assert!(entry["oracle"]["p6"].is_array());
}

#[test]
fn kvasir_is_found_in_the_given_folder_or_nested_in_it() {
    for folder in ["", "Kvasir-SEG/Kvasir-SEG/"] {
        let download = Download::new("kvasir-seg");
        let image = |number| format!("{folder}images/{number}.png");
        pairs(&download, 3, image, |number| {
            format!("{folder}masks/{number}.png")
        });
        download.prepare();
        same(&download, 3, "polyp", image);
    }
}

#[test]
fn broken_kvasir_is_refused() {
    let download = kvasir();
    download.remove("Kvasir-SEG/masks");
    let error = download.fails();
    assert!(error.contains("there is no `masks` in"), "{error}");
    assert!(
        error.contains("holds `images`, `kavsir_bboxes.json`"),
        "{error}"
    );
    assert!(
        error.contains("https://datasets.simula.no/kvasir-seg/"),
        "{error}"
    );

    let download = kvasir();
    (0..7).for_each(|number| download.remove(&format!("Kvasir-SEG/masks/cju{number}.png")));
    let error = download.fails();
    assert!(
        error.contains("7 of 10 images have no mask: `Kvasir-SEG/images/cju0.png`"),
        "{error}"
    );
    assert!(
        error.contains("`Kvasir-SEG/images/cju4.png`, ..."),
        "{error}"
    );
    assert!(!error.contains("cju5"), "{error}");

    let download = kvasir();
    download.remove("Kvasir-SEG/images/cju8.png");
    let error = download.fails();
    assert!(
        error.contains("1 of 10 masks have no image: `Kvasir-SEG/masks/cju8.png`"),
        "{error}"
    );

    let download = Download::new("kvasir-seg");
    assert!(download.fails().contains("there is no such folder"));
    download.path("readme.txt");
    assert!(download.fails().contains("which holds nothing"));
    download.write("images/x.txt", "");
    download.write("masks/x.txt", "");
    assert!(download.fails().contains("holds no image"));
}

#[test]
fn clinicdb_from_kaggle_and_from_the_original() {
    for (folder, extension) in [("PNG/", "png"), ("CVC-ClinicDB/", "png"), ("TIF/", "png")] {
        let download = Download::new("cvc-clinicdb");
        let image = |number| format!("{folder}Original/{number}.{extension}");
        let mask = |number| format!("{folder}Ground Truth/{number}.{extension}");
        pairs(&download, 12, image, mask);
        assert_eq!(download.prepare().images, [10, 1, 1]);
        same(&download, 12, "polyp", image);
    }
    let download = Download::new("cvc-clinicdb");
    download.image("PNG/Original/1.png");
    let error = download.fails();
    assert!(
        error.contains("there is no `PNG/Ground Truth` in"),
        "{error}"
    );
}

#[test]
fn cvc_300_is_all_test() {
    let download = Download::new("cvc-300");
    let image = |number| format!("TestDataset/CVC-300/images/{number}.png");
    pairs(&download, 4, image, |number| {
        format!("TestDataset/CVC-300/masks/{number}.png")
    });
    // Another data set in the same archive is ignored.
    download.image("TestDataset/Kvasir/images/k.png");
    assert_eq!(download.prepare().images, [0, 0, 4]);
    same(&download, 4, "polyp", image);
    assert!(!download.out("anns/train.json").exists());
    // A data set with a test split alone can be evaluated.
    assert!(check(&DataConfig::new(download.out(""))).is_usable());

    let download = Download::new("cvc-300");
    download.image("TestDataset/Kvasir/images/k.png");
    download.mask("TestDataset/Kvasir/masks/k.png", rows(0));
    let error = download.fails();
    assert!(
        error.contains("no `images`, no `masks`") && error.contains("holds `TestDataset`"),
        "{error}"
    );
}

#[test]
fn colondb_trains_on_twenty_images() {
    let download = Download::new("cvc-colondb");
    let image = |number| format!("CVC-ColonDB/images/{number}.png");
    pairs(&download, 23, image, |number| {
        format!("CVC-ColonDB/masks/{number}.png")
    });
    assert_eq!(download.prepare().images, [20, 0, 3]);
    same(&download, 23, "polyp", image);

    let download = Download::new("cvc-colondb");
    download.image("TestDataset/CVC-ColonDB/images/1.png");
    assert!(download.fails().contains("there is no `masks` in"));
}

#[test]
fn etis_from_pranet_and_from_the_original() {
    let download = Download::new("etis");
    let image = |number| format!("TestDataset/ETIS-LaribPolypDB/images/{number}.png");
    let mask = |number| format!("TestDataset/ETIS-LaribPolypDB/masks/{number}.png");
    pairs(&download, 21, image, mask);
    assert_eq!(download.prepare().images, [20, 0, 1]);
    same(&download, 21, "polyp", image);

    let download = Download::new("etis");
    let image = |number| format!("ETIS-LaribPolypDB/ETIS-LaribPolypDB/{number}.png");
    let mask = |number| format!("ETIS-LaribPolypDB/Ground Truth/p{number}.png");
    pairs(&download, 5, image, mask);
    download.prepare();
    same(&download, 5, "polyp", image);
    download.remove("../out");
    download.remove("ETIS-LaribPolypDB/Ground Truth/p3.png");
    assert!(
        download
            .fails()
            .contains("1 of 5 images have no mask: `ETIS-LaribPolypDB/ETIS-LaribPolypDB/3.png`")
    );
}

/// Red, green, both, and black after JPEG compression.
fn colour(sign: char) -> [u8; 3] {
    match sign {
        'r' => [230, 30, 20],
        'g' => [10, 200, 40],
        _ => [40, 30, 60],
    }
}

fn bkai(name: &str) -> Download {
    let download = Download::new(name);
    for (number, rows) in [
        "rr... rr... ...gg ...gg",
        "..... .ggg. .ggg. .....",
        "..... ..... ..... .....",
    ]
    .into_iter()
    .enumerate()
    {
        download.image(&format!("train/train/{number}.png"));
        download.colours(&format!("train_gt/train_gt/{number}.png"), rows, colour);
    }
    // Has no masks and is not read.
    download.image("test/test/9.png");
    download
}

#[test]
fn bkai_masks_are_whole_polyps() {
    let download = bkai("bkai");
    let prepared = download.prepare();
    assert_eq!(
        (prepared.images, prepared.empty.iter().sum::<usize>()),
        ([1, 1, 1], 1)
    );
    assert_eq!(download.written("0.png"), "##... ##... ...## ...##");
    assert_eq!(download.written("1.png"), "..... .###. .###. .....");
    assert_eq!(download.written("2.png"), "..... ..... ..... .....");
    assert!(
        download
            .samples()
            .iter()
            .all(|(_, _, class)| class == "polyp")
    );
}

#[test]
fn bkai_by_class_has_a_sample_per_present_class() {
    let download = bkai("bkai-classes");
    let prepared = download.prepare();
    assert_eq!(prepared.images.iter().sum::<usize>(), 2);
    let text = |a: &str, b: &str, c: &str| (a.to_string(), b.to_string(), c.to_string());
    assert_eq!(
        download.samples(),
        [
            text("0.png", "0_neoplastic.png", "neoplastic polyp"),
            text("0.png", "0_non_neoplastic.png", "non-neoplastic polyp"),
            text("1.png", "1_non_neoplastic.png", "non-neoplastic polyp"),
        ]
    );
    assert_eq!(
        download.written("0_neoplastic.png"),
        "##... ##... ..... ....."
    );
    assert_eq!(
        download.written("0_non_neoplastic.png"),
        "..... ..... ...## ...##"
    );
    assert_eq!(
        download.written("1_non_neoplastic.png"),
        "..... .###. .###. ....."
    );
    assert!(!download.out("images/2.png").exists());
}

#[test]
fn broken_bkai_is_refused() {
    let download = bkai("bkai");
    download.remove("train_gt/train_gt");
    let error = download.fails();
    // The folder `train_gt` is there, but the images are one level down.
    assert!(error.contains("train/train/*.jpeg"), "{error}");
    download.remove("train_gt");
    let error = download.fails();
    assert!(
        error.contains("there is no `train_gt/train_gt` in"),
        "{error}"
    );
    assert!(error.contains("kaggle.com/c/bkai-igh-neopolyp"), "{error}");
}
