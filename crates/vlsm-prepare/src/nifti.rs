//! Single images in NIfTI-1 files (`.nii`, `.nii.gz`).
//!
//! No library is used: a few header fields and a 2D array suffice, with checks for damaged user files.

use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use vlsm_image::{ClassMap, ImageError, Result, read_bytes};

use crate::raw::{Number, Raw, single};

/// Largest file that is read, in bytes.
const LIMIT: u64 = 512 << 20;

/// Length of a NIfTI-1 header.
const NIFTI_HEADER: usize = 348;

/// Reads an image; see [`read_scan`](crate::scan::read_scan).
pub(crate) fn read_nifti(path: &Path) -> Result<ClassMap> {
    decode_nifti(path, &read_bytes(path)?)
}

/// Decodes the content of a NIfTI-1 file, which may be compressed by gzip: one image with levels or labels from 0 to 255;
/// fractions are rounded. `path` is for errors.
///
/// # Errors
/// If it is damaged, holds more than one image, or has levels out of range.
pub fn decode_nifti(path: &Path, bytes: &[u8]) -> Result<ClassMap> {
    let fault = |reason: &str| ImageError::image(path, reason);
    let mut unpacked = Vec::new();
    let bytes = if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut reader = MultiGzDecoder::new(bytes).take(LIMIT + 1);
        reader
            .read_to_end(&mut unpacked)
            .map_err(|e| fault(&format!("its compression is damaged: {e}")))?;
        unpacked.as_slice()
    } else {
        bytes
    };
    if bytes.len() as u64 > LIMIT {
        return Err(fault("it is larger than 512 MiB"));
    }
    if bytes.len() < NIFTI_HEADER || !matches!(&bytes[344..347], b"n+1") {
        return Err(fault("it is not a single-file NIfTI-1 image"));
    }
    // The header's length field reveals the byte order (nifti1.h).
    let big_endian = match bytes[..4] {
        [0x5c, 1, 0, 0] => false,
        [0, 0, 1, 0x5c] => true,
        _ => return Err(fault("its header is damaged")),
    };
    let short = |at: usize| Number::I16.read(&bytes[at..], big_endian);
    let float = |at: usize| Number::F32.read(&bytes[at..], big_endian);
    let axes: Vec<f64> = (0..8).map(|axis| short(40 + 2 * axis)).collect();
    // Sizes of unused axes are undefined.
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
    // 0 means no scaling; some programs write NaN for it.
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
