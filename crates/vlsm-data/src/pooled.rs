//! Pools data sets for joint training. The names and groups of the samples keep the data sets distinguishable.

use std::path::{Path, PathBuf};

use crate::dataset::Dataset;
use crate::error::{DataError, Result};
use crate::sample::Sample;
use crate::split::Split;

fn fault(reason: String) -> DataError {
    DataError::Config {
        field: "data.pool",
        reason,
    }
}

/// The names of pooled data sets in their order. A name is the last part of the root.
///
/// # Errors
/// If two names are equal or a root has no last part.
pub fn pool_names(roots: &[PathBuf]) -> Result<Vec<String>> {
    let mut names: Vec<String> = Vec::with_capacity(roots.len());
    for root in roots {
        let last = root.file_name().unwrap_or_default().to_string_lossy();
        let name = last.strip_prefix("builtin:").unwrap_or(&last).to_owned();
        if name.is_empty() {
            let shown = root.display();
            return Err(fault(format!(
                "`{shown}` does not end in a folder name; write the path with the folder's name"
            )));
        }
        if names.contains(&name) {
            return Err(fault(format!(
                "has two data sets named `{name}`; rename one folder, or use a link with another name"
            )));
        }
        names.push(name);
    }
    Ok(names)
}

/// Pools data sets. A split has the samples of each data set's first image, then those of each one's second image, and so
/// on, so that a limit keeps samples of all data sets.
pub(crate) fn pool(roots: &[PathBuf], names: &[String], sets: &[Dataset]) -> Result<Dataset> {
    for (set, root) in sets.iter().zip(roots) {
        if set.resamples_each_epoch() {
            return Err(fault(format!(
                "`{}` draws new images in each epoch, which a pool does not support; use it alone as `data.root`",
                root.display()
            )));
        }
    }
    fn pooled(
        names: &[String],
        sets: &[Dataset],
        of: impl Fn(&Dataset) -> &[Sample],
    ) -> Vec<Sample> {
        let named = names.iter().zip(sets);
        let named = named.map(|(name, set)| prefixed(name, of(set)));
        interleave(&named.collect::<Vec<_>>())
    }
    let splits = Split::ALL.map(|split| pooled(names, sets, |set| set.split(split)));
    let mut pool = Dataset::from_splits(names.join("+"), splits)?;
    pool.format = sets[0].format;
    pool.files = sets.iter().flat_map(|set| set.files.clone()).collect();
    let ignore = ignore(sets, roots)?;
    pool.ignore = ignore;
    if sets.iter().all(|set| !set.classes.is_empty()) {
        for set in sets {
            for name in set.class_names()? {
                if !pool.pooled_names.contains(&name) {
                    pool.pooled_names.push(name);
                }
            }
        }
    }
    // Whole-image labels can be pooled only if the class ids mean the same.
    if sets.iter().all(|set| set.classes == sets[0].classes) {
        let labelled = Split::ALL.map(|split| pooled(names, sets, |set| set.labelled(split)));
        pool = pool.with_classes(sets[0].classes.clone(), ignore, labelled);
    }
    Ok(pool)
}

/// Prefixes the samples' names and groups with their data set's name.
fn prefixed(name: &str, samples: &[Sample]) -> Vec<Sample> {
    let prefixed = |sample: &Sample| Sample {
        name: format!("{name}/{}", sample.name),
        subject: format!("{name}/{}", sample.subject),
        group: if sample.group.is_empty() {
            name.to_owned()
        } else {
            format!("{name}/{}", sample.group)
        },
        ..sample.clone()
    };
    samples.iter().map(prefixed).collect()
}

/// Takes the samples of one image from each list in turn until all are taken.
fn interleave(lists: &[Vec<Sample>]) -> Vec<Sample> {
    let images = |list: &'_ Vec<Sample>| -> Vec<Vec<Sample>> {
        let images = list.chunk_by(|a, b| a.source.id() == b.source.id());
        images.map(<[Sample]>::to_vec).collect()
    };
    let mut images: Vec<_> = lists.iter().map(|list| images(list).into_iter()).collect();
    let mut all = Vec::with_capacity(lists.iter().map(Vec::len).sum());
    loop {
        let before = all.len();
        all.extend(images.iter_mut().filter_map(Iterator::next).flatten());
        if all.len() == before {
            return all;
        }
    }
}

/// The ignored class id, which must be the same in all data sets that have one.
fn ignore(sets: &[Dataset], roots: &[PathBuf]) -> Result<Option<u8>> {
    let mut known: Option<(u8, &Path)> = None;
    for (set, root) in sets.iter().zip(roots) {
        match (set.ignore, known) {
            (Some(id), Some((other, first))) if id != other => {
                return Err(fault(format!(
                    "`{}` ignores class id {other}, but `{}` ignores {id}; give both the same `ignore_index`",
                    first.display(),
                    root.display()
                )));
            }
            (Some(id), None) => known = Some((id, root)),
            _ => {}
        }
    }
    Ok(known.map(|(id, _)| id))
}
