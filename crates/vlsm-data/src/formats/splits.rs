//! Splits a folder that has no splits, by fraction and seed or by lists.

use super::Pair;
use crate::config::DataConfig;
use crate::error::DataError;
use crate::splitting::{by_fraction, by_names};

/// Splits pairs, which are sorted by stem, into train, val and test.
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

/// The names that a list may use for a pair: the image's and the mask's stem and file name.
fn names(pair: &Pair) -> Vec<String> {
    let files = [&pair.image, &pair.mask];
    files
        .into_iter()
        .flat_map(|file| [file.file_stem(), file.file_name()])
        .flatten()
        .map(|n| n.to_string_lossy().into())
        .collect()
}
