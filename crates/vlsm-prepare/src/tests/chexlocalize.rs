use serde_json::{Value, json};

use super::*;

/// Masks in COCO's encoding, written by `pycocotools`: `..... .###. .###. .....`, and an empty one.
const BLOCK: &str = "5220003";
const NOTHING: &str = "d0";

/// The findings of an image.
fn findings(present: &[&str]) -> Value {
    let all = [
        "Enlarged Cardiomediastinum",
        "Cardiomegaly",
        "Lung Lesion",
        "Airspace Opacity",
        "Edema",
    ];
    let mask = |name: &str| {
        let counts = if present.contains(&name) {
            BLOCK
        } else {
            NOTHING
        };
        json!({"size": [4, 5], "counts": counts})
    };
    all.into_iter()
        .map(|name| (name.to_string(), mask(name)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn download() -> Download {
    let download = Download::new("chexlocalize");
    let mut masks = [json!({}), json!({})];
    for number in 0..10 {
        let set = usize::from(number >= 4);
        for view in ["view1_frontal", "view2_lateral"] {
            let patient = format!("patient6400{number}");
            let folder = ["val", "test"][set];
            // Named .jpg, but the format is detected from the content.
            download.image(&format!("CheXpert/{folder}/{patient}/study1/{view}.png"));
            let png = download.path(&format!("CheXpert/{folder}/{patient}/study1/{view}.png"));
            std::fs::rename(&png, png.with_extension("jpg")).unwrap();
            let present: &[&str] = match (number, view) {
                (0, "view1_frontal") => &["Cardiomegaly", "Airspace Opacity"],
                (1, _) => &[],
                _ => &["Edema"],
            };
            masks[set][format!("{patient}_study1_{view}")] = findings(present);
        }
    }
    for (set, masks) in ["val", "test"].into_iter().zip(masks) {
        download.write(
            &format!("CheXlocalize/gt_segmentations_{set}.json"),
            masks.to_string(),
        );
        download.write(&format!("CheXpert/{set}_labels.csv"), "Path");
    }
    download
}

#[test]
fn findings_that_are_present_are_samples() {
    let download = download();
    let prepared = download.prepare();
    // 60 / 20 / 20 % of ten patients, one of whom has no finding.
    assert_eq!(prepared.images.iter().sum::<usize>(), 18);
    assert_eq!(prepared.samples.iter().sum::<usize>(), 19);
    assert!(
        prepared.images[1..]
            .iter()
            .all(|images| [2, 4].contains(images))
    );
    let samples = download.samples();
    let of = |image: &str| -> Vec<(&str, &str)> {
        let of = samples.iter().filter(|(name, ..)| name == image);
        of.map(|(_, mask, class)| (mask.as_str(), class.as_str()))
            .collect()
    };
    assert_eq!(
        of("patient64000_study1_view1_frontal.jpg"),
        [
            (
                "patient64000_study1_view1_frontal_airspace_opacity.png",
                "airspace opacity"
            ),
            (
                "patient64000_study1_view1_frontal_cardiomegaly.png",
                "cardiomegaly"
            ),
        ]
    );
    assert!(of("patient64001_study1_view1_frontal.jpg").is_empty());
    let mask = "patient64009_study1_view2_lateral_edema.png";
    assert_eq!(download.written(mask), "..... .###. .###. .....");
    let image = "CheXpert/test/patient64009/study1/view2_lateral.jpg";
    assert!(download.is_same(image, "images/patient64009_study1_view2_lateral.jpg"));
    // No patient is in two splits.
    let patients = |split: &str| -> HashSet<String> {
        let entries = download.entries(split);
        entries
            .iter()
            .map(|e| e["img_name"].as_str().unwrap()[..12].to_string())
            .collect()
    };
    let splits = ["train", "val", "test"].map(patients);
    assert_eq!(splits.iter().map(HashSet::len).sum::<usize>(), 9);
    assert_eq!(
        splits.into_iter().flatten().collect::<HashSet<_>>().len(),
        9
    );
}

#[test]
fn broken_masks_are_refused() {
    let download = download();
    let json = "CheXlocalize/gt_segmentations_val.json";
    for (content, reason) in [
        ("{", "line 1"),
        (
            r#"{"patient1_study1_view1": {"Edema": {"counts": ""}}}"#,
            "size",
        ),
        (r#"{"patient1": {}}"#, "not of the form PATIENT_STUDY_VIEW"),
        (
            r#"{"patient1_../..": {}}"#,
            "not of the form PATIENT_STUDY_VIEW",
        ),
    ] {
        download.write(json, content);
        let error = download.fails();
        assert!(
            error.contains("gt_segmentations_val.json") && error.contains(reason),
            "{error}"
        );
    }
    let broken =
        json!({"patient64000_study1_view1_frontal": {"Edema": {"size": [4, 5], "counts": "9"}}});
    download.write(json, broken.to_string());
    let error = download.fails();
    assert!(
        error.contains("`Edema` of `patient64000_study1_view1_frontal`: its runs cover 9 of 5x4"),
        "{error}"
    );
    let other =
        json!({"patient64000_study1_view1_frontal": {"Edema": {"size": [5, 4], "counts": "d0"}}});
    download.write(json, other.to_string());
    let error = download.fails();
    assert!(
        error.contains("is 4x5") && error.contains("is 5x4"),
        "{error}"
    );
}

#[test]
fn missing_images_are_counted() {
    let download = download();
    download.remove("CheXpert/test/patient64005");
    let error = download.fails();
    assert!(
        error.contains(
            "2 of 20 images with masks are missing: `CheXpert/test/patient64005/study1/view1_frontal.jpg`"
        ),
        "{error}"
    );
    download.remove("CheXpert/test");
    let error = download.fails();
    assert!(
        error.contains("there is no `CheXpert/test` in") && error.contains("stanfordaimi"),
        "{error}"
    );
}
