//! Runs a job, that is reads and resizes its data, and assembles examples from the results.

use std::sync::Arc;

use vlsm_image::{ClassMap, Mask, RgbImage, resize_class_map, resize_image, resize_mask};

use super::plan::{Job, Kind};
use super::{Example, LoaderConfig, Request};
use crate::error::{DataError, Result};
use crate::sample::{Sample, Target};
use crate::source::Masks;

/// Width and height.
type Size = (usize, usize);

/// A resized mask, and the mask at its own size if that is kept.
type ResizedMask = (Arc<Mask>, Option<Arc<Mask>>);

/// The result of a job.
#[derive(Clone, Default)]
pub(super) struct Loaded {
    image: Option<LoadedImage>,
    masks: Option<LoadedMasks>,
    /// The image and mask of a request with a transform.
    changed: Option<(Arc<RgbImage>, Arc<Mask>)>,
}

/// An image, resized if images are decoded.
#[derive(Clone)]
struct LoadedImage {
    size: Size,
    resized: Option<Arc<RgbImage>>,
}

/// Resized masks, with the originals if they are kept.
#[derive(Clone)]
enum LoadedMasks {
    Binary {
        size: Size,
        masks: Arc<[ResizedMask]>,
    },
    Classes {
        size: Size,
        resized: Arc<ClassMap>,
        original: Option<Arc<ClassMap>>,
    },
}

impl Loaded {
    /// Memory of its pixels, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let image = self.image.as_ref().and_then(|image| image.resized.as_ref());
        let image = image.map_or(0, |image| image.data.len());
        let mask = |mask: &Arc<Mask>| mask.data.len();
        let map = |map: &Arc<ClassMap>| map.data.len();
        let masks = match &self.masks {
            None => 0,
            Some(LoadedMasks::Binary { masks, .. }) => masks
                .iter()
                .map(|(resized, original)| mask(resized) + original.as_ref().map_or(0, mask))
                .sum(),
            Some(LoadedMasks::Classes {
                resized, original, ..
            }) => map(resized) + original.as_ref().map_or(0, map),
        };
        let changed = self.changed.as_ref();
        let changed = changed.map_or(0, |(image, mask)| image.data.len() + mask.data.len());
        image + masks + changed
    }
}

impl LoadedMasks {
    fn size(&self) -> Size {
        match self {
            Self::Binary { size, .. } | Self::Classes { size, .. } => *size,
        }
    }
}

/// Reads and resizes a job's image and masks.
pub(super) fn load(job: &Job, config: &LoaderConfig, ignore: Option<u8>) -> Result<Loaded> {
    let source = &job.source;
    if let Some((sample, transform)) = &job.changed {
        let (image, mask) = sample.read(ignore)?;
        check_sizes(
            sample,
            (image.width, image.height),
            (mask.width, mask.height),
        )?;
        let image = transform.image(&config.fit.image(&image), config.image_size);
        let mask = transform.mask(&config.fit.mask(&mask), config.mask_size);
        return Ok(Loaded {
            changed: Some((Arc::new(image), Arc::new(mask))),
            ..Loaded::default()
        });
    }
    let image = |image: RgbImage| LoadedImage {
        size: (image.width, image.height),
        resized: Some(Arc::new(resize_image(
            &config.fit.image(&image),
            config.image_size,
        ))),
    };
    let masks = |masks| masks_of(job, masks, config);
    let size_alone = || -> Result<LoadedImage> {
        Ok(LoadedImage {
            size: source.image_size()?,
            resized: None,
        })
    };
    Ok(match (job.kind, config.images) {
        (Kind::Image, true) => Loaded {
            image: Some(image(source.image()?)),
            ..Loaded::default()
        },
        (Kind::Image, false) => Loaded {
            image: Some(size_alone()?),
            ..Loaded::default()
        },
        (Kind::Masks, _) => Loaded {
            masks: Some(masks(source.masks()?)?),
            ..Loaded::default()
        },
        (Kind::Both, true) => {
            let (pixels, all) = source.image_and_masks()?;
            Loaded {
                image: Some(image(pixels)),
                masks: Some(masks(all)?),
                changed: None,
            }
        }
        (Kind::Both, false) => Loaded {
            image: Some(size_alone()?),
            masks: Some(masks(source.masks()?)?),
            changed: None,
        },
    })
}

fn masks_of(job: &Job, masks: Masks, config: &LoaderConfig) -> Result<LoadedMasks> {
    let (side, keep) = (config.mask_size, config.keep_original);
    match masks {
        Masks::Classes(map) => Ok(LoadedMasks::Classes {
            size: (map.width, map.height),
            resized: Arc::new(resize_class_map(&config.fit.class_map(&map), side, side)),
            original: keep.then(|| Arc::new(map)),
        }),
        Masks::Binary(masks) => {
            let mut sizes = masks.iter().map(|mask| (mask.width, mask.height));
            let size = sizes.next().unwrap_or_default();
            if let Some(other) = sizes.find(|other| *other != size) {
                let reason = format!(
                    "its masks are {}x{} and {}x{}; resize them to the image",
                    size.0, size.1, other.0, other.1
                );
                return Err(DataError::source(job.id.as_str(), reason));
            }
            let masks = masks.into_iter().map(|mask| {
                let resized = Arc::new(resize_mask(&config.fit.mask(&mask), side, side));
                (resized, keep.then(|| Arc::new(mask)))
            });
            Ok(LoadedMasks::Binary {
                size,
                masks: masks.collect(),
            })
        }
    }
}

/// An image and its mask must have the same size.
fn check_sizes(sample: &Sample, image_size: Size, mask_size: Size) -> Result<()> {
    if image_size == mask_size {
        return Ok(());
    }
    Err(DataError::SizeMismatch {
        image: sample.source.id().as_ref().into(),
        image_size,
        mask: sample.source.mask_id().as_ref().into(),
        mask_size,
    })
}

/// The example for a request with a transform.
pub(super) fn transformed(request: Request, loaded: &Loaded) -> Result<Example> {
    let (image, mask) = loaded.changed.clone().ok_or_else(swapped)?;
    Ok(Example {
        sample: request.sample,
        prompt: request.prompt,
        transform: request.transform,
        image: Some(image),
        mask,
        original: None,
        labels: None,
    })
}

fn swapped() -> DataError {
    DataError::Shape {
        what: "loader",
        reason: "internal error: the image's and the masks' job were swapped".to_string(),
    }
}

/// The example for a request, from the results of its image's and its masks' job.
pub(super) fn assemble(
    sample: &Sample,
    config: &LoaderConfig,
    ignore: Option<u8>,
    request: Request,
    image: &Loaded,
    masks: &Loaded,
) -> Result<Example> {
    let (Some(image), Some(masks)) = (&image.image, &masks.masks) else {
        return Err(swapped());
    };
    let of_target = |map: &Arc<ClassMap>| match sample.target {
        Target::Class(class) => Some(Arc::new(map.mask_of(class, ignore))),
        Target::Labels => Some(Arc::new(map.labelled(ignore))),
        Target::Mask(_) => None,
    };
    let (mask, original, labels) = match (masks, sample.target) {
        (LoadedMasks::Binary { masks, .. }, Target::Mask(index)) => match masks.get(index) {
            Some((resized, original)) => (Some(Arc::clone(resized)), original.clone(), None),
            None => (None, None, None),
        },
        (LoadedMasks::Binary { .. }, _) => (None, None, None),
        (
            LoadedMasks::Classes {
                resized, original, ..
            },
            target,
        ) => {
            let labels = original.clone().filter(|_| target == Target::Labels);
            (
                of_target(resized),
                original.as_ref().and_then(of_target),
                labels,
            )
        }
    };
    let mut mask = mask.ok_or_else(|| sample.no_target())?;
    // A map of class ids has no id for padding.
    if let LoadedMasks::Classes { size, .. } = masks {
        config.fit.ignore_padding(Arc::make_mut(&mut mask), *size);
    }
    check_sizes(sample, image.size, masks.size())?;
    Ok(Example {
        sample: request.sample,
        prompt: request.prompt,
        transform: None,
        image: image.resized.clone(),
        mask,
        original,
        labels,
    })
}
