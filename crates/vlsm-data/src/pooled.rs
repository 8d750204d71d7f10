//! Several data sets as one: trained on together, and kept apart by the names and groups of their samples.

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

/// The names of pooled data sets, in their order: the last part of each root.
///
/// # Errors
/// If two are the same or a root has none.
pub fn pool_names(roots: &[PathBuf]) -> Result<Vec<String>> {
    let mut names: Vec<String> = Vec::with_capacity(roots.len());
    for root in roots {
        let last = root.file_name().unwrap_or_default().to_string_lossy();
        let name = last.strip_prefix("builtin:").unwrap_or(&last).to_owned();
        if name.is_empty() {
            let shown = root.display();
            return Err(fault(format!("`{shown}` ends in no name of a folder")));
        }
        if names.contains(&name) {
            return Err(fault(format!(
                "names two data sets `{name}`; rename one folder, or reach it by a link of another name"
            )));
        }
        names.push(name);
    }
    Ok(names)
}

/// The data set's name and the sample's own name of a pooled sample's name.
pub fn pool_sample(name: &str) -> Option<(&str, &str)> {
    name.split_once('/')
}

/// Pools data sets under their names. A split holds the samples of the first image of each data set, then those of the
/// second of each, and so on, so that a limit takes samples of all of them.
pub(crate) fn pool(roots: &[PathBuf], names: &[String], sets: &[Dataset]) -> Result<Dataset> {
    for (set, root) in sets.iter().zip(roots) {
        if set.resamples_each_epoch() {
            return Err(fault(format!(
                "`{}` draws new images for each epoch, which data sets in a pool cannot",
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
        let named = named.map(|(name, set)| of_set(name, of(set)));
        in_turns(&named.collect::<Vec<_>>())
    }
    let splits = Split::ALL.map(|split| pooled(names, sets, |set| set.split(split)));
    let mut pool = Dataset::from_splits(names.join("+"), splits)?;
    pool.format = sets[0].format;
    let ignore = ignore(sets, roots)?;
    pool.ignore = ignore;
    // Whole images have labels in common only where the ids mean the same.
    if sets.iter().all(|set| set.classes == sets[0].classes) {
        let labelled = Split::ALL.map(|split| pooled(names, sets, |set| set.labelled(split)));
        pool = pool.with_classes(sets[0].classes.clone(), ignore, labelled);
    }
    Ok(pool)
}

/// Samples under names and in groups of their data set.
fn of_set(name: &str, samples: &[Sample]) -> Vec<Sample> {
    let of_set = |sample: &Sample| Sample {
        name: format!("{name}/{}", sample.name),
        group: if sample.group.is_empty() {
            name.to_owned()
        } else {
            format!("{name}/{}", sample.group)
        },
        ..sample.clone()
    };
    samples.iter().map(of_set).collect()
}

/// One image's samples of each list, and again, until all are taken.
fn in_turns(lists: &[Vec<Sample>]) -> Vec<Sample> {
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

/// The class id that does not count, the same in all sets that have one.
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
