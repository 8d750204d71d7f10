//! Guards on masks and images: what makes a training wrong without an error. Training, `data prompts` and `data check`
//! use them.

mod images;
mod masks;
mod memory;
mod splits;
mod words;

use std::collections::HashSet;
use std::path::Path;

use vlsm_image::Window;

use crate::dataset::Dataset;
use crate::error::{DataError, Result};
use crate::facts::{BinaryFacts, Content, Facts, ImageFacts, MaskFacts, read_all};
use crate::file_set::{FileSet, SAMPLE, spread};
use crate::finding::{Finding, FindingKind, Severity};
use crate::findings::Findings;
use images::{orientation, sizes};
use splits::{shared_images, shared_subjects, unlisted};
use words::in_order;

pub(crate) use images::window;

/// Number of images of which the pixels are looked at.
const PICTURES: usize = 50;

/// What the guards found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct GuardReport {
    /// The findings: errors where a training would surely be wrong, warnings where it may be, and notices.
    pub findings: Vec<Finding>,
    /// The window of 16-bit images, if there are any and the recipe gives none. A run records it as `data.window`.
    pub window: Option<Window>,
}

impl GuardReport {
    /// The report without the findings of these kinds, as `data.accept` does for files.
    #[must_use]
    pub fn accept(mut self, kinds: &[FindingKind]) -> Self {
        self.findings
            .retain(|finding| !kinds.contains(&finding.kind));
        self
    }

    /// The report, or an error with the messages of all errors.
    ///
    /// # Errors
    /// [`DataError::Guard`] if a finding is an error.
    pub fn into_result(self) -> Result<Self> {
        let errors = self
            .findings
            .iter()
            .filter(|finding| finding.severity == Severity::Error);
        let messages: Vec<&str> = errors.map(|finding| finding.message.as_str()).collect();
        if messages.is_empty() {
            return Ok(self);
        }
        let mut messages = messages.join("\n");
        let mut kinds = FindingKind::ACCEPTABLE.iter();
        if kinds.any(|kind| messages.contains(&format!("[{kind}]"))) {
            messages += "\nif this is right for your data, add the names in brackets to `data.accept`, or give each with \
                         `--accept`";
        }
        Err(DataError::Guard { messages })
    }
}

/// Looks at the masks and images of a data set that is made of files, and at the binary masks of one in memory. Of a set with more
/// than 2000 masks or images, 2000 that are spread evenly are looked at.
pub fn guard(dataset: &Dataset) -> GuardReport {
    let mut findings = Findings::default();
    for set in &dataset.files {
        let images = spread(&set.distinct(|file| &file.image), SAMPLE);
        let pictures: HashSet<&Path> = spread(&images, PICTURES).into_iter().collect();
        let images = read_all(images, |path| {
            ImageFacts::read(path, set, pictures.contains(path))
        });
        let masks = spread(&set.distinct(|file| &file.mask), SAMPLE);
        let masks = read_all(masks, |path| match set.binary {
            true => MaskFacts::read(path, set),
            // Opening the data set has read the ids of them all.
            false => MaskFacts::read_header(path),
        });
        unreadable(set, &images, &mut findings);
        unreadable(set, &masks, &mut findings);
        sizes(set, &images, &masks, &mut findings);
        shared_images(set, &mut findings);
        rules(set, &images, &masks, &mut findings);
        findings.accept(&set.accept);
    }
    // Drawn data sets have neither files nor faults.
    if dataset.files.is_empty() && dataset.format.is_none() {
        memory::masks(dataset, &mut findings);
        findings.accept(&[]);
    }
    let window = window(&dataset.files, &mut findings);
    GuardReport {
        findings: findings.0,
        window,
    }
}

/// Files that cannot be read. One of the test split is only a warning, since training does not need it.
fn unreadable<T>(set: &FileSet, facts: &Facts<'_, T>, findings: &mut Findings) {
    let [train, val, _] = &set.splits;
    let needed: HashSet<&Path> = train
        .iter()
        .chain(val)
        .flat_map(|pair| [pair.image.as_path(), pair.mask.as_path()])
        .collect();
    for (path, facts) in in_order(facts) {
        let Err(fault) = facts else { continue };
        let before = findings.0.len();
        findings.fault(fault.clone());
        if !needed.contains(path) {
            findings.0[before..]
                .iter_mut()
                .filter(|finding| finding.kind == FindingKind::Unreadable)
                .for_each(|finding| finding.severity = Severity::Warning);
        }
    }
}

/// Adds what the facts of a set's files show.
pub(crate) fn rules(
    set: &FileSet,
    images: &Facts<'_, ImageFacts>,
    masks: &Facts<'_, MaskFacts>,
    findings: &mut Findings,
) {
    shared_subjects(set, findings);
    unlisted(set, findings);
    orientation(set, images, masks, findings);
    let binary = in_order(masks).filter_map(|(path, facts)| match &facts.ok()?.content {
        Content::Binary(facts) => Some((path, facts)),
        Content::Classes(_) => None,
    });
    let binary: Vec<(&Path, &BinaryFacts)> = binary.collect();
    if !binary.is_empty() {
        masks::masks(set, &binary, images, findings);
    }
    let total = set.distinct(|file| &file.mask).len();
    if masks.len() < total && !masks.is_empty() {
        let message = format!(
            "{} of {total} masks were looked at, spread evenly",
            masks.len()
        );
        findings.add(Severity::Notice, FindingKind::Levels, &[], message);
    }
}

#[cfg(test)]
mod tests;
