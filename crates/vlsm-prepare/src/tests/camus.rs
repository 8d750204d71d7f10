use super::*;

/// Labels of background, ventricle, muscle and atrium.
const LABELS: &str = "01100 21120 22230 00330";

const FRAMES: [&str; 4] = ["2CH_ED", "2CH_ES", "4CH_ED", "4CH_ES"];

/// Grey levels of a patient's frame; no two frames are equal.
fn levels(patient: usize, frame: &str) -> String {
    let frame = FRAMES.iter().position(|name| *name == frame).unwrap();
    format!("{patient}{frame}cde fghij klmno pqrst")
}

/// Patients in the current layout, with official lists.
fn current() -> Download {
    let download = Download::new("camus");
    for number in 1..=5 {
        for frame in FRAMES {
            let stem = format!(
                "CAMUS_public/database_nifti/patient000{number}/patient000{number}_{frame}"
            );
            download.nifti(&format!("{stem}.nii.gz"), &levels(number, frame));
            download.nifti(&format!("{stem}_gt.nii.gz"), LABELS);
        }
        let folder = format!("CAMUS_public/database_nifti/patient000{number}");
        download.write(
            &format!("{folder}/patient000{number}_2CH_half_sequence.nii.gz"),
            "",
        );
        download.write(&format!("{folder}/Info_2CH.cfg"), "ED: 1");
    }
    let lists = "CAMUS_public/database_split/subgroup";
    download.write(
        &format!("{lists}_training.txt"),
        "patient0002\npatient0005\npatient0003\n",
    );
    download.write(&format!("{lists}_validation.txt"), "patient0001");
    download.write(&format!("{lists}_testing.txt"), "patient0004\r\n");
    download
}

#[test]
fn the_current_download_has_official_lists() {
    let download = current();
    let prepared = download.prepare();
    assert_eq!(
        (prepared.images, prepared.samples),
        ([12, 4, 4], [36, 12, 12])
    );
    let list = std::fs::read_to_string(download.out("splits/val.txt")).unwrap();
    let expected = FRAMES.map(|frame| format!("patient0001_{frame}.png"));
    assert_eq!(list.lines().collect::<Vec<_>>(), expected);
    let entry = &download.entries("test")[1];
    assert_eq!(entry["img_name"], "patient0004_2CH_ED.png");
    assert_eq!(entry["mask_name"], "mask_2/patient0004_2CH_ED_gt.png");
    assert_eq!(
        (&entry["prompts"]["p1"], &entry["group"]),
        (&"myocardium".into(), &"myocardium".into())
    );
    for (label, expected) in [
        (1, ".##.. .##.. ..... ....."),
        (2, "..... #..#. ###.. ....."),
        (3, "..... ..... ...#. ..##."),
    ] {
        let written = download.written(&format!("mask_{label}/patient0003_4CH_ES_gt.png"));
        assert_eq!(written, expected);
    }
    // The image's levels are those of the file.
    let written = download.written_ids("images/patient0003_4CH_ES.png");
    assert_eq!(written, levels(3, "4CH_ES"));
    assert!(check(&DataConfig::new(download.out(""))).is_usable());
}

#[test]
fn without_lists_patients_are_shuffled() {
    let download = current();
    download.remove("CAMUS_public/database_split");
    let prepared = download.prepare();
    assert_eq!(prepared.images, [12, 4, 4]);
    assert!(
        prepared.rule.contains("no `database_split`"),
        "{}",
        prepared.rule
    );
    // All images of a patient are in one split.
    for split in ["val", "test"] {
        let patients: HashSet<String> = download
            .entries(split)
            .iter()
            .map(|e| e["img_name"].as_str().unwrap()[..11].to_string())
            .collect();
        assert_eq!(patients.len(), 1);
    }
}

/// Patients in the older layout; test patients are numbered from 1 again.
fn older(with_testing_masks: bool) -> Download {
    let download = Download::new("camus");
    let pixels = |rows: &str| crate::tests::support::digits(rows).2;
    for (folder, numbers) in [("training", 1..=9), ("testing", 1..=2)] {
        for number in numbers {
            for frame in FRAMES {
                let stem = format!("{folder}/patient000{number}/patient000{number}_{frame}");
                for (suffix, rows) in [("", levels(number, frame)), ("_gt", LABELS.to_string())] {
                    if folder == "testing" && suffix == "_gt" && !with_testing_masks {
                        continue;
                    }
                    let raw = format!("patient000{number}_{frame}{suffix}.raw");
                    let header = format!(
                        "NDims = 3\nDimSize = 5 4 1\nElementType = MET_UCHAR\nElementDataFile = {raw}\n"
                    );
                    download.write(&format!("{stem}{suffix}.mhd"), header);
                    download.write(&format!("{stem}{suffix}.raw"), pixels(&rows));
                }
            }
        }
    }
    download
}

#[test]
fn the_older_download_is_split_as_published() {
    let download = older(true);
    let prepared = download.prepare();
    assert_eq!(prepared.images, [32, 4, 8]);
    assert_eq!(
        download.entries("val")[0]["img_name"],
        "patient0001_2CH_ED.png"
    );
    assert_eq!(
        download.entries("test")[0]["img_name"],
        "testing_patient0001_2CH_ED.png"
    );
    let written = download.written("mask_3/testing_patient0002_4CH_ED_gt.png");
    assert_eq!(written, "..... ..... ...#. ..##.");
    assert_eq!(
        download.written_ids("images/testing_patient0002_4CH_ED.png"),
        levels(2, "4CH_ED")
    );

    let download = older(false);
    let prepared = download.prepare();
    assert_eq!(prepared.images, [28, 4, 4]);
    assert!(
        prepared.rule.contains("no masks in `testing`"),
        "{}",
        prepared.rule
    );
}

#[test]
fn missing_files_are_named() {
    let download = current();
    let stem = "CAMUS_public/database_nifti/patient0005/patient0005";
    download.remove(&format!("{stem}_4CH_ES_gt.nii.gz"));
    let error = download.fails();
    assert!(
        error.contains(&format!(
            "1 of 24 files are missing: `{stem}_4CH_ES_gt.nii.gz`"
        )),
        "{error}"
    );
    download.write(&format!("{stem}_4CH_ES_gt.nii.gz"), "not packed");
    assert!(download.fails().contains("patient0005_4CH_ES_gt.nii.gz"));
    download.remove("CAMUS_public/database_nifti/patient0001");
    let error = download.fails();
    assert!(
        error.contains("8 of 8 files are missing") && error.contains(", ..."),
        "{error}"
    );
    let download = current();
    download.remove("CAMUS_public/database_split/subgroup_testing.txt");
    assert!(download.fails().contains("subgroup_testing.txt"));
    let download = Download::new("camus");
    download.path("database_nifti/x");
    assert!(
        download
            .fails()
            .contains("there is no folder `patient...` in")
    );
    download.remove("database_nifti");
    assert!(download.fails().contains("there is no `database_nifti` in"));
}
