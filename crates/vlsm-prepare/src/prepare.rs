//! From a download to a data set in one call.

use std::path::{Path, PathBuf};

use vlsm_image::fs::refuse_occupied;

use crate::download::{Download, PublicSet};
use crate::error::Result;
use crate::write::{self, Prepared};

/// How to split a prepared data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SplitBy {
    /// The download's official splits; if there are none, a shuffle with this seed in the published proportions.
    Seed(u64),
    /// Lists in a folder, as [`prepare`] writes them into `splits/`: `train.txt`, `val.txt`, `test.txt` (some may be
    /// absent), one image name or stem per line. Images in no list are left out.
    Lists(PathBuf),
}

/// Prepares the download of `set` in the folder `from` as the new folder `out`, which is complete or absent. `progress` is
/// called with the number of images done and their total, from any thread.
///
/// # Errors
/// [`PrepareError::Download`](crate::PrepareError::Download) with the missing files; an error if an image, mask or list cannot be read; a write error if
/// `out` already exists or cannot be written; a size mismatch if a mask does not have the size of its image.
pub fn prepare(
    set: &'static PublicSet,
    from: &Path,
    out: &Path,
    split: &SplitBy,
    progress: impl Fn(usize, usize) + Sync,
) -> Result<Prepared> {
    // Before the download is read, which may take minutes.
    refuse_occupied(out)?;
    let download = Download::new(set, from);
    let plan = match split {
        SplitBy::Seed(seed) => (set.plan)(&download, *seed)?,
        SplitBy::Lists(folder) => (set.plan)(&download, 0)?.split_by(folder)?,
    };
    write::write(plan, out, progress)
}
