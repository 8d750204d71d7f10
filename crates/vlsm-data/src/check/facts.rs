//! The facts that a check needs about each file. Each file is read once.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_128;

use crate::config::Format;
use crate::error::Result;
use crate::formats::{Listing, Pair};
use vlsm_image::{decode_class_map, decode_image, decode_mask, read_bytes};

/// An image's size and the digest of its file's bytes.
pub(super) struct ImageFacts {
    pub(super) size: (usize, usize),
    pub(super) digest: Digest,
}

/// XXH3-128. It is not cryptographic, but accidental collisions are negligible.
pub(super) type Digest = u128;

impl ImageFacts {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let bytes = read_bytes(path)?;
        let image = decode_image(path, &bytes)?;
        Ok(Self {
            size: (image.width, image.height),
            digest: xxh3_128(&bytes),
        })
    }
}

/// A mask's size and content.
pub(super) struct MaskFacts {
    pub(super) size: (usize, usize),
    pub(super) content: Content,
}

pub(super) enum Content {
    Binary { foreground: usize, max_level: u16 },
    Classes(Vec<u8>),
}

impl MaskFacts {
    pub(super) fn read(path: &Path, format: Format) -> Result<Self> {
        let bytes = read_bytes(path)?;
        if format == Format::Classes {
            let map = decode_class_map(path, &bytes)?;
            return Ok(Self {
                size: (map.width, map.height),
                content: Content::Classes(map.ids()),
            });
        }
        let decoded = decode_mask(path, &bytes)?;
        let content = Content::Binary {
            foreground: decoded.mask.foreground(),
            max_level: decoded.max_level,
        };
        Ok(Self {
            size: (decoded.mask.width, decoded.mask.height),
            content,
        })
    }
}

pub(super) type Facts<'a, T> = HashMap<&'a Path, Result<T>>;

/// Reads each distinct file once.
pub(super) fn read_all<'a, T: Send>(
    listing: &'a Listing,
    file: impl Fn(&'a Pair) -> &'a PathBuf,
    read: impl Fn(&Path) -> Result<T> + Sync,
) -> Facts<'a, T> {
    let mut seen = HashSet::new();
    let files = listing
        .splits
        .iter()
        .flatten()
        .map(|pair| file(pair).as_path());
    let distinct: Vec<&Path> = files.filter(|path| seen.insert(*path)).collect();
    distinct
        .into_par_iter()
        .map(|path| (path, read(path)))
        .collect()
}
