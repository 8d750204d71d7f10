//! Reads images, masks and class-id masks. The format is detected from the file's content, never from its extension.
//!
//! Colours follow PIL's `convert("RGB")`: alpha is dropped, not composited; palettes are looked up; grey is repeated.
//! EXIF orientation is *not* applied, as in the published code (PIL without `exif_transpose`). Image and mask are paired
//! as they are stored.

use std::io::Cursor;
use std::path::Path;

use image::codecs::bmp::BmpDecoder;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};

use crate::arrays::{ClassMap, Mask, RgbImage};
use crate::binarise::{DecodedMask, binarise, luma, luma16, palette_mask};
use crate::error::{ImageError, Result};
use crate::fs::read_bytes;
use crate::panics::catch_panic;
use crate::raw_png::RawPng;

/// Reads an image: JPEG, PNG, BMP, TIFF or WebP. If there are several frames or pages, reads the first.
///
/// Supports 8-bit grey, grey with alpha, RGB(A), palettes, CMYK JPEG, and 16 bits per channel. 16 bits are scaled to 8 by
/// `v / 257`, rounded, which maps the full scale to the full scale.
///
/// # Errors
/// [`ImageError::Read`] if the file cannot be read; [`ImageError::Image`] if it is corrupt, truncated, or of another kind.
pub fn read_image(path: &Path) -> Result<RgbImage> {
    decode_image(path, &read_bytes(path)?)
}

/// Reads a binary mask in any format that [`read_image`] reads.
///
/// A pixel is foreground if its level is at least half of the format's full scale: 128 of 255, 32768 of 65535, the upper
/// half of 2 and 4 bits, 1 of 1 bit. Colour and palette masks are first converted to luma, like PIL's `convert("L")`.
/// Some common masks would silently be empty with this rule, so there are exceptions:
/// - if the largest level is 1 in a lossless format, the mask has the levels {0, 1}: 1 is foreground;
/// - if the largest level of a 16-bit mask is 255, it has 8-bit levels: 128 and above is foreground;
/// - if a palette mask uses only the indices 0 and 1, both darker than half (such as VOC's dark red), index 1 is
///   foreground.
///
/// # Errors
/// As [`read_image`].
pub fn read_mask(path: &Path) -> Result<Mask> {
    Ok(decode_mask(path, &read_bytes(path)?)?.mask)
}

/// Reads a mask of class ids. These are the indices of a palette PNG or BMP (not its colours), or the levels of a grey PNG,
/// BMP or TIFF of up to 8 bits, or of 16 bits if all are below 256. RGB is read only if all pixels are grey.
///
/// # Errors
/// As [`read_image`], and [`ImageError::ClassMap`] for colour, ids above 255, and JPEG, because its compression changes ids.
pub fn read_class_map(path: &Path) -> Result<ClassMap> {
    decode_class_map(path, &read_bytes(path)?)
}

/// Width and height of an image or mask, from its header alone.
///
/// # Errors
/// As [`read_image`], but truncated pixel data is not detected.
pub fn read_size(path: &Path) -> Result<(usize, usize)> {
    let file = std::fs::File::open(path).map_err(|e| ImageError::read(path, e))?;
    let reader = ImageReader::new(std::io::BufReader::new(file))
        .with_guessed_format()
        .map_err(|e| ImageError::read(path, e))?;
    let (width, height) = reader
        .into_dimensions()
        .map_err(|e| ImageError::image(path, e.to_string()))?;
    Ok((width as usize, height as usize))
}

/// Decodes the content of a file as [`read_image`] does; `path` is for errors.
///
/// # Errors
/// [`ImageError::Image`] if it is corrupt, truncated, or of an unsupported kind.
pub fn decode_image(path: &Path, bytes: &[u8]) -> Result<RgbImage> {
    guarded(path, || image_from(path, bytes))
}

fn image_from(path: &Path, bytes: &[u8]) -> Result<RgbImage> {
    let decoded = decode(path, bytes, format_of(path, bytes)?)?;
    let (width, height) = (decoded.width() as usize, decoded.height() as usize);
    let data = match decoded {
        DynamicImage::ImageRgb8(pixels) => pixels.into_raw(),
        DynamicImage::ImageRgba8(pixels) => drop_alpha(pixels.as_raw()),
        DynamicImage::ImageLuma8(pixels) => repeat(pixels.as_raw().iter().copied()),
        DynamicImage::ImageLumaA8(pixels) => repeat(pixels.as_raw().chunks_exact(2).map(|p| p[0])),
        DynamicImage::ImageLuma16(pixels) => repeat(pixels.as_raw().iter().map(|&v| to_8_bits(v))),
        DynamicImage::ImageLumaA16(pixels) => {
            repeat(pixels.as_raw().chunks_exact(2).map(|p| to_8_bits(p[0])))
        }
        DynamicImage::ImageRgb16(pixels) => pixels.as_raw().iter().map(|&v| to_8_bits(v)).collect(),
        DynamicImage::ImageRgba16(pixels) => pixels
            .as_raw()
            .chunks_exact(4)
            .flat_map(|p| [to_8_bits(p[0]), to_8_bits(p[1]), to_8_bits(p[2])])
            .collect(),
        other => return Err(unsupported(path, &other)),
    };
    Ok(RgbImage {
        width,
        height,
        data,
    })
}

/// Decodes the content of a file as [`read_mask`] does; `path` is for errors.
///
/// # Errors
/// As [`decode_image`].
pub fn decode_mask(path: &Path, bytes: &[u8]) -> Result<DecodedMask> {
    guarded(path, || mask_from(path, bytes))
}

fn mask_from(path: &Path, bytes: &[u8]) -> Result<DecodedMask> {
    let format = format_of(path, bytes)?;
    if format == ImageFormat::Png {
        let png = RawPng::decode(path, bytes)?;
        if let Some(png) = png {
            return Ok(match &png.palette {
                Some(palette) => {
                    let luma = |&index: &u8| {
                        palette
                            .get(usize::from(index))
                            .map_or(0, |&[r, g, b]| luma(r, g, b))
                    };
                    palette_mask(
                        png.width,
                        png.height,
                        &png.values,
                        png.values.iter().map(luma).collect(),
                    )
                }
                None => {
                    let levels = png.values.iter().map(|&v| u16::from(v)).collect();
                    binarise(png.width, png.height, levels, (1 << png.bits) - 1, true)
                }
            });
        }
    }
    let decoded = decode(path, bytes, format)?;
    let (width, height) = (decoded.width() as usize, decoded.height() as usize);
    let grey8 = |data: &[u8]| data.iter().map(|&v| u16::from(v)).collect::<Vec<_>>();
    let (levels, full) = match decoded {
        DynamicImage::ImageLuma8(pixels) => (grey8(pixels.as_raw()), 255),
        DynamicImage::ImageLumaA8(pixels) => (
            pixels
                .as_raw()
                .chunks_exact(2)
                .map(|p| u16::from(p[0]))
                .collect(),
            255,
        ),
        DynamicImage::ImageLuma16(pixels) => (pixels.into_raw(), 65535),
        DynamicImage::ImageLumaA16(pixels) => (
            pixels.as_raw().chunks_exact(2).map(|p| p[0]).collect(),
            65535,
        ),
        DynamicImage::ImageRgb8(pixels) => (
            pixels
                .as_raw()
                .chunks_exact(3)
                .map(|p| luma(p[0], p[1], p[2]))
                .collect(),
            255,
        ),
        DynamicImage::ImageRgba8(pixels) => (
            pixels
                .as_raw()
                .chunks_exact(4)
                .map(|p| luma(p[0], p[1], p[2]))
                .collect(),
            255,
        ),
        DynamicImage::ImageRgb16(pixels) => {
            (pixels.as_raw().chunks_exact(3).map(luma16).collect(), 65535)
        }
        DynamicImage::ImageRgba16(pixels) => {
            (pixels.as_raw().chunks_exact(4).map(luma16).collect(), 65535)
        }
        other => return Err(unsupported(path, &other)),
    };
    let lossless = matches!(
        format,
        ImageFormat::Png | ImageFormat::Bmp | ImageFormat::Tiff
    );
    Ok(binarise(width, height, levels, full, lossless))
}

/// Decodes the content of a file as [`read_class_map`] does; `path` is for errors.
///
/// # Errors
/// As [`read_class_map`].
pub fn decode_class_map(path: &Path, bytes: &[u8]) -> Result<ClassMap> {
    guarded(path, || class_map_from(path, bytes))
}

fn class_map_from(path: &Path, bytes: &[u8]) -> Result<ClassMap> {
    const FIX: &str =
        "save the mask as an 8-bit grey or palette PNG whose pixel values are the class ids";
    let fault = |reason: &str| ImageError::ClassMap {
        path: path.to_path_buf(),
        reason: reason.to_string(),
        fix: FIX,
    };
    let format = format_of(path, bytes)?;
    let decoded = match format {
        ImageFormat::Jpeg => return Err(fault("JPEG is lossy and changes ids")),
        ImageFormat::Png => {
            if let Some(png) = RawPng::decode(path, bytes)? {
                return Ok(ClassMap {
                    width: png.width,
                    height: png.height,
                    data: png.values,
                });
            }
            decode(path, bytes, format)?
        }
        ImageFormat::Bmp => {
            if let Some(map) = bmp_indices(path, bytes)? {
                return Ok(map);
            }
            decode(path, bytes, format)?
        }
        _ => decode(path, bytes, format)?,
    };
    let (width, height) = (decoded.width() as usize, decoded.height() as usize);
    let narrow = |values: Vec<u16>| {
        values
            .iter()
            .map(|&v| u8::try_from(v))
            .collect::<Result<Vec<u8>, _>>()
            .map_err(|_| fault("it contains ids above 255"))
    };
    let grey = |data: &[u8], step: usize| {
        let all = data
            .chunks_exact(step)
            .map(|p| (p[0] == p[1] && p[1] == p[2]).then_some(p[0]))
            .collect();
        let all: Option<Vec<u8>> = all;
        all.ok_or_else(|| fault("it contains colours, not ids"))
    };
    let data = match decoded {
        DynamicImage::ImageLuma8(pixels) => pixels.into_raw(),
        DynamicImage::ImageLumaA8(pixels) => {
            pixels.as_raw().chunks_exact(2).map(|p| p[0]).collect()
        }
        DynamicImage::ImageLuma16(pixels) => narrow(pixels.into_raw())?,
        DynamicImage::ImageLumaA16(pixels) => {
            narrow(pixels.as_raw().chunks_exact(2).map(|p| p[0]).collect())?
        }
        DynamicImage::ImageRgb8(pixels) => grey(pixels.as_raw(), 3)?,
        DynamicImage::ImageRgba8(pixels) => grey(pixels.as_raw(), 4)?,
        _ => return Err(fault("it contains colours, not ids")),
    };
    Ok(ClassMap {
        width,
        height,
        data,
    })
}

/// Runs a decoder and converts a panic into an error.
fn guarded<T>(path: &Path, decode: impl FnOnce() -> Result<T>) -> Result<T> {
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

fn decode(path: &Path, bytes: &[u8], format: ImageFormat) -> Result<DynamicImage> {
    let decoded = ImageReader::with_format(Cursor::new(bytes), format)
        .decode()
        .map_err(|e| ImageError::image(path, e.to_string()))?;
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
    Ok(decoded)
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

/// The indices of a palette BMP, or `None` if it has no palette.
fn bmp_indices(path: &Path, bytes: &[u8]) -> Result<Option<ClassMap>> {
    let fault = |e: image::ImageError| ImageError::image(path, e.to_string());
    let mut decoder = BmpDecoder::new(Cursor::new(bytes)).map_err(fault)?;
    if decoder.get_palette().is_none() {
        return Ok(None);
    }
    decoder.set_indexed_color(true);
    let (width, height) = decoder.dimensions();
    let (width, height) = (width as usize, height as usize);
    // Guards against a small file that claims a huge size; the `image` crate's own limit is 512 MiB.
    if width.saturating_mul(height) > 512 << 20 {
        return Err(ImageError::image(
            path,
            format!("{width}x{height} pixels are more than the limit of 512 MiB"),
        ));
    }
    let mut data = vec![0; width * height];
    decoder.read_image(&mut data).map_err(fault)?;
    Ok(Some(ClassMap {
        width,
        height,
        data,
    }))
}

/// Scales the full 16-bit range to the full 8-bit range: `v / 257`, rounded.
fn to_8_bits(v: u16) -> u8 {
    ((u32::from(v) + 128) / 257) as u8
}

fn repeat(levels: impl Iterator<Item = u8>) -> Vec<u8> {
    levels.flat_map(|v| [v, v, v]).collect()
}

fn drop_alpha(rgba: &[u8]) -> Vec<u8> {
    rgba.chunks_exact(4)
        .flat_map(|p| [p[0], p[1], p[2]])
        .collect()
}

fn unsupported(path: &Path, image: &DynamicImage) -> ImageError {
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
