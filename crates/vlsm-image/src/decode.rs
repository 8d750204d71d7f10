//! Reads images. The format is detected from the file's content, never from its extension.
//!
//! Colours follow PIL's `convert("RGB")`: alpha is dropped, not composited; palettes are looked up; grey is repeated.
//! The EXIF orientation is applied, so that an image has the orientation in which viewers show it; the published code
//! (PIL without `exif_transpose`) ignores it.

use std::io::Cursor;
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use crate::arrays::RgbImage;
use crate::error::{ImageError, Result};
use crate::fs::read_bytes;
use crate::pages::has_several_pages;
use crate::panics::catch_panic;
use crate::raw_png::RawPng;
use crate::window::{Window, scale};

/// How image files are decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ImageOptions {
    /// The levels of 16-bit images that become black and white; `None` for the full scale, 0 and 65535. Images of 8 bits
    /// are not changed.
    pub window: Option<Window>,
    /// Read the first page of a file with several; otherwise such a file is an error.
    pub first_page: bool,
}

/// What an image file's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageHeader {
    /// Width and height, after the orientation is applied.
    pub size: (usize, usize),
    /// EXIF orientation, from 1 to 8; 1 means none.
    pub orientation: u8,
    /// Whether the image has 16 bits per channel.
    pub has_16_bits: bool,
    /// Whether the file has several pages or frames.
    pub has_several_pages: bool,
}

/// Reads an image: JPEG, PNG, BMP, TIFF or WebP.
///
/// Supports 8-bit grey, grey with alpha, RGB(A), palettes, CMYK JPEG, and 16 bits per channel. 16 bits are scaled to 8 by
/// `v / 257`, rounded, which maps the full scale to the full scale.
///
/// # Errors
/// [`ImageError::Read`] if the file cannot be read; [`ImageError::Image`] if it is corrupt, truncated, or of another kind;
/// [`ImageError::Pages`] if it has several pages.
pub fn read_image(path: &Path) -> Result<RgbImage> {
    read_image_with(path, ImageOptions::default())
}

/// Reads an image as [`read_image`] does, with other options.
///
/// # Errors
/// As [`read_image`].
pub fn read_image_with(path: &Path, options: ImageOptions) -> Result<RgbImage> {
    decode_image(path, &read_bytes(path)?, options)
}

/// Width and height of an image or mask, from its header alone, after the EXIF orientation is applied.
///
/// # Errors
/// As [`read_image`], but truncated pixel data is not detected.
pub fn read_size(path: &Path) -> Result<(usize, usize)> {
    Ok(decode_header(path, &read_bytes(path)?)?.size)
}

/// The header of an image or mask; `path` is for errors.
///
/// # Errors
/// As [`read_image`], but truncated pixel data is not detected.
pub fn decode_header(path: &Path, bytes: &[u8]) -> Result<ImageHeader> {
    guarded(path, || {
        let format = format_of(path, bytes)?;
        let fault = |e: image::ImageError| ImageError::image(path, e.to_string());
        let reader = ImageReader::with_format(Cursor::new(bytes), format);
        let mut decoder = reader.into_decoder().map_err(fault)?;
        let (width, height) = decoder.dimensions();
        let (width, height) = (width as usize, height as usize);
        let orientation = orientation(&mut decoder);
        let is_turned = orientation.to_exif() > 4;
        let color = decoder.original_color_type();
        Ok(ImageHeader {
            size: if is_turned {
                (height, width)
            } else {
                (width, height)
            },
            orientation: orientation.to_exif(),
            has_16_bits: color.bits_per_pixel() / u16::from(color.channel_count()) == 16,
            has_several_pages: has_several_pages(format, bytes),
        })
    })
}

/// Decodes the content of a file as [`read_image_with`] does; `path` is for errors.
///
/// # Errors
/// As [`read_image`], without [`ImageError::Read`].
pub fn decode_image(path: &Path, bytes: &[u8], options: ImageOptions) -> Result<RgbImage> {
    guarded(path, || image_from(path, bytes, options))
}

fn image_from(path: &Path, bytes: &[u8], options: ImageOptions) -> Result<RgbImage> {
    let format = format_of_page(path, bytes, options.first_page)?;
    let (decoded, _) = decode(path, bytes, format)?;
    let (width, height) = (decoded.width() as usize, decoded.height() as usize);
    let scale = scale(options.window);
    let data = match decoded {
        DynamicImage::ImageRgb8(pixels) => pixels.into_raw(),
        DynamicImage::ImageRgba8(pixels) => drop_alpha(pixels.as_raw()),
        DynamicImage::ImageLuma8(pixels) => repeat(pixels.as_raw().iter().copied()),
        DynamicImage::ImageLumaA8(pixels) => repeat(pixels.as_raw().chunks_exact(2).map(|p| p[0])),
        DynamicImage::ImageLuma16(pixels) => repeat(pixels.as_raw().iter().map(|&v| scale(v))),
        DynamicImage::ImageLumaA16(pixels) => {
            repeat(pixels.as_raw().chunks_exact(2).map(|p| scale(p[0])))
        }
        DynamicImage::ImageRgb16(pixels) => pixels.as_raw().iter().map(|&v| scale(v)).collect(),
        DynamicImage::ImageRgba16(pixels) => pixels
            .as_raw()
            .chunks_exact(4)
            .flat_map(|p| [scale(p[0]), scale(p[1]), scale(p[2])])
            .collect(),
        other => return Err(unsupported(path, &other)),
    };
    Ok(RgbImage {
        width,
        height,
        data,
    })
}

/// The number of pixels' channels at each of the 65536 levels of a 16-bit image, alpha excluded. `None` for other images.
///
/// # Errors
/// As [`decode_image`].
pub fn decode_16_bit_histogram(
    path: &Path,
    bytes: &[u8],
    options: ImageOptions,
) -> Result<Option<Vec<u64>>> {
    if !decode_header(path, bytes)?.has_16_bits {
        return Ok(None);
    }
    guarded(path, || {
        let format = format_of_page(path, bytes, options.first_page)?;
        let (decoded, _) = decode(path, bytes, format)?;
        let mut counts = vec![0; 65536];
        let mut count = |data: &[u16], step: usize, used: usize| {
            let pixels = data.chunks_exact(step);
            for &level in pixels.flat_map(|pixel| &pixel[..used]) {
                counts[usize::from(level)] += 1;
            }
        };
        match &decoded {
            DynamicImage::ImageLuma16(pixels) => count(pixels.as_raw(), 1, 1),
            DynamicImage::ImageLumaA16(pixels) => count(pixels.as_raw(), 2, 1),
            DynamicImage::ImageRgb16(pixels) => count(pixels.as_raw(), 3, 3),
            DynamicImage::ImageRgba16(pixels) => count(pixels.as_raw(), 4, 3),
            _ => return Ok(None),
        }
        Ok(Some(counts))
    })
}

/// Runs a decoder and converts a panic into an error.
pub(crate) fn guarded<T>(path: &Path, decode: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_panic(decode).unwrap_or_else(|reason| {
        Err(ImageError::Decoder {
            path: path.to_path_buf(),
            reason,
        })
    })
}

fn format_of(path: &Path, bytes: &[u8]) -> Result<ImageFormat> {
    match image::guess_format(bytes) {
        Ok(
            format @ (ImageFormat::Jpeg
            | ImageFormat::Png
            | ImageFormat::Bmp
            | ImageFormat::Tiff
            | ImageFormat::WebP),
        ) => Ok(format),
        _ if bytes.is_empty() => Err(ImageError::image(path, "the file is empty")),
        _ => Err(ImageError::image(
            path,
            "its content is not JPEG, PNG, BMP, TIFF or WebP",
        )),
    }
}

/// The format of a file, which may have several pages only if its first is to be read.
pub(crate) fn format_of_page(path: &Path, bytes: &[u8], first_page: bool) -> Result<ImageFormat> {
    let format = format_of(path, bytes)?;
    if !first_page && has_several_pages(format, bytes) {
        return Err(ImageError::Pages {
            path: path.to_path_buf(),
        });
    }
    Ok(format)
}

/// Decodes the first page and applies the EXIF orientation, which is returned too.
pub(crate) fn decode(
    path: &Path,
    bytes: &[u8],
    format: ImageFormat,
) -> Result<(DynamicImage, Orientation)> {
    let fault = |e: image::ImageError| ImageError::image(path, e.to_string());
    let reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut decoder = reader.into_decoder().map_err(fault)?;
    let orientation = orientation(&mut decoder);
    let mut decoded = match palette_image(path, bytes, format)? {
        Some(decoded) => decoded,
        None => {
            // As `ImageReader::decode`, which cannot report the orientation.
            let mut limits = Limits::default();
            limits.reserve(decoder.total_bytes()).map_err(fault)?;
            decoder.set_limits(limits).map_err(fault)?;
            DynamicImage::from_decoder(decoder).map_err(fault)?
        }
    };
    if decoded.width() == 0 || decoded.height() == 0 {
        return Err(ImageError::image(path, "it has no pixels"));
    }
    // The decoder fills missing pixels with grey; PIL refuses such a file.
    if format == ImageFormat::Jpeg && !jpeg_is_complete(bytes) {
        return Err(ImageError::image(
            path,
            "the JPEG is truncated (no end-of-image marker)",
        ));
    }
    decoded.apply_orientation(orientation);
    Ok((decoded, orientation))
}

/// A palette PNG in colour. An index without a colour, on which the
/// decoder panics, is black.
fn palette_image(path: &Path, bytes: &[u8], format: ImageFormat) -> Result<Option<DynamicImage>> {
    // The colour type in a PNG's first chunk (PNG specification, 11.2.1): other kinds must not be decoded twice.
    const COLOUR_TYPE: usize = 25;
    const INDEXED: u8 = 3;
    if format != ImageFormat::Png || bytes.get(COLOUR_TYPE) != Some(&INDEXED) {
        return Ok(None);
    }
    let Some(RawPng {
        width,
        height,
        palette: Some(palette),
        values,
        ..
    }) = RawPng::decode(path, bytes)?
    else {
        return Ok(None);
    };
    let colour = |&index: &u8| palette.get(usize::from(index)).copied().unwrap_or_default();
    let data = values.iter().flat_map(colour).collect();
    let (Ok(width), Ok(height)) = (u32::try_from(width), u32::try_from(height)) else {
        return Ok(None);
    };
    Ok(image::RgbImage::from_raw(width, height, data).map(DynamicImage::from))
}

/// The orientation in the header; none if it cannot be read.
fn orientation(decoder: &mut impl ImageDecoder) -> Orientation {
    decoder.orientation().unwrap_or(Orientation::NoTransforms)
}
/// Whether a JPEG has its end-of-image marker (ITU T.81, B.1.1).
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    const END_OF_IMAGE: u8 = 0xd9;
    let mut at = 2; // after the start-of-image marker
    while let Some(skip) = bytes
        .get(at..)
        .and_then(|rest| rest.iter().position(|&b| b == 0xff))
    {
        at += skip + 1;
        match bytes.get(at) {
            Some(&END_OF_IMAGE) => return true,
            // A fill byte; the marker follows.
            Some(0xff) => {}
            // A stuffed byte in the entropy-coded data, a restart marker, or another marker without a segment.
            Some(0x00 | 0x01 | 0xd0..=0xd8) => at += 1,
            // A segment; its length comes first.
            Some(_) => match bytes.get(at + 1..at + 3) {
                Some(length) => at += 1 + usize::from(u16::from_be_bytes([length[0], length[1]])),
                None => return false,
            },
            None => return false,
        }
    }
    false
}

fn repeat(levels: impl Iterator<Item = u8>) -> Vec<u8> {
    levels.flat_map(|v| [v, v, v]).collect()
}

fn drop_alpha(rgba: &[u8]) -> Vec<u8> {
    rgba.chunks_exact(4)
        .flat_map(|p| [p[0], p[1], p[2]])
        .collect()
}

pub(crate) fn unsupported(path: &Path, image: &DynamicImage) -> ImageError {
    ImageError::image(
        path,
        format!(
            "pixels of type {:?} are not supported; save it with 8 or 16 bits per channel",
            image.color()
        ),
    )
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
