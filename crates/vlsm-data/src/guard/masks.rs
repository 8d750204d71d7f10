//! What the masks show.

use std::collections::HashSet;
use std::path::Path;

use vlsm_image::LevelRule;

use super::words::{few, in_order};
use crate::facts::{BinaryFacts, Facts, ImageFacts};
use crate::file_set::FileSet;
use crate::finding::{FindingKind, Severity};
use crate::findings::Findings;
use crate::levels::Levels;

/// Share of the pixels between black and white from which a mask is probably a picture. Masks in JPEG have less.
const PICTURE: f64 = 0.10;

/// The same share up to which an image is probably a mask.
const MASK: f64 = 0.02;

/// Number of levels that a picture has at least.
const PICTURE_LEVELS: usize = 16;

/// Share of the pixels below which there is next to no foreground.
const TINY: f64 = 1e-4;

/// Number of separate parts that a mask rarely has more of.
const PARTS: usize = 10;

/// Whether these are more than half of all.
fn is_most(files: &[&Path], of: usize) -> bool {
    2 * files.len() > of
}

/// Adds what binary masks show, and decides what their levels mean.
pub(super) fn masks(
    set: &FileSet,
    masks: &[(&Path, &BinaryFacts)],
    images: &Facts<'_, ImageFacts>,
    found: &mut Findings,
) {
    let of = |is: &dyn Fn(&BinaryFacts) -> bool| -> Vec<&Path> {
        let found = masks.iter().filter(|(_, facts)| is(facts));
        found.map(|(path, _)| *path).collect()
    };
    let all = masks.len();

    let varying = of(&|facts| facts.alpha_varies && facts.different_levels() == 1);
    if !varying.is_empty() {
        let message = format!(
            "{} of {all} masks have one colour, and their shape in the alpha channel, which is dropped ({}); save the shape \
             in black and white, without alpha",
            varying.len(),
            few(&varying)
        );
        found.add(Severity::Error, FindingKind::Alpha, &varying, message);
        if !set.accepts(FindingKind::Alpha) {
            return;
        }
    }
    let varying = of(&|facts| facts.alpha_varies);
    if !varying.is_empty() {
        let message = format!(
            "{} of {all} masks have an alpha channel that is not constant and is dropped ({}); save them without alpha",
            varying.len(),
            few(&varying)
        );
        found.add(Severity::Warning, FindingKind::Alpha, &varying, message);
    }

    let pictures =
        of(&|facts| facts.between() > PICTURE && facts.different_levels() > PICTURE_LEVELS);
    if is_most(&pictures, all) {
        let known: Vec<f64> = in_order(images)
            .filter_map(|(_, facts)| facts.ok()?.between)
            .collect();
        let like_masks = known.iter().filter(|&&between| between < MASK).count();
        let (kind, message) = if !known.is_empty() && 2 * like_masks > known.len() {
            (
                FindingKind::Exchanged,
                "the masks look like images and the images like masks; exchange `data.images` and `data.masks`".to_string(),
            )
        } else {
            (
                FindingKind::Picture,
                format!(
                    "{} of {all} masks look like photographs or overlays ({}); a mask is black with white objects",
                    pictures.len(),
                    few(&pictures)
                ),
            )
        };
        found.add(Severity::Error, kind, &pictures, message);
        if !set.accepts(kind) {
            return;
        }
    } else if !pictures.is_empty() {
        let message = format!(
            "{} of {all} masks look like photographs or overlays ({}); a mask is black with white objects",
            pictures.len(),
            few(&pictures)
        );
        found.add(Severity::Warning, FindingKind::Picture, &pictures, message);
    }

    let levels: Vec<(&Path, &Levels)> = masks
        .iter()
        .map(|(path, facts)| (*path, &facts.levels))
        .collect();
    let meaning = match set.decide_by(&levels) {
        Ok(meaning) => meaning,
        Err(fault) => {
            let file: Vec<&Path> = fault.path().into_iter().collect();
            found.add(
                Severity::Error,
                FindingKind::Levels,
                &file,
                fault.to_string(),
            );
            return;
        }
    };
    if let Some(level) = meaning.single {
        let message = format!(
            "the masks have the levels 0 and {level}; {level} is taken as foreground, save it as 255 to be clear"
        );
        found.add(Severity::Warning, FindingKind::SingleLevel, &[], message);
    }

    if meaning.rule == LevelRule::Void {
        let message = "the masks have the levels 0, 1 and 255: 1 is foreground, and 255 is left out of loss and metrics";
        found.add(
            Severity::Notice,
            FindingKind::Levels,
            &[],
            message.to_string(),
        );
    }

    let train: HashSet<&Path> = set.splits[0].iter().map(|file| &*file.mask).collect();
    let shown: Vec<Shown<'_>> = masks
        .iter()
        .map(|(path, facts)| Shown {
            path,
            share: facts.foreground(meaning.rule) as f64 / facts.pixels.max(1) as f64,
            parts: facts.parts,
            train: train.contains(path),
        })
        .collect();
    foreground(
        &shown,
        "check `data.masks`, and that foreground is white",
        found,
    );
}

/// The foreground of a mask.
pub(super) struct Shown<'a> {
    /// The mask's file, or the name of its sample.
    pub(super) path: &'a Path,
    /// Share of the pixels.
    pub(super) share: f64,
    /// Number of separate parts.
    pub(super) parts: usize,
    /// Whether it is in the training split.
    pub(super) train: bool,
}

/// Adds what is odd about the foreground of all masks. `fix` is the advice if there is none.
pub(super) fn foreground(masks: &[Shown<'_>], fix: &str, found: &mut Findings) {
    let of = |is: &dyn Fn(&Shown<'_>) -> bool| -> Vec<&Path> {
        let found = masks.iter().filter(|mask| is(mask));
        found.map(|mask| mask.path).collect()
    };
    let all = masks.len();
    let empty = of(&|mask| mask.share == 0.0);
    let mut train = masks.iter().filter(|mask| mask.train).peekable();
    if train.peek().is_some() && train.all(|mask| mask.share == 0.0) {
        let message =
            format!("all masks of the training split are empty, so nothing can be learned; {fix}");
        found.add(Severity::Error, FindingKind::EmptyMask, &empty, message);
    } else if !empty.is_empty() {
        let message = format!(
            "{} of {all} masks are empty ({}); drop the pairs unless there is truly nothing to segment",
            empty.len(),
            few(&empty)
        );
        found.add(Severity::Warning, FindingKind::EmptyMask, &empty, message);
    }
    let shown = all - empty.len();
    let over_half = of(&|mask| mask.share > 0.5);
    if is_most(&over_half, shown) {
        let message = format!(
            "{} of {shown} masks are foreground for more than half of the image ({}); invert them if the objects are black",
            over_half.len(),
            few(&over_half)
        );
        found.add(
            Severity::Warning,
            FindingKind::Inverted,
            &over_half,
            message,
        );
    }
    let tiny = of(&|mask| mask.share > 0.0 && mask.share < TINY);
    if is_most(&tiny, shown) {
        let message = format!(
            "{} of {shown} masks have foreground on less than 0.01 % of the image ({}); {fix}",
            tiny.len(),
            few(&tiny)
        );
        found.add(Severity::Warning, FindingKind::Tiny, &tiny, message);
    }
    let parts = of(&|mask| mask.parts > PARTS);
    if is_most(&parts, shown) {
        let message = format!(
            "{} of {shown} masks have more than {PARTS} separate parts ({}); check that they are masks of objects",
            parts.len(),
            few(&parts)
        );
        found.add(Severity::Warning, FindingKind::Parts, &parts, message);
    }
}
