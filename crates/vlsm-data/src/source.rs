//! Where the pixels of a sample come from: the trait, files, and arrays in memory.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vlsm_image::{
    ClassMap, ImageOptions, Mask, RgbImage, decode_header, decode_image, read_bytes, read_size,
};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::error::{DataError, Result};
use crate::file_set::FileSet;

/// An image and its masks from any source: files, arrays, frames of a video, a drawing.
///
/// Only [`id`](Self::id), [`image`](Self::image) and [`masks`](Self::masks) are required. A source is read from several
/// threads and must return the same data in every call.
pub trait Source: fmt::Debug + Send + Sync {
    /// Identifies the image in the data set and names it in messages; a file's id is its path. Sources with the same id
    /// must have the same image, because a loader reads it once for all of them.
    fn id(&self) -> Cow<'_, str>;

    /// The image at its original size.
    ///
    /// # Errors
    /// If it cannot be read. [`DataError::source`] creates such an error.
    fn image(&self) -> Result<RgbImage>;

    /// The masks, all of the image's size.
    ///
    /// # Errors
    /// If they cannot be read.
    fn masks(&self) -> Result<Masks>;

    /// Identifies the masks in the data set. By default this is the image's [`id`](Self::id).
    fn mask_id(&self) -> Cow<'_, str> {
        self.id()
    }

    /// Image and masks together. Override it if one read yields both.
    ///
    /// # Errors
    /// As [`image`](Self::image) and [`masks`](Self::masks).
    fn image_and_masks(&self) -> Result<(RgbImage, Masks)> {
        Ok((self.image()?, self.masks()?))
    }

    /// Width and height of the image. Override it if they are known without reading the pixels.
    ///
    /// # Errors
    /// As [`image`](Self::image).
    fn image_size(&self) -> Result<(usize, usize)> {
        let image = self.image()?;
        Ok((image.width, image.height))
    }

    /// The image and a digest of everything that it depends on, from one read. The digest is the key in caches.
    ///
    /// # Errors
    /// As [`image`](Self::image).
    fn image_and_digest(&self) -> Result<(RgbImage, u128)> {
        let image = self.image()?;
        let mut hash = Xxh3::new();
        hash.update(&(image.width as u64).to_le_bytes());
        hash.update(&(image.height as u64).to_le_bytes());
        hash.update(&image.data);
        Ok((image, hash.digest128()))
    }

    /// The digest alone. Override it if it is known without decoding.
    ///
    /// # Errors
    /// As [`image`](Self::image).
    fn image_digest(&self) -> Result<u128> {
        Ok(self.image_and_digest()?.1)
    }

    /// Paths of the image and the mask if they are files. Annotation files name them.
    fn files(&self) -> Option<(&Path, &Path)> {
        None
    }
}

/// The masks of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Masks {
    /// Binary masks, one for each thing to segment.
    Binary(Vec<Mask>),
    /// One map of class ids.
    Classes(ClassMap),
}

impl From<Mask> for Masks {
    fn from(mask: Mask) -> Self {
        Self::Binary(vec![mask])
    }
}

impl From<Vec<Mask>> for Masks {
    fn from(masks: Vec<Mask>) -> Self {
        Self::Binary(masks)
    }
}

impl From<ClassMap> for Masks {
    fn from(map: ClassMap) -> Self {
        Self::Classes(map)
    }
}

/// An image and its masks in memory.
#[derive(Clone, Debug)]
pub struct Arrays {
    id: String,
    image: RgbImage,
    masks: Masks,
}

impl Arrays {
    /// An image with one binary mask, several, or a map of class ids. `id` must be unique in the data set.
    pub fn new(id: impl Into<String>, image: RgbImage, masks: impl Into<Masks>) -> Self {
        Self {
            id: id.into(),
            image,
            masks: masks.into(),
        }
    }
}

impl Source for Arrays {
    fn id(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.id)
    }

    fn image(&self) -> Result<RgbImage> {
        Ok(self.image.clone())
    }

    fn masks(&self) -> Result<Masks> {
        Ok(self.masks.clone())
    }

    fn image_size(&self) -> Result<(usize, usize)> {
        Ok((self.image.width, self.image.height))
    }
}

/// An image file and a mask file.
#[derive(Clone, Debug)]
pub struct FilePair {
    /// The image.
    pub image: PathBuf,
    /// The mask.
    pub mask: PathBuf,
    /// Whether the mask holds class ids; otherwise it is binary.
    pub class_ids: bool,
    /// The data set that the files are in.
    set: Arc<FileSet>,
}

impl FilePair {
    /// Two files that are in no data set. What the mask's levels mean is decided by the file alone.
    pub fn new(image: impl Into<PathBuf>, mask: impl Into<PathBuf>, class_ids: bool) -> Self {
        Self {
            image: image.into(),
            mask: mask.into(),
            class_ids,
            set: Arc::default(),
        }
    }

    /// The same files in a data set.
    pub(crate) fn in_set(self, set: Arc<FileSet>) -> Self {
        Self { set, ..self }
    }

    /// Decodes the image, and hashes what it depends on: the file's bytes, and the window if it matters.
    fn decoded(&self, bytes: &[u8]) -> Result<(RgbImage, u128)> {
        let options = self.options(bytes)?;
        Ok((
            decode_image(&self.image, bytes, options)?,
            digest(bytes, options),
        ))
    }

    fn options(&self, bytes: &[u8]) -> Result<ImageOptions> {
        self.set
            .options(decode_header(&self.image, bytes)?.has_16_bits)
    }
}

fn digest(bytes: &[u8], options: ImageOptions) -> u128 {
    let Some(window) = options.window else {
        return xxh3_128(bytes);
    };
    let mut hash = Xxh3::new();
    hash.update(bytes);
    for level in window {
        hash.update(&level.to_le_bytes());
    }
    hash.digest128()
}

impl Source for FilePair {
    fn id(&self) -> Cow<'_, str> {
        self.image.to_string_lossy()
    }

    fn image(&self) -> Result<RgbImage> {
        Ok(self.decoded(&read_bytes(&self.image)?)?.0)
    }

    fn masks(&self) -> Result<Masks> {
        Ok(if self.class_ids {
            self.set.class_map(&self.mask)?.into()
        } else {
            self.set.mask(&self.mask, &read_bytes(&self.mask)?)?.into()
        })
    }

    fn mask_id(&self) -> Cow<'_, str> {
        self.mask.to_string_lossy()
    }

    fn image_size(&self) -> Result<(usize, usize)> {
        Ok(read_size(&self.image)?)
    }

    fn image_and_digest(&self) -> Result<(RgbImage, u128)> {
        self.decoded(&read_bytes(&self.image)?)
    }

    fn image_digest(&self) -> Result<u128> {
        let bytes = read_bytes(&self.image)?;
        Ok(digest(&bytes, self.options(&bytes)?))
    }

    fn files(&self) -> Option<(&Path, &Path)> {
        Some((&self.image, &self.mask))
    }
}

impl DataError {
    /// The error that a [`Source`] returns for an image or mask.
    pub fn source(id: impl Into<String>, reason: impl fmt::Display) -> Self {
        Self::Source {
            id: id.into(),
            reason: reason.to_string(),
        }
    }
}
