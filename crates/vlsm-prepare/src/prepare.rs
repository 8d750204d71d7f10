//! From a download to a data set in one call.

use std::path::{Path, PathBuf};

use crate::download::{Download, PublicSet};
use crate::error::Result;
use crate::write::{self, Prepared};

/// How a prepared data set is split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SplitBy {
    /// As officially, where the download says how; else by a shuffle with this seed in the published proportions.
    Seed(u64),
    /// By the lists in a folder, as [`prepare`] writes them into `splits/`: `train.txt`, `val.txt`, `test.txt` (of which
    /// some may be absent), one image's name or stem a line. Images that none of them names are left out.
    Lists(PathBuf),
}

/// Prepares the download of `set` in the folder `from` as the new folder `out`, which is complete or absent. `progress` is
/// called with the number of images done and their total, from any thread.
///
/// # Errors
/// [`PrepareError::Download`] if files are missing, naming them; errors of reading, also of lists; a write error if `out`
/// already exists or cannot be written; a size mismatch if a mask does not have the size of its image.
pub fn prepare(
    set: &'static PublicSet,
    from: &Path,
    out: &Path,
    split: &SplitBy,
    progress: impl Fn(usize, usize) + Sync,
) -> Result<Prepared> {
    write::refuse_existing(out)?;
    let download = Download::new(set, from);
    let plan = match split {
        SplitBy::Seed(seed) => (set.plan)(&download, *seed)?,
        SplitBy::Lists(folder) => (set.plan)(&download, 0)?.split_by(folder)?,
    };
    write::write(plan, out, progress)
}
