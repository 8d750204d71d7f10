mod annotations;
mod class;
mod classes;
mod subjects;

use std::collections::BTreeSet;
use std::path::Path;

use tempfile::TempDir;
use vlsm_image::write_png_gray;

use super::*;
use crate::{Format, PromptChoice, Sample, SplitConfig, Target};

fn image(path: &Path, levels: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    write_png_gray(path, levels.len() / 2, 2, levels).unwrap();
}

/// Writes images and masks with these stems under `root`.
fn pairs(root: &Path, stems: &[&str], suffix: &str) {
    for stem in stems {
        image(&root.join(format!("images/{stem}.png")), &[9; 8]);
        image(&root.join(format!("masks/{stem}{suffix}.png")), &[255; 8]);
    }
}

fn stems(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("case{i:03}")).collect()
}

fn folder_of(count: usize) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let stems = stems(count);
    pairs(
        folder.path(),
        &stems.iter().map(String::as_str).collect::<Vec<_>>(),
        "",
    );
    folder
}

fn with_text(root: &Path) -> DataConfig {
    DataConfig {
        prompt: PromptChoice::Text("lesion".into()),
        ..DataConfig::new(root)
    }
}

fn names(samples: &[Sample]) -> Vec<&str> {
    samples.iter().map(|s| s.name.as_str()).collect()
}

fn fault(config: &DataConfig) -> String {
    Dataset::open(config).unwrap_err().to_string()
}

#[test]
fn a_folder_is_split_by_fraction_and_seed() {
    let folder = folder_of(40);
    let config = with_text(folder.path());
    let data = Dataset::open(&config).unwrap();
    assert_eq!(
        (
            data.format.unwrap(),
            data.train.len(),
            data.val.len(),
            data.test.len()
        ),
        (Format::Folder, 32, 4, 4)
    );
    let all: BTreeSet<&str> = Split::ALL
        .iter()
        .flat_map(|&split| names(data.split(split)))
        .collect();
    assert_eq!(all.len(), 40, "no image is in two splits");
    let again = Dataset::open(&config).unwrap();
    assert_eq!(
        Split::ALL.map(|s| names(data.split(s))),
        Split::ALL.map(|s| names(again.split(s)))
    );
    // The split for seed 42 must not change between versions.
    assert_eq!(
        names(&data.test),
        ["case002", "case016", "case033", "case022"]
    );
    let other = SplitConfig {
        seed: 43,
        ..SplitConfig::default()
    };
    let other = Dataset::open(&DataConfig {
        split: other,
        ..config.clone()
    })
    .unwrap();
    assert_ne!(names(&other.test), names(&data.test));
    let limited = Dataset::open(&DataConfig {
        limit: Some(5),
        ..config
    })
    .unwrap();
    assert_eq!(names(&limited.train), names(&data.train[..5]));
    assert_eq!(names(&limited.val), names(&data.val));
}

#[test]
fn a_folder_is_split_by_lists() {
    let folder = folder_of(5);
    std::fs::write(folder.path().join("val.txt"), "case003\r\n\ncase001.png\n").unwrap();
    let lists = SplitConfig {
        val_list: Some("val.txt".into()),
        ..SplitConfig::default()
    };
    let mut config = DataConfig {
        split: lists,
        ..with_text(folder.path())
    };
    let data = Dataset::open(&config).unwrap();
    assert_eq!(names(&data.train), ["case000", "case002", "case004"]);
    assert_eq!(names(&data.val), ["case003", "case001"]);
    assert!(matches!(
        data.require(Split::Test),
        Err(DataError::EmptySplit { .. })
    ));
    config.split.test_list = Some("val.txt".into());
    assert!(
        fault(&config).contains("line 1: `case003` is listed a second time"),
        "{}",
        fault(&config)
    );
    std::fs::write(folder.path().join("val.txt"), "case003\ncase9\n").unwrap();
    config.split.test_list = None;
    assert!(
        fault(&config).contains("line 2: `case9` is neither"),
        "{}",
        fault(&config)
    );
}

#[test]
fn masks_may_have_a_suffix_and_sub_folders_are_ignored() {
    let folder = tempfile::tempdir().unwrap();
    pairs(folder.path(), &["a", "a_1"], "_Segmentation");
    pairs(folder.path(), &["b"], "_mask");
    image(&folder.path().join("images/deeper/c.png"), &[9; 8]);
    std::fs::write(folder.path().join("images/readme.txt"), "no image").unwrap();
    let data = Dataset::open(&with_text(folder.path())).unwrap();
    let all: BTreeSet<_> = Split::ALL
        .iter()
        .flat_map(|&split| data.split(split))
        .collect::<Vec<_>>()
        .into_iter()
        .map(|s| {
            (
                s.source
                    .files()
                    .unwrap()
                    .0
                    .file_name()
                    .unwrap()
                    .to_str()
                    .unwrap(),
                s.name.as_str(),
            )
        })
        .collect();
    let expected = [
        ("a.png", "a_Segmentation"),
        ("a_1.png", "a_1_Segmentation"),
        ("b.png", "b_mask"),
    ];
    assert_eq!(all, expected.into());
}

#[test]
fn unpaired_and_ambiguous_files_are_named() {
    let folder = folder_of(9);
    for i in 0..7 {
        std::fs::remove_file(folder.path().join(format!("masks/case00{i}.png"))).unwrap();
    }
    image(&folder.path().join("masks/stray.png"), &[0; 8]);
    let message = fault(&with_text(folder.path()));
    assert!(
        message.contains("7 images without a mask and 1 masks without an image"),
        "{message}"
    );
    assert!(
        message.contains("case000.png") && message.contains("...") && !message.contains("case006"),
        "{message}"
    );

    let folder = folder_of(3);
    std::fs::copy(
        folder.path().join("images/case000.png"),
        folder.path().join("images/case000.jpg"),
    )
    .unwrap();
    assert!(fault(&with_text(folder.path())).contains("have the same stem `case000`"));
}

#[test]
fn split_folders_define_the_splits() {
    let folder = tempfile::tempdir().unwrap();
    pairs(&folder.path().join("train"), &["a", "b"], "");
    pairs(&folder.path().join("test"), &["c"], "");
    let data = Dataset::open(&with_text(folder.path())).unwrap();
    assert_eq!(
        [names(&data.train), names(&data.val), names(&data.test)],
        [vec!["a", "b"], vec![], vec!["c"]]
    );
}

#[test]
fn a_folder_takes_prompts_from_its_json_file() {
    let folder = folder_of(3);
    let root = folder.path();
    let config = DataConfig {
        split: SplitConfig {
            val: 0.0,
            test: 0.0,
            ..Default::default()
        },
        ..DataConfig::new(root)
    };
    let message = fault(&config);
    assert!(
        message.contains("has no prompts") && message.contains("data.prompt"),
        "{message}"
    );
    let json =
        r#"{"case000": "round polyp", "case001": ["a", "b"], "case002": {"p0": "", "p3": "x"}}"#;
    std::fs::write(root.join("prompts.json"), json).unwrap();
    let data = Dataset::open(&config).unwrap();
    let of = |name: &str| {
        data.train
            .iter()
            .find(|s| s.name == name)
            .unwrap()
            .prompts
            .clone()
    };
    assert_eq!(of("case000").get("p1").unwrap(), ["round polyp"]);
    assert_eq!(of("case001").get("p1").unwrap(), ["a", "b"]);
    assert_eq!(of("case002").names().collect::<Vec<_>>(), ["p0", "p3"]);
    std::fs::write(
        root.join("prompts.json"),
        r#"{"case000": "x", "case001": "y"}"#,
    )
    .unwrap();
    assert!(
        fault(&config).contains("`case002` has no prompts in"),
        "{}",
        fault(&config)
    );
    std::fs::write(
        root.join("prompts.json"),
        r#"{"case000": "x", "case0001": "y"}"#,
    )
    .unwrap();
    assert!(
        fault(&with_text(root)).contains("prompts for `case0001`"),
        "{}",
        fault(&with_text(root))
    );
}

#[test]
fn invalid_values_are_errors() {
    let folder = folder_of(3);
    let config = with_text(folder.path());
    let with = |change: fn(&mut DataConfig)| {
        let mut config = config.clone();
        change(&mut config);
        fault(&config)
    };
    assert!(with(|c| c.root = "".into()).contains("data.root"));
    assert!(with(|c| c.root = "no/such/folder".into()).contains("`no/such/folder` does not exist"));
    assert!(with(|c| c.split.val = -0.1).contains("data.split.val"));
    assert!(with(|c| c.split.test = 0.95).contains("data.split.val"));
    assert!(with(|c| c.limit = Some(0)).contains("data.limit"));
    assert!(
        with(|c| c.eval_prompt = Some(PromptChoice::Random))
            .contains("evaluation prompts are fixed")
    );
    assert!(with(|c| c.masks = "gt".into()).contains("set `data.masks`"));
}

#[test]
fn drawn_sets_have_a_limit() {
    let generate = crate::GenerateConfig {
        val: 1 << 32,
        ..Default::default()
    };
    let error = generate.validate().unwrap_err().to_string();
    assert!(
        error.contains("`data.generate.val`") && error.contains("at most 100000"),
        "{error}"
    );
}

#[test]
fn the_section_is_the_same_after_writing_and_reading() {
    let config = DataConfig {
        limit: Some(3),
        eval_prompt: Some("p1".parse().unwrap()),
        ..with_text(Path::new("x"))
    };
    let json = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<DataConfig>(&json).unwrap(), config);
    assert!(
        serde_json::from_str::<DataConfig>(r#"{"rot": "x"}"#)
            .unwrap_err()
            .to_string()
            .contains("unknown field")
    );
}
