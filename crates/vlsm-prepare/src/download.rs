//! A public data set, and the folder of its unpacked download.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use vlsm_data::DataError;
use vlsm_image::fs::image_files;

use crate::error::{PrepareError, Result};
use crate::plan::{Paired, Plan};

/// Maximum number of files that a message names.
const SHOWN: usize = 5;

/// A public data set that [`prepare`](crate::prepare()) knows.
#[derive(Debug)]
pub struct PublicSet {
    /// Name on the command line: `kvasir-seg`.
    pub name: &'static str,
    /// Name in the literature, and what is segmented, in one line.
    pub title: &'static str,
    /// Where to download it.
    pub download: &'static str,
    /// The unpacked files and folders, one per line, for messages.
    pub layout: &'static str,
    /// Folders that the archives unpack to, or that mirrors add around them. The files may be in one of these folders
    /// below the given one, or in two nested ones of the same name.
    pub(crate) folders: &'static [&'static str],
    /// Lists the images and masks. The number seeds the shuffle if there are no official splits.
    pub(crate) plan: fn(&Download<'_>, u64) -> Result<Plan>,
}

/// The folder of a download.
pub(super) struct Download<'a> {
    set: &'static PublicSet,
    root: &'a Path,
}

impl<'a> Download<'a> {
    pub(super) fn new(set: &'static PublicSet, root: &'a Path) -> Self {
        Self { set, root }
    }

    /// Index of the first layout whose files and folders all exist, and the folder they are in.
    ///
    /// # Errors
    /// Names what is missing from the closest layout.
    pub(super) fn find(&self, layouts: &[&[&str]]) -> Result<(usize, PathBuf)> {
        if !self.root.is_dir() {
            return Err(self.fault("there is no such folder".to_string()));
        }
        let mut closest = (0, self.root.to_path_buf(), Vec::new());
        let mut most = None;
        for (number, layout) in layouts.iter().enumerate() {
            for base in self.bases() {
                let missing: Vec<&str> = layout
                    .iter()
                    .copied()
                    .filter(|name| !base.join(name).exists())
                    .collect();
                if missing.is_empty() {
                    return Ok((number, base));
                }
                let there = layout.len() - missing.len();
                if most.is_none_or(|most| there > most) {
                    most = Some(there);
                    closest = (number, base, missing);
                }
            }
        }
        let (_, base, missing) = closest;
        let missing: Vec<String> = missing.iter().map(|name| format!("`{name}`")).collect();
        let found = match names(&base) {
            found if found.is_empty() => "nothing".to_string(),
            found => first_few(&found),
        };
        Err(self.fault(format!(
            "there is no {} in `{}`, which holds {found}",
            missing.join(", no "),
            base.display(),
        )))
    }

    /// The folder itself, and its subfolders that may hold the data set.
    fn bases(&self) -> Vec<PathBuf> {
        let inner = self.set.folders.iter().flat_map(|folder| {
            let once = self.root.join(folder);
            let twice = once.join(folder);
            [once, twice]
        });
        [self.root.to_path_buf()].into_iter().chain(inner).collect()
    }

    /// Images of one folder paired with masks of another, sorted by stem. `mask_stem` maps an image's stem to its mask's.
    ///
    /// # Errors
    /// If the folder has no image, an image has no mask, or a mask has no image.
    pub(super) fn pairs(
        &self,
        images: &Path,
        masks: &Path,
        mask_stem: impl Fn(&str) -> String,
    ) -> Result<Vec<Paired>> {
        let images = self.stems(images)?;
        let mut by_stem = self.stems(masks)?;
        let (mut pairs, mut alone) = (Vec::new(), Vec::new());
        let (image_count, mask_count) = (images.len(), by_stem.len());
        for (stem, image) in images {
            match by_stem.remove(&mask_stem(&stem)) {
                Some(mask) => pairs.push(Paired { stem, image, mask }),
                None => alone.push(image),
            }
        }
        self.none_missing("images have no mask", alone, image_count)?;
        let left = by_stem.into_values().collect();
        self.none_missing("masks have no image", left, mask_count)?;
        Ok(pairs)
    }

    /// The images of a folder by stem.
    ///
    /// # Errors
    /// If there is no image, or two have the same stem.
    pub(super) fn stems(&self, folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
        let mut files = image_files(folder)?;
        files.sort();
        if files.is_empty() {
            return Err(self.fault(format!("`{}` holds no image", folder.display())));
        }
        let mut by_stem = BTreeMap::new();
        for file in files {
            let stem = file
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if let Some(first) = by_stem.get(&stem) {
                return Err(DataError::Ambiguous {
                    stem,
                    first: PathBuf::clone(first),
                    second: file,
                }
                .into());
            }
            by_stem.insert(stem, file);
        }
        Ok(by_stem)
    }

    /// The folders in a folder whose names start with `prefix`, sorted.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn folders(&self, folder: &Path, prefix: &str) -> Result<Vec<PathBuf>> {
        let names = names(folder).into_iter();
        let folders: Vec<PathBuf> = names
            .filter(|name| name.starts_with(prefix))
            .map(|name| folder.join(name))
            .filter(|path| path.is_dir())
            .collect();
        if folders.is_empty() {
            let what = if prefix.is_empty() {
                String::new()
            } else {
                format!(" `{prefix}...`")
            };
            let reason = format!("there is no folder{what} in `{}`", folder.display());
            return Err(self.fault(reason));
        }
        Ok(folders)
    }

    /// Fails if there are `files`: `what` says what is wrong ("images have no mask"), `of` how many files were checked.
    ///
    /// # Errors
    /// Names the first few files.
    pub(super) fn none_missing(&self, what: &str, files: Vec<PathBuf>, of: usize) -> Result<()> {
        if files.is_empty() {
            return Ok(());
        }
        let short = |file: &PathBuf| {
            let below = file.strip_prefix(self.root).unwrap_or(file);
            below.display().to_string()
        };
        let shown: Vec<String> = files.iter().map(short).collect();
        let count = files.len();
        Err(self.fault(format!("{count} of {of} {what}: {}", first_few(&shown))))
    }

    /// An error of this download.
    pub(super) fn fault(&self, reason: String) -> PrepareError {
        PrepareError::Download {
            set: self.set.title,
            root: self.root.to_path_buf(),
            reason,
            download: self.set.download,
            layout: self.set.layout,
        }
    }
}

/// Sorted names in a folder, without hidden ones; empty if it cannot be read.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names
}

/// The first few names, for a message.
fn first_few(names: &[String]) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|name| format!("`{name}`"))
        .collect();
    let rest = if names.len() > SHOWN { ", ..." } else { "" };
    shown.join(", ") + rest
}
