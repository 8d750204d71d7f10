//! A data set: its samples by split, whatever the format on disk.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use rand::Rng;
use serde::{Deserialize, Serialize};
use vlsm_image::{
    ClassList, Mask, RgbImage, decode_image, read_bytes, read_class_map, read_image, read_mask,
};

use crate::config::{DataConfig, Format};
use crate::error::{DataError, Result};
use crate::formats::generated::Generated;
use crate::formats::{self, Listing};
use crate::pool;
use crate::prompt::Prompts;
use crate::synth::DrawingId;

/// The mend for a sample without prompts.
pub(crate) const PROMPT_MEND: &str = "set `data.prompt` to one text for all samples, or give each its prompts in the annotations or in `data.prompts`";

/// A part of a data set.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// What the weights are fitted to.
    Train,
    /// What the best epoch is chosen by.
    Val,
    /// What the reported numbers are measured on.
    Test,
}

impl Split {
    /// All three, in order.
    pub const ALL: [Self; 3] = [Self::Train, Self::Val, Self::Test];

    /// `train`, `val` or `test`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Split {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|split| split.name() == text)
            .ok_or_else(|| DataError::Config {
                field: "split",
                reason: format!("`{text}` is not one of train, val, test"),
            })
    }
}

/// What of its mask a sample is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// The mask is binary: its foreground.
    Foreground,
    /// The mask holds class ids: the pixels of this one.
    Class(u8),
    /// The mask holds class ids: all of them, for labels of the whole image.
    Labels,
    /// The sample is generated when it is asked for: what is found in the drawing under this number.
    Drawn(DrawingId, usize),
}

/// An image, what is to be found in it, and the words for that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Name, unique in its split: the mask's stem, behind the data set's name and `/` where several are pooled; `stem.Class` for class-id masks; `-2`, `-3`, ... is added where an
    /// annotation file uses one mask several times.
    pub name: String,
    /// The image file; of a generated sample a name that no file has.
    pub image: PathBuf,
    /// The mask file; of a generated sample a name that no file has.
    pub mask: PathBuf,
    /// What of the mask the sample is about.
    pub target: Target,
    /// What scores are told apart by besides the prompt: a class, or a kind of prompt. Empty if there is no such thing.
    pub group: String,
    /// The prompts, by name.
    pub prompts: Prompts,
    /// For prompt names, what of the prompt was read from the true mask (`shape`, `place`, ...), where the data set says
    /// so: names that are not there owe nothing to the mask. `None` where the data set says nothing.
    pub oracle: Option<BTreeMap<String, Vec<String>>>,
}

/// Where an image comes from. Samples that have it in common show the same image.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ImageSource {
    /// A file.
    File(PathBuf),
    /// It is drawn.
    Drawing(DrawingId),
}

impl ImageSource {
    /// All that the image depends on: the bytes of the file, or the pixels as drawn.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        match self {
            Self::File(path) => Ok(read_bytes(path)?),
            Self::Drawing(id) => Ok(id.draw().image.data),
        }
    }

    /// The image that [`bytes`](Self::bytes) hold, at its own size.
    ///
    /// # Errors
    /// If they are corrupt, truncated, or of an unknown format.
    pub fn decode(&self, bytes: Vec<u8>) -> Result<RgbImage> {
        match self {
            Self::File(path) => Ok(decode_image(path, &bytes)?),
            Self::Drawing(id) => Ok(RgbImage::new(id.side, id.side, bytes)?),
        }
    }
}

impl Sample {
    /// Where the image comes from.
    pub fn image_source(&self) -> ImageSource {
        match self.target {
            Target::Drawn(id, _) => ImageSource::Drawing(id),
            Target::Foreground | Target::Class(_) | Target::Labels => {
                ImageSource::File(self.image.clone())
            }
        }
    }

    /// The image and the mask of the target, both at their own size; of [`Target::Labels`] the pixels that have one.
    /// `ignore` is [`Dataset::ignore`].
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn read(&self, ignore: Option<u8>) -> Result<(RgbImage, Mask)> {
        let mask = match self.target {
            Target::Foreground => read_mask(&self.mask)?,
            Target::Class(class) => read_class_map(&self.mask)?.mask_of(class, ignore),
            Target::Labels => read_class_map(&self.mask)?.labelled(ignore),
            Target::Drawn(id, number) => {
                let drawing = id.draw();
                let Some(found) = drawing.referents.into_iter().nth(number) else {
                    return Err(DataError::Config {
                        field: "target",
                        reason: format!("drawing `{}` has no target {number}", id.name()),
                    });
                };
                return Ok((drawing.image, found.mask));
            }
        };
        Ok((read_image(&self.image)?, mask))
    }

    /// The prompt for training on this sample once: [`PromptChoice::pick`](crate::PromptChoice::pick) with the sample's
    /// name in the error.
    ///
    /// # Errors
    /// As there.
    pub fn pick_prompt(&self, choice: &crate::PromptChoice, rng: &mut impl Rng) -> Result<String> {
        choice
            .pick(&self.prompts, rng)
            .map_err(|e| e.in_sample(&self.name))
    }

    /// The prompt for evaluating this sample: [`PromptChoice::pick_fixed`](crate::PromptChoice::pick_fixed) with the
    /// sample's name in the error.
    ///
    /// # Errors
    /// As there.
    pub fn fixed_prompt(&self, choice: &crate::PromptChoice) -> Result<String> {
        choice
            .pick_fixed(&self.prompts)
            .map_err(|e| e.in_sample(&self.name))
    }
}

/// All samples of a data set.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Folder of the data set; of several, their names.
    pub root: PathBuf,
    /// Its format, never [`Format::Auto`].
    pub format: Format,
    /// Training samples in the order of the split, at most `data.limit`.
    pub train: Vec<Sample>,
    /// Validation samples.
    pub val: Vec<Sample>,
    /// Test samples.
    pub test: Vec<Sample>,
    /// The class id that is left out of loss and metrics.
    pub ignore: Option<u8>,
    /// Class names by id, `""` for a class that is no target; empty if masks are binary.
    pub classes: Vec<String>,
    /// The images of each split with all their labels, if masks hold class ids.
    pub(crate) labelled: [Vec<Sample>; 3],
    /// Where the samples of a generated data set come from.
    pub(crate) generated: Option<Generated>,
}

impl Dataset {
    /// Finds the samples of the data set that a recipe's `[data]` section describes. Files are looked for, but only
    /// class-id masks are read.
    ///
    /// A split may come out empty; ask [`Dataset::require`] for one that must not be.
    ///
    /// # Errors
    /// The first fault that is found; [`check`](crate::check()) finds all of them. A sample without prompts is a fault
    /// unless `data.prompt` or `data.eval_prompt` is a text for all.
    pub fn open(config: &DataConfig) -> Result<Self> {
        config.validate()?;
        if !config.pool.is_empty() {
            return pool::open(config);
        }
        if let Some(generated) = Generated::of(config)? {
            return Ok(Self::draw(config, generated));
        }
        let mut faults = Vec::new();
        let listing = formats::list(config, &mut faults);
        let listing = first_fault(listing, &mut faults)?;
        let Listing {
            format,
            splits,
            classes,
        } = listing;
        let mut labelled = <[Vec<Sample>; 3]>::default();
        let (classes, ignore, splits) = match classes {
            None => (Vec::new(), None, splits.map(formats::binary_samples)),
            Some(classes) => {
                labelled = splits
                    .each_ref()
                    .map(|pairs| formats::classes::whole_images(pairs));
                let splits = formats::classes::samples(splits, &classes, &mut faults);
                let splits = first_fault(splits, &mut faults)?;
                (classes.texts(), classes.ignore, splits)
            }
        };
        let [mut train, val, test] = splits;
        if let Some(limit) = config.limit {
            train.truncate(limit);
        }
        let dataset = Self {
            root: config.root.clone(),
            format,
            train,
            val,
            test,
            ignore,
            classes,
            labelled,
            generated: None,
        };
        dataset.expect_prompts(config)?;
        Ok(dataset)
    }

    fn draw(config: &DataConfig, generated: Generated) -> Self {
        let [train, val, test] = Split::ALL.map(|split| generated.samples(split, 0));
        Self {
            root: config.root.clone(),
            format: Format::Generated,
            train,
            val,
            test,
            ignore: None,
            classes: Vec::new(),
            labelled: Default::default(),
            generated: Some(generated),
        }
    }

    /// The training samples of an epoch, counted from 0. Those of files are always the same; scenes are drawn anew in
    /// each epoch, so that none is seen twice.
    pub fn train_in_epoch(&self, epoch: usize) -> Cow<'_, [Sample]> {
        match &self.generated {
            Some(generated) if epoch > 0 && self.draws_anew() => {
                generated.samples(Split::Train, epoch).into()
            }
            _ => Cow::Borrowed(&self.train),
        }
    }

    /// Whether each epoch has training images of its own.
    pub fn draws_anew(&self) -> bool {
        self.generated.as_ref().is_some_and(Generated::draws_anew)
    }

    /// The samples of a split.
    pub fn split(&self, split: Split) -> &[Sample] {
        match split {
            Split::Train => &self.train,
            Split::Val => &self.val,
            Split::Test => &self.test,
        }
    }

    /// The images of a split with all their labels, a sample of [`Target::Labels`] each, without prompts; none if masks
    /// are binary. `data.limit` is about samples, and leaves them as they are.
    pub fn labelled(&self, split: Split) -> &[Sample] {
        let [train, val, test] = &self.labelled;
        match split {
            Split::Train => train,
            Split::Val => val,
            Split::Test => test,
        }
    }

    /// The samples of a split that must not be empty.
    ///
    /// # Errors
    /// [`DataError::EmptySplit`].
    pub fn require(&self, split: Split) -> Result<&[Sample]> {
        let samples = self.split(split);
        if samples.is_empty() {
            return Err(empty_split(&self.root, self.format, split));
        }
        Ok(samples)
    }

    /// The classes of whole-image labels.
    ///
    /// # Errors
    /// If the masks do not hold class ids, or the names cannot be told apart.
    pub fn class_list(&self) -> Result<ClassList> {
        if self.classes.is_empty() {
            return Err(DataError::Config {
                field: "data.format",
                reason: format!(
                    "the masks of `{}` are binary (format {}); whole-image labels need masks of class ids and a \
                     `classes.json` that names them",
                    self.root.display(),
                    self.format
                ),
            });
        }
        Ok(ClassList::new(self.classes.clone(), self.ignore)?)
    }

    fn expect_prompts(&self, config: &DataConfig) -> Result<()> {
        let bare = Split::ALL
            .into_iter()
            .flat_map(|split| self.split(split))
            .find(|s| s.prompts.is_empty());
        match bare {
            Some(sample) if !config.has_text() => Err(DataError::NoPrompts {
                sample: sample.name.clone(),
                origin: String::new(),
                mend: PROMPT_MEND,
            }),
            _ => Ok(()),
        }
    }
}

/// The error for a split that is needed but empty.
pub(crate) fn empty_split(root: &std::path::Path, format: Format, split: Split) -> DataError {
    let mend = match (format, split) {
        (Format::Annotations, Split::Train) => "add entries to `anns/train.json`",
        (Format::Annotations, Split::Val) => "add entries to `anns/val.json`",
        (Format::Annotations, Split::Test) => "add entries to `anns/test.json`",
        (_, Split::Train) => {
            "add images and masks, or lower `data.split.val` and `data.split.test`"
        }
        (_, Split::Val) => {
            "add images and masks to `val/`, or raise `data.split.val` (or mend `data.split.val_list`)"
        }
        (_, Split::Test) => {
            "add images and masks to `test/`, or raise `data.split.test` (or mend `data.split.test_list`)"
        }
    };
    DataError::EmptySplit {
        split,
        root: root.to_path_buf(),
        mend,
    }
}

fn first_fault<T>(value: T, faults: &mut Vec<DataError>) -> Result<T> {
    if faults.is_empty() {
        Ok(value)
    } else {
        Err(faults.swap_remove(0))
    }
}

#[cfg(test)]
#[path = "dataset_tests.rs"]
mod tests;
