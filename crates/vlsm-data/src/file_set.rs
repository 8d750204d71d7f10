//! The files of a data set, and what is decided once for all of them: the meaning of the masks' levels, and the window of
//! 16-bit images.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use vlsm_image::{
    ClassMap, FULL_WINDOW, ImageError, ImageOptions, Mask, Window, decode_16_bit_histogram,
    decode_class_map, decode_mask, read_bytes, window_of,
};

use crate::error::Result;
use crate::finding::FindingKind;
use crate::levels::{Levels, Meaning, decide};

/// Number of files of a kind that are looked at; of a larger set, this many that are spread evenly.
pub(crate) const SAMPLE: usize = 2000;

/// An image and its mask, and their subject.
#[derive(Clone, Debug)]
pub(crate) struct FileRef {
    pub(crate) image: PathBuf,
    pub(crate) mask: PathBuf,
    pub(crate) subject: String,
}

/// The files of a data set.
#[derive(Debug, Default)]
pub(crate) struct FileSet {
    /// Whether the masks are binary; otherwise they hold class ids.
    pub(crate) binary: bool,
    /// The pairs of train, val and test.
    pub(crate) splits: [Vec<FileRef>; 3],
    /// Images with a mask that no annotation lists.
    pub(crate) unlisted: Vec<PathBuf>,
    /// Whether subjects come from `data.group`.
    pub(crate) has_subjects: bool,
    /// As `data.accept`.
    pub(crate) accept: Vec<FindingKind>,
    /// Whether the recipe gives the window.
    pub(crate) has_window: bool,
    window: OnceLock<Result<Option<Window>>>,
    meaning: OnceLock<Result<Meaning>>,
}

impl FileSet {
    /// The same set with a window that is already known.
    pub(crate) fn with_window(mut self, window: Option<Window>) -> Self {
        self.has_window = window.is_some();
        if let Some(window) = window {
            self.window = OnceLock::from(Ok(Some(window)));
        }
        self
    }

    /// How its images are decoded. `has_16_bits` says whether the image is one for which the window matters.
    pub(crate) fn options(&self, has_16_bits: bool) -> Result<ImageOptions> {
        Ok(ImageOptions {
            window: if has_16_bits { self.window()? } else { None },
            first_page: self.accepts(FindingKind::MultiPage),
        })
    }

    pub(crate) fn accepts(&self, kind: FindingKind) -> bool {
        self.accept.contains(&kind)
    }

    /// The binary mask in a file's bytes.
    pub(crate) fn mask(&self, path: &Path, bytes: &[u8]) -> Result<Mask> {
        let grey = decode_mask(path, bytes, self.accepts(FindingKind::MultiPage))?;
        Ok(self.meaning()?.mask(path, &grey)?)
    }

    /// A mask of class ids.
    pub(crate) fn class_map(&self, path: &Path) -> Result<ClassMap> {
        let first_page = self.accepts(FindingKind::MultiPage);
        Ok(decode_class_map(path, &read_bytes(path)?, first_page)?)
    }

    /// What the levels of the masks mean. The first call reads the masks, unless [`decide_by`](Self::decide_by) did.
    pub(crate) fn meaning(&self) -> Result<&Meaning> {
        let decided = self.meaning.get_or_init(|| {
            let masks = spread(&self.distinct(|file| &file.mask), SAMPLE);
            let levels = in_parallel(&masks, |path| self.levels(path));
            // Files that cannot be read are reported where they are used.
            let read: Vec<(&Path, &Levels)> = masks
                .iter()
                .zip(&levels)
                .filter_map(|(path, levels)| Some((*path, levels.as_ref()?)))
                .collect();
            self.decision(&read)
        });
        decided.as_ref().map_err(Clone::clone)
    }

    /// Decides what the levels mean from masks that are already read.
    pub(crate) fn decide_by(&self, masks: &[(&Path, &Levels)]) -> Result<&Meaning> {
        let decided = self.meaning.get_or_init(|| self.decision(masks));
        decided.as_ref().map_err(Clone::clone)
    }

    fn decision(&self, masks: &[(&Path, &Levels)]) -> Result<Meaning> {
        match decide(masks) {
            Err(_) if self.accepts(FindingKind::Levels) => Ok(Meaning::BY_FILE),
            decided => Ok(decided?),
        }
    }

    /// The levels of a mask; `None` if it is JPEG, whose levels decide nothing, or cannot be read.
    fn levels(&self, path: &Path) -> Option<Levels> {
        let bytes = read_bytes(path).ok()?;
        if bytes.starts_with(&[0xff, 0xd8]) {
            return None;
        }
        let mask = decode_mask(path, &bytes, self.accepts(FindingKind::MultiPage)).ok()?;
        Some(Levels::of(&mask))
    }

    /// The window of 16-bit images: `None` if there are none, the full one if they use the range.
    pub(crate) fn window(&self) -> Result<Option<Window>> {
        let window = self.window.get_or_init(|| {
            let train = self.splits[0].iter().map(|file| file.image.as_path());
            let counts = histogram(
                &train.collect::<Vec<_>>(),
                self.accepts(FindingKind::MultiPage),
            );
            // A data set may have a test split only.
            let counts = match counts {
                Some(counts) => Some(counts),
                None => histogram(
                    &self.distinct(|file| &file.image),
                    self.accepts(FindingKind::MultiPage),
                ),
            };
            Ok(counts.map(|counts| window_of(&counts).unwrap_or(FULL_WINDOW)))
        });
        window.clone()
    }

    /// The distinct files of all splits, in their order.
    pub(crate) fn distinct<'a>(
        &'a self,
        file: impl Fn(&'a FileRef) -> &'a PathBuf,
    ) -> Vec<&'a Path> {
        let mut seen = std::collections::HashSet::new();
        let files = self
            .splits
            .iter()
            .flatten()
            .map(|pair| file(pair).as_path());
        files.filter(|path| seen.insert(*path)).collect()
    }
}

/// The number of channels at each level over all images of 16 bits; `None` if there is none. Unreadable files are left
/// out.
pub(crate) fn histogram(images: &[&Path], first_page: bool) -> Option<Vec<u64>> {
    let options = ImageOptions {
        first_page,
        ..ImageOptions::default()
    };
    let one = |path: &Path| -> Result<Option<Vec<u64>>, ImageError> {
        decode_16_bit_histogram(path, &read_bytes(path)?, options)
    };
    let images = spread(images, SAMPLE);
    let mut sum: Option<Vec<u64>> = None;
    // A histogram has 512 KiB, so only a few are kept at a time.
    for images in images.chunks(64) {
        for counts in in_parallel(images, |path| one(path).ok().flatten())
            .into_iter()
            .flatten()
        {
            match &mut sum {
                None => sum = Some(counts),
                Some(sum) => sum.iter_mut().zip(counts).for_each(|(sum, n)| *sum += n),
            }
        }
    }
    sum
}

/// At most `most` items, spread evenly.
pub(crate) fn spread<T: Copy>(items: &[T], most: usize) -> Vec<T> {
    if items.len() <= most {
        return items.to_vec();
    }
    (0..most)
        .map(|index| items[index * items.len() / most])
        .collect()
}

/// `work` on each item, on all cores, in the items' order.
///
/// Not on rayon's threads: a decision is made inside a lock, where a thread of rayon could take a task that waits for the
/// same lock.
pub(crate) fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut results = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else {
                return results;
            };
            results.push((index, work(item)));
        }
    };
    let mut results: Vec<(usize, R)> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(items.len()))
            .map(|_| scope.spawn(worker))
            .collect();
        let mut results = worker();
        for other in others {
            match other.join() {
                Ok(more) => results.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    });
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}
