//! Public data sets, brought from the form in which they are downloaded into that in which they are trained on.
//!
//! Each data set has a module that knows its layout and lists what is there; one writer makes all of them.
//! Sets whose masks show one thing each become annotations (`images/`, `masks/`, `anns/*.json`, and `splits/*.txt` with
//! the image names of each split), street scenes become class-id masks (`train/`, `val/`, `test/`, `classes.json`).
//! Images are taken as they are, never encoded again; masks are PNGs of the image's size.

mod bkai;
mod busi;
mod camus;
mod camvid;
mod chexlocalize;
mod cityscapes;
mod clinicdb;
mod colondb;
mod cvc_300;
mod dfu_2022;
mod etis;
mod isic_2016;
mod kvasir_seg;
mod plan;
mod rle;
mod scan;
#[cfg(test)]
mod testing;
mod tree;
mod write;

use std::path::{Path, PathBuf};

use crate::error::{DataError, Result};
use plan::Plan;
use tree::Tree;

pub use write::Prepared;

/// A public data set that [`prepare`] knows.
#[derive(Debug)]
pub struct PublicSet {
    /// Name on the command line: `kvasir-seg`.
    pub name: &'static str,
    /// Name in the literature, and what is to be segmented, in one line.
    pub title: &'static str,
    /// Where it is downloaded.
    pub download: &'static str,
    /// How the unpacked files lie, to be read by people: one line a file or folder.
    pub layout: &'static str,
    /// Folders that archives of the set unpack to, or that mirrors put around it: below the given folder the files may
    /// lie in one of these, or in two of the same name.
    folders: &'static [&'static str],
    /// Lists what is there. The number is the seed of the shuffle where there are no official splits.
    plan: fn(&Tree<'_>, u64) -> Result<Plan>,
}

impl PublicSet {
    /// All data sets, in the order of the published tables.
    pub const ALL: [&'static Self; 15] = [
        &kvasir_seg::SET,
        &bkai::SET,
        &bkai::CLASSES,
        &clinicdb::SET,
        &cvc_300::SET,
        &colondb::SET,
        &etis::SET,
        &isic_2016::SET,
        &dfu_2022::SET,
        &camus::SET,
        &busi::SET,
        &chexlocalize::SET,
        &cityscapes::SET,
        &camvid::SET,
        &camvid::ALL_CLASSES,
    ];

    /// The data set of a name.
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::ALL.into_iter().find(|set| set.name == name)
    }
}

/// How a prepared data set is split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SplitBy {
    /// As officially, where the download says how; else by a shuffle with this seed in the published proportions.
    Seed(u64),
    /// By the lists in a folder, as [`prepare`] writes them into `splits/`: `train.txt`, `val.txt`, `test.txt` (of which
    /// some may lack), one image's name or stem a line. Images that none of them names are left out.
    Lists(PathBuf),
}

/// Brings the download of `set` that lies in `from` into the project's format, in the new folder `out`, which appears
/// whole or not at all. `progress` is told how many images of how many are done, from any thread.
///
/// # Errors
/// [`DataError::Download`] if files are missing, naming them; errors of reading, also of lists; [`ImageError::Write`] if
/// `out` is there already or cannot be written; [`DataError::SizeMismatch`] if a mask has not the size of its image.
pub fn prepare(
    set: &'static PublicSet,
    from: &Path,
    out: &Path,
    split: &SplitBy,
    progress: impl Fn(usize, usize) + Sync,
) -> Result<Prepared> {
    write::refuse_existing(out)?;
    let tree = Tree::new(set, from);
    let plan = match split {
        SplitBy::Seed(seed) => (set.plan)(&tree, *seed)?,
        SplitBy::Lists(folder) => (set.plan)(&tree, 0)?.split_by(folder)?,
    };
    write::write(plan, out, progress)
}

impl DataError {
    /// The error for a download that is not as it should be.
    fn download(set: &'static PublicSet, root: &Path, reason: String) -> Self {
        Self::Download {
            set: set.title,
            root: root.to_path_buf(),
            reason,
            download: set.download,
            layout: set.layout,
        }
    }
}

#[cfg(test)]
mod tests;
