//! Single images of grey levels or labels in medical formats: NIfTI-1 (`.nii`, `.nii.gz`) and MetaImage (`.mhd` with
//! its raw file).
//!
//! Pixels are taken in the order of the file, the first axis from left to right and the second from top to bottom, and
//! anatomical orientation is not looked at.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use vlsm_image::{ClassMap, ImageError, Result, read_bytes, read_text};

/// Size in bytes above which a file is refused.
const LIMIT: u64 = 512 << 20;

/// Length of a NIfTI-1 header.
const NIFTI_HEADER: usize = 348;

/// A type of numbers in a file.
#[derive(Clone, Copy)]
enum Number {
    U8,
    I8,
    U16,
    I16,
    I32,
    F32,
    F64,
}

/// Pixels as they stand in a file.
struct Raw<'a> {
    width: usize,
    height: usize,
    number: Number,
    big_endian: bool,
    /// A level is `slope * number + intercept`.
    slope: f64,
    intercept: f64,
    bytes: &'a [u8],
}

/// Reads an image whose levels, or labels, are from 0 to 255; others than whole numbers are rounded.
///
/// # Errors
/// [`DataError::Read`] if there is no such file, [`DataError::Image`] if it is of another kind, holds more than one
/// image, or other numbers.
pub(super) fn read_scan(path: &Path) -> Result<ClassMap> {
    let is_meta = path.extension().is_some_and(|ext| ext == "mhd");
    let read = if is_meta { meta_image } else { nifti };
    read(path)
}

fn nifti(path: &Path) -> Result<ClassMap> {
    let fault = |reason: &str| ImageError::image(path, reason);
    let mut bytes = read_bytes(path)?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut unpacked = Vec::new();
        let mut reader = MultiGzDecoder::new(bytes.as_slice()).take(LIMIT + 1);
        reader
            .read_to_end(&mut unpacked)
            .map_err(|e| fault(&format!("its compression is damaged: {e}")))?;
        bytes = unpacked;
    }
    if bytes.len() as u64 > LIMIT {
        return Err(fault("it is larger than 512 MiB"));
    }
    if bytes.len() < NIFTI_HEADER || !matches!(&bytes[344..347], b"n+1") {
        return Err(fault("it is no NIfTI-1 image in a single file"));
    }
    // The header's length tells the order of bytes (nifti1.h).
    let big_endian = match bytes[..4] {
        [0x5c, 1, 0, 0] => false,
        [0, 0, 1, 0x5c] => true,
        _ => return Err(fault("its header is damaged")),
    };
    let short = |at: usize| Number::I16.read(&bytes[at..], big_endian);
    let float = |at: usize| Number::F32.read(&bytes[at..], big_endian);
    let axes: Vec<f64> = (0..8).map(|axis| short(40 + 2 * axis)).collect();
    // Axes that are not counted may hold anything.
    let (width, height, further) = (axes[1], axes[2], &axes[3..]);
    let further = &further[..(axes[0] as usize).clamp(2, 7) - 2];
    let number = match short(70) as i16 {
        2 => Number::U8,
        4 => Number::I16,
        8 => Number::I32,
        16 => Number::F32,
        64 => Number::F64,
        256 => Number::I8,
        512 => Number::U16,
        other => return Err(fault(&format!("its data type {other} is not supported"))),
    };
    let start = float(108).clamp(0.0, u32::MAX.into()) as usize;
    let slope = float(112);
    // 0 stands for no scaling, and so does NaN in files of some programs.
    let (slope, intercept) = if slope == 0.0 || slope.is_nan() {
        (1.0, 0.0)
    } else {
        (slope, float(116))
    };
    let raw = Raw {
        width: width.max(0.0) as usize,
        height: height.max(0.0) as usize,
        number,
        big_endian,
        slope,
        intercept,
        bytes: bytes.get(start..).unwrap_or_default(),
    };
    single(further.iter().any(|&length| length != 1.0), path)?;
    raw.levels(path)
}

fn meta_image(path: &Path) -> Result<ClassMap> {
    let fault = |reason: &str| ImageError::image(path, reason);
    let text = read_text(path)?;
    let fields: HashMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim()))
        .collect();
    let field = |key: &str| fields.get(key).copied();
    let axes: Option<Vec<usize>> =
        field("DimSize").and_then(|axes| axes.split_whitespace().map(|a| a.parse().ok()).collect());
    let Some([width, height, further @ ..]) = axes.as_deref() else {
        return Err(fault("its `DimSize` is missing or no list of sizes"));
    };
    let number = match field("ElementType") {
        Some("MET_UCHAR") => Number::U8,
        Some("MET_CHAR") => Number::I8,
        Some("MET_USHORT") => Number::U16,
        Some("MET_SHORT") => Number::I16,
        Some("MET_INT") => Number::I32,
        Some("MET_FLOAT") => Number::F32,
        Some("MET_DOUBLE") => Number::F64,
        other => {
            let other = other.unwrap_or("(missing)");
            return Err(fault(&format!(
                "its `ElementType` {other} is not supported"
            )));
        }
    };
    if field("CompressedData").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        || field("ElementNumberOfChannels").is_some_and(|value| value != "1")
    {
        return Err(fault("compressed data and colour are not supported"));
    }
    let data = match field("ElementDataFile") {
        None | Some("LOCAL" | "LIST") => {
            return Err(fault("its `ElementDataFile` does not name a raw file"));
        }
        Some(name) => path.with_file_name(name),
    };
    let order = field("BinaryDataByteOrderMSB").or(field("ElementByteOrderMSB"));
    single(further.iter().any(|&length| length != 1), path)?;
    let raw = Raw {
        width: *width,
        height: *height,
        number,
        big_endian: order.is_some_and(|value| value.eq_ignore_ascii_case("true")),
        slope: 1.0,
        intercept: 0.0,
        bytes: &read_bytes(&data)?,
    };
    raw.levels(path)
}

/// Fails if a file holds `several` images.
fn single(several: bool, path: &Path) -> Result<()> {
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

    /// The number that `bytes` start with; they are long enough.
    fn read(self, bytes: &[u8], big_endian: bool) -> f64 {
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
    /// The pixels as levels.
    fn levels(&self, path: &Path) -> Result<ClassMap> {
        let (width, height) = (self.width, self.height);
        let length = self.number.length();
        let needed = width
            .checked_mul(height)
            .and_then(|pixels| pixels.checked_mul(length))
            .filter(|&needed| needed > 0 && needed <= self.bytes.len());
        let Some(needed) = needed else {
            let have = self.bytes.len();
            let reason = format!("{have} bytes of pixels are not those of {width}x{height}");
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

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
