//! Splits items by fraction and seed, by folds, or by list files. Also used to prepare public data sets.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use vlsm_image::read_text;

use crate::error::DataError;

/// Splits items into train, val and test by the fractions of val and test. Items are shuffled with the seed, then cut, test
/// first. Each split stays in the shuffled order, so that its first samples are representative.
pub fn by_fraction<T>(mut items: Vec<T>, [val, test]: [f64; 2], seed: u64) -> [Vec<T>; 3] {
    shuffle(&mut items, seed);
    let [test, val] = [test, val].map(|fraction| share(fraction, items.len()));
    let rest = items.split_off((test + val).min(items.len()));
    let val = items.split_off(test.min(items.len()));
    [rest, val, items]
}

/// Splits items as [`by_fraction`] does, but never divides a subject. Subjects are shuffled; the test split and then the
/// validation split take subjects until they have their share of the items. If every item is its own subject, the result
/// is that of [`by_fraction`].
pub fn by_subject<T>(
    items: Vec<T>,
    subject: impl Fn(&T) -> String,
    [val, test]: [f64; 2],
    seed: u64,
) -> [Vec<T>; 3] {
    let count = items.len();
    let mut subjects = VecDeque::from(shuffled_subjects(items, subject, seed));
    let test = take(&mut subjects, share(test, count));
    let val = take(&mut subjects, share(val, count));
    [subjects.into_iter().flatten().collect(), val, test]
}

/// Splits items into `folds` folds of about the same size and tests on fold number `fold`, from 1. A fraction `val` of
/// the other items validates, and the rest trains. No subject is divided.
pub fn by_fold<T>(
    items: Vec<T>,
    subject: impl Fn(&T) -> String,
    [folds, fold]: [usize; 2],
    val: f64,
    seed: u64,
) -> [Vec<T>; 3] {
    let mut sizes = vec![0; folds.max(1)];
    let (mut test, mut rest) = (Vec::new(), VecDeque::new());
    for items in shuffled_subjects(items, subject, seed) {
        // The smallest fold, which of equal ones is the first: subjects of the same size go round.
        let smallest = (0..sizes.len())
            .min_by_key(|&fold| sizes[fold])
            .unwrap_or(0);
        sizes[smallest] += items.len();
        if smallest + 1 == fold {
            test.extend(items);
        } else {
            rest.push_back(items);
        }
    }
    let count = rest.iter().map(Vec::len).sum();
    let val = take(&mut rest, share(val, count));
    [rest.into_iter().flatten().collect(), val, test]
}

/// The items of each subject. Subjects are shuffled with the seed.
fn shuffled_subjects<T>(items: Vec<T>, subject: impl Fn(&T) -> String, seed: u64) -> Vec<Vec<T>> {
    let mut indices = HashMap::new();
    let mut subjects: Vec<Vec<T>> = Vec::new();
    for item in items {
        let index = *indices.entry(subject(&item)).or_insert_with(|| {
            subjects.push(Vec::new());
            subjects.len() - 1
        });
        subjects[index].push(item);
    }
    shuffle(&mut subjects, seed);
    subjects
}

/// Takes subjects from the front until they have about `wanted` items: the next one is left if the number would be
/// further from `wanted` with it than without. At least one subject is taken unless `wanted` is 0.
fn take<T>(subjects: &mut VecDeque<Vec<T>>, wanted: usize) -> Vec<T> {
    let mut taken: Vec<T> = Vec::new();
    while taken.len() < wanted
        && let Some(next) = subjects.pop_front()
    {
        let with = (taken.len() + next.len()).abs_diff(wanted);
        if !taken.is_empty() && with > wanted - taken.len() {
            subjects.push_front(next);
            break;
        }
        taken.extend(next);
    }
    taken
}

/// Shuffles with the seed. Published results depend on the order, so it must never change.
pub fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // Fisher-Yates, written out so that the order does not depend on a library's version.
    for last in (1..items.len()).rev() {
        let bound = u32::try_from(last).unwrap_or(u32::MAX);
        items.swap(last, rng.random_range(0..=bound) as usize);
    }
}

/// `fraction` of `count`, rounded, but at least one if `fraction` is above 0 and there are three items or more.
fn share(fraction: f64, count: usize) -> usize {
    let rounded = (fraction * count as f64).round() as usize;
    if fraction > 0.0 && count >= 3 {
        rounded.max(1)
    } else {
        rounded
    }
}

/// The items of each list file in its order, and the items that no list has. `names` returns all names that a list may use
/// for an item. Unknown names and names listed twice are added to `faults`.
pub fn by_names<T, N: IntoIterator<Item = String>>(
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
                    "is listed a second time, in this list or another split's",
                )),
            },
        }
    }
    taken
}
