use std::fs;

use super::*;
use crate::finding::Finding;
use vlsm_image::write_png_gray;

fn kinds(report: &CheckReport, kind: FindingKind) -> Vec<&Finding> {
    report.findings.iter().filter(|f| f.kind == kind).collect()
}

/// An image or mask of 4x3 pixels. Images with different `level` differ in content.
fn picture(path: &Path, level: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    write_png_gray(path, 4, 3, &[level; 12]).unwrap();
}

/// A mask of 4x3 pixels with one pixel of this level.
fn mask(path: &Path, level: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut levels = [0; 12];
    levels[5] = level;
    write_png_gray(path, 4, 3, &levels).unwrap();
}

fn entry(image: &str, mask: &str) -> String {
    format!(
        r#"{{"img_name":"{image}.png","mask_name":"{mask}.png","prompts":{{"p0":"","p1":"polyp"}}}}"#
    )
}

fn write_split(root: &Path, split: &str, entries: &[String]) {
    fs::create_dir_all(root.join("anns")).unwrap();
    fs::write(
        root.join(format!("anns/{split}.json")),
        format!("[{}]", entries.join(",")),
    )
    .unwrap();
}

#[test]
fn a_sound_data_set_has_no_findings() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (i, split) in ["train", "val", "test"].into_iter().enumerate() {
        picture(&root.join(format!("images/{split}.png")), i as u8);
        mask(&root.join(format!("masks/{split}.png")), 255);
        write_split(root, split, &[entry(split, split)]);
    }
    let report = check(&DataConfig::new(root));
    assert_eq!(report.findings, []);
    assert!(report.is_usable());
    assert_eq!(
        [report.train, report.val, report.test],
        [SplitCounts {
            pairs: 1,
            samples: 1
        }; 3]
    );
}

#[test]
fn all_faults_are_found_in_one_pass() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (level, name) in ["a", "b", "c", "d", "e", "f"].into_iter().enumerate() {
        picture(&root.join(format!("images/{name}.png")), level as u8);
        mask(&root.join(format!("masks/{name}.png")), 255);
    }
    // A copy of `a` under another name, a truncated image, a mask of another size, and an empty mask.
    fs::copy(root.join("images/a.png"), root.join("images/copy.png")).unwrap();
    mask(&root.join("masks/copy.png"), 255);
    let whole = fs::read(root.join("images/b.png")).unwrap();
    fs::write(root.join("images/b.png"), &whole[..whole.len() / 2]).unwrap();
    let other = [255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    write_png_gray(&root.join("masks/c.png"), 3, 4, &other).unwrap();
    mask(&root.join("masks/d.png"), 0);
    let bare = r#"{"img_name":"f.png","mask_name":"f.png"}"#.to_string();
    let no_mask = r#"{"img_name":"f.png","prompts":{"p1":"x"}}"#.to_string();
    let train = ["a", "b", "c", "d", "e", "e"].map(|name| entry(name, name));
    write_split(
        root,
        "train",
        &[&train[..], &[entry("f", "gone"), bare, no_mask]].concat(),
    );
    write_split(root, "val", &[entry("a", "a"), entry("copy", "copy")]);
    write_split(root, "test", &[]);

    let report = check(&DataConfig::new(root));
    let count = |kind| kinds(&report, kind).len();
    assert_eq!(count(FindingKind::MissingFile), 1);
    assert_eq!(count(FindingKind::Prompt), 1);
    assert_eq!(count(FindingKind::Entry), 1);
    assert_eq!(count(FindingKind::Unreadable), 1);
    assert_eq!(count(FindingKind::SizeMismatch), 1);
    assert_eq!(count(FindingKind::EmptySplit), 1);
    assert_eq!(count(FindingKind::EmptyMask), 1);
    assert_eq!(count(FindingKind::Duplicate), 1);
    let shared = kinds(&report, FindingKind::SharedImage);
    assert_eq!(shared.len(), 1);
    for part in ["a.png` (train)", "a.png` (val)", "copy.png` (val)"] {
        assert!(shared[0].message.contains(part), "{}", shared[0].message);
    }
    assert_eq!((report.errors(), report.warnings()), (7, 2));
    assert_eq!(
        (report.train.pairs, report.val.pairs, report.test.pairs),
        (6, 2, 0)
    );
    let json = |report: &CheckReport| serde_json::to_string(report).unwrap();
    assert_eq!(
        json(&report),
        json(&check(&DataConfig::new(root))),
        "the order of findings is deterministic"
    );
    assert!(json(&report).contains(r#""severity":"error","kind":"missing-file""#));
}

#[test]
fn unreadable_lists_do_not_hide_other_faults() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    picture(&root.join("images/a.png"), 1);
    picture(&root.join("masks/a.png"), 0);
    write_split(root, "test", &[entry("a", "a")]);
    fs::write(root.join("anns/train.json"), b"[\xff]").unwrap();
    fs::write(root.join("anns/val.json"), "[{]").unwrap();
    let report = check(&DataConfig::new(root));
    let malformed = kinds(&report, FindingKind::Malformed);
    assert!(
        malformed[0].message.contains("line 1, column 2: byte 0xff"),
        "{}",
        malformed[0].message
    );
    assert!(
        malformed[1].message.contains("line 1, column 3"),
        "{}",
        malformed[1].message
    );
    assert_eq!(kinds(&report, FindingKind::EmptyMask).len(), 1);
}

#[test]
fn a_folder_is_checked_with_binary_masks_and_with_class_ids() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (level, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
        picture(&root.join(format!("images/{name}.png")), level as u8);
        picture(&root.join(format!("masks/{name}.png")), level as u8);
    }
    fs::remove_file(root.join("masks/d.png")).unwrap();
    picture(&root.join("masks/x.png"), 255);
    let report = check(&DataConfig::new(root));
    assert_eq!(kinds(&report, FindingKind::Unpaired).len(), 2);
    let prompt = kinds(&report, FindingKind::Prompt);
    assert_eq!((prompt.len(), prompt[0].severity), (1, Severity::Warning));

    fs::write(
        root.join("classes.json"),
        r#"{"classes": ["Sky"], "ignore_index": 1}"#,
    )
    .unwrap();
    let report = check(&DataConfig::new(root));
    assert_eq!(report.format, Format::Classes);
    assert_eq!(kinds(&report, FindingKind::UnnamedClass).len(), 1);
    assert_eq!(kinds(&report, FindingKind::EmptyMask).len(), 1);
    assert_eq!(
        report.train.samples + report.val.samples + report.test.samples,
        1
    );
}

#[test]
fn a_prompt_name_that_class_masks_lack_is_reported_once() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    picture(&root.join("train/images/a.png"), 1);
    picture(&root.join("train/masks/a.png"), 0);
    fs::write(root.join("classes.json"), r#"{"classes": ["Sky"]}"#).unwrap();
    let config = DataConfig {
        prompt: "p6".parse().unwrap(),
        ..DataConfig::new(root)
    };
    let report = check(&config);
    let config = kinds(&report, FindingKind::Config);
    assert_eq!(
        (config.len(), config[0].message.contains("choose p1")),
        (1, true)
    );
}

#[test]
fn a_missing_root_is_one_finding() {
    let report = check(&DataConfig::new("no/such/folder"));
    assert_eq!(
        (report.findings.len(), report.findings[0].kind),
        (1, FindingKind::Layout)
    );
}
