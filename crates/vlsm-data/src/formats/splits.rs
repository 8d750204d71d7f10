//! Splitting a folder that comes without splits: by fraction and seed, or by lists.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use vlsm_image::read_text;

use super::Pair;
use crate::config::DataConfig;
use crate::error::DataError;

/// Train, val and test out of all pairs, which come sorted by stem.
pub(crate) fn assign(
    config: &DataConfig,
    pairs: Vec<Pair>,
    faults: &mut Vec<DataError>,
) -> [Vec<Pair>; 3] {
    let split = &config.split;
    if [&split.train_list, &split.val_list, &split.test_list]
        .into_iter()
        .all(Option::is_none)
    {
        return by_fraction(pairs, [split.val, split.test], split.seed);
    }
    by_lists(config, pairs, faults)
}

/// Shuffles with the seed, then cuts: test first, then val, the rest is train. Each split stays in the shuffled order, so
/// that its first N are a fair choice.
pub(crate) fn by_fraction<T>(mut items: Vec<T>, [val, test]: [f64; 2], seed: u64) -> [Vec<T>; 3] {
    shuffle(&mut items, seed);
    let [test, val] = [test, val].map(|fraction| share(fraction, items.len()));
    let rest = items.split_off((test + val).min(items.len()));
    let val = items.split_off(test.min(items.len()));
    [rest, val, items]
}

/// Shuffles with the seed.
pub(crate) fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // Fisher and Yates, written out so that the order never depends on a library's version.
    for last in (1..items.len()).rev() {
        let bound = u32::try_from(last).unwrap_or(u32::MAX);
        items.swap(last, rng.random_range(0..=bound) as usize);
    }
}

/// `fraction` of `count`, rounded, but at least one if there are three to share.
fn share(fraction: f64, count: usize) -> usize {
    let rounded = (fraction * count as f64).round() as usize;
    if fraction > 0.0 && count >= 3 {
        rounded.max(1)
    } else {
        rounded
    }
}

fn by_lists(config: &DataConfig, pairs: Vec<Pair>, faults: &mut Vec<DataError>) -> [Vec<Pair>; 3] {
    let split = &config.split;
    let lists = [&split.train_list, &split.val_list, &split.test_list];
    let lists = lists.map(|list| list.as_ref().map(|list| config.resolve(list)));
    let (mut named, rest) = by_names(pairs, names, lists, faults);
    if split.train_list.is_none() {
        named[0] = rest;
    }
    named
}

/// The items that each list names, in its order, and those that none does. `names` are all names that a list may use for
/// an item; what cannot be found, or is listed twice, is a fault.
pub(crate) fn by_names<T, N: IntoIterator<Item = String>>(
    items: Vec<T>,
    names: impl Fn(&T) -> N,
    lists: [Option<PathBuf>; 3],
    faults: &mut Vec<DataError>,
) -> ([Vec<T>; 3], Vec<T>) {
    let by_name: HashMap<String, usize> = items
        .iter()
        .enumerate()
        .flat_map(|(at, item)| names(item).into_iter().map(move |name| (name, at)))
        .collect();
    let mut items: Vec<Option<T>> = items.into_iter().map(Some).collect();
    let named = lists.map(|list| {
        let Some(list) = list else { return Vec::new() };
        take_listed(&list, &by_name, &mut items, faults)
    });
    (named, items.into_iter().flatten().collect())
}

/// The names that a list may use for a pair: stem and file name of the image and of the mask.
fn names(pair: &Pair) -> Vec<String> {
    let files = [&pair.image, &pair.mask];
    files
        .into_iter()
        .flat_map(|file| [file.file_stem(), file.file_name()])
        .flatten()
        .map(|n| n.to_string_lossy().into())
        .collect()
}

fn take_listed<T>(
    path: &Path,
    by_name: &HashMap<String, usize>,
    items: &mut [Option<T>],
    faults: &mut Vec<DataError>,
) -> Vec<T> {
    let text = match read_text(path) {
        Ok(text) => text,
        Err(fault) => {
            faults.push(fault.into());
            return Vec::new();
        }
    };
    let mut taken = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let entry = line.trim();
        if entry.is_empty() {
            continue;
        }
        let fault = |reason: &str| DataError::List {
            path: path.to_path_buf(),
            line: index + 1,
            entry: entry.to_string(),
            reason: reason.to_string(),
        };
        match by_name.get(entry) {
            None => faults.push(fault(
                "is neither the stem nor the file name of an image with a mask",
            )),
            Some(&at) => match items[at].take() {
                Some(item) => taken.push(item),
                None => faults.push(fault(
                    "is listed a second time, here or in the list of another split",
                )),
            },
        }
    }
    taken
}
