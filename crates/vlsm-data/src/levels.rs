//! Decides what the levels of a data set's binary masks mean, once for all masks.
//!
//! - Black and white, also with the noise of JPEG or smooth edges: the upper half is foreground.
//! - {0, 1}, or 0 and any other single level: everything but 0 is foreground.
//! - {0, 1, 255}: 1 is foreground, and 255 is left out of loss and metrics.
//! - Anything else in lossless files is an error, because a guess would often be wrong.

use std::path::Path;

use vlsm_image::{GreyMask, ImageError, LevelRule, Mask, Result};

/// More levels than this are not ids but noise, smooth edges or a picture.
const FEW: usize = 16;

/// Share of the flat pixels above 0 that smooth edges may have.
const EDGES: f64 = 0.05;

/// The same share if there are many levels, as in masks that were JPEG.
const BLUR: f64 = 0.5;

/// Share of a mask's pixels below which a level may be noise.
const NOISE: f64 = 1e-3;

/// The levels of one mask.
#[derive(Clone, Debug)]
pub(crate) struct Levels {
    /// Whether the format keeps levels as they are.
    pub(crate) lossless: bool,
    /// [`GreyMask::histogram`].
    pub(crate) histogram: Option<Box<[u32; 256]>>,
    /// [`GreyMask::flat_histogram`].
    flat: Option<Box<[u32; 256]>>,
    /// [`GreyMask::ids`].
    pub(crate) ids: Option<Box<[u32; 256]>>,
    /// The largest level in the file.
    pub(crate) max: u16,
}

/// What the levels of a data set mean.
#[derive(Clone, Debug)]
pub(crate) struct Meaning {
    /// How levels become foreground.
    pub(crate) rule: LevelRule,
    /// The only level above 0, if it is neither 1 nor in the upper half.
    pub(crate) single: Option<u8>,
    /// The levels that lossless masks may have, if they are few.
    allowed: Option<Box<[bool; 256]>>,
}

impl Levels {
    pub(crate) fn of(mask: &GreyMask) -> Self {
        Self {
            lossless: mask.lossless,
            histogram: mask.histogram().map(Box::new),
            flat: mask.flat_histogram().map(Box::new),
            ids: mask.ids().map(Box::new),
            max: mask.max(),
        }
    }

    /// Whether no level is in the upper half.
    pub(crate) fn is_dark(&self) -> bool {
        let upper = self.histogram.iter().flat_map(|counts| &counts[128..]);
        upper.into_iter().all(|&n| n == 0)
    }

    fn pixels(&self) -> f64 {
        self.histogram
            .iter()
            .flat_map(|counts| counts.iter())
            .map(|&n| f64::from(n))
            .sum()
    }
}

impl Meaning {
    /// Each file as its own levels suggest.
    pub(crate) const BY_FILE: Self = Self {
        rule: LevelRule::File,
        single: None,
        allowed: None,
    };

    fn new(rule: LevelRule) -> Self {
        Self {
            rule,
            ..Self::BY_FILE
        }
    }

    /// The mask of a file. A lossless file with levels that the others do not have is an error.
    pub(crate) fn mask(&self, path: &Path, mask: &GreyMask) -> Result<Mask> {
        if let Some(allowed) = self.allowed.as_deref().filter(|_| mask.lossless) {
            let counts = match self.rule {
                LevelRule::Void => mask.ids(),
                _ => mask.histogram(),
            };
            let counts = counts.ok_or_else(|| wide(path, mask.max()))?;
            if let Some(level) = (0..256).find(|&level| counts[level] > 0 && !allowed[level]) {
                let known = (0..256)
                    .filter(|&level| allowed[level])
                    .map(|level| level.to_string());
                let known: Vec<String> = known.collect();
                return Err(fault(
                    path,
                    format!(
                        "it has level {level}, but the data set's other masks have {} only; save it like the others",
                        known.join(", ")
                    ),
                ));
            }
        }
        Ok(mask.mask(self.rule))
    }
}

/// What the levels of these masks mean.
///
/// # Errors
/// [`ImageError::Levels`] if they do not say what is foreground.
pub(crate) fn decide(masks: &[(&Path, &Levels)]) -> Result<Meaning> {
    let lossless: Vec<(&Path, &Levels)> = masks
        .iter()
        .copied()
        .filter(|(_, levels)| levels.lossless)
        .collect();
    let mut counts = [0u64; 256];
    let mut flat = [0u64; 256];
    let mut ids = [0u64; 256];
    for (path, levels) in &lossless {
        let (Some(histogram), Some(own_flat), Some(own)) =
            (&levels.histogram, &levels.flat, &levels.ids)
        else {
            return Err(wide(path, levels.max));
        };
        for level in 0..256 {
            counts[level] += u64::from(histogram[level]);
            flat[level] += u64::from(own_flat[level]);
            ids[level] += u64::from(own[level]);
        }
    }
    let found: Vec<usize> = (0..256).filter(|&level| counts[level] > 0).collect();
    let above: Vec<usize> = found.iter().copied().filter(|&level| level > 0).collect();
    let allowed = |counts: &[u64; 256]| {
        let mut allowed = Box::new(counts.map(|n| n > 0));
        allowed[0] = true;
        Some(allowed)
    };
    match above.as_slice() {
        // Every mask is empty, or there is no lossless one.
        [] => return Ok(Meaning::new(LevelRule::Half)),
        [level] if *level >= 128 => {
            return Ok(Meaning {
                allowed: allowed(&counts),
                ..Meaning::new(LevelRule::Half)
            });
        }
        _ => {}
    }
    let is_void = ids[1] > 0 && ids[255] > 0 && (2..255).all(|id| ids[id] == 0);
    if is_void {
        let has = |levels: &Levels, id: usize| levels.ids.as_ref().is_some_and(|ids| ids[id] > 0);
        if lossless
            .iter()
            .any(|(_, levels)| has(levels, 1) && has(levels, 255))
        {
            return Ok(Meaning {
                allowed: allowed(&ids),
                ..Meaning::new(LevelRule::Void)
            });
        }
        let with = |id| {
            lossless
                .iter()
                .find(|(_, levels)| has(levels, id))
                .map(|(path, _)| *path)
        };
        if let (Some(ones), Some(white)) = (with(1), with(255)) {
            return Err(mixed(ones, 1, white));
        }
    }
    let ends = [
        found.first().copied().unwrap_or(0),
        found.last().copied().unwrap_or(0),
    ];
    let with_level = |level: usize| {
        let has = |levels: &&(&Path, &Levels)| {
            levels
                .1
                .histogram
                .as_ref()
                .is_some_and(|counts| counts[level] > 0)
        };
        lossless
            .iter()
            .find(has)
            .map_or(Path::new(""), |(path, _)| *path)
    };
    if ends[1] < 128 {
        if let [level] = above.as_slice() {
            let is_index = (2..256).all(|id| ids[id] == 0);
            return Ok(Meaning {
                single: u8::try_from(*level).ok().filter(|_| !is_index),
                allowed: allowed(&counts),
                ..Meaning::new(LevelRule::NonZero)
            });
        }
        return Err(ambiguous(with_level(ends[1]), &found));
    }
    // Among masks in black and white, one of {0, 1} would be empty.
    for (path, levels) in &lossless {
        let Some(histogram) = &levels.histogram else {
            continue;
        };
        let own: Vec<usize> = (1..256).filter(|&level| histogram[level] > 0).collect();
        if let [level @ ..128] = own[..]
            && f64::from(histogram[level]) > NOISE * levels.pixels()
        {
            return Err(mixed(path, level, with_level(ends[1])));
        }
    }
    let between: u64 = (0..256)
        .filter(|level| !ends.contains(level))
        .map(|level| flat[level])
        .sum();
    let foreground: u64 = flat[1..].iter().sum();
    let most = if found.len() <= FEW { EDGES } else { BLUR };
    if between as f64 > most * foreground as f64 {
        let middle = (0..256)
            .filter(|level| !ends.contains(level))
            .max_by_key(|&level| flat[level]);
        return Err(ambiguous(with_level(middle.unwrap_or(0)), &found));
    }
    Ok(Meaning::new(LevelRule::Half))
}

fn fault(path: &Path, reason: String) -> ImageError {
    ImageError::Levels {
        path: path.to_path_buf(),
        reason,
    }
}

fn wide(path: &Path, max: u16) -> ImageError {
    fault(
        path,
        format!(
            "its 16-bit levels go up to {max}, which is neither white nor an 8-bit level; save masks with 8 bits, \
             background 0 and foreground 255"
        ),
    )
}

fn mixed(path: &Path, level: usize, white: &Path) -> ImageError {
    fault(
        path,
        format!(
            "its foreground has level {level}, but that of `{}` is white; save all masks with background 0 and foreground \
             255",
            white.display()
        ),
    )
}

fn ambiguous(path: &Path, found: &[usize]) -> ImageError {
    let mut levels: Vec<String> = found.iter().take(FEW).map(ToString::to_string).collect();
    if found.len() > FEW {
        levels.push("...".to_string());
    }
    fault(
        path,
        format!(
            "the levels of the data set's masks are {}, which do not say what is foreground; if they are class ids, name \
             them in a `classes.json`; else save masks with background 0 and foreground 255",
            levels.join(", ")
        ),
    )
}
