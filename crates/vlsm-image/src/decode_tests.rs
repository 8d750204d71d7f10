use std::path::PathBuf;

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, GrayImage, ImageBuffer, Luma, Rgb, Rgba};
use tempfile::TempDir;

use super::*;
use crate::{read_class_map, read_mask};

/// Writes a file with these bytes; returns its temporary folder and its path.
fn file(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn grey(width: u32, levels: &[u8]) -> DynamicImage {
    GrayImage::from_raw(width, levels.len() as u32 / width, levels.to_vec())
        .unwrap()
        .into()
}

fn grey16(width: u32, levels: &[u16]) -> DynamicImage {
    let height = levels.len() as u32 / width;
    ImageBuffer::<Luma<u16>, _>::from_raw(width, height, levels.to_vec())
        .unwrap()
        .into()
}

/// An indexed or low-bit grey PNG from packed rows.
fn png(
    width: u32,
    height: u32,
    color: ColorType,
    depth: png::BitDepth,
    palette: Option<&[u8]>,
    data: &[u8],
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if let Some(palette) = palette {
        encoder.set_palette(palette.to_vec());
    }
    encoder
        .write_header()
        .unwrap()
        .write_image_data(data)
        .unwrap();
    bytes
}

use png::{BitDepth, ColorType};

fn jpeg() -> Vec<u8> {
    let noise: Vec<u8> = (0..64 * 64 * 3u32)
        .map(|i| (i.wrapping_mul(2654435761) >> 24) as u8)
        .collect();
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 90)
        .encode(&noise, 64, 64, ExtendedColorType::Rgb8)
        .unwrap();
    bytes
}

#[test]
fn lossless_formats_give_the_same_pixels_with_any_extension() {
    let data = [1u8, 2, 3, 250, 128, 0, 9, 9, 9, 77, 0, 255];
    let image: DynamicImage = ImageBuffer::<Rgb<u8>, _>::from_raw(2, 2, data.to_vec())
        .unwrap()
        .into();
    for format in [
        ImageFormat::Png,
        ImageFormat::Bmp,
        ImageFormat::Tiff,
        ImageFormat::WebP,
    ] {
        let (_folder, path) = file("picture.jpg", &encoded(&image, format));
        let read = read_image(&path).unwrap();
        assert_eq!(
            (read.width, read.height, read.data.as_slice()),
            (2, 2, &data[..]),
            "{format:?}"
        );
        assert_eq!(read_size(&path).unwrap(), (2, 2));
    }
}

#[test]
fn alpha_is_dropped_and_not_composited() {
    let data = [200u8, 100, 50, 0, 1, 2, 3, 128];
    let image: DynamicImage = ImageBuffer::<Rgba<u8>, _>::from_raw(2, 1, data.to_vec())
        .unwrap()
        .into();
    let (_folder, path) = file("a.png", &encoded(&image, ImageFormat::Png));
    assert_eq!(read_image(&path).unwrap().data, [200, 100, 50, 1, 2, 3]);
}

#[test]
fn grey_of_16_bits_is_scaled_to_8() {
    for format in [ImageFormat::Png, ImageFormat::Tiff] {
        let (_folder, path) = file("x", &encoded(&grey16(4, &[0, 128, 129, 65535]), format));
        assert_eq!(
            read_image(&path).unwrap().data,
            [0, 0, 0, 0, 0, 0, 1, 1, 1, 255, 255, 255]
        );
    }
}

#[test]
fn masks_are_binarised_at_half_of_the_full_scale() {
    let cases = [
        (
            encoded(&grey(4, &[0, 127, 128, 255]), ImageFormat::Png),
            [0, 0, 1, 1],
        ),
        (
            encoded(&grey(4, &[0, 127, 128, 255]), ImageFormat::Bmp),
            [0, 0, 1, 1],
        ),
        (
            encoded(&grey(4, &[0, 127, 128, 255]), ImageFormat::WebP),
            [0, 0, 1, 1],
        ),
        (
            encoded(&grey16(4, &[0, 32767, 32768, 65535]), ImageFormat::Png),
            [0, 0, 1, 1],
        ),
        (
            encoded(&grey16(4, &[0, 127, 128, 255]), ImageFormat::Tiff),
            [0, 0, 1, 1],
        ),
        (
            png(
                4,
                1,
                ColorType::Grayscale,
                BitDepth::One,
                None,
                &[0b0110_0000],
            ),
            [0, 1, 1, 0],
        ),
        (
            png(
                4,
                1,
                ColorType::Grayscale,
                BitDepth::Four,
                None,
                &[0x07, 0x8f],
            ),
            [0, 0, 1, 1],
        ),
    ];
    for (bytes, expected) in cases {
        let (_folder, path) = file("mask", &bytes);
        assert_eq!(read_mask(&path).unwrap().data, expected);
    }
}

#[test]
fn a_mask_of_zeros_and_ones_is_not_empty() {
    for image in [grey(4, &[0, 1, 1, 0]), grey16(4, &[0, 1, 1, 0])] {
        let (_folder, path) = file("mask.png", &encoded(&image, ImageFormat::Png));
        assert_eq!(read_mask(&path).unwrap().data, [0, 1, 1, 0]);
    }
    let bytes = png(
        4,
        1,
        ColorType::Grayscale,
        BitDepth::Two,
        None,
        &[0b0001_0100],
    );
    let (_folder, path) = file("mask.png", &bytes);
    assert_eq!(read_mask(&path).unwrap().data, [0, 1, 1, 0]);
}

#[test]
fn a_palette_mask_uses_luma_and_a_palette_map_uses_indices() {
    // Black, dark red (VOC), white.
    let palette = [0, 0, 0, 128, 0, 0, 255, 255, 255];
    let indexed = |data: &[u8]| {
        png(
            4,
            1,
            ColorType::Indexed,
            BitDepth::Eight,
            Some(&palette),
            data,
        )
    };
    let (_folder, path) = file("m.png", &indexed(&[0, 1, 2, 0]));
    assert_eq!(read_mask(&path).unwrap().data, [0, 0, 1, 0]);
    assert_eq!(read_class_map(&path).unwrap().data, [0, 1, 2, 0]);
    assert_eq!(read_image(&path).unwrap().data[3..6], [128, 0, 0]);
    // No colour reaches half, so index 1 is foreground.
    let (_folder, path) = file("m.png", &indexed(&[0, 1, 1, 0]));
    assert_eq!(read_mask(&path).unwrap().data, [0, 1, 1, 0]);
    // White is index 0, so the colours decide.
    let bytes = png(
        4,
        1,
        ColorType::Indexed,
        BitDepth::One,
        Some(&[255, 255, 255, 0, 0, 0]),
        &[0b0110_0000],
    );
    let (_folder, path) = file("m.png", &bytes);
    assert_eq!(read_mask(&path).unwrap().data, [1, 0, 0, 1]);
    assert_eq!(read_class_map(&path).unwrap().data, [0, 1, 1, 0]);
}

#[test]
fn class_ids_are_read_from_grey_palette_and_16_bit_files() {
    let (_folder, path) = file(
        "m.png",
        &encoded(&grey(4, &[0, 11, 3, 255]), ImageFormat::Png),
    );
    assert_eq!(read_class_map(&path).unwrap().data, [0, 11, 3, 255]);
    for format in [ImageFormat::Bmp, ImageFormat::Tiff] {
        let (_folder, path) = file("m", &encoded(&grey(2, &[0, 11, 3, 255]), format));
        assert_eq!(
            read_class_map(&path).unwrap().data,
            [0, 11, 3, 255],
            "{format:?}"
        );
    }
    let (_folder, path) = file("m.png", &encoded(&grey16(2, &[7, 255]), ImageFormat::Png));
    assert_eq!(read_class_map(&path).unwrap().data, [7, 255]);
    let bytes = png(
        5,
        2,
        ColorType::Grayscale,
        BitDepth::Four,
        None,
        &[0x12, 0x34, 0x50, 0x67, 0x89, 0xa0],
    );
    let (_folder, path) = file("m.png", &bytes);
    assert_eq!(
        read_class_map(&path).unwrap().data,
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    );
}

#[test]
fn a_file_without_class_ids_is_an_error_with_a_fix() {
    let colour: DynamicImage = ImageBuffer::<Rgb<u8>, _>::from_raw(1, 1, vec![1, 2, 3])
        .unwrap()
        .into();
    for (bytes, reason) in [
        (encoded(&colour, ImageFormat::Png), "colours"),
        (
            encoded(&grey16(2, &[7, 256]), ImageFormat::Png),
            "above 255",
        ),
        (jpeg(), "lossy"),
    ] {
        let (_folder, path) = file("ids.png", &bytes);
        let message = read_class_map(&path).unwrap_err().to_string();
        assert!(
            message.contains(reason)
                && message.contains("ids.png")
                && message.contains("8-bit grey"),
            "{message}"
        );
    }
}

#[test]
fn a_truncated_file_is_an_error_that_names_it() {
    let noise: Vec<u8> = (0..64 * 64u32)
        .map(|i| (i.wrapping_mul(2654435761) >> 24) as u8)
        .collect();
    let mut files = vec![(ImageFormat::Jpeg, jpeg())];
    for format in [
        ImageFormat::Png,
        ImageFormat::Bmp,
        ImageFormat::Tiff,
        ImageFormat::WebP,
    ] {
        files.push((format, encoded(&grey(64, &noise), format)));
    }
    for (format, bytes) in files {
        for cut in [
            bytes.len() / 10,
            bytes.len() / 2,
            bytes.len() - bytes.len() / 10,
        ] {
            let (_folder, path) = file("broken.img", &bytes[..cut]);
            for fault in [
                read_image(&path).err(),
                read_mask(&path).err(),
                read_class_map(&path).err(),
            ] {
                let Some(fault) = fault else {
                    panic!("{format:?} cut at {cut} was read")
                };
                assert!(fault.to_string().contains("broken.img"), "{fault}");
            }
        }
    }
}

#[test]
fn a_jpeg_is_complete_only_with_its_end_marker() {
    let mut bytes = jpeg();
    assert!(jpeg_is_complete(&bytes));
    bytes.extend([0; 100]);
    assert!(jpeg_is_complete(&bytes), "trailing bytes are allowed");
    let end = bytes.len() - 102;
    assert!(!jpeg_is_complete(&bytes[..end]));
    // Zero padding from an interrupted copy.
    bytes[end..].fill(0);
    assert!(!jpeg_is_complete(&bytes));
}

#[test]
fn files_that_are_not_images_are_errors_that_name_them() {
    for (bytes, reason) in [
        (&b""[..], "empty"),
        (b"<html>404</html>", "not JPEG"),
        (b"\x89PNG\r\n\x1a\n", "decode"),
    ] {
        let (_folder, path) = file("x.png", bytes);
        let message = read_image(&path).unwrap_err().to_string();
        assert!(
            message.contains(reason) && message.contains("x.png"),
            "{message}"
        );
    }
    let message = read_mask(Path::new("absent/y.png"))
        .unwrap_err()
        .to_string();
    assert!(message.contains("cannot read `absent/y.png`"), "{message}");
}

#[test]
fn a_panic_in_a_decoder_is_an_error() {
    let fault = guarded::<()>(Path::new("z.tif"), || panic!("index out of bounds"))
        .unwrap_err()
        .to_string();
    assert!(
        fault.contains("z.tif") && fault.contains("index out of bounds"),
        "{fault}"
    );
}
