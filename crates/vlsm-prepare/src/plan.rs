//! What will be written: images and their masks, by split.

use std::path::{Path, PathBuf};

use vlsm_image::{ClassMap, Mask, RgbImage, read_image, read_mask, read_size};

use crate::error::Result;
use crate::scan::read_scan;
use vlsm_data::{DataError, Split, splitting};

/// A data set before it is written.
pub(super) struct Plan {
    /// Where the splits come from, as text: "official lists".
    pub(super) rule: String,
    pub(super) cases: Cases,
}

/// The images of train, val and test, and what their masks mean.
pub(super) enum Cases {
    /// Masks of one object each, annotated with prompts.
    Prompted {
        splits: [Vec<Case<Vec<Target>>>; 3],
        /// Whether the images are grey, so that prompts cannot name a colour.
        grey: bool,
    },
    /// Masks of class ids.
    Classes {
        splits: [Vec<Case<Labels>>; 3],
        /// Classes by id.
        names: Vec<String>,
        /// Id of ignored pixels.
        ignore: u8,
    },
}

/// An image and its masks.
pub(super) struct Case<M> {
    /// File name of the written image.
    pub(super) name: String,
    pub(super) image: Picture,
    pub(super) masks: M,
}

/// Where an image comes from.
pub(super) enum Picture {
    /// A file that is copied unchanged.
    File(PathBuf),
    /// A greyscale medical image, converted to a PNG with the same levels.
    Scan(PathBuf),
}

/// An object to segment in an image.
pub(super) struct Target {
    /// Path of the written mask; its folders are created.
    pub(super) name: String,
    /// Its name in prompts.
    pub(super) class: &'static str,
    /// As [`Sample::group`](vlsm_data::Sample::group).
    pub(super) group: &'static str,
    /// File of the mask.
    pub(super) file: PathBuf,
    /// Reads the mask from the file.
    pub(super) read: Read<Mask>,
    /// Whether an empty mask gives no sample.
    pub(super) only_if_present: bool,
}

/// Class ids of an image.
pub(super) struct Labels {
    /// File of the ids.
    pub(super) file: PathBuf,
    /// Reads the ids from the file.
    pub(super) read: Read<ClassMap>,
}

/// An image and its mask.
pub(super) struct Paired {
    /// The image's stem.
    pub(super) stem: String,
    pub(super) image: PathBuf,
    pub(super) mask: PathBuf,
}

/// Reads a mask from a file.
pub(super) type Read<M> = Box<dyn Fn(&Path) -> vlsm_image::Result<M> + Send + Sync>;

impl Picture {
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::File(path) | Self::Scan(path) => path,
        }
    }

    /// The decoded image.
    pub(super) fn read(&self) -> vlsm_image::Result<RgbImage> {
        match self {
            Self::File(path) => read_image(path),
            Self::Scan(path) => {
                let scan = read_scan(path)?;
                let levels = scan.data.iter().flat_map(|&level| [level; 3]);
                RgbImage::new(scan.width, scan.height, levels.collect())
            }
        }
    }

    /// Width and height.
    pub(super) fn size(&self) -> vlsm_image::Result<(usize, usize)> {
        match self {
            Self::File(path) => read_size(path),
            Self::Scan(path) => read_scan(path).map(|scan| (scan.width, scan.height)),
        }
    }
}

impl Plan {
    /// The same images, split by the lists that exist of `train.txt`, `val.txt` and `test.txt`, with one image name or stem
    /// per line. Images in no list are left out.
    ///
    /// # Errors
    /// If there is no list, or with the first error in a list. [`DataError::Config`] for data sets of class ids, whose
    /// splits are always official.
    pub(super) fn split_by(self, folder: &Path) -> Result<Self> {
        let Cases::Prompted { splits, grey } = self.cases else {
            return Err(DataError::Config {
                field: "splits",
                reason: "street scenes keep their official splits; do not give lists".to_string(),
            }
            .into());
        };
        let lists = Split::ALL.map(|split| {
            let list = folder.join(format!("{split}.txt"));
            list.is_file().then_some(list)
        });
        if lists.iter().all(Option::is_none) {
            return Err(DataError::Layout {
                what: "folder of lists",
                path: folder.to_path_buf(),
                fault: "holds none of train.txt, val.txt, test.txt",
                fix: "write the image names there, one per line",
            }
            .into());
        }
        let names = |case: &Case<_>| {
            let stem = Path::new(&case.name).with_extension("");
            [case.name.clone(), stem.to_string_lossy().into_owned()]
        };
        let mut faults = Vec::new();
        let cases = splits.into_iter().flatten().collect();
        let (splits, rest) = splitting::by_names(cases, names, lists, &mut faults);
        if let Some(fault) = faults.into_iter().next() {
            return Err(fault.into());
        }
        Ok(Self {
            rule: format!(
                "lists in {}; {} images in no list",
                folder.display(),
                rest.len()
            ),
            cases: Cases::Prompted { splits, grey },
        })
    }
}

/// A file's name.
pub(super) fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// An image with one mask, whose foreground is `class`; `read` reads the mask.
pub(super) fn single(
    pair: Paired,
    class: &'static str,
    read: impl Fn(&Path) -> vlsm_image::Result<Mask> + Send + Sync + 'static,
) -> Case<Vec<Target>> {
    Case {
        name: file_name(&pair.image),
        image: Picture::File(pair.image),
        masks: vec![Target {
            name: format!("{}.png", pair.stem),
            class,
            group: "",
            file: pair.mask,
            read: Box::new(read),
            only_if_present: false,
        }],
    }
}

/// Images with one binary mask each, whose foreground is `class`.
pub(super) fn binary(pairs: Vec<Paired>, class: &'static str) -> Vec<Case<Vec<Target>>> {
    let pairs = pairs.into_iter();
    pairs.map(|pair| single(pair, class, read_mask)).collect()
}

/// The published split of data sets without official splits: a shuffle with the seed, then 80 % for training and 10 %
/// each for validation and test; 490, 61 and 61 of 612 images, as in Poudel et al. (MIDL 2024).
pub(super) fn eighty_ten_ten<T>(items: Vec<T>, seed: u64) -> [Vec<T>; 3] {
    splitting::by_fraction(items, [0.1, 0.1], seed)
}

/// Description of [`eighty_ten_ten`]'s split.
pub(super) fn eighty_ten_ten_rule(what: &str, seed: u64) -> String {
    format!("{what} shuffled with seed {seed}, 80 / 10 / 10 %")
}

/// The published split of data sets that only test generalisation: 20 images for training, none for validation, the rest
/// for the test.
pub(super) fn twenty_for_training<T>(mut items: Vec<T>, seed: u64) -> [Vec<T>; 3] {
    splitting::shuffle(&mut items, seed);
    let test = items.split_off(items.len().min(20));
    [items, Vec::new(), test]
}

/// Description of [`twenty_for_training`]'s split.
pub(super) fn twenty_for_training_rule(seed: u64) -> String {
    format!("images shuffled with seed {seed}, 20 for training and the rest for the test")
}
