//! KITTI-360 and ADE20K.

use super::*;

const SEMANTICS: &str = "data_2d_semantics/train";

fn kitti_360() -> Download {
    let download = Download::new("kitti-360");
    let mut lists = [String::new(), String::new()];
    for (list, drive, frame, ids) in [
        (0, "0000", "0000000250", "78bno 00009 qqqqi i1111"),
        (0, "0002", "0000000250", "yyyyy zzzzz 77777 77777"),
        (1, "0000", "0000004000", "77777 77777 77777 xxxxx"),
    ] {
        let camera = format!("2013_05_28_drive_{drive}_sync/image_00");
        let image = format!("data_2d_raw/{camera}/data_rect/{frame}.png");
        let mask = format!("{SEMANTICS}/{camera}/semantic/{frame}.png");
        download.image(&image);
        download.ids(&mask, ids);
        lists[list] += &format!("{image} {mask}\n");
    }
    // A frame in no list.
    download.image("data_2d_raw/2013_05_28_drive_0000_sync/image_00/data_rect/0000000001.png");
    for (name, list) in ["train", "val"].into_iter().zip(lists) {
        let name = format!("{SEMANTICS}/2013_05_28_drive_{name}_frames.txt");
        download.write(&name, list);
    }
    download
}

#[test]
fn kitti_360_has_the_frames_of_its_lists_in_training_ids() {
    let download = kitti_360();
    let prepared = download.prepare();
    assert_eq!(prepared.images, [2, 1, 0]);
    let mask = |split: &str, drive: &str, frame: &str| {
        let name = format!("2013_05_28_drive_{drive}_sync_image_00_{frame}");
        download.written_ids(&format!("{split}/masks/{name}.png"))
    };
    // 7 is road (0), 8 sidewalk (1), 11 building (2), 23 sky (10), 24 person (11), 26 car (13), 18 a group of poles.
    assert_eq!(
        mask("train", "0000", "0000000250"),
        "012ab !!!!! dddd! !!!!!"
    );
    // 34 is garage, as building, and 35 gate, as fence (4).
    assert_eq!(
        mask("train", "0002", "0000000250"),
        "22222 44444 00000 00000"
    );
    // 33 is bicycle (18).
    assert_eq!(mask("val", "0000", "0000004000"), "00000 00000 00000 iiiii");
    let report = check(&DataConfig::new(download.out("")));
    assert_eq!(report.errors(), 0, "{:?}", report.findings);
}

#[test]
fn broken_kitti_360_is_refused() {
    let download = kitti_360();
    let mask = format!("{SEMANTICS}/2013_05_28_drive_0002_sync/image_00/semantic/0000000250.png");
    download.remove(&mask);
    let error = download.fails();
    assert!(
        error.contains("1 of 2 frames of") && error.contains(&mask),
        "{error}"
    );
    download.remove(SEMANTICS);
    let error = download.fails();
    assert!(error.contains("drive_val_frames.txt` in"), "{error}");

    let download = kitti_360();
    let list = format!("{SEMANTICS}/2013_05_28_drive_val_frames.txt");
    for (text, part) in [
        ("a.png\n", "has the line `a.png`"),
        ("\n", "names no frame"),
    ] {
        download.write(&list, text);
        let error = download.fails();
        assert!(error.contains(part), "{error}");
    }
}

/// As the archive's list, with its headings; names are numbered, so that they differ.
fn ade20k() -> Download {
    let download = Download::new("ade20k-150");
    let mut list = "Idx\tRatio\tTrain\t\tVal\t\tStuff\tName\n".to_owned();
    for class in 1..=150 {
        list += &format!("{class}\t0.1\t11664\t\t1172\t\t1\tthing {class}, other name\n");
    }
    let folder = "ADEChallengeData2016";
    download.write(&format!("{folder}/objectInfo150.txt"), list);
    for (split, name, ids) in [
        ("training", "ADE_train_00000001", "01234 00000 11111 zzzzz"),
        ("validation", "ADE_val_00000001", "11111 11111 11111 11111"),
    ] {
        download.image(&format!("{folder}/images/{split}/{name}.png"));
        download.ids(&format!("{folder}/annotations/{split}/{name}.png"), ids);
    }
    download
}

#[test]
fn ade20k_ignores_0_and_counts_classes_from_1() {
    let download = ade20k();
    let prepared = download.prepare();
    assert_eq!(prepared.images, [1, 1, 0]);
    assert_eq!(
        download.written_ids("train/masks/ADE_train_00000001.png"),
        "!0123 !!!!! 00000 yyyyy"
    );
    let classes = std::fs::read_to_string(download.out("classes.json")).unwrap();
    let classes: serde_json::Value = serde_json::from_str(&classes).unwrap();
    assert_eq!(classes["classes"][34], "thing 35");
    assert_eq!(classes["classes"].as_array().unwrap().len(), 150);
    assert_eq!(classes["ignore_index"], 255);
    let report = check(&DataConfig::new(download.out("")));
    assert_eq!(report.errors(), 0, "{:?}", report.findings);
}

#[test]
fn broken_ade20k_is_refused() {
    let download = ade20k();
    let list = "ADEChallengeData2016/objectInfo150.txt";
    for (text, part) in [
        ("Idx\tName\n1\twall\n", "does not have 150 classes"),
        ("Idx\tName\n2\twall\n", "does not number its classes from 1"),
        ("Idx\tName\n1\t\n", "has a class without a name"),
    ] {
        download.write(list, text);
        let error = download.fails();
        assert!(
            error.contains(part) && error.contains("objectInfo150.txt"),
            "{error}"
        );
    }
    let download = ade20k();
    let mask = "ADEChallengeData2016/annotations/training/ADE_train_00000001.png";
    let levels = vec![151; 20];
    vlsm_image::write_png_gray(&download.path(mask), 5, 4, &levels).unwrap();
    let error = download.fails();
    assert!(error.contains("id 151"), "{error}");
}
