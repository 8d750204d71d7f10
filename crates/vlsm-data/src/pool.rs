//! Several data sets as one: trained on together, and told apart by the names and groups of their samples.

use std::path::{Path, PathBuf};

use crate::config::DataConfig;
use crate::dataset::{Dataset, Sample, Split};
use crate::error::{DataError, Result};

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

/// Opens all the data sets of `data.pool`. A split holds the samples of the first image of each data set, then those of the
/// second of each, and so on: the first samples, which a limit takes, are of all of them.
pub(crate) fn open(config: &DataConfig) -> Result<Dataset> {
    let names = pool_names(&config.pool)?;
    let mut sets = Vec::with_capacity(names.len());
    for root in &config.pool {
        let own = DataConfig {
            root: root.clone(),
            pool: Vec::new(),
            ..config.clone()
        };
        let set = Dataset::open(&own)?;
        if set.draws_anew() {
            return Err(fault(format!(
                "`{}` draws new images for each epoch, which data sets in a pool cannot",
                root.display()
            )));
        }
        sets.push(set);
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
    let [train, val, test] = Split::ALL.map(|split| pooled(&names, &sets, |set| set.split(split)));
    // Whole images have labels in common only where the ids mean the same.
    let same_classes = sets.iter().all(|set| set.classes == sets[0].classes);
    Ok(Dataset {
        root: PathBuf::from(names.join("+")),
        format: sets[0].format,
        train,
        val,
        test,
        ignore: ignore(&sets, &config.pool)?,
        classes: if same_classes {
            sets[0].classes.clone()
        } else {
            Vec::new()
        },
        labelled: if same_classes {
            Split::ALL.map(|split| pooled(&names, &sets, |set| set.labelled(split)))
        } else {
            Default::default()
        },
        generated: None,
    })
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
        let images = list.chunk_by(|a, b| a.image == b.image);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pool: &[&str]) -> DataConfig {
        let mut config = DataConfig {
            pool: pool.iter().map(PathBuf::from).collect(),
            ..DataConfig::default()
        };
        config.generate.train = 3;
        config.generate.val = 0;
        config.generate.test = 2;
        config
    }

    #[test]
    fn samples_are_those_of_each_set_in_turns() {
        let config = config(&["builtin:ultrasound", "builtin:street"]);
        let pooled = Dataset::open(&config).unwrap();
        let alone = config.pool.iter().map(|root| {
            let own = DataConfig {
                root: root.clone(),
                pool: Vec::new(),
                ..config.clone()
            };
            Dataset::open(&own).unwrap()
        });
        let alone: Vec<Dataset> = alone.collect();
        for split in Split::ALL {
            let own: Vec<&Sample> = alone.iter().flat_map(|set| set.split(split)).collect();
            let pooled = pooled.split(split);
            assert_eq!(pooled.len(), own.len());
            for sample in own {
                let found = pooled.iter().find(|one| {
                    let (set, name) = pool_sample(&one.name).unwrap();
                    name == sample.name && one.group.starts_with(set) && one.target == sample.target
                });
                assert_eq!(found.unwrap().prompts, sample.prompts);
            }
        }
        let sets: Vec<&str> = pooled
            .test
            .chunk_by(|a, b| a.image == b.image)
            .map(|samples| pool_sample(&samples[0].name).unwrap().0)
            .collect();
        assert_eq!(sets, ["ultrasound", "street", "ultrasound", "street"]);
    }

    #[test]
    fn what_cannot_be_pooled_is_named() {
        let error = |pool: &[&str]| Dataset::open(&config(pool)).unwrap_err().to_string();
        assert!(error(&["builtin:scenes", "builtin:street"]).contains("builtin:scenes"));
        assert!(error(&["a/polyps", "b/polyps"]).contains("`polyps`"));
        assert!(error(&[".."]).contains("`..`"));
        let mut both = config(&["builtin:street"]);
        both.root = "builtin:street".into();
        let error = Dataset::open(&both).unwrap_err().to_string();
        assert!(error.contains("data.pool"), "{error}");
    }
}
