//! Splits a folder that has no splits, by fraction and seed, by folds, or by lists.

use super::Pair;
use crate::config::DataConfig;
use crate::error::DataError;
use crate::splitting::{by_fold, by_names, by_subject};

/// Splits pairs, which are sorted by stem, into train, val and test.
pub(crate) fn assign(
    config: &DataConfig,
    pairs: Vec<Pair>,
    faults: &mut Vec<DataError>,
) -> [Vec<Pair>; 3] {
    let split = &config.split;
    if split.has_lists() {
        return by_lists(config, pairs, faults);
    }
    // Without `data.group` every pair is its own subject, and the result is that of `by_fraction`.
    let subject = |pair: &Pair| pair.subject.clone();
    by_subject(pairs, subject, [split.val, split.test], split.seed)
}

/// Merges the splits and splits them again by folds, if the recipe asks for it.
pub(crate) fn fold(config: &DataConfig, splits: [Vec<Pair>; 3]) -> [Vec<Pair>; 3] {
    let split = &config.split;
    let (Some(folds), Some(fold)) = (split.folds, split.fold) else {
        return splits;
    };
    let mut pairs: Vec<Pair> = splits.into_iter().flatten().collect();
    // The folds do not depend on the splits that there were.
    pairs.sort_by(|a, b| (&a.image, &a.mask).cmp(&(&b.image, &b.mask)));
    let subject = |pair: &Pair| pair.subject.clone();
    by_fold(pairs, subject, [folds, fold], split.val, split.seed)
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
