//! Prepares each data set from a small download in its public layout, and checks the errors of broken downloads.

mod camus;
mod chexlocalize;
mod photographs;
mod polyps;
mod scenes;
mod streets;
pub(crate) mod support;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::*;
use support::{Download, SIZE};
use vlsm_data::{DataConfig, check};
use vlsm_image::ImageError;

/// Three masks of [`SIZE`] pixels.
const MASKS: [&str; 3] = [
    "##... ##... ..... .....",
    "..... .###. .###. .....",
    "..... ..... ...## ...##",
];

/// The mask of image `number`.
fn rows(number: usize) -> &'static str {
    MASKS[number % 3]
}

#[test]
fn names_are_unique_and_descriptions_complete() {
    let names: HashSet<&str> = PublicSet::ALL.iter().map(|set| set.name).collect();
    assert_eq!(names.len(), PublicSet::ALL.len());
    for set in PublicSet::ALL {
        assert_eq!(PublicSet::named(set.name).unwrap().title, set.title);
        assert!(set.download.starts_with("http"), "{}", set.name);
        assert!(set.layout.lines().count() > 1, "{}", set.name);
    }
    assert!(PublicSet::named("imagenet").is_none());
}

/// Ten Kvasir-SEG images in the archive's layout.
fn kvasir() -> Download {
    let download = Download::new("kvasir-seg");
    for number in 0..10 {
        download.image(&format!("Kvasir-SEG/images/cju{number}.png"));
        download.mask(&format!("Kvasir-SEG/masks/cju{number}.png"), rows(number));
    }
    download.write("Kvasir-SEG/kavsir_bboxes.json", "{}");
    download
}

#[test]
fn the_output_is_a_usable_data_set() {
    let download = kvasir();
    let prepared = download.prepare();
    assert_eq!(prepared.images, [8, 1, 1]);
    assert_eq!(prepared.samples, [8, 1, 1]);
    let report = check(&DataConfig::new(download.out("")));
    assert_eq!(report.findings, []);
    assert_eq!(
        [
            report.train.samples,
            report.val.samples,
            report.test.samples
        ],
        [8, 1, 1]
    );
    // There are no other files, and the split lists match the annotations.
    let mut names: Vec<_> = std::fs::read_dir(download.out(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["anns", "images", "masks", "splits"]);
    for split in ["train", "val", "test"] {
        let list = std::fs::read_to_string(download.out(&format!("splits/{split}.txt"))).unwrap();
        let entries = download.entries(split);
        let images: Vec<&str> = entries
            .iter()
            .map(|e| e["img_name"].as_str().unwrap())
            .collect();
        assert_eq!(list.lines().collect::<Vec<_>>(), images);
    }
}

#[cfg(unix)]
#[test]
fn permissions_are_kept_and_links_followed() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let download = kvasir();
    // A relative symbolic link to an image, as some tools store their files.
    let image = download.path("Kvasir-SEG/images/cju3.png");
    std::fs::rename(&image, download.path("store/blob")).unwrap();
    symlink("../../store/blob", &image).unwrap();
    download.prepare();
    assert!(download.is_same("store/blob", "images/cju3.png"));
    let linked = std::fs::symlink_metadata(download.out("images/cju3.png")).unwrap();
    assert!(linked.is_file());
    let plain = download.path("plain/x");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&download.out("")), mode(plain.parent().unwrap()));
}

#[test]
fn splits_depend_on_the_seed_alone() {
    let download = kvasir();
    let from = download.path("");
    let set = PublicSet::named("kvasir-seg").unwrap();
    let split = |seed, out: &str| {
        let out = download.path(out);
        prepare(set, &from, &out, &SplitBy::Seed(seed), |_, _| {}).unwrap();
        std::fs::read_to_string(out.join("splits/train.txt")).unwrap()
    };
    let first = split(42, "a");
    assert_eq!(split(42, "b"), first);
    assert_ne!(split(43, "c"), first);
}

#[test]
fn an_existing_folder_is_refused() {
    let download = kvasir();
    std::fs::create_dir(download.out("")).unwrap();
    std::fs::write(download.out("notes.txt"), "mine").unwrap();
    let error = download.try_prepare().unwrap_err();
    assert!(matches!(
        error,
        PrepareError::Image(ImageError::Write { .. })
    ));
    assert!(
        error
            .to_string()
            .contains("choose another folder, or remove it"),
        "{error}"
    );
    assert_eq!(std::fs::read_dir(download.out("")).unwrap().count(), 1);
    std::fs::remove_file(download.out("notes.txt")).unwrap();
    download.prepare();
}

#[test]
fn an_edit_of_the_prepared_set_leaves_the_download_as_it_is() {
    let download = kvasir();
    let before = std::fs::read(download.path("Kvasir-SEG/images/cju3.png")).unwrap();
    download.prepare();
    std::fs::write(download.out("images/cju3.png"), "edited").unwrap();
    let after = std::fs::read(download.path("Kvasir-SEG/images/cju3.png")).unwrap();
    assert_eq!(after, before);
}

#[test]
fn what_a_killed_run_left_is_removed_by_the_next() {
    let download = kvasir();
    let left = download.out("").with_file_name(".vlsm-killed.part");
    std::fs::create_dir_all(left.join("images")).unwrap();
    download.prepare();
    assert!(!left.exists());
}

#[test]
fn a_mask_of_another_size_and_a_broken_image_leave_nothing() {
    let download = kvasir();
    download.mask("Kvasir-SEG/masks/cju4.png", "##. ...");
    let error = download.fails();
    assert!(
        error.contains("cju4.png") && error.contains("3x2") && error.contains("5x4"),
        "{error}"
    );
    download.mask("Kvasir-SEG/masks/cju4.png", rows(0));
    download.write("Kvasir-SEG/images/cju5.png", "no image");
    assert!(download.fails().contains("cju5.png"));
}

#[test]
fn progress_counts_to_the_end() {
    let download = kvasir();
    let most = std::sync::atomic::AtomicUsize::new(0);
    let set = PublicSet::named("kvasir-seg").unwrap();
    prepare(
        set,
        &download.path(""),
        &download.out(""),
        &SplitBy::Seed(1),
        |done, total| {
            assert!((1..=10).contains(&done) && total == 10);
            most.fetch_max(done, std::sync::atomic::Ordering::Relaxed);
        },
    )
    .unwrap();
    assert_eq!(most.into_inner(), 10);
    assert_eq!(SIZE, (5, 4));
}

#[test]
fn lists_define_the_splits() {
    let download = kvasir();
    let (from, lists) = (download.path(""), download.path("lists"));
    let set = PublicSet::named("kvasir-seg").unwrap();
    let by = SplitBy::Lists(lists);
    let try_out = || prepare(set, &from, &download.out(""), &by, |_, _| {});
    let error = try_out().unwrap_err().to_string();
    assert!(
        error.contains("none of train.txt, val.txt, test.txt"),
        "{error}"
    );
    // By name or stem, in list order; the rest is left out.
    download.write("lists/train.txt", "cju7\ncju2.png\n\n");
    download.write("lists/test.txt", "cju0.png");
    let prepared = try_out().unwrap();
    assert_eq!(prepared.images, [2, 0, 1]);
    assert!(
        prepared.rule.contains("7 images in no list"),
        "{}",
        prepared.rule
    );
    let list = std::fs::read_to_string(download.out("splits/train.txt")).unwrap();
    assert_eq!(list, "cju7.png\ncju2.png\n");
    assert!(!download.out("images/cju1.png").exists());
    // The written lists reproduce the data set.
    let again = SplitBy::Lists(download.out("splits"));
    prepare(set, &from, &download.path("again"), &again, |_, _| {}).unwrap();
    for file in ["anns/train.json", "anns/test.json", "splits/test.txt"] {
        let bytes = |root: PathBuf| std::fs::read(root.join(file)).unwrap();
        assert_eq!(bytes(download.path("again")), bytes(download.out("")));
    }
    download.remove("../out");
    for (text, reason) in [("cju0\ncju99", "cju99"), ("cju2", "a second time")] {
        download.write("lists/test.txt", text);
        let error = try_out().unwrap_err().to_string();
        assert!(
            error.contains("test.txt") && error.contains(reason),
            "{error}"
        );
        assert!(!download.out("").exists());
    }
}
