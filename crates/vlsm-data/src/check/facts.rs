//! What a check needs to know of each file, from reading it once.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_128;

use crate::config::Format;
use crate::error::Result;
use crate::formats::{Listing, Pair};
use vlsm_image::{decode_class_map, decode_image, decode_mask, read_bytes};

/// What is known of an image: its size and a digest of the file's bytes.
pub(super) struct ImageFacts {
    pub(super) size: (usize, usize),
    pub(super) digest: Digest,
}

/// Not proof against an adversary, but equal only for equal files.
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

/// What is known of a mask.
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
