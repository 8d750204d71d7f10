//! A data set: the samples of each split, from files or memory.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use vlsm_image::ClassList;

use crate::config::Format;
use crate::error::{DataError, Result};
use crate::file_set::FileSet;
use crate::sample::{Sample, Target, pool_sample};
use crate::split::Split;

/// Training samples that differ from epoch to epoch, such as scenes drawn for a single epoch.
pub trait EpochSampler: fmt::Debug + Send + Sync {
    /// The training samples of an epoch, counted from 0. Those of epoch 0 are [`Dataset::train`].
    fn samples(&self, epoch: usize) -> Vec<Sample>;
}

/// All samples of a data set.
///
/// [`Dataset::open`] finds them in files; [`Dataset::from_splits`] takes them from anywhere:
///
/// ```
/// use std::sync::Arc;
/// use vlsm_data::{Arrays, Dataset, Loader, LoaderConfig, Prompts, Request, Sample};
/// use vlsm_image::{Mask, RgbImage};
///
/// # fn main() -> vlsm_data::Result<()> {
/// let sample = |index: u8| {
///     let image = RgbImage::from_fn(64, 48, |x, _| [x as u8, index, 0]);
///     let mask = Mask::from_fn(64, 48, |x, y| u8::from(x > 20 && y > 20));
///     let name = format!("case {index}");
///     let prompts = Prompts::from_texts(vec!["polyp".into()]);
///     Sample::new(name.clone(), Arc::new(Arrays::new(name, image, mask)), prompts)
/// };
/// let train = (0..8).map(sample).collect();
/// let val = (8..10).map(sample).collect();
/// let dataset = Dataset::from_splits("polyps", [train, val, vec![]])?;
///
/// let requests = vec![Request::new(3, "polyp")];
/// let mut loader = Loader::new(dataset.train.into(), None, requests, LoaderConfig::default());
/// let example = loader.next().unwrap()?;
/// assert_eq!((example.mask.width, example.mask.height), (352, 352));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Dataset {
    /// Folder of the data set. For pooled data sets, their names; for one in memory, its name.
    pub root: PathBuf,
    /// The format on disk, never [`Format::Auto`]; `None` if the samples were given in memory.
    pub format: Option<Format>,
    /// Training samples in the order of the split, at most `data.limit`.
    pub train: Vec<Sample>,
    /// Validation samples.
    pub val: Vec<Sample>,
    /// Test samples.
    pub test: Vec<Sample>,
    /// The class id that is left out of loss and metrics.
    pub ignore: Option<u8>,
    /// Class names by id, with `""` for classes that are not segmented; empty if masks are binary.
    pub classes: Vec<String>,
    /// A sample of [`Target::Labels`](crate::Target::Labels) for each image of each split, if masks hold class ids.
    labelled: [Vec<Sample>; 3],
    /// For pooled data sets of class ids, the names of all their classes.
    pub(crate) pooled_names: Vec<String>,
    /// The files of the data set, or of each pooled one; empty if the samples are not files.
    pub(crate) files: Vec<Arc<FileSet>>,
    /// Training samples of later epochs, if they differ.
    sampler: Option<Arc<dyn EpochSampler>>,
}

impl Dataset {
    /// A data set from samples for training, validation and test. A split may be empty.
    ///
    /// # Errors
    /// If two samples of a split have the same name.
    pub fn from_splits(name: impl Into<PathBuf>, splits: [Vec<Sample>; 3]) -> Result<Self> {
        for (split, samples) in Split::ALL.into_iter().zip(&splits) {
            let mut names = HashSet::new();
            if let Some(duplicate) = samples.iter().find(|sample| !names.insert(&sample.name)) {
                return Err(DataError::Config {
                    field: "samples",
                    reason: format!(
                        "two samples of the {split} split are named `{}`; rename one of them",
                        duplicate.name
                    ),
                });
            }
        }
        let [train, val, test] = splits;
        Ok(Self {
            root: name.into(),
            format: None,
            train,
            val,
            test,
            ignore: None,
            classes: Vec::new(),
            labelled: Default::default(),
            pooled_names: Vec::new(),
            files: Vec::new(),
            sampler: None,
        })
    }

    /// The same data set with class-id masks.
    ///
    /// - `classes`: names by id, with `""` for classes that are not segmented;
    /// - `ignore`: the id that is left out of loss and metrics;
    /// - `labelled`: a sample of [`Target::Labels`](crate::Target::Labels) for each image of train, val and test, on which
    ///   whole-image labels are evaluated.
    #[must_use]
    pub fn with_classes(
        self,
        classes: Vec<String>,
        ignore: Option<u8>,
        labelled: [Vec<Sample>; 3],
    ) -> Self {
        Self {
            classes,
            ignore,
            labelled,
            ..self
        }
    }

    /// The same data set with other training samples in later epochs.
    #[must_use]
    pub fn with_sampler(self, sampler: Arc<dyn EpochSampler>) -> Self {
        Self {
            sampler: Some(sampler),
            ..self
        }
    }

    /// The training samples of an epoch, counted from 0.
    pub fn train_in_epoch(&self, epoch: usize) -> Cow<'_, [Sample]> {
        match &self.sampler {
            Some(sampler) if epoch > 0 => sampler.samples(epoch).into(),
            _ => Cow::Borrowed(&self.train),
        }
    }

    /// Whether each epoch has new training images.
    pub fn resamples_each_epoch(&self) -> bool {
        self.sampler.is_some()
    }

    /// The samples of a split.
    pub fn split(&self, split: Split) -> &[Sample] {
        match split {
            Split::Train => &self.train,
            Split::Val => &self.val,
            Split::Test => &self.test,
        }
    }

    /// A sample of [`Target::Labels`](crate::Target::Labels), without prompts, for each image of a split; empty if masks
    /// are binary. `data.limit` does not apply here.
    pub fn labelled(&self, split: Split) -> &[Sample] {
        let [train, val, test] = &self.labelled;
        match split {
            Split::Train => train,
            Split::Val => val,
            Split::Test => test,
        }
    }

    /// The samples of a split, at least one.
    ///
    /// # Errors
    /// [`DataError::EmptySplit`] if there are none.
    pub fn require(&self, split: Split) -> Result<&[Sample]> {
        let samples = self.split(split);
        if samples.is_empty() {
            return Err(empty_split(&self.root, self.format, split));
        }
        Ok(samples)
    }

    /// The names of the classes that samples can be of, in the order of their ids. Pooled data sets give the names of each in
    /// turn; a name of several is one class.
    ///
    /// # Errors
    /// As [`class_list`](Self::class_list).
    pub fn class_names(&self) -> Result<Vec<String>> {
        if !self.pooled_names.is_empty() {
            return Ok(self.pooled_names.clone());
        }
        let classes = self.class_list()?;
        Ok(classes.targets().map(|(_, name)| name.to_owned()).collect())
    }

    /// The name of the class that a sample is of; `None` if its mask is binary.
    pub fn class_of<'a>(&self, sample: &'a Sample) -> Option<&'a str> {
        let Target::Class(_) = sample.target else {
            return None;
        };
        match self.pooled_names.is_empty() {
            true => Some(&sample.group),
            false => pool_sample(&sample.group).map(|(_, class)| class),
        }
    }

    /// The classes of whole-image labels.
    ///
    /// # Errors
    /// If the masks do not hold class ids, or two classes have the same name.
    pub fn class_list(&self) -> Result<ClassList> {
        if self.classes.is_empty() {
            let format = self
                .format
                .map_or("in memory".to_string(), |format| format!("format {format}"));
            return Err(DataError::Config {
                field: "data.format",
                reason: format!(
                    "the masks of `{}` are binary ({format}); whole-image labels and the names of segments need masks \
                     of class ids and a `classes.json` that names them",
                    self.root.display(),
                ),
            });
        }
        Ok(ClassList::new(self.classes.clone(), self.ignore)?)
    }
}

/// The error for a split that is needed but empty.
pub(crate) fn empty_split(
    root: &std::path::Path,
    format: Option<Format>,
    split: Split,
) -> DataError {
    let fix = match (format, split) {
        (None, _) => "pass at least one sample",
        (Some(Format::Annotations), Split::Train) => "add entries to `anns/train.json`",
        (Some(Format::Annotations), Split::Val) => "add entries to `anns/val.json`",
        (Some(Format::Annotations), Split::Test) => "add entries to `anns/test.json`",
        (_, Split::Train) => {
            "add images and masks, or lower `data.split.val` and `data.split.test`"
        }
        (_, Split::Val) => {
            "add images and masks to `val/`, or raise `data.split.val` (or correct `data.split.val_list`)"
        }
        (_, Split::Test) => {
            "add images and masks to `test/`, or raise `data.split.test` (or correct `data.split.test_list`)"
        }
    };
    DataError::EmptySplit {
        split,
        root: root.to_path_buf(),
        fix,
    }
}
