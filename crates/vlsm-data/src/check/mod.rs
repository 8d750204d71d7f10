//! Finds all faults of a data set in one pass.

mod report;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use crate::config::{DataConfig, Format};
use crate::dataset::empty_split;
use crate::error::DataError;
use crate::facts::{Content, Digest, Facts, ImageFacts, MaskFacts, read_all};
use crate::finding::{FindingKind, Severity};
use crate::findings::Findings;
use crate::formats::folder::has_split_folders;
use crate::formats::{self, Listing, Pair};
use crate::guard;
use crate::prompt::{NO_PROMPTS_FIX, PromptChoice};
use crate::split::Split;

pub use report::{CheckReport, SplitCounts};

/// Finds all faults of the data set that a recipe's `[data]` section describes, including those on which
/// [`Dataset::open`](crate::Dataset::open) fails. Reads and decodes every file once, on all cores.
pub fn check(config: &DataConfig) -> CheckReport {
    let mut findings = Findings::default();
    if let Err(fault) = config.validate() {
        findings.fault(fault);
    }
    let mut faults = Vec::new();
    let listing = formats::list(config, &mut faults);
    let prompts_reported = faults
        .iter()
        .any(|fault| matches!(fault, DataError::NoPrompts { .. }));
    faults.into_iter().for_each(|fault| findings.fault(fault));
    let has_faults = !findings.0.is_empty();
    let listed_nothing = has_faults && listing.splits.iter().all(Vec::is_empty);
    if !listed_nothing {
        empty_splits(config, &listing, &mut findings);
    }
    if !prompts_reported {
        missing_prompts(config, &listing, &mut findings);
    }
    let mut set = listing.files(config);
    if has_faults {
        // Entries at fault are not in the listing.
        set.unlisted.clear();
    }
    let images = read_all(set.distinct(|file| &file.image), |path| {
        ImageFacts::read(path, &set, true)
    });
    let masks = read_all(set.distinct(|file| &file.mask), |path| {
        MaskFacts::read(path, &set)
    });
    let mut counts = [SplitCounts::default(); 3];
    let mut reported = HashSet::new();
    for (pairs, counts) in listing.splits.iter().zip(&mut counts) {
        for pair in pairs {
            counts.pairs += 1;
            counts.samples += check_pair(
                pair,
                &images,
                &masks,
                &listing,
                &mut reported,
                &mut findings,
            );
        }
    }
    duplicates(&listing, &mut findings);
    shared_images(&listing, &images, &mut findings);
    guard::rules(&set, &images, &masks, &mut findings);
    guard::window(std::slice::from_ref(&Arc::new(set)), &mut findings);
    findings.accept(&config.accept);
    let [train, val, test] = counts;
    CheckReport {
        root: config.root.clone(),
        format: listing.format,
        train,
        val,
        test,
        findings: findings.0,
    }
}

/// Reports the faults of a pair's files, once for each file, and returns the pair's number of samples.
fn check_pair<'a>(
    pair: &'a Pair,
    images: &Facts<'a, ImageFacts>,
    masks: &Facts<'a, MaskFacts>,
    listing: &Listing,
    reported: &mut HashSet<&'a Path>,
    findings: &mut Findings,
) -> usize {
    let image = &images[pair.image.as_path()];
    let mask = &masks[pair.mask.as_path()];
    if let (Err(fault), true) = (image, reported.insert(&pair.image)) {
        findings.fault(fault.clone());
    }
    if let (Ok(image), Ok(mask)) = (image, mask)
        && image.header.size != mask.size
    {
        findings.fault(DataError::SizeMismatch {
            image: pair.image.clone(),
            image_size: image.header.size,
            mask: pair.mask.clone(),
            mask_size: mask.size,
        });
    }
    let first = reported.insert(&pair.mask);
    match (mask, &listing.classes) {
        (Err(fault), _) => {
            if first {
                findings.fault(fault.clone());
            }
            0
        }
        (
            Ok(MaskFacts {
                content: Content::Binary(_),
                ..
            }),
            _,
        ) => 1,
        (
            Ok(MaskFacts {
                content: Content::Classes(ids),
                ..
            }),
            Some(classes),
        ) => {
            let mut faults = Vec::new();
            let samples = formats::classes::targets(classes, &pair.mask, ids, &mut faults).len();
            if first {
                if samples == 0 && faults.is_empty() {
                    let message = format!(
                        "mask `{}` contains no class to segment, so the pair has no samples; drop it or name its classes",
                        pair.mask.display()
                    );
                    findings.add(
                        Severity::Warning,
                        FindingKind::EmptyMask,
                        &[&pair.mask],
                        message,
                    );
                }
                faults.into_iter().for_each(|fault| findings.fault(fault));
            }
            samples
        }
        (Ok(_), None) => 0,
    }
}

fn empty_splits(config: &DataConfig, listing: &Listing, findings: &mut Findings) {
    for (split, pairs) in Split::ALL.into_iter().zip(&listing.splits) {
        if pairs.is_empty() {
            let fault = empty_split(&config.root, Some(listing.format), split);
            let severity = if is_wanted(config, listing.format, split) {
                Severity::Error
            } else {
                Severity::Warning
            };
            findings.add(
                severity,
                FindingKind::EmptySplit,
                &[&config.root],
                fault.to_string(),
            );
        }
    }
}

/// Whether an empty split must be a mistake, because its file or folder exists or its fraction is above 0.
fn is_wanted(config: &DataConfig, format: Format, split: Split) -> bool {
    let lists = &config.split;
    let listed = [&lists.train_list, &lists.val_list, &lists.test_list];
    match (format, split) {
        // Annotations may have a test split only, as in sets that measure generalisation.
        (Format::Annotations, _) => config
            .root
            .join("anns")
            .join(format!("{split}.json"))
            .is_file(),
        (_, Split::Train) => true,
        _ if config.root.join(split.name()).is_dir() => true,
        _ if has_split_folders(config) => false,
        (_, Split::Val) if listed.iter().any(|list| list.is_some()) => lists.val_list.is_some(),
        (_, Split::Test) if listed.iter().any(|list| list.is_some()) => lists.test_list.is_some(),
        (_, Split::Val) => lists.val > 0.0,
        (_, Split::Test) => lists.test > 0.0,
    }
}

fn missing_prompts(config: &DataConfig, listing: &Listing, findings: &mut Findings) {
    if listing.format == Format::Classes {
        class_prompts(config, findings);
        return;
    }
    let all = || listing.splits.iter().flatten();
    if !config.has_text() && all().any(|pair| pair.prompts.is_empty()) {
        let message = format!(
            "the {} pairs of the data set have no prompts; {NO_PROMPTS_FIX}",
            all().count()
        );
        findings.add(
            Severity::Warning,
            FindingKind::Prompt,
            &[&config.root],
            message,
        );
        return;
    }
    if config.class.is_some() {
        // The prompts p0 to p6 are made when the data set is opened.
        return;
    }
    for (split, pairs) in Split::ALL.into_iter().zip(&listing.splits) {
        for pair in pairs {
            let choice = match split {
                Split::Train => config.prompt.clone(),
                _ => config.eval_choice(&pair.prompts),
            };
            if let PromptChoice::Named(name) = &choice
                && pair.prompts.get(name).is_none()
            {
                let fault = choice
                    .pick_fixed(&pair.prompts)
                    .err()
                    .map(|fault| fault.in_sample(&pair.name));
                fault.into_iter().for_each(|fault| findings.fault(fault));
            }
        }
    }
}

/// With class-id masks every sample has exactly the prompts `p0` (empty) and `p1` (the class name).
fn class_prompts(config: &DataConfig, findings: &mut Findings) {
    let choices = [
        ("data.prompt", Some(&config.prompt)),
        ("data.eval_prompt", config.eval_prompt.as_ref()),
    ];
    for (field, choice) in choices {
        if let Some(PromptChoice::Named(name)) = choice
            && name != "p0"
            && name != "p1"
        {
            let reason =
                format!("class-id masks have no prompt `{name}`; choose p1, the class name");
            findings.fault(DataError::Config { field, reason });
        }
    }
}

/// Pairs that a split lists more than once.
fn duplicates(listing: &Listing, findings: &mut Findings) {
    for (split, pairs) in Split::ALL.into_iter().zip(&listing.splits) {
        let mut seen = HashSet::new();
        for pair in pairs
            .iter()
            .filter(|pair| !seen.insert((&pair.image, &pair.mask)))
        {
            let message = format!(
                "image `{}` with mask `{}` is listed more than once in the {split} split; remove the second entry",
                pair.image.display(),
                pair.mask.display()
            );
            findings.add(
                Severity::Warning,
                FindingKind::Duplicate,
                &[&pair.image],
                message,
            );
        }
    }
}

/// Images of the same content in several splits, or under several names in one split.
fn shared_images(listing: &Listing, images: &Facts<'_, ImageFacts>, findings: &mut Findings) {
    let mut by_digest: HashMap<Digest, usize> = HashMap::new();
    let mut groups: Vec<BTreeMap<Split, Vec<&Path>>> = Vec::new();
    for (split, pairs) in Split::ALL.into_iter().zip(&listing.splits) {
        for pair in pairs {
            let Ok(facts) = &images[pair.image.as_path()] else {
                continue;
            };
            let group = *by_digest.entry(facts.digest).or_insert_with(|| {
                groups.push(BTreeMap::new());
                groups.len() - 1
            });
            let files = groups[group].entry(split).or_default();
            if !files.contains(&pair.image.as_path()) {
                files.push(&pair.image);
            }
        }
    }
    for group in groups {
        let several_splits = group.len() > 1;
        let names: Vec<String> = group
            .iter()
            .flat_map(|(split, files)| {
                files
                    .iter()
                    .map(move |file| format!("`{}` ({split})", file.display()))
            })
            .collect();
        let all: Vec<&Path> = group.values().flatten().copied().collect();
        if several_splits {
            let message = format!(
                "the same image is in several splits: {}; keep it in one split, or the metrics are misleading",
                names.join(", ")
            );
            findings.add(Severity::Error, FindingKind::SharedImage, &all, message);
        } else if names.len() > 1 {
            let message = format!(
                "the same image, byte for byte, has several names: {}; keep one of them",
                names.join(", ")
            );
            findings.add(Severity::Warning, FindingKind::Duplicate, &all, message);
        }
    }
}

#[cfg(test)]
mod tests;
