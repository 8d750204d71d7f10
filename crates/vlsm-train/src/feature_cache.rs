//! The cache of frozen features: what a vision tower in which nothing is trained makes of an image is computed once and
//! kept on the disk, for the epochs to come and for other runs.
//!
//! A file for each image, named by a digest of the image's bytes, in a folder named by all else that the values depend
//! on. With one file for all images, runs side by side would need a lock and an index, which a kill could leave broken;
//! like this a file appears whole by a rename, whoever makes it, and what is there is of use however far the filling came.
//!
//! Files are read, not memory-mapped: the images of a batch lie in one tensor, so their values are copied once in any
//! case, and reading is that copy, from the system's page cache once they are there.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use burn::tensor::{Tensor, TensorData};
use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use vlsm_data::fs::{PART_SUFFIX, replace_unsynced};
use vlsm_data::{Dataset, Example, ImageSource, RgbImage, Sample, resize_image};
use vlsm_models::weights::to_host;
use vlsm_models::{BaseIdentity, Preprocessing, SegmentationModel};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::batch::pixels;
use crate::error::{Result, TrainError};
use crate::recipe::{CacheConfig, CacheMode, Recipe};
use crate::trainer::limited;

/// In the key of every file: to be raised when decoding of images or the layout of the files changes. All other
/// arithmetic is in the key by what it makes of a [`probe`].
const VERSION: u8 = 1;

/// How a file starts; a digest of the values follows, then the values, little-endian.
const MAGIC: &[u8; 8] = b"vlsmfeat";
const HEADER: usize = MAGIC.len() + size_of::<u128>();

/// How the names of files end.
const SUFFIX: &str = ".features";

/// A temporary file this old was left by a process that was killed.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// How values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheDtype {
    /// As they are.
    F32,
    /// Rounded to half precision, in half the space. They are used so rounded even where nothing is stored.
    F16,
}

impl CacheDtype {
    fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        }
    }

    fn size(self) -> usize {
        match self {
            Self::F32 => size_of::<f32>(),
            Self::F16 => size_of::<f16>(),
        }
    }

    fn round(self, values: &mut [f32]) {
        if self == Self::F16 {
            half(values).convert_to_f32_slice(values);
        }
    }

    fn append(self, values: &[f32], bytes: &mut Vec<u8>) {
        match self {
            Self::F32 => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            Self::F16 => bytes.extend(half(values).iter().flat_map(|value| value.to_le_bytes())),
        }
    }

    /// Fills `values` from as many bytes as they take.
    fn read(self, bytes: &[u8], values: &mut [f32]) {
        match self {
            Self::F32 => {
                let (bytes, _) = bytes.as_chunks();
                for (value, bytes) in values.iter_mut().zip(bytes) {
                    *value = f32::from_le_bytes(*bytes);
                }
            }
            Self::F16 => {
                let (bytes, _) = bytes.as_chunks();
                let half: Vec<f16> = bytes
                    .iter()
                    .map(|bytes| f16::from_le_bytes(*bytes))
                    .collect();
                half.convert_to_f32_slice(values);
            }
        }
    }
}

fn half(values: &[f32]) -> Vec<f16> {
    let mut half = vec![f16::ZERO; values.len()];
    half.convert_from_f32_slice(values);
    half
}

/// The states of one image: its place in each of a batch's tensors.
type Row<'a> = Vec<&'a mut [f32]>;

/// The frozen features of a run's training and validation images.
pub struct FeatureCache {
    /// Shapes `[tokens, width]` of an image's vision states.
    shapes: Vec<[usize; 2]>,
    dtype: CacheDtype,
    preprocessing: Preprocessing,
    /// Where files are; `None` if nothing is stored.
    folder: Option<PathBuf>,
    /// Digests of the images' bytes at the start of the run.
    digests: HashMap<ImageSource, u128>,
    /// Whether writing has failed.
    full: AtomicBool,
}

impl FeatureCache {
    /// The cache that a recipe asks for, if the model's vision tower is frozen and the images come again; says on
    /// standard error how large it is, or why there is none.
    ///
    /// # Errors
    /// If the recipe insists on a cache that the method or the data does not allow, or an image cannot be read.
    pub fn open<M: SegmentationModel>(
        model: &M,
        recipe: &Recipe,
        dataset: &Dataset,
        preprocessing: &Preprocessing,
        base: &BaseIdentity,
    ) -> Result<Option<Self>> {
        let config = &recipe.cache;
        if config.features == CacheMode::Off {
            return Ok(None);
        }
        let changing = |what: &str| match config.features {
            CacheMode::On => Err(TrainError::Cache(format!(
                "`cache.features` is \"on\", but {what}, so that no features are used twice; set it to \"auto\" or \"off\""
            ))),
            CacheMode::Auto | CacheMode::Off => Ok(None),
        };
        let Some(shapes) = model.frozen_vision(preprocessing.image_size) else {
            return changing("`method.kind` trains parameters within the vision tower");
        };
        if dataset.draws_anew() {
            return changing("`data.root` draws new images for each epoch");
        }
        let mut cache = Self {
            shapes,
            dtype: config.dtype,
            preprocessing: preprocessing.clone(),
            folder: None,
            digests: HashMap::new(),
            full: AtomicBool::new(false),
        };
        let trainer = &recipe.trainer;
        if config.features == CacheMode::On || trainer.repeats(dataset.train.len()) {
            let val = if trainer.validate {
                limited(&dataset.val, recipe.data.eval_limit)
            } else {
                &[]
            };
            cache.digests = digests(dataset.train.iter().chain(val))?;
            let name = cache.name(model, &trainer.device, base);
            match cache.store(config, &name) {
                Ok(note) => eprintln!("feature cache: {note}"),
                Err(reason) => eprintln!("no feature cache: {reason}"),
            }
        }
        let of_use = cache.folder.is_some() || cache.dtype == CacheDtype::F16;
        Ok(of_use.then_some(cache))
    }

    /// Stores features in a folder of that name, if there is room; gives a note of what is there and to come, or the
    /// reason why not.
    fn store(&mut self, config: &CacheConfig, name: &str) -> std::result::Result<String, String> {
        const OTHER: &str = "name another folder by `cache.dir`";
        let root = match &config.dir {
            Some(dir) => dir.clone(),
            None => default_folder().ok_or(format!("there is no home folder; {OTHER}"))?,
        };
        let folder = root.join(name);
        let unusable = |error: io::Error| format!("`{}`: {error}; {OTHER}", root.display());
        std::fs::create_dir_all(&folder).map_err(unusable)?;
        let used = usage(&root).map_err(unusable)?.bytes;
        let images: HashSet<u128> = self.digests.values().copied().collect();
        let there = present(&folder, self.file_size()).map_err(unusable)?;
        let missing = images
            .iter()
            .filter(|digest| !there.contains(digest))
            .count();
        let [all, more] = [images.len(), missing].map(|count| count as u64 * self.file_size());
        let (free, most) = (
            fs4::available_space(&root).map_err(unusable)?,
            config.max_gb * 1e9,
        );
        let needs = format!("{} images would take {} of", images.len(), size(more));
        if more > free {
            return Err(format!(
                "{needs} the {} that are free for `{}`; free disk space or {OTHER}",
                size(free),
                root.display()
            ));
        }
        if (used + more) as f64 > most {
            return Err(format!(
                "{needs} {}, which `cache.max_gb` allows and of which {} are used in `{}`; raise it, halve the need by \
                 `cache.dtype = \"f16\"`, or delete what is there by `vlsm cache clear`",
                size(most as u64),
                size(used),
                root.display()
            ));
        }
        self.folder = Some(folder);
        Ok(format!(
            "{} images, {} as {}, {} of them there already, in `{}`",
            images.len(),
            size(all),
            self.dtype.name(),
            images.len() - missing,
            root.display()
        ))
    }

    /// The name of a folder for all that the values depend on besides the image's bytes.
    fn name<M: SegmentationModel>(&self, model: &M, device: &str, base: &BaseIdentity) -> String {
        let Preprocessing {
            image_size,
            mean,
            std,
        } = &self.preprocessing;
        let mut hash = Xxh3::new();
        let text = format!(
            "{VERSION} {} {image_size} {mean:?} {std:?} {:?} {device}",
            base.fingerprint, self.shapes
        );
        hash.update(text.as_bytes());
        // What other kernels, another processor or another number of threads change shows here. A GPU may choose its
        // kernels anew in each process, so that nothing would ever be found again.
        if device == "cpu" {
            let probe = resize_image(&probe(), *image_size);
            let probe = pixels(&[&probe], &self.preprocessing, &model.device());
            let mut values = Vec::new();
            for state in model.vision_states(probe) {
                CacheDtype::F32.append(&to_host(state), &mut values);
            }
            hash.update(&values);
        }
        let dtype = self.dtype.name();
        format!("{image_size}-{dtype}-{:032x}", hash.digest128())
    }

    /// Bytes of a file.
    fn file_size(&self) -> u64 {
        let values: usize = self
            .shapes
            .iter()
            .map(|[tokens, width]| tokens * width)
            .sum();
        (HEADER + values * self.dtype.size()) as u64
    }

    /// The vision states of samples' images, each `[images, tokens, width]`: read where they are there, else computed
    /// and stored.
    ///
    /// # Errors
    /// If an image cannot be read or a value is too large for [`CacheDtype::F16`].
    pub fn states<M: SegmentationModel>(
        &self,
        model: &M,
        images: &[&Sample],
    ) -> Result<Vec<Tensor<3>>> {
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
        // The digest is of the very bytes that are decoded, whatever becomes of the file meanwhile.
        let read = missing.par_iter().map(|(sample, _)| {
            let source = sample.image_source();
            let bytes = source.bytes()?;
            let digest = xxh3_128(&bytes);
            let image = resize_image(&source.decode(bytes)?, self.preprocessing.image_size);
            Ok((digest, image))
        });
        let read: Vec<(u128, RgbImage)> = read.collect::<Result<_>>()?;
        let images: Vec<&RgbImage> = read.iter().map(|(_, image)| image).collect();
        let states = model.vision_states(pixels(&images, &self.preprocessing, &model.device()));
        let states: Vec<Vec<f32>> = states.into_iter().map(to_host).collect();
        let work = missing.into_par_iter().zip(&read).enumerate();
        work.try_for_each(|(place, ((sample, mut row), (digest, _)))| {
            for (values, states) in row.iter_mut().zip(&states) {
                values.copy_from_slice(&states[place * values.len()..][..values.len()]);
                self.dtype.round(values);
                if self.dtype == CacheDtype::F16 && values.iter().any(|value| value.is_infinite()) {
                    return Err(TrainError::Cache(format!(
                        "features of `{}` are too large for half precision; set `cache.dtype` to \"f32\"",
                        sample.image.display()
                    )));
                }
            }
            self.write(*digest, &row);
            Ok(())
        })
    }

    /// Fills a row from the image's file, if there is one and it is whole.
    fn read(&self, sample: &Sample, row: &mut [&mut [f32]]) -> bool {
        let Some(folder) = &self.folder else {
            return false;
        };
        let Some(digest) = self.digests.get(&sample.image_source()) else {
            return false;
        };
        // Whatever is wrong with the file, it is made anew.
        let Ok(bytes) = std::fs::read(file(folder, *digest)) else {
            return false;
        };
        let Some((header, mut values)) = bytes.split_at_checked(HEADER) else {
            return false;
        };
        if bytes.len() as u64 != self.file_size() || header != self::header(values) {
            return false;
        }
        for part in row {
            let (own, rest) = values.split_at(part.len() * self.dtype.size());
            self.dtype.read(own, part);
            values = rest;
        }
        true
    }

    /// Stores a row. If that fails, the run goes on without storing more.
    fn write(&self, digest: u128, row: &[&mut [f32]]) {
        let Some(folder) = &self.folder else {
            return;
        };
        if self.full.load(Ordering::Relaxed) {
            return;
        }
        let mut values = Vec::with_capacity(self.file_size() as usize);
        for part in row {
            self.dtype.append(part, &mut values);
        }
        let path = file(folder, digest);
        let write = || {
            // Somebody may have cleared the cache.
            std::fs::create_dir_all(folder)?;
            replace_unsynced(&path, |file| {
                file.write_all(&header(&values))?;
                file.write_all(&values)
            })
        };
        if let Err(error) = write()
            && !self.full.swap(true, Ordering::Relaxed)
        {
            eprintln!(
                "cannot write `{}`: {error}; the training goes on without storing more features",
                path.display()
            );
        }
    }
}

/// Features of the images that examples show, from a cache where there is one.
///
/// # Errors
/// If an image cannot be read.
pub(crate) fn encode_images<M: SegmentationModel>(
    model: &M,
    images: &[&Example],
    samples: &[Sample],
    preprocessing: &Preprocessing,
    cache: Option<&FeatureCache>,
) -> Result<M::Features> {
    if let Some(cache) = cache {
        let images: Vec<&Sample> = images.iter().map(|one| &samples[one.sample]).collect();
        return Ok(model.features(cache.states(model, &images)?));
    }
    let images: Vec<&RgbImage> = images
        .iter()
        .filter_map(|one| one.image.as_deref())
        .collect();
    Ok(model.encode_image(pixels(&images, preprocessing, &model.device())))
}

/// The folder that features are kept in if a recipe names none: `features` in `$VLSM_CACHE`, else in `vlsm` in the
/// user's cache folder; `None` if there is no home folder.
pub fn default_folder() -> Option<PathBuf> {
    let own = std::env::var_os("VLSM_CACHE").filter(|path| !path.is_empty());
    let cache = own
        .map(PathBuf::from)
        .or_else(|| Some(dirs::cache_dir()?.join("vlsm")))?;
    Some(cache.join("features"))
}

/// What a folder of features holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Number of images.
    pub images: usize,
    /// Their bytes, and those of what killed processes left.
    pub bytes: u64,
}

/// What a folder of features holds; nothing if it is not there.
///
/// # Errors
/// If the folder cannot be read.
pub fn usage(folder: &Path) -> io::Result<Usage> {
    let mut usage = Usage::default();
    visit(folder, |path| {
        usage.images += usize::from(is(path, SUFFIX));
        usage.bytes += std::fs::metadata(path)?.len();
        Ok(())
    })?;
    Ok(usage)
}

/// Deletes the features in a folder, and nothing else; a run that uses them computes them anew.
///
/// # Errors
/// If the folder cannot be read or a file cannot be deleted.
pub fn clear(folder: &Path) -> io::Result<Usage> {
    let usage = usage(folder)?;
    visit(folder, |path| std::fs::remove_file(path))?;
    for set in entries(folder)? {
        // What is not empty holds files of somebody else, or new ones.
        let _ = std::fs::remove_dir(set);
    }
    Ok(usage)
}

/// Calls `act` for each of this module's files in the folders in `root`.
fn visit(root: &Path, mut act: impl FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    for set in entries(root)? {
        if !set.is_dir() {
            continue;
        }
        for path in entries(&set)? {
            if is(&path, SUFFIX) || is(&path, PART_SUFFIX) {
                match act(&path) {
                    // Another process was faster.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    other => other?,
                }
            }
        }
    }
    Ok(())
}

/// The paths in a folder; none if there is no such folder.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match std::fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn is(path: &Path, suffix: &str) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.ends_with(suffix))
}

/// Digests of the distinct images of samples.
fn digests<'a>(samples: impl Iterator<Item = &'a Sample>) -> Result<HashMap<ImageSource, u128>> {
    let sources: HashSet<ImageSource> = samples.map(Sample::image_source).collect();
    let digests = sources.into_par_iter().map(|source| {
        let digest = xxh3_128(&source.bytes()?);
        Ok((source, digest))
    });
    digests.collect()
}

fn file(folder: &Path, digest: u128) -> PathBuf {
    folder.join(format!("{digest:032x}{SUFFIX}"))
}

/// What stands before a file's values.
fn header(values: &[u8]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let (magic, digest) = header.split_at_mut(MAGIC.len());
    magic.copy_from_slice(MAGIC);
    digest.copy_from_slice(&xxh3_128(values).to_le_bytes());
    header
}

/// Digests of the images that a folder has files of, each `size` bytes. Removes what killed processes left.
fn present(folder: &Path, size: u64) -> io::Result<HashSet<u128>> {
    let mut present = HashSet::new();
    for path in entries(folder)? {
        // It may be gone by now.
        let Ok(metadata) = std::fs::metadata(&path) else {
            continue;
        };
        let name = path.file_name().and_then(|name| name.to_str());
        let digest =
            name.and_then(|name| u128::from_str_radix(name.strip_suffix(SUFFIX)?, 16).ok());
        if let Some(digest) = digest
            && metadata.len() == size
        {
            present.insert(digest);
        }
        let age = metadata
            .modified()
            .ok()
            .and_then(|time| SystemTime::now().duration_since(time).ok());
        if is(&path, PART_SUFFIX) && age.is_some_and(|age| age > ABANDONED) {
            let _ = std::fs::remove_file(path);
        }
    }
    Ok(present)
}

/// A picture of noise, resized in both directions before it is encoded.
fn probe() -> RgbImage {
    let (width, height) = (97, 61);
    let level = |index: u32| (index.wrapping_mul(2_654_435_761) >> 24) as u8;
    RgbImage {
        width,
        height,
        data: (0..(width * height * 3) as u32).map(level).collect(),
    }
}

/// A number of bytes for people.
pub fn size(bytes: u64) -> String {
    if bytes < 1_000_000_000 {
        format!("{:.1} MB", bytes as f64 / 1e6)
    } else {
        format!("{:.2} GB", bytes as f64 / 1e9)
    }
}
