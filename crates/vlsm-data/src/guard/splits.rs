//! Files and subjects in several splits or in none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::words::{are, few, shown};
use crate::file_set::FileSet;
use crate::finding::{FindingKind, Severity};
use crate::findings::Findings;
use crate::split::Split;

/// Image files in several splits.
pub(super) fn shared_images(set: &FileSet, found: &mut Findings) {
    let of = |index: usize| -> BTreeSet<&Path> {
        set.splits[index]
            .iter()
            .map(|file| file.image.as_path())
            .collect()
    };
    let [train, val, test] = [of(0), of(1), of(2)];
    for (a, b, severity, names) in [
        (&train, &test, Severity::Error, "train and test"),
        (&train, &val, Severity::Warning, "train and val"),
        (&val, &test, Severity::Warning, "val and test"),
    ] {
        let both: Vec<&Path> = a.intersection(b).copied().collect();
        if !both.is_empty() {
            let message = format!(
                "{} in both {names} ({}); keep each image in one split, or the metrics are misleading",
                are(both.len(), "image", "is", "are"),
                few(&both)
            );
            found.add(severity, FindingKind::SharedImage, &both, message);
        }
    }
}

/// Subjects in several splits.
pub(super) fn shared_subjects(set: &FileSet, found: &mut Findings) {
    if !set.has_subjects {
        return;
    }
    let mut splits: BTreeMap<&str, BTreeSet<Split>> = BTreeMap::new();
    for (split, files) in Split::ALL.into_iter().zip(&set.splits) {
        for file in files {
            splits.entry(&file.subject).or_default().insert(split);
        }
    }
    let several: Vec<&str> = splits
        .into_iter()
        .filter(|(_, splits)| splits.len() > 1)
        .map(|(subject, _)| subject)
        .collect();
    if !several.is_empty() {
        let message = format!(
            "{} in several splits ({}), so the metrics are too good; keep each subject in one split",
            are(several.len(), "subject", "is", "are"),
            shown(
                several.iter().map(|subject| format!("`{subject}`")),
                several.len()
            )
        );
        found.add(Severity::Warning, FindingKind::SharedSubject, &[], message);
    }
}

pub(super) fn unlisted(set: &FileSet, found: &mut Findings) {
    let files: Vec<&Path> = set.unlisted.iter().map(PathBuf::as_path).collect();
    if files.is_empty() {
        return;
    }
    let message = format!(
        "{} in no annotation file and not used, although there are masks ({}); write the annotations again with `vlsm data prompts \
         --force`, or remove the files",
        are(files.len(), "image", "is", "are"),
        few(&files)
    );
    found.add(Severity::Warning, FindingKind::Unlisted, &files, message);
}
