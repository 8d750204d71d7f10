//! Converts raw pixels of medical files to grey levels.

use std::path::Path;

use vlsm_image::{ClassMap, ImageError, Result};

/// A number type in a file.
#[derive(Clone, Copy)]
pub(crate) enum Number {
    U8,
    I8,
    U16,
    I16,
    I32,
    F32,
    F64,
}

/// Pixels as stored in a file.
pub(crate) struct Raw<'a> {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) number: Number,
    pub(crate) big_endian: bool,
    /// A level is `slope * number + intercept`.
    pub(crate) slope: f64,
    pub(crate) intercept: f64,
    pub(crate) bytes: &'a [u8],
}

/// Fails if a file has `several` images.
pub(crate) fn single(several: bool, path: &Path) -> Result<()> {
    if several {
        let reason = "it holds a sequence or a volume, not a single image";
        return Err(ImageError::image(path, reason));
    }
    Ok(())
}

impl Number {
    /// Length in bytes.
    fn length(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::I32 | Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// The number at the start of `bytes`, which must be long enough.
    pub(crate) fn read(self, bytes: &[u8], big_endian: bool) -> f64 {
        let mut low_first = [0; 8];
        let length = self.length();
        low_first[..length].copy_from_slice(&bytes[..length]);
        if big_endian {
            low_first[..length].reverse();
        }
        let [a, b, c, d, ..] = low_first;
        match self {
            Self::U8 => a.into(),
            Self::I8 => (a as i8).into(),
            Self::U16 => u16::from_le_bytes([a, b]).into(),
            Self::I16 => i16::from_le_bytes([a, b]).into(),
            Self::I32 => i32::from_le_bytes([a, b, c, d]).into(),
            Self::F32 => f32::from_le_bytes([a, b, c, d]).into(),
            Self::F64 => f64::from_le_bytes(low_first),
        }
    }
}

impl Raw<'_> {
    /// The pixels as grey levels.
    pub(crate) fn levels(&self, path: &Path) -> Result<ClassMap> {
        let (width, height) = (self.width, self.height);
        let length = self.number.length();
        let needed = width
            .checked_mul(height)
            .and_then(|pixels| pixels.checked_mul(length))
            .filter(|&needed| needed > 0 && needed <= self.bytes.len());
        let Some(needed) = needed else {
            let have = self.bytes.len();
            let reason = format!("{have} bytes of pixels do not fit {width}x{height}");
            return Err(ImageError::image(path, reason));
        };
        let level = |bytes: &[u8]| {
            let level = self.number.read(bytes, self.big_endian) * self.slope + self.intercept;
            let rounded = level.round();
            (0.0..=255.0)
                .contains(&rounded)
                .then_some(rounded as u8)
                .ok_or_else(|| {
                    ImageError::image(path, format!("level {level} is not from 0 to 255"))
                })
        };
        let data = self.bytes[..needed].chunks_exact(length).map(level);
        ClassMap::new(width, height, data.collect::<Result<_>>()?)
    }
}
