//! What the images show: sizes, orientation, and the window of 16-bit images.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use vlsm_image::{FULL_WINDOW, Window, window_of};

use super::words::{SHOWN, are, few};
use crate::error::DataError;
use crate::facts::{Facts, ImageFacts, MaskFacts};
use crate::file_set::{FileSet, histogram};
use crate::finding::{FindingKind, Severity};
use crate::findings::Findings;

/// The first few pairs of different size.
pub(super) fn sizes(
    set: &FileSet,
    images: &Facts<'_, ImageFacts>,
    masks: &Facts<'_, MaskFacts>,
    findings: &mut Findings,
) {
    let different = set.splits.iter().flatten().filter_map(|pair| {
        let image = images.get(pair.image.as_path())?.as_ref().ok()?.header.size;
        let mask = masks.get(pair.mask.as_path())?.as_ref().ok()?.size;
        (image != mask).then(|| DataError::SizeMismatch {
            image: pair.image.clone(),
            image_size: image,
            mask: pair.mask.clone(),
            mask_size: mask,
        })
    });
    different
        .take(SHOWN)
        .for_each(|fault| findings.fault(fault));
}

/// Images that EXIF turns. Masks of another size are reported as such.
pub(super) fn orientation(
    set: &FileSet,
    images: &Facts<'_, ImageFacts>,
    masks: &Facts<'_, MaskFacts>,
    found: &mut Findings,
) {
    let (mut sure, mut unsure) = (BTreeSet::new(), BTreeSet::new());
    for pair in set.splits.iter().flatten() {
        let Some(Ok(image)) = images.get(pair.image.as_path()) else {
            continue;
        };
        let orientation = image.header.orientation;
        if orientation == 1 {
            continue;
        }
        let is_alike = match masks.get(pair.mask.as_path()) {
            Some(Ok(mask)) => {
                let (width, height) = image.header.size;
                let is_proved = orientation > 4 && width != height && mask.size == (width, height);
                is_proved || mask.orientation == orientation
            }
            _ => false,
        };
        if is_alike { &mut sure } else { &mut unsure }.insert(pair.image.as_path());
    }
    if !sure.is_empty() {
        let sure: Vec<&Path> = sure.into_iter().collect();
        let message = format!(
            "{} turned as the EXIF orientation says ({}); the masks fit",
            are(sure.len(), "image", "is", "are"),
            few(&sure)
        );
        found.add(Severity::Notice, FindingKind::Orientation, &sure, message);
    }
    if !unsure.is_empty() {
        let unsure: Vec<&Path> = unsure.into_iter().collect();
        let message = format!(
            "{} turned or mirrored as the EXIF orientation says ({}), but the masks are not; check that the masks were drawn \
             on the turned images, or remove the orientation from the images",
            are(unsure.len(), "image", "is", "are"),
            few(&unsure)
        );
        found.add(
            Severity::Warning,
            FindingKind::Orientation,
            &unsure,
            message,
        );
    }
}

/// The window over the training images of all pooled data sets, unless it is already known.
pub(crate) fn window(sets: &[Arc<FileSet>], findings: &mut Findings) -> Option<Window> {
    if sets.iter().any(|set| set.has_window) {
        return None;
    }
    let window = match sets {
        [set] => set.window().ok().flatten()?,
        sets => {
            let images: Vec<&Path> = sets
                .iter()
                .flat_map(|set| &set.splits[0])
                .map(|file| file.image.as_path())
                .collect();
            window_of(&histogram(&images, true)?).unwrap_or(FULL_WINDOW)
        }
    };
    if window == FULL_WINDOW {
        return Some(window);
    }
    let [low, high] = window;
    let message = format!(
        "the 16-bit images use a small part of the range: levels from {low} (black) to {high} (white) are shown, the window \
         of the training images; set `data.window` to choose another"
    );
    findings.add(Severity::Notice, FindingKind::Window, &[], message);
    Some(window)
}
