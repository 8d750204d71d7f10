//! Reads masks of class ids.

use std::io::Cursor;
use std::path::Path;

use image::codecs::bmp::BmpDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, ImageDecoder, ImageFormat};

use crate::arrays::ClassMap;
use crate::decode::{decode, format_of_page, guarded};
use crate::error::{ImageError, Result};
use crate::fs::read_bytes;
use crate::raw_png::RawPng;

/// Reads a mask of class ids. These are the indices of a palette PNG or BMP (not its colours), or the levels of a grey PNG,
/// BMP or TIFF of up to 8 bits, or of 16 bits if all are below 256. RGB is read only if all pixels are grey.
///
/// # Errors
/// As [`read_image`](crate::read_image), and [`ImageError::ClassMap`] for colour, ids above 255, and JPEG, because its
/// compression changes ids.
pub fn read_class_map(path: &Path) -> Result<ClassMap> {
    decode_class_map(path, &read_bytes(path)?, false)
}

/// Decodes the content of a file as [`read_class_map`] does; `path` is for errors. `first_page` reads the first page of a file
/// with several.
///
/// # Errors
/// As [`read_class_map`].
pub fn decode_class_map(path: &Path, bytes: &[u8], first_page: bool) -> Result<ClassMap> {
    guarded(path, || class_map_from(path, bytes, first_page))
}

fn class_map_from(path: &Path, bytes: &[u8], first_page: bool) -> Result<ClassMap> {
    const FIX: &str =
        "save the mask as an 8-bit grey or palette PNG whose pixel values are the class ids";
    let fault = |reason: &str| ImageError::ClassMap {
        path: path.to_path_buf(),
        reason: reason.to_string(),
        fix: FIX,
    };
    let format = format_of_page(path, bytes, first_page)?;
    match format {
        ImageFormat::Jpeg => return Err(fault("JPEG is lossy and changes ids")),
        ImageFormat::Png => {
            if let Some(png) = RawPng::decode(path, bytes)? {
                let (width, height, data) =
                    oriented(png.width, png.height, png.values, png.orientation);
                return Ok(ClassMap {
                    width,
                    height,
                    data,
                });
            }
        }
        ImageFormat::Bmp => {
            if let Some(map) = bmp_indices(path, bytes)? {
                return Ok(map);
            }
        }
        _ => {}
    }
    let (decoded, _) = decode(path, bytes, format)?;
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

/// Applies an orientation to bytes `[height, width]`; returns the new width, height and bytes.
pub(crate) fn oriented(
    width: usize,
    height: usize,
    data: Vec<u8>,
    orientation: Orientation,
) -> (usize, usize, Vec<u8>) {
    if orientation == Orientation::NoTransforms {
        return (width, height, data);
    }
    // Sizes of decoded images fit into 32 bits.
    let Some(image) = GrayImage::from_raw(width as u32, height as u32, data) else {
        return (0, 0, Vec::new());
    };
    let mut image = DynamicImage::from(image);
    image.apply_orientation(orientation);
    let (width, height) = (image.width() as usize, image.height() as usize);
    (width, height, image.into_bytes())
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
