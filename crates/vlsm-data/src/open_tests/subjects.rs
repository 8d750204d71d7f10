//! Tests of `data.group` and of folds.

use super::*;

/// Three images each of the patients p0, p1, ....
fn patients(count: usize) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let stems: Vec<String> = (0..3 * count)
        .map(|i| format!("p{}_{}", i / 3, i % 3))
        .collect();
    pairs(
        folder.path(),
        &stems.iter().map(String::as_str).collect::<Vec<_>>(),
        "",
    );
    folder
}

fn subjects(samples: &[Sample]) -> BTreeSet<String> {
    samples
        .iter()
        .map(|sample| sample.subject.clone())
        .collect()
}

/// Asserts that no subject is in two splits, and returns the number of subjects of each split.
fn disjoint(data: &Dataset) -> [usize; 3] {
    let all = Split::ALL.map(|split| subjects(data.split(split)));
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        assert!(all[a].is_disjoint(&all[b]), "{all:?}");
    }
    all.map(|subjects| subjects.len())
}

#[test]
fn a_fraction_split_never_divides_a_subject() {
    let folder = patients(20);
    let mut config = DataConfig {
        group: Some("^(p[0-9]+)_".into()),
        ..with_text(folder.path())
    };
    for seed in 0..20 {
        config.split.seed = seed;
        let data = Dataset::open(&config).unwrap();
        assert_eq!(disjoint(&data), [16, 2, 2], "seed {seed}");
        assert_eq!(data.train.len() + data.val.len() + data.test.len(), 60);
    }
    // The images of one patient were divided without the key.
    config.group = None;
    config.split.seed = 42;
    let data = Dataset::open(&config).unwrap();
    let patient = |sample: &Sample| sample.name.split('_').next().unwrap().to_string();
    let train: BTreeSet<String> = data.train.iter().map(patient).collect();
    assert!(
        data.test
            .iter()
            .any(|sample| train.contains(&patient(sample)))
    );
}

#[test]
fn a_subject_for_each_image_gives_the_split_without_the_key() {
    let folder = folder_of(40);
    let config = with_text(folder.path());
    let plain = Dataset::open(&config).unwrap();
    assert_eq!(plain.test[0].subject, plain.test[0].source.id());
    let each = Dataset::open(&DataConfig {
        group: Some(".*".into()),
        ..config
    })
    .unwrap();
    assert_eq!(
        Split::ALL.map(|split| names(plain.split(split))),
        Split::ALL.map(|split| names(each.split(split)))
    );
}

#[test]
fn folds_are_disjoint_and_cover_the_data_set() {
    let folder = patients(11);
    let mut config = DataConfig {
        group: Some("^(p[0-9]+)_".into()),
        ..with_text(folder.path())
    };
    config.split.folds = Some(5);
    let mut tested = Vec::new();
    for fold in 1..=5 {
        config.split.fold = Some(fold);
        let data = Dataset::open(&config).unwrap();
        let [_, val, test] = disjoint(&data);
        assert_eq!((val, test), (1, if fold == 1 { 3 } else { 2 }));
        assert_eq!(data.train.len() + data.val.len() + data.test.len(), 33);
        tested.extend(data.test.into_iter().map(|sample| sample.name));
    }
    assert_eq!(tested.len(), 33);
    assert_eq!(tested.into_iter().collect::<BTreeSet<_>>().len(), 33);
}

#[test]
fn folds_merge_the_splits_of_sub_folders() {
    let folder = tempfile::tempdir().unwrap();
    pairs(&folder.path().join("train"), &["a", "b", "c"], "");
    pairs(&folder.path().join("test"), &["d"], "");
    let mut config = with_text(folder.path());
    config.split.folds = Some(2);
    config.split.val = 0.0;
    let tested = [1, 2].map(|fold| {
        config.split.fold = Some(fold);
        let data = Dataset::open(&config).unwrap();
        names(&data.test).join("")
    });
    assert_eq!(tested.concat().chars().collect::<BTreeSet<_>>().len(), 4);
    assert_eq!(tested.map(|names| names.len()), [2, 2]);
}

#[test]
fn subjects_come_from_a_table() {
    let folder = folder_of(4);
    let table = folder.path().join("patients.csv");
    let text = "image,age,group\ncase000,7,x\ncase001.png,8,x\ncase002,9,y\ncase003,9,z\n";
    std::fs::write(&table, text).unwrap();
    let mut config = DataConfig {
        group: Some("patients.csv".into()),
        ..with_text(folder.path())
    };
    config.split.test = 0.5;
    config.split.val = 0.0;
    let data = Dataset::open(&config).unwrap();
    disjoint(&data);
    let all = data.train.iter().chain(&data.test);
    let mut all: Vec<&str> = all.map(|sample| sample.subject.as_str()).collect();
    all.sort_unstable();
    assert_eq!(all, ["x", "x", "y", "z"]);

    std::fs::write(&table, text.replace("case003", "case03")).unwrap();
    let message = fault(&config);
    assert!(
        message.contains("data.group") && message.contains("case003.png"),
        "{message}"
    );
    std::fs::write(&table, format!("{text}case000,1,y\n")).unwrap();
    assert!(fault(&config).contains("two groups for image `case000`"));
    std::fs::write(&table, "name,group\na,b\n").unwrap();
    let message = fault(&config);
    assert!(message.contains("image,group"), "{message}");
}

#[test]
fn a_group_that_cannot_be_used_is_named() {
    let folder = folder_of(4);
    let mut config = with_text(folder.path());
    for (group, reason) in [
        ("(", "not a regular expression"),
        ("^case(00[0-2])$", "case003.png`, nor of 0 other images"),
        ("absent.csv", "cannot read `absent.csv`"),
    ] {
        config.group = Some(group.into());
        let message = fault(&config);
        assert!(message.contains(reason), "{message}");
    }
    config.group = None;
    for (folds, fold, reason) in [
        (Some(3), None, "`data.split.fold`: is not set"),
        (None, Some(1), "`data.split.folds`: is not set"),
        (Some(1), Some(1), "use at least 2"),
        (Some(3), Some(4), "use a fold from 1 to 3"),
        (Some(3), Some(0), "use a fold from 1 to 3"),
    ] {
        (config.split.folds, config.split.fold) = (folds, fold);
        let message = fault(&config);
        assert!(message.contains(reason), "{message}");
    }
    config.split.folds = Some(3);
    config.split.fold = Some(1);
    config.split.val_list = Some("val.txt".into());
    assert!(fault(&config).contains("remove one of them"));
}

#[test]
fn samples_of_one_image_share_the_subject() {
    let folder = tempfile::tempdir().unwrap();
    image(&folder.path().join("images/a.png"), &[9; 8]);
    image(
        &folder.path().join("masks/a.png"),
        &[0, 1, 0, 1, 0, 1, 0, 1],
    );
    std::fs::write(
        folder.path().join("classes.json"),
        r#"{"classes": ["sky", "car"]}"#,
    )
    .unwrap();
    let config = DataConfig {
        split: SplitConfig {
            val: 0.0,
            test: 0.0,
            ..Default::default()
        },
        ..DataConfig::new(folder.path())
    };
    let data = Dataset::open(&config).unwrap();
    assert_eq!(data.train.len(), 2);
    assert_eq!(subjects(&data.train).len(), 1);
    assert!(data.train[0].subject.ends_with("a.png"));
}
