//! Data set formats. Each lists the pairs of image and mask of every split.
//!
//! A format does not stop at the first fault but collects faults in a list. So the same code serves
//! [`Dataset::open`](crate::Dataset::open), which fails on any fault, and [`check`](crate::check()), which reports all.

pub(crate) mod annotations;
pub(crate) mod classes;
pub(crate) mod folder;
pub(crate) mod splits;
pub(crate) mod subjects;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vlsm_image::ClassNames;

use crate::config::{DataConfig, Format};
use crate::error::DataError;
use crate::file_set::{FileRef, FileSet};
use crate::prompt::Prompts;
use crate::sample::{Sample, Target};
use crate::source::FilePair;
use crate::unique_names::UniqueNames;
use subjects::Subjects;

/// An image and its mask, both known to exist.
pub(crate) struct Pair {
    /// The mask's stem.
    pub(crate) name: String,
    pub(crate) image: PathBuf,
    pub(crate) mask: PathBuf,
    /// As [`Sample::subject`].
    pub(crate) subject: String,
    /// As [`Sample::group`].
    pub(crate) group: String,
    pub(crate) prompts: Prompts,
    pub(crate) oracle: Option<BTreeMap<String, Vec<String>>>,
}

/// The pairs of train, val and test, and the class names if masks hold class ids.
pub(crate) struct Listing {
    pub(crate) format: Format,
    pub(crate) splits: [Vec<Pair>; 3],
    pub(crate) classes: Option<ClassNames>,
}

/// Lists the data set's pairs. Adds faults to `faults` and leaves out the entries at fault.
pub(crate) fn list(config: &DataConfig, faults: &mut Vec<DataError>) -> Listing {
    let format = config.resolve_format();
    let nothing = || [Vec::new(), Vec::new(), Vec::new()];
    if config.root.as_os_str().is_empty() {
        // `DataConfig::validate` reports it.
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
                "`{}` is generated and has no files; write them with `vlsm data generate`",
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
    let subjects = match Subjects::read(config) {
        Ok(subjects) => subjects,
        Err(fault) => {
            faults.push(fault);
            Subjects::Images
        }
    };
    let listing = match format {
        Format::Annotations => {
            let mut splits = annotations::list(config, faults);
            subjects.assign(splits.iter_mut().flatten(), faults);
            Listing {
                format,
                splits,
                classes: None,
            }
        }
        Format::Classes => {
            let classes = classes::read_names(config).map_err(|e| faults.push(e)).ok();
            Listing {
                format,
                splits: folder::list(config, &subjects, false, faults),
                classes,
            }
        }
        Format::Folder | Format::Auto | Format::Generated => Listing {
            format,
            splits: folder::list(config, &subjects, config.class.is_none(), faults),
            classes: None,
        },
    };
    Listing {
        splits: splits::fold(config, listing.splits),
        ..listing
    }
}

impl Listing {
    /// The listed files.
    pub(crate) fn files(&self, config: &DataConfig) -> FileSet {
        let file = |pair: &Pair| FileRef {
            image: pair.image.clone(),
            mask: pair.mask.clone(),
            subject: pair.subject.clone(),
        };
        let mut set = FileSet::default().with_window(config.window);
        set.binary = self.classes.is_none() && self.format != Format::Classes;
        let files = |pairs: &Vec<Pair>| pairs.iter().map(file).collect();
        set.splits = self.splits.each_ref().map(files);
        if self.format == Format::Annotations {
            set.unlisted = annotations::unlisted(config, &self.splits);
        }
        set.has_subjects = config.group.is_some();
        set.accept = config.accept.clone();
        set
    }
}

/// Samples with unique names for pairs with binary masks.
pub(crate) fn binary_samples(pairs: Vec<Pair>, set: &Arc<FileSet>) -> Vec<Sample> {
    let mut names = UniqueNames::default();
    let sample = |pair: Pair| Sample {
        name: names.take(pair.name),
        subject: pair.subject,
        source: Arc::new(FilePair::new(pair.image, pair.mask, false).in_set(Arc::clone(set))),
        target: Target::Mask(0),
        group: pair.group,
        prompts: pair.prompts,
        oracle: pair.oracle,
    };
    pairs.into_iter().map(sample).collect()
}

/// A file's relative path without its extension, as a flat name: `case1/slice 3.png` becomes `case1_slice 3`.
pub(crate) fn flat_stem(relative: &Path) -> String {
    let parts: Vec<_> = relative
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    parts.join("_")
}
