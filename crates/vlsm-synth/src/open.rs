//! Drawn data sets, whose samples are drawn on demand.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use rayon::prelude::*;
use vlsm_data::{
    DataConfig, DataError, Dataset, EpochSampler, Format, GenerateConfig, Masks, Result, Sample,
    Source, Split, Target,
};
use vlsm_image::RgbImage;

use crate::drawing_id::{Domain, DrawingId};

/// Opens the data set of a recipe's `[data]` section: files as with [`Dataset::open`], drawn data sets with the root
/// `builtin:NAME`, and pools of both.
///
/// # Errors
/// As [`Dataset::open`], and if there is no drawn data set of that name or its images are too small or too large.
pub fn open(config: &DataConfig) -> Result<Dataset> {
    Dataset::open_with(config, drawn)
}

fn drawn(name: &str, config: &DataConfig) -> Result<Dataset> {
    let Some(domain) = Domain::ALL.into_iter().find(|domain| domain.name() == name) else {
        let names = Domain::ALL.map(|domain| format!("builtin:{}", domain.name()));
        let reason = format!(
            "there is no `builtin:{name}`; choose one of {}",
            names.join(", ")
        );
        return Err(DataError::Config {
            field: "data.root",
            reason,
        });
    };
    config.generate.validate()?;
    let mut generate = config.generate.clone();
    if let Some(limit) = config.limit {
        generate.train = generate.train.min(limit);
    }
    let drawn = Drawn { domain, generate };
    let splits = Split::ALL.map(|split| drawn.samples_of(split, 0));
    let mut dataset = Dataset::from_splits(&config.root, splits)?;
    dataset.format = Some(Format::Generated);
    // Only scenes differ in each epoch: a phantom represents a data set with a fixed number of patients.
    if domain == Domain::Scenes {
        dataset = dataset.with_sampler(Arc::new(drawn));
    }
    Ok(dataset)
}

/// A drawn data set: the domain, and the number of drawings.
#[derive(Clone, Debug)]
struct Drawn {
    domain: Domain,
    generate: GenerateConfig,
}

impl EpochSampler for Drawn {
    fn samples(&self, epoch: usize) -> Vec<Sample> {
        self.samples_of(Split::Train, epoch)
    }
}

impl Drawn {
    /// The samples of a split, drawing by drawing. Each epoch continues with the drawings after those of the previous one.
    fn samples_of(&self, split: Split, epoch: usize) -> Vec<Sample> {
        let count = match split {
            Split::Train => self.generate.train,
            Split::Val => self.generate.val,
            Split::Test => self.generate.test,
        };
        (epoch * count..(epoch + 1) * count)
            .into_par_iter()
            .flat_map_iter(|index| self.drawing(split, index))
            .collect()
    }

    fn drawing(&self, split: Split, index: usize) -> impl Iterator<Item = Sample> {
        let id = DrawingId::of(self.domain, &self.generate, split, index);
        let source: Arc<dyn Source> = Arc::new(id);
        let image = id.name();
        let referents = id.referents();
        let count = referents.len();
        referents
            .into_iter()
            .enumerate()
            .map(move |(index, referent)| Sample {
                name: referent.name(&image, index, count),
                subject: source.id().into_owned(),
                source: Arc::clone(&source),
                target: Target::Mask(index),
                group: referent.group,
                prompts: referent.prompts,
                oracle: Some(owned(&referent.oracle)),
            })
    }
}

/// The image and its masks come from one drawing.
impl Source for DrawingId {
    fn id(&self) -> Cow<'_, str> {
        let Self {
            seed, split, side, ..
        } = self;
        format!("builtin:{}/{split}/seed {seed}, {side} px", self.name()).into()
    }

    fn image(&self) -> Result<RgbImage> {
        Ok(self.draw().image)
    }

    fn masks(&self) -> Result<Masks> {
        Ok(self.image_and_masks()?.1)
    }

    fn image_and_masks(&self) -> Result<(RgbImage, Masks)> {
        let drawing = self.draw();
        let masks: Vec<_> = drawing
            .referents
            .into_iter()
            .map(|drawn| drawn.mask)
            .collect();
        Ok((drawing.image, masks.into()))
    }

    fn image_size(&self) -> Result<(usize, usize)> {
        Ok((self.side, self.side))
    }
}

/// Copies the words.
fn owned(oracle: &BTreeMap<&'static str, Vec<&'static str>>) -> BTreeMap<String, Vec<String>> {
    let words = |list: &Vec<&'static str>| list.iter().map(ToString::to_string).collect();
    let entry = |(prompt, list): (&&str, _)| (prompt.to_string(), words(list));
    oracle.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use vlsm_data::pool_sample;

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
        let pooled = open(&config).unwrap();
        let alone = config.pool.iter().map(|root| {
            let own = DataConfig {
                root: root.clone(),
                pool: Vec::new(),
                ..config.clone()
            };
            open(&own).unwrap()
        });
        let alone: Vec<Dataset> = alone.collect();
        for split in Split::ALL {
            let own: Vec<&Sample> = alone.iter().flat_map(|set| set.split(split)).collect();
            let pooled = pooled.split(split);
            assert_eq!(pooled.len(), own.len());
            for sample in own {
                let found = pooled.iter().find(|found| {
                    let (set, name) = pool_sample(&found.name).unwrap();
                    name == sample.name
                        && found.group.starts_with(set)
                        && found.target == sample.target
                });
                assert_eq!(found.unwrap().prompts, sample.prompts);
            }
        }
        let sets: Vec<&str> = pooled
            .test
            .chunk_by(|a, b| a.source.id() == b.source.id())
            .map(|samples| pool_sample(&samples[0].name).unwrap().0)
            .collect();
        assert_eq!(sets, ["ultrasound", "street", "ultrasound", "street"]);
    }

    #[test]
    fn what_cannot_be_pooled_is_named() {
        let error = |pool: &[&str]| open(&config(pool)).unwrap_err().to_string();
        assert!(error(&["builtin:scenes", "builtin:street"]).contains("builtin:scenes"));
        assert!(error(&["a/polyps", "b/polyps"]).contains("`polyps`"));
        assert!(error(&[".."]).contains("`..`"));
        let mut both = config(&["builtin:street"]);
        both.root = "builtin:street".into();
        let error = open(&both).unwrap_err().to_string();
        assert!(error.contains("data.pool"), "{error}");
    }
}
