//! Reads PNG samples as stored: palette indices and levels of 1, 2, 4 and 8 bits, not expanded.

use std::io::Cursor;
use std::path::Path;

use image::metadata::Orientation;
use png::{BitDepth, ColorType, Decoder, Limits, Transformations};

use crate::error::{ImageError, Result};

/// Maximum decoded size in bytes. The `image` crate has the same limit for the other formats.
const LIMIT: usize = 512 << 20;

/// The samples of a palette PNG or of a grey PNG of up to 8 bits.
pub(crate) struct RawPng {
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// Bits per sample: 1, 2, 4 or 8.
    pub(crate) bits: u32,
    /// Colours by index; `None` for grey.
    pub(crate) palette: Option<Vec<[u8; 3]>>,
    /// Palette indices or grey levels, `[height, width]`, as stored.
    pub(crate) values: Vec<u8>,
    /// The EXIF orientation, which is not applied.
    pub(crate) orientation: Orientation,
    /// Alpha by palette index; indices after the last are opaque.
    pub(crate) alpha: Vec<u8>,
}

impl RawPng {
    /// Decodes `bytes`; `None` if the PNG is neither indexed nor grey of up to 8 bits.
    pub(crate) fn decode(path: &Path, bytes: &[u8]) -> Result<Option<Self>> {
        let fault = |e: png::DecodingError| ImageError::image(path, e.to_string());
        let mut decoder = Decoder::new(Cursor::new(bytes));
        decoder.set_limits(Limits { bytes: LIMIT });
        decoder.set_transformations(Transformations::IDENTITY);
        let mut reader = decoder.read_info().map_err(fault)?;
        let info = reader.info();
        let (width, height) = (info.width as usize, info.height as usize);
        let bits = match info.bit_depth {
            BitDepth::One => 1,
            BitDepth::Two => 2,
            BitDepth::Four => 4,
            BitDepth::Eight => 8,
            BitDepth::Sixteen => return Ok(None),
        };
        let palette = match info.color_type {
            ColorType::Grayscale => None,
            ColorType::Indexed => {
                let colours = info.palette.as_deref().unwrap_or_default();
                Some(
                    colours
                        .chunks_exact(3)
                        .map(|c| [c[0], c[1], c[2]])
                        .collect(),
                )
            }
            _ => return Ok(None),
        };
        let exif = info.exif_metadata.as_deref();
        let orientation = exif.and_then(Orientation::from_exif_chunk);
        let orientation = orientation.unwrap_or(Orientation::NoTransforms);
        let alpha = match &palette {
            Some(_) => info.trns.as_deref().unwrap_or_default().to_vec(),
            None => Vec::new(),
        };
        let size = reader
            .output_buffer_size()
            .filter(|&size| size <= LIMIT && width.saturating_mul(height) <= LIMIT)
            .ok_or_else(|| {
                ImageError::image(
                    path,
                    format!("{width}x{height} pixels are more than the limit of 512 MiB"),
                )
            })?;
        let mut packed = vec![0; size];
        let frame = reader.next_frame(&mut packed).map_err(fault)?;
        packed.truncate(frame.buffer_size());
        let values = if bits == 8 {
            packed
        } else {
            unpack(&packed, frame.line_size, width, bits)
        };
        Ok(Some(Self {
            width,
            height,
            bits,
            palette,
            values,
            orientation,
            alpha,
        }))
    }
}

/// Unpacks samples of fewer than 8 bits, leftmost in the high bits (PNG specification, 7.2), to one per byte.
fn unpack(packed: &[u8], line: usize, width: usize, bits: u32) -> Vec<u8> {
    let per_byte = (8 / bits) as usize;
    let mask = (1u8 << bits) - 1;
    let mut values = Vec::with_capacity(packed.len() * per_byte);
    for row in packed.chunks_exact(line) {
        let samples = row
            .iter()
            .flat_map(|&byte| (0..per_byte).map(move |i| (byte, i)));
        values.extend(
            samples
                .take(width)
                .map(|(byte, i)| (byte >> (8 - bits as usize * (i + 1))) & mask),
        );
    }
    values
}
