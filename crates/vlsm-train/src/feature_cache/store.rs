//! The files of the feature cache: one per image, in folders of images whose values were computed in the same way.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use half::f16;
use half::slice::HalfFloatSliceExt;
use vlsm_image::fs::{PART_SUFFIX, read_up_to, replace_unsynced, sweep_parts};
use xxhash_rust::xxh3::xxh3_128;

use crate::recipe::CacheDtype;

/// First bytes of a file. A digest of the values follows, then the values, little-endian.
const MAGIC: &[u8; 8] = b"vlsmfeat";
const HEADER: usize = MAGIC.len() + size_of::<u128>();

/// Suffix of file names.
const SUFFIX: &str = ".features";

/// A file in each folder that is written when a run uses the folder.
const USED: &str = "used";

impl CacheDtype {
    /// `f32` or `f16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        }
    }

    /// Bytes of a value.
    pub(super) fn size(self) -> usize {
        match self {
            Self::F32 => size_of::<f32>(),
            Self::F16 => size_of::<f16>(),
        }
    }

    /// Rounds values to those that reading them back would give.
    pub(super) fn round(self, values: &mut [f32]) {
        if self == Self::F16 {
            half(values).convert_to_f32_slice(values);
        }
    }

    /// Appends the bytes of values, little-endian.
    pub(super) fn append(self, values: &[f32], bytes: &mut Vec<u8>) {
        match self {
            Self::F32 => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            Self::F16 => bytes.extend(half(values).iter().flat_map(|value| value.to_le_bytes())),
        }
    }

    /// Fills `values` from their bytes.
    fn read(self, bytes: &[u8], values: &mut [f32]) {
        match self {
            Self::F32 => {
                let (bytes, _) = bytes.as_chunks();
                for (value, bytes) in values.iter_mut().zip(bytes) {
                    *value = f32::from_le_bytes(*bytes);
                }
            }
            Self::F16 => {
                let (bytes, _) = bytes.as_chunks();
                let half: Vec<f16> = bytes.iter().map(|two| f16::from_le_bytes(*two)).collect();
                half.convert_to_f32_slice(values);
            }
        }
    }
}

fn half(values: &[f32]) -> Vec<f16> {
    let mut half = vec![f16::ZERO; values.len()];
    half.convert_from_f32_slice(values);
    half
}

/// A folder of files of equal length.
#[derive(Debug)]
pub(super) struct Store {
    /// The folder.
    pub(super) folder: PathBuf,
    /// How values are stored.
    pub(super) dtype: CacheDtype,
    /// Number of values per image.
    pub(super) values: usize,
}

impl Store {
    /// Bytes of a file.
    pub(super) fn file_size(&self) -> u64 {
        (HEADER + self.values * self.dtype.size()) as u64
    }

    fn path(&self, digest: u128) -> PathBuf {
        self.folder.join(format!("{digest:032x}{SUFFIX}"))
    }

    /// Digests of the images that have files. Creates the folder and removes temporary files of killed processes.
    pub(super) fn open(&self) -> io::Result<HashSet<u128>> {
        std::fs::create_dir_all(&self.folder)?;
        sweep_parts(&self.folder);
        let mut present = HashSet::new();
        for path in entries(&self.folder)? {
            // Another process may have deleted it.
            let Ok(metadata) = std::fs::metadata(&path) else {
                continue;
            };
            let stem = path
                .file_name()
                .and_then(|name| name.to_str()?.strip_suffix(SUFFIX));
            if let Some(Ok(digest)) = stem.map(|stem| u128::from_str_radix(stem, 16))
                && metadata.len() == self.file_size()
            {
                present.insert(digest);
            }
        }
        Ok(present)
    }

    /// Fills `row`, whose parts together hold the values of one image, from the image's file. Returns false if the file is missing
    /// or damaged; it must then be written again.
    pub(super) fn read(&self, digest: u128, row: &mut [&mut [f32]]) -> bool {
        let Ok(bytes) = read_up_to(&self.path(digest), self.file_size()) else {
            return false;
        };
        let Some((start, mut values)) = bytes.split_at_checked(HEADER) else {
            return false;
        };
        if bytes.len() as u64 != self.file_size() || start != header(values) {
            return false;
        }
        for part in row {
            let (own, rest) = values.split_at(part.len() * self.dtype.size());
            self.dtype.read(own, part);
            values = rest;
        }
        true
    }

    /// Writes an image's file, whole or not at all. Does not wait until it is on the disk: [`read`](Self::read) detects a file that
    /// was lost.
    pub(super) fn write(&self, digest: u128, row: &[&mut [f32]]) -> io::Result<()> {
        let mut values = Vec::with_capacity(self.values * self.dtype.size());
        for part in row {
            self.dtype.append(part, &mut values);
        }
        // The cache may have been cleared.
        std::fs::create_dir_all(&self.folder)?;
        replace_unsynced(&self.path(digest), |file| {
            file.write_all(&header(&values))?;
            file.write_all(&values)
        })
    }
}

/// The bytes before a file's values.
fn header(values: &[u8]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let (magic, digest) = header.split_at_mut(MAGIC.len());
    magic.copy_from_slice(MAGIC);
    digest.copy_from_slice(&xxh3_128(values).to_le_bytes());
    header
}

/// The folder of features if the recipe sets none: `features` in `$VLSM_CACHE`, else in `vlsm` in the
/// user's cache folder; `None` if there is no home folder.
pub fn default_folder() -> Option<PathBuf> {
    let variable = std::env::var_os("VLSM_CACHE").filter(|path| !path.is_empty());
    let cache = match variable {
        Some(path) => PathBuf::from(path),
        None => dirs::cache_dir()?.join("vlsm"),
    };
    Some(cache.join("features"))
}

/// The size of a folder of features.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Number of images.
    pub images: usize,
    /// Bytes of their files and of temporary files that killed processes left.
    pub bytes: u64,
}

/// The size of a folder of features; zero if the folder does not exist.
///
/// # Errors
/// If the folder cannot be read.
pub fn usage(folder: &Path) -> io::Result<Usage> {
    total(sets(folder)?, size_of_set)
}

/// Deletes the features in a folder, and nothing else. Returns the size of what was deleted. A run that needs them computes them
/// again.
///
/// # Errors
/// If the folder cannot be read or a file cannot be deleted.
pub fn clear(folder: &Path) -> io::Result<Usage> {
    total(sets(folder)?, delete_set)
}

/// Marks a set of features as just used.
pub(super) fn touch(set: &Path) {
    // Without it, the set is only deleted earlier.
    let _ = std::fs::write(set.join(USED), "");
}

/// Deletes the sets of features that were not used for longest, until they had at least that many bytes; `keep` stays. Returns the
/// bytes that were deleted. A training that uses a deleted set computes it again.
///
/// # Errors
/// If the folder cannot be read or a file cannot be deleted.
pub(super) fn make_space(root: &Path, keep: &Path, bytes: u64) -> io::Result<u64> {
    let mut others = sets(root)?;
    others.retain(|set| set != keep);
    others.sort_by_cached_key(|set| {
        let used = std::fs::metadata(set.join(USED)).and_then(|metadata| metadata.modified());
        (used.unwrap_or(SystemTime::UNIX_EPOCH), set.clone())
    });
    let mut deleted = 0;
    for set in others {
        if deleted >= bytes {
            break;
        }
        deleted += delete_set(&set)?.bytes;
    }
    Ok(deleted)
}

/// The sum of sets' sizes.
fn total(sets: Vec<PathBuf>, size: fn(&Path) -> io::Result<Usage>) -> io::Result<Usage> {
    let mut total = Usage::default();
    for set in sets {
        let set = size(&set)?;
        total.images += set.images;
        total.bytes += set.bytes;
    }
    Ok(total)
}

fn size_of_set(set: &Path) -> io::Result<Usage> {
    let mut usage = Usage::default();
    for_each_file(set, |path| {
        usage.bytes += std::fs::metadata(path)?.len();
        usage.images += usize::from(is(path, SUFFIX));
        Ok(())
    })?;
    Ok(usage)
}

/// Deletes the features of a set, and its folder unless that holds new files or files of other programs. Returns their size.
fn delete_set(set: &Path) -> io::Result<Usage> {
    let usage = size_of_set(set)?;
    for_each_file(set, |path| std::fs::remove_file(path))?;
    let only_mark = entries(set).is_ok_and(|entries| entries.iter().all(|path| is(path, USED)));
    if only_mark {
        let _ = std::fs::remove_file(set.join(USED));
        let _ = std::fs::remove_dir(set);
    }
    Ok(usage)
}

/// The folders of the sets.
fn sets(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut sets = entries(root)?;
    sets.retain(|set| set.is_dir());
    Ok(sets)
}

/// Calls `act` for each file of the cache in a set.
fn for_each_file(set: &Path, mut act: impl FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    for path in entries(set)? {
        if is(&path, SUFFIX) || is(&path, PART_SUFFIX) {
            match act(&path) {
                // Another process has already deleted it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
    }
    Ok(())
}

/// The paths in a folder; none if there is no such folder.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match std::fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn is(path: &Path, suffix: &str) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.ends_with(suffix))
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
