//! The facts that checks need about each file. Each file is read once.

use std::collections::HashMap;
use std::path::Path;

use vlsm_image::{
    ImageHeader, ImageOptions, LevelRule, decode_class_map, decode_header, decode_image,
    decode_mask, read_bytes,
};
use xxhash_rust::xxh3::xxh3_128;

use crate::error::Result;
use crate::file_set::{FileSet, in_parallel};
use crate::finding::FindingKind;
use crate::levels::Levels;
use crate::mask_prompts::parts;

/// Levels at most this far from black or white are counted as black or white.
const NEAR: usize = 16;

/// An image's header, and the digest of its file's bytes.
pub(crate) struct ImageFacts {
    pub(crate) header: ImageHeader,
    pub(crate) digest: Digest,
    /// Share of the channels that are neither near black nor near white, if the image was decoded.
    pub(crate) between: Option<f64>,
}

/// XXH3-128. It is not cryptographic, but accidental collisions are negligible.
pub(crate) type Digest = u128;

impl ImageFacts {
    /// Reads an image; without `pixels` only its header.
    pub(crate) fn read(path: &Path, set: &FileSet, pixels: bool) -> Result<Self> {
        let bytes = read_bytes(path)?;
        let header = decode_header(path, &bytes)?;
        let options = ImageOptions {
            first_page: set.accepts(FindingKind::MultiPage),
            ..ImageOptions::default()
        };
        let between = if pixels {
            let image = decode_image(path, &bytes, options)?;
            let levels = image.data.len().max(1) as f64;
            let between = |level: &&u8| (NEAR + 1..255 - NEAR).contains(&usize::from(**level));
            Some(image.data.iter().filter(between).count() as f64 / levels)
        } else {
            None
        };
        Ok(Self {
            header,
            digest: xxh3_128(&bytes),
            between,
        })
    }
}

/// A mask's size and content.
pub(crate) struct MaskFacts {
    pub(crate) size: (usize, usize),
    /// EXIF orientation; 1 means none.
    pub(crate) orientation: u8,
    pub(crate) content: Content,
}

pub(crate) enum Content {
    Binary(BinaryFacts),
    Classes(Vec<u8>),
}

/// What a binary mask contains.
pub(crate) struct BinaryFacts {
    pub(crate) levels: Levels,
    pub(crate) alpha_varies: bool,
    pub(crate) pixels: usize,
    /// Number of separate parts, and of foreground pixels by the file's own levels.
    pub(crate) parts: usize,
    by_file: usize,
}

impl MaskFacts {
    /// The facts of a mask's header alone, without the ids in it.
    pub(crate) fn read_header(path: &Path) -> Result<Self> {
        let header = decode_header(path, &read_bytes(path)?)?;
        Ok(Self {
            size: header.size,
            orientation: header.orientation,
            content: Content::Classes(Vec::new()),
        })
    }

    pub(crate) fn read(path: &Path, set: &FileSet) -> Result<Self> {
        let bytes = read_bytes(path)?;
        if !set.binary {
            let map = decode_class_map(path, &bytes, set.accepts(FindingKind::MultiPage))?;
            return Ok(Self {
                size: (map.width, map.height),
                orientation: decode_header(path, &bytes)?.orientation,
                content: Content::Classes(map.ids()),
            });
        }
        let grey = decode_mask(path, &bytes, set.accepts(FindingKind::MultiPage))?;
        let levels = Levels::of(&grey);
        let by_file = grey.mask(LevelRule::File);
        // Parts are counted before it is decided what the levels of all masks mean, so by what is likely.
        let likely = match &levels.ids {
            Some(ids) if ids[1] > 0 && ids[255] > 0 && (2..255).all(|id| ids[id] == 0) => {
                LevelRule::Void
            }
            _ if levels.is_dark() => LevelRule::NonZero,
            _ => LevelRule::Half,
        };
        Ok(Self {
            size: (grey.width, grey.height),
            orientation: grey.orientation,
            content: Content::Binary(BinaryFacts {
                levels,
                alpha_varies: grey.alpha_varies,
                pixels: grey.width * grey.height,
                parts: parts(&grey.mask(likely)),
                by_file: by_file.foreground(),
            }),
        })
    }
}

impl BinaryFacts {
    /// Number of foreground pixels by a rule.
    pub(crate) fn foreground(&self, rule: LevelRule) -> usize {
        let above = |counts: &Option<Box<[u32; 256]>>, lowest: usize| {
            let counts = counts.iter().flat_map(|counts| &counts[lowest..]);
            counts.map(|&n| n as usize).sum()
        };
        match rule {
            LevelRule::File => self.by_file,
            LevelRule::NonZero if self.levels.lossless => above(&self.levels.histogram, 1),
            LevelRule::Half | LevelRule::NonZero => above(&self.levels.histogram, 128),
            LevelRule::Void => self.levels.ids.as_ref().map_or(0, |ids| ids[1] as usize),
        }
    }

    /// Share of the pixels that are neither near black nor near white.
    pub(crate) fn between(&self) -> f64 {
        let counts = self.levels.histogram.iter();
        let between = counts.flat_map(|counts| &counts[NEAR + 1..255 - NEAR]);
        let between: u64 = between.map(|&n| u64::from(n)).sum();
        between as f64 / self.pixels.max(1) as f64
    }

    /// Number of different levels.
    pub(crate) fn different_levels(&self) -> usize {
        let counts = self
            .levels
            .histogram
            .iter()
            .flat_map(|counts| counts.iter());
        counts.filter(|&&n| n > 0).count()
    }
}

/// Reads files on all cores.
pub(crate) fn read_all<'a, T: Send>(
    files: Vec<&'a Path>,
    read: impl Fn(&Path) -> Result<T> + Sync,
) -> Facts<'a, T> {
    let facts = in_parallel(&files, |path| read(path));
    files.into_iter().zip(facts).collect()
}

/// The facts of files by their paths.
pub(crate) type Facts<'a, T> = HashMap<&'a Path, Result<T>>;
