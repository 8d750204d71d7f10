//! The cache of frozen features. The vision tower's states for an image that training does not change, all of them or those before
//! the first layer that the method changes, are computed once and kept on disk, for later epochs and for other runs.
//!
//! Each image has a file, named by a digest of the image's bytes, in a folder named by a digest of everything else that the
//! values depend on. A single file for all images would need a lock and an index, which a killed process could corrupt. Separate
//! files are complete once they are renamed, whichever process writes them, and a partly filled cache is already useful.
//!
//! Files are read, not memory-mapped. The images of a batch share one tensor, so their values are copied once in any case, and
//! reading is that copy.

mod store;

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;
use vlsm_data::{Dataset, Example, Sample};
use vlsm_image::{Fit, RgbImage};
use vlsm_models::weights::to_host;
use vlsm_models::{
    BaseIdentity, HiddenStates, Precision, Preprocessing, SegmentationModel, is_cpu,
};
use xxhash_rust::xxh3::Xxh3;

pub use store::{Usage, clear, default_folder, usage};

use crate::error::{Result, TrainError};
use crate::observer::Observer;
use crate::recipe::{CacheConfig, CacheDtype, CacheMode, Recipe};
use crate::text::bytes;
use store::{Store, make_space, touch};

/// Part of the key. Raise it when the decoding of images or the layout of the files changes. All other arithmetic enters the
/// key through its result on a [`probe`].
const VERSION: u8 = 1;

/// The states of one image: its slice of each of a batch's tensors.
type Row<'a> = Vec<&'a mut [f32]>;

/// The frozen features of a run's training and validation images.
pub struct FeatureCache {
    /// Shapes `[tokens, width]` of an image's vision states.
    shapes: Vec<[usize; 2]>,
    dtype: CacheDtype,
    preprocessing: Preprocessing,
    /// The files; `None` if nothing is stored.
    store: Option<Store>,
    /// Digests of the images at the start of the run, by their ids.
    digests: HashMap<String, u128>,
    /// Whether writing has failed.
    full: AtomicBool,
}

impl FeatureCache {
    /// The cache that a recipe asks for, if the model's vision tower is frozen and images are used more than once. Reports its
    /// size to `observer`; if there is no cache, the reason is logged.
    ///
    /// # Errors
    /// If `cache.features` is `on` but the method or the data rules a cache out, or an image cannot be read.
    pub fn open<M: SegmentationModel>(
        model: &M,
        recipe: &Recipe,
        dataset: &Dataset,
        preprocessing: &Preprocessing,
        base: &BaseIdentity,
        observer: &mut dyn Observer,
    ) -> Result<Option<Self>> {
        let config = &recipe.cache;
        if config.features == CacheMode::Off {
            return Ok(None);
        }
        let changing = |what: &str| match config.features {
            CacheMode::On => Err(TrainError::Cache(format!(
                "`cache.features` is \"on\", but {what}, so no features can be reused; set it to \"auto\" or \"off\""
            ))),
            CacheMode::Auto | CacheMode::Off => Ok(None),
        };
        // The code below assumes a supported size.
        model.output_size(preprocessing.image_size)?;
        let Some(shapes) = model.frozen_vision(preprocessing.image_size) else {
            return changing(
                "the method (`method.kind`, `method.layers`) changes the vision tower from its first layer on",
            );
        };
        if recipe.augment.is_on() {
            return changing("`augment` changes the images");
        }
        if dataset.resamples_each_epoch() {
            return changing("`data.root` gives new images in each epoch");
        }
        let mut cache = Self {
            shapes,
            dtype: config.dtype,
            preprocessing: preprocessing.clone(),
            store: None,
            digests: HashMap::new(),
            full: AtomicBool::new(false),
        };
        let trainer = &recipe.trainer;
        if config.features == CacheMode::On || trainer.repeats(dataset.train.len()) {
            let val = if trainer.validate {
                recipe.data.limited(&dataset.val)
            } else {
                &[]
            };
            cache.digests = digests(dataset.train.iter().chain(val))?;
            let device = match recipe.model.precision {
                Precision::F32 => trainer.device.clone(),
                precision => format!("{} {}", trainer.device, precision.name()),
            };
            let name = cache.name(model, &device, base)?;
            match cache.attach(config, &name) {
                Ok(note) => observer.message(&format!("feature cache: {note}")),
                Err(reason) => tracing::warn!("no feature cache: {reason}"),
            }
        }
        let of_use = cache.store.is_some() || cache.dtype == CacheDtype::F16;
        Ok(of_use.then_some(cache))
    }

    /// Stores features in the folder `name` if there is enough disk space. Returns a summary of what is stored, or the reason why
    /// nothing can be stored.
    fn attach(&mut self, config: &CacheConfig, name: &str) -> std::result::Result<String, String> {
        const OTHER: &str = "choose another folder with `cache.dir`";
        let root = match &config.dir {
            Some(dir) => dir.clone(),
            None => default_folder().ok_or(format!("this user has no home folder; {OTHER}"))?,
        };
        let store = Store {
            folder: root.join(name),
            dtype: self.dtype,
            values: self
                .shapes
                .iter()
                .map(|shape| shape.iter().product::<usize>())
                .sum(),
        };
        let path = root.display();
        let unusable = |error: io::Error| format!("`{path}`: {error}; {OTHER}");
        let present = store.open().map_err(unusable)?;
        let images: HashSet<u128> = self.digests.values().copied().collect();
        let missing = images.difference(&present).count();
        let [all, more] = [images.len(), missing].map(|count| count as u64 * store.file_size());
        let most = (config.max_gb * 1e9) as u64;
        let mut used = usage(&root).map_err(unusable)?.bytes;
        let free = fs4::available_space(&root).map_err(unusable)?;
        let mut deleted = 0;
        if all <= most && more <= free {
            let excess = (used + more).saturating_sub(most);
            deleted = make_space(&root, &store.folder, excess).map_err(unusable)?;
            used = used.saturating_sub(deleted);
        }
        touch(&store.folder);
        let needs = format!("{missing} images need {}", bytes(more));
        if more > free {
            let free = bytes(free);
            return Err(format!(
                "{needs}, but only {free} are free in `{path}`; free disk space, or {OTHER}"
            ));
        }
        if used + more > most {
            let (most, used) = (bytes(most), bytes(used));
            return Err(format!(
                "{needs}, but {used} of the {most} that `cache.max_gb` allows are used in `{path}`; raise `cache.max_gb`, halve \
                 the size with `cache.dtype = \"f16\"`, or delete the stored features with `vlsm cache clear`"
            ));
        }
        self.store = Some(store);
        let (count, dtype) = (images.len(), self.dtype.name());
        let (size, stored) = (bytes(all), count - missing);
        let mut note = format!(
            "{count} images, {size} as {dtype}, {stored} of them already stored, in `{path}`"
        );
        if deleted > 0 {
            note += &format!(
                "; {} that were not used for longest deleted",
                bytes(deleted)
            );
        }
        Ok(note)
    }

    /// The folder's name: a digest of everything that the values depend on except the image's bytes.
    fn name<M: SegmentationModel>(
        &self,
        model: &M,
        device: &str,
        base: &BaseIdentity,
    ) -> Result<String> {
        let Preprocessing {
            image_size,
            mean,
            std,
            fit,
        } = &self.preprocessing;
        let mut hash = Xxh3::new();
        let text = format!(
            "{VERSION} {} {image_size} {mean:?} {std:?} {:?} {device}",
            base.fingerprint, self.shapes
        );
        hash.update(text.as_bytes());
        if *fit != Fit::Stretch {
            hash.update(fit.name().as_bytes());
        }
        // The probe's states differ if other kernels, another processor or another number of threads change the values. A GPU
        // may choose other kernels in each process, so a digest of its states would never be found again.
        if is_cpu(&model.device()) {
            let probe = self.preprocessing.tensor(&[&probe()], &model.device())?;
            let mut values = Vec::new();
            for state in model.vision_states(probe) {
                CacheDtype::F32.append(&to_host(state), &mut values);
            }
            hash.update(&values);
        } else {
            hash.update(model.wanted_vision_states().as_bytes());
        }
        let dtype = self.dtype.name();
        Ok(format!("{image_size}-{dtype}-{:032x}", hash.digest128()))
    }

    /// The vision states of samples' images, each `[images, tokens, width]`. Reads the stored ones, computes and stores the
    /// others.
    ///
    /// # Errors
    /// If an image cannot be read or a value is too large for [`CacheDtype::F16`].
    pub fn states<M: SegmentationModel>(
        &self,
        model: &M,
        images: &[&Sample],
    ) -> Result<HiddenStates> {
        let zeros = |[tokens, width]: &[usize; 2]| vec![0.0; images.len() * tokens * width];
        let mut values: Vec<Vec<f32>> = self.shapes.iter().map(zeros).collect();
        let mut rows: Vec<Row<'_>> = images.iter().map(|_| Vec::new()).collect();
        for (values, [tokens, width]) in values.iter_mut().zip(&self.shapes) {
            for (row, values) in rows.iter_mut().zip(values.chunks_mut(tokens * width)) {
                row.push(values);
            }
        }
        let missing: Vec<(&Sample, Row<'_>)> = images
            .par_iter()
            .zip(rows)
            .filter_map(|(sample, mut row)| {
                (!self.read(sample, &mut row)).then_some((*sample, row))
            })
            .collect();
        if !missing.is_empty() {
            self.compute(model, missing)?;
        }
        let device = model.device();
        let tensors = values.into_iter().zip(&self.shapes);
        let tensors = tensors.map(|(values, [tokens, width])| {
            Tensor::from_data(
                TensorData::new(values, [images.len(), *tokens, *width]),
                &device,
            )
        });
        Ok(tensors.collect())
    }

    /// Computes the states of images, one row for each, and stores them.
    fn compute<M: SegmentationModel>(
        &self,
        model: &M,
        missing: Vec<(&Sample, Row<'_>)>,
    ) -> Result<()> {
        // The digest is computed from the bytes that are decoded, even if the file changes meanwhile.
        let read = missing
            .par_iter()
            .map(|(sample, _)| Ok(sample.source.image_and_digest()?));
        let read: Vec<(RgbImage, u128)> = read.collect::<Result<_>>()?;
        let images: Vec<&RgbImage> = read.iter().map(|(image, _)| image).collect();
        let states = model.vision_states(self.preprocessing.tensor(&images, &model.device())?);
        let states: Vec<Vec<f32>> = states.into_iter().map(to_host).collect();
        let work = missing.into_par_iter().zip(&read).enumerate();
        work.try_for_each(|(index, ((sample, mut row), (_, digest)))| {
            for (values, states) in row.iter_mut().zip(&states) {
                values.copy_from_slice(&states[index * values.len()..][..values.len()]);
                self.dtype.round(values);
                if self.dtype == CacheDtype::F16 && values.iter().any(|value| value.is_infinite()) {
                    return Err(TrainError::Cache(format!(
                        "features of `{}` are too large for half precision; set `cache.dtype` to \"f32\"",
                        sample.source.id()
                    )));
                }
            }
            self.write(*digest, &row);
            Ok(())
        })
    }

    /// Fills a row from the image's file, if there is one.
    fn read(&self, sample: &Sample, row: &mut [&mut [f32]]) -> bool {
        let (store, digest) = (&self.store, self.digests.get(sample.source.id().as_ref()));
        matches!((store, digest), (Some(store), Some(digest)) if store.read(*digest, row))
    }

    /// Stores a row. If that fails, the run continues without storing more.
    fn write(&self, digest: u128, row: &[&mut [f32]]) {
        let Some(store) = &self.store else {
            return;
        };
        if self.full.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = store.write(digest, row)
            && !self.full.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                "cannot write to `{}`: {error}; the training continues without storing more features",
                store.folder.display()
            );
        }
    }
}

/// Features of the examples' images, from the cache if there is one.
///
/// # Errors
/// If an image cannot be read.
pub(crate) fn encode_images<M: SegmentationModel>(
    model: &M,
    images: &[&Example],
    samples: &[Sample],
    preprocessing: &Preprocessing,
    cache: Option<&FeatureCache>,
) -> Result<HiddenStates> {
    if let Some(cache) = cache {
        let images: Vec<&Sample> = images
            .iter()
            .map(|example| &samples[example.sample])
            .collect();
        return Ok(model.features(cache.states(model, &images)?)?);
    }
    let images: Vec<&RgbImage> = images
        .iter()
        .filter_map(|example| example.image.as_deref())
        .collect();
    Ok(model.encode_image(preprocessing.tensor(&images, &model.device())?)?)
}

/// Digests of the distinct images of samples.
fn digests<'a>(samples: impl Iterator<Item = &'a Sample>) -> Result<HashMap<String, u128>> {
    let sources: HashMap<String, &'a Sample> = samples
        .map(|sample| (sample.source.id().into_owned(), sample))
        .collect();
    let digests = sources.into_par_iter().map(|(id, sample)| {
        let digest = sample.source.image_digest()?;
        Ok((id, digest))
    });
    digests.collect()
}

/// A noise image whose width and height both have to be resized.
fn probe() -> RgbImage {
    let (width, height) = (97, 61);
    let level = |index: u32| (index.wrapping_mul(2_654_435_761) >> 24) as u8;
    RgbImage::from_fn(width, height, |x, y| {
        let first = 3 * (y * width + x) as u32;
        [first, first + 1, first + 2].map(level)
    })
}
