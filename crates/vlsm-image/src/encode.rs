//! Writes masks, maps and pictures as PNG, completely or not at all. JPEG is only for pictures in reports.

use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use crate::arrays::{Mask, RgbImage, check_len};
use crate::error::{ImageError, Result};
use crate::fs::write_atomic_bytes;

/// High enough that the outline of a mask keeps its colour.
const JPEG_QUALITY: u8 = 88;

/// Writes a mask as an 8-bit grey PNG: foreground 255, all else 0.
///
/// # Errors
/// [`ImageError::Write`] if the file cannot be written; [`ImageError::Shape`] if the length of `data` is wrong.
pub fn write_png_mask(path: &Path, mask: &Mask) -> Result<()> {
    let levels: Vec<u8> = mask
        .data
        .iter()
        .map(|&v| if v == 1 { 255 } else { 0 })
        .collect();
    write_png_gray(path, mask.width, mask.height, &levels)
}

/// Writes `levels`, `[height, width]`, such as a probability map, as an 8-bit grey PNG.
///
/// # Errors
/// As [`write_png_mask`].
pub fn write_png_gray(path: &Path, width: usize, height: usize, levels: &[u8]) -> Result<()> {
    check_len("write_png_gray", (width, height, 1), levels.len())?;
    write_png(path, width, height, levels, ExtendedColorType::L8)
}

/// Writes an 8-bit RGB PNG.
///
/// # Errors
/// As [`write_png_mask`].
pub fn write_png_rgb(path: &Path, image: &RgbImage) -> Result<()> {
    check_len(
        "write_png_rgb",
        (image.width, image.height, 3),
        image.data.len(),
    )?;
    write_png(
        path,
        image.width,
        image.height,
        &image.data,
        ExtendedColorType::Rgb8,
    )
}

/// Encodes a mask as a PNG of one bit per pixel, opaque where the mask is and transparent elsewhere: a stencil for a page that
/// paints it in a colour of its own.
///
/// # Errors
/// [`ImageError::Shape`] if the length of `data` is wrong, or the mask has no pixels.
pub fn png_stencil(mask: &Mask) -> Result<Vec<u8>> {
    let Mask {
        width,
        height,
        data,
    } = mask;
    check_len("png_stencil", (*width, *height, 1), data.len())?;
    let shape = |reason: String| ImageError::Shape {
        what: "png_stencil",
        reason,
    };
    let side = |side: usize| {
        u32::try_from(side).map_err(|_| shape(format!("{side} pixels are too many for a PNG")))
    };
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, side(*width)?, side(*height)?);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::One);
    encoder.set_palette(vec![0; 6]);
    encoder.set_trns(vec![0, 255]);
    let rows = data.chunks((*width).max(1)).flat_map(|row| {
        row.chunks(8).map(|eight| {
            let bits = eight.iter().enumerate();
            bits.fold(0u8, |byte, (bit, value)| {
                byte | (u8::from(*value == 1) << (7 - bit))
            })
        })
    });
    let rows: Vec<u8> = rows.collect();
    let written = encoder.write_header().and_then(|mut writer| {
        writer.write_image_data(&rows)?;
        writer.finish()
    });
    written.map_err(|error| shape(error.to_string()))?;
    Ok(bytes)
}

/// Encodes an image as JPEG, for pictures in reports. Images that are measured must not pass through it.
///
/// # Errors
/// [`ImageError::Shape`] if the length of `data` is wrong or the image is too large for a JPEG.
pub fn jpeg(image: &RgbImage) -> Result<Vec<u8>> {
    let RgbImage {
        width,
        height,
        data,
    } = image;
    check_len("jpeg", (*width, *height, 3), data.len())?;
    let shape = |reason: String| ImageError::Shape {
        what: "jpeg",
        reason,
    };
    let (Ok(width), Ok(height)) = (u16::try_from(*width), u16::try_from(*height)) else {
        return Err(shape(format!(
            "{width}x{height} pixels are too many for a JPEG; shrink the image to at most 65535 pixels on a side"
        )));
    };
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY)
        .encode(data, width.into(), height.into(), ExtendedColorType::Rgb8)
        .map_err(|e| shape(e.to_string()))?;
    Ok(bytes)
}

fn write_png(
    path: &Path,
    width: usize,
    height: usize,
    data: &[u8],
    color: ExtendedColorType,
) -> Result<()> {
    let shape = |reason: String| ImageError::Shape {
        what: "write_png",
        reason,
    };
    let (Ok(width), Ok(height)) = (u32::try_from(width), u32::try_from(height)) else {
        return Err(shape(format!(
            "{width}x{height} pixels are too many for a PNG; shrink the image"
        )));
    };
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes)
        .write_image(data, width, height, color)
        .map_err(|e| shape(e.to_string()))?;
    write_atomic_bytes(path, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{read_image, read_mask};

    #[test]
    fn png_files_are_read_back_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.png");
        let mask = Mask {
            width: 3,
            height: 1,
            data: vec![0, 1, Mask::IGNORE],
        };
        write_png_mask(&path, &mask).unwrap();
        assert_eq!(read_mask(&path).unwrap().data, [0, 1, 0]);
        assert_eq!(
            read_image(&path).unwrap().data,
            [0, 0, 0, 255, 255, 255, 0, 0, 0]
        );
        let image = RgbImage {
            width: 1,
            height: 2,
            data: vec![1, 2, 3, 4, 5, 6],
        };
        write_png_rgb(&path, &image).unwrap();
        assert_eq!(read_image(&path).unwrap(), image);
    }

    #[test]
    fn a_jpeg_is_close_to_the_image() {
        let image = RgbImage {
            width: 20,
            height: 9,
            data: [200, 40, 90].repeat(180),
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jpg");
        std::fs::write(&path, jpeg(&image).unwrap()).unwrap();
        let read = read_image(&path).unwrap();
        assert_eq!((read.width, read.height), (20, 9));
        let far = |(a, b): (&u8, &u8)| a.abs_diff(*b) > 4;
        assert!(!read.data.iter().zip(&image.data).any(far));
        let short = RgbImage {
            data: vec![0; 3],
            ..image
        };
        assert!(jpeg(&short).is_err());
    }

    #[test]
    fn a_wrong_length_is_an_error_and_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.png");
        assert!(write_png_gray(&path, 2, 2, &[0; 3]).is_err());
        assert!(write_png_gray(&path, 0, 0, &[]).is_err());
        assert!(!path.exists());
    }
}
