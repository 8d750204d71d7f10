//! Data set formats: each lists the pairs of image and mask of every split.
//!
//! A format never stops at the first fault. It puts faults into a list and goes on, so that
//! [`Dataset::open`](crate::Dataset::open), which wants none, and [`check`](crate::check()), which wants all, read a data
//! set with the same code.

pub(crate) mod annotations;
pub(crate) mod classes;
pub(crate) mod folder;
pub(crate) mod splits;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vlsm_image::ClassNames;

use crate::config::{DataConfig, Format};
use crate::error::DataError;
use crate::prompt::Prompts;
use crate::sample::{Sample, Target};
use crate::source::FilePair;

/// An image and its mask, both known to exist.
pub(crate) struct Pair {
    /// The mask's stem.
    pub(crate) name: String,
    pub(crate) image: PathBuf,
    pub(crate) mask: PathBuf,
    /// As [`Sample::group`].
    pub(crate) group: String,
    pub(crate) prompts: Prompts,
    pub(crate) oracle: Option<BTreeMap<String, Vec<String>>>,
}

/// What a format found: the pairs of train, val and test, and class names if masks hold class ids.
pub(crate) struct Listing {
    pub(crate) format: Format,
    pub(crate) splits: [Vec<Pair>; 3],
    pub(crate) classes: Option<ClassNames>,
}

/// Lists the data set. Faults go to `faults`; what is not at fault is listed.
pub(crate) fn list(config: &DataConfig, faults: &mut Vec<DataError>) -> Listing {
    let format = config.resolve_format();
    let nothing = || [Vec::new(), Vec::new(), Vec::new()];
    if config.root.as_os_str().is_empty() {
        // Reported by `DataConfig::validate`.
        return Listing {
            format,
            splits: nothing(),
            classes: None,
        };
    }
    if format == Format::Generated {
        faults.push(DataError::Config {
            field: "data.root",
            reason: format!(
                "`{}` is generated and has no files; write them by `vlsm data generate`",
                config.root.display()
            ),
        });
        return Listing {
            format,
            splits: nothing(),
            classes: None,
        };
    }
    if !config.root.is_dir() {
        faults.push(DataError::Layout {
            what: "data set folder",
            path: config.root.clone(),
            fault: "does not exist or is not a folder",
            fix: "correct `data.root`",
        });
        return Listing {
            format,
            splits: nothing(),
            classes: None,
        };
    }
    match format {
        Format::Annotations => Listing {
            format,
            splits: annotations::list(config, faults),
            classes: None,
        },
        Format::Classes => {
            let classes = classes::read_names(config).map_err(|e| faults.push(e)).ok();
            Listing {
                format,
                splits: folder::list(config, false, faults),
                classes,
            }
        }
        Format::Folder | Format::Auto | Format::Generated => Listing {
            format,
            splits: folder::list(config, true, faults),
            classes: None,
        },
    }
}

/// Pairs with binary masks as samples, under names that are unique.
pub(crate) fn binary_samples(pairs: Vec<Pair>) -> Vec<Sample> {
    let mut taken = HashSet::new();
    let sample = |pair: Pair| Sample {
        name: unique(pair.name, &mut taken),
        source: Arc::new(FilePair {
            image: pair.image,
            mask: pair.mask,
            class_ids: false,
        }),
        target: Target::Mask(0),
        group: pair.group,
        prompts: pair.prompts,
        oracle: pair.oracle,
    };
    pairs.into_iter().map(sample).collect()
}

/// `name`, or `name-2`, `name-3`, ... if that is taken.
pub(crate) fn unique(name: String, taken: &mut HashSet<String>) -> String {
    let free = if taken.contains(&name) {
        (2..)
            .map(|n| format!("{name}-{n}"))
            .find(|name| !taken.contains(name))
            .unwrap_or(name)
    } else {
        name
    };
    taken.insert(free.clone());
    free
}

/// A file's path below its folder without its extension, as a flat name: `case1/slice 3.png` is `case1_slice 3`.
pub(crate) fn flat_stem(relative: &Path) -> String {
    let parts: Vec<_> = relative
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    parts.join("_")
}
