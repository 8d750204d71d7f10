//! Where the pixels of a sample come from: the trait, files, and arrays in memory.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use vlsm_image::{
    ClassMap, Mask, RgbImage, decode_image, read_bytes, read_class_map, read_image, read_mask,
    read_size,
};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::error::{DataError, Result};

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePair {
    /// The image.
    pub image: PathBuf,
    /// The mask.
    pub mask: PathBuf,
    /// Whether the mask holds class ids; otherwise it is binary.
    pub class_ids: bool,
}

impl Source for FilePair {
    fn id(&self) -> Cow<'_, str> {
        self.image.to_string_lossy()
    }

    fn image(&self) -> Result<RgbImage> {
        Ok(read_image(&self.image)?)
    }

    fn masks(&self) -> Result<Masks> {
        Ok(if self.class_ids {
            read_class_map(&self.mask)?.into()
        } else {
            read_mask(&self.mask)?.into()
        })
    }

    fn mask_id(&self) -> Cow<'_, str> {
        self.mask.to_string_lossy()
    }

    fn image_size(&self) -> Result<(usize, usize)> {
        Ok(read_size(&self.image)?)
    }

    /// The digest covers the file's bytes.
    fn image_and_digest(&self) -> Result<(RgbImage, u128)> {
        let bytes = read_bytes(&self.image)?;
        Ok((decode_image(&self.image, &bytes)?, xxh3_128(&bytes)))
    }

    fn image_digest(&self) -> Result<u128> {
        Ok(xxh3_128(&read_bytes(&self.image)?))
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
