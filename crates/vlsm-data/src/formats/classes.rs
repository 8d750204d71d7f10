//! Class-id masks with class names. Each class present in an image becomes a sample with its name as prompt.

use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;
use vlsm_image::ClassNames;

use super::Pair;
use crate::config::DataConfig;
use crate::error::{DataError, Result};
use crate::file_set::FileSet;
use crate::prompt::Prompts;
use crate::sample::{Sample, Target};
use crate::source::{FilePair, Source};
use crate::unique_names::UniqueNames;

/// Reads the class names from the recipe's file, or from `ROOT/classes.json`.
pub(crate) fn read_names(config: &DataConfig) -> Result<ClassNames> {
    let path = match &config.classes {
        Some(path) => config.resolve(path),
        None => config.root.join("classes.json"),
    };
    Ok(ClassNames::read(&path)?)
}

/// The ids and names of a mask's classes that become samples. Ids without a name are faults.
pub(crate) fn targets<'a>(
    classes: &'a ClassNames,
    mask: &Path,
    ids: &[u8],
    faults: &mut Vec<DataError>,
) -> Vec<(u8, &'a str)> {
    let mut targets = Vec::new();
    for &id in ids.iter().filter(|&&id| Some(id) != classes.ignore) {
        match classes.names.get(usize::from(id)) {
            Some(Some(name)) => targets.push((id, name.as_str())),
            Some(None) => {}
            None => faults.push(DataError::UnnamedClass {
                mask: mask.to_path_buf(),
                id,
                classes: classes.path.clone(),
                named: classes.names.len(),
            }),
        }
    }
    targets
}

/// A sample for each class present in each mask, in the order of images, then ids. Reads every mask, on all cores.
pub(crate) fn samples(
    splits: [Vec<Pair>; 3],
    classes: &ClassNames,
    set: &Arc<FileSet>,
    faults: &mut Vec<DataError>,
) -> [Vec<Sample>; 3] {
    splits.map(|pairs| {
        let ids: Vec<Result<Vec<u8>>> = pairs
            .par_iter()
            .map(|pair| Ok(set.class_map(&pair.mask)?.ids()))
            .collect();
        let mut names = UniqueNames::default();
        let mut samples = Vec::new();
        for (pair, ids) in pairs.into_iter().zip(ids) {
            let ids = match ids {
                Ok(ids) => ids,
                Err(fault) => {
                    faults.push(fault);
                    continue;
                }
            };
            let source = source(&pair, set);
            for (id, name) in targets(classes, &pair.mask, &ids, faults) {
                samples.push(Sample {
                    name: names.take(format!("{}.{}", pair.name, file_name_of(name))),
                    subject: pair.subject.clone(),
                    source: Arc::clone(&source),
                    target: Target::Class(id),
                    group: name.to_string(),
                    prompts: Prompts::from_texts(vec![name.to_string()]),
                    oracle: None,
                });
            }
        }
        samples
    })
}

/// A sample of all labels for each image. Unlike [`samples`], this includes images that show no class.
pub(crate) fn whole_images(pairs: &[Pair], set: &Arc<FileSet>) -> Vec<Sample> {
    let mut names = UniqueNames::default();
    let sample = |pair: &Pair| Sample {
        name: names.take(pair.name.clone()),
        subject: pair.subject.clone(),
        source: source(pair, set),
        target: Target::Labels,
        group: String::new(),
        prompts: Prompts::new(),
        oracle: None,
    };
    pairs.iter().map(sample).collect()
}

/// Image and class-id mask of a pair.
fn source(pair: &Pair, set: &Arc<FileSet>) -> Arc<dyn Source> {
    let files = FilePair::new(pair.image.clone(), pair.mask.clone(), true);
    Arc::new(files.in_set(Arc::clone(set)))
}

/// A class name in a form that is safe in a file name.
fn file_name_of(class: &str) -> String {
    class
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || c == '-' {
                c
            } else {
                '_'
            }
        })
        .collect()
}
