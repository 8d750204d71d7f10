//! Tests of EXIF orientation, windows, pages, palettes and rules for masks.

use std::io::Cursor;
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use tiff::encoder::{TiffEncoder, colortype};

use crate::*;

/// An EXIF block with one entry: the orientation.
fn exif(orientation: u8) -> Vec<u8> {
    let mut block = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    block.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    block
}

fn png(width: u32, levels: &[u8], orientation: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = PngEncoder::new(&mut bytes);
    encoder.set_exif_metadata(exif(orientation)).unwrap();
    let height = levels.len() as u32 / width;
    encoder
        .write_image(levels, width, height, ExtendedColorType::L8)
        .unwrap();
    bytes
}

fn pages(count: usize, levels: &[u8]) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let mut encoder = TiffEncoder::new(&mut bytes).unwrap();
    for _ in 0..count {
        encoder
            .write_image::<colortype::Gray8>(levels.len() as u32, 1, levels)
            .unwrap();
    }
    bytes.into_inner()
}

const PATH: &str = "x.png";

fn image_of(bytes: &[u8], options: ImageOptions) -> Result<RgbImage> {
    decode_image(Path::new(PATH), bytes, options)
}

fn mask_of(bytes: &[u8], rule: LevelRule) -> Mask {
    decode_mask(Path::new(PATH), bytes, false)
        .unwrap()
        .mask(rule)
}

#[test]
fn the_exif_orientation_is_applied_to_images_masks_ids_and_sizes() {
    // Two rows of three; 6 turns them by 90 degrees clockwise, 3 by 180.
    let levels = [0, 1, 2, 3, 4, 255];
    for (orientation, size, expected) in [
        (1, (3, 2), [0, 1, 2, 3, 4, 255]),
        (3, (3, 2), [255, 4, 3, 2, 1, 0]),
        (6, (2, 3), [3, 0, 4, 1, 255, 2]),
        (8, (2, 3), [2, 255, 1, 4, 0, 3]),
    ] {
        let bytes = png(3, &levels, orientation);
        let image = image_of(&bytes, ImageOptions::default()).unwrap();
        let grey: Vec<u8> = image.data.iter().step_by(3).copied().collect();
        assert_eq!(
            ((image.width, image.height), &grey[..]),
            (size, &expected[..])
        );
        let map = decode_class_map(Path::new(PATH), &bytes, false).unwrap();
        assert_eq!(
            ((map.width, map.height), &map.data[..]),
            (size, &expected[..])
        );
        let mask = mask_of(&bytes, LevelRule::Half);
        assert_eq!((mask.width, mask.height), size);
        assert_eq!(mask.data, expected.map(|level| u8::from(level == 255)));
        let header = decode_header(Path::new(PATH), &bytes).unwrap();
        assert_eq!((header.size, header.orientation), (size, orientation));
    }
}

#[test]
fn a_turned_photograph_in_jpeg_is_upright() {
    // Left half white, right half black; 6 turns the white half to the top.
    let levels: Vec<u8> = (0..32 * 16)
        .map(|i| if i % 32 < 16 { 255 } else { 0 })
        .collect();
    let mut bytes = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, 95);
    encoder.set_exif_metadata(exif(6)).unwrap();
    encoder
        .encode(&levels, 32, 16, ExtendedColorType::L8)
        .unwrap();
    let image = image_of(&bytes, ImageOptions::default()).unwrap();
    assert_eq!((image.width, image.height), (16, 32));
    assert!(image.data[0] > 250 && image.data[image.data.len() - 1] < 5);
}

#[test]
fn a_window_maps_its_levels_to_black_and_white() {
    let image: image::ImageBuffer<image::Luma<u16>, _> =
        image::ImageBuffer::from_raw(5, 1, vec![0u16, 100, 600, 1100, 65535]).unwrap();
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    let bytes = bytes.into_inner();
    let grey = |window| {
        let options = ImageOptions {
            window,
            ..ImageOptions::default()
        };
        let image = image_of(&bytes, options).unwrap();
        image.data.iter().step_by(3).copied().collect::<Vec<u8>>()
    };
    assert_eq!(grey(None), [0, 0, 2, 4, 255]);
    assert_eq!(grey(Some([100, 1100])), [0, 0, 128, 255, 255]);
    let counts = decode_16_bit_histogram(Path::new(PATH), &bytes, ImageOptions::default());
    let counts = counts.unwrap().unwrap();
    assert_eq!((counts[600], counts.iter().sum::<u64>()), (1, 5));
    let eight = png(3, &[1, 2, 3], 1);
    let counts = decode_16_bit_histogram(Path::new(PATH), &eight, ImageOptions::default());
    assert_eq!(counts.unwrap(), None);
    // A window does not change images of 8 bits.
    let options = ImageOptions {
        window: Some([0, 2]),
        ..ImageOptions::default()
    };
    assert_eq!(image_of(&eight, options).unwrap().data[..3], [1; 3]);
}

#[test]
fn several_pages_are_an_error_unless_the_first_is_asked_for() {
    let options = ImageOptions {
        first_page: true,
        ..ImageOptions::default()
    };
    let two = pages(2, &[9, 255]);
    for error in [
        image_of(&two, ImageOptions::default()).unwrap_err(),
        decode_mask(Path::new(PATH), &two, false).unwrap_err(),
        decode_class_map(Path::new(PATH), &two, false).unwrap_err(),
    ] {
        let error = error.to_string();
        assert!(
            error.contains(PATH) && error.contains("multi-page"),
            "{error}"
        );
    }
    assert_eq!(
        image_of(&two, options).unwrap().data,
        [9, 9, 9, 255, 255, 255]
    );
    let mask = decode_mask(Path::new(PATH), &two, true).unwrap();
    assert_eq!(mask.mask(LevelRule::File).data, [0, 1]);
    let map = decode_class_map(Path::new(PATH), &two, true).unwrap();
    assert_eq!(map.data, [9, 255]);
    image_of(&pages(1, &[9, 255]), ImageOptions::default()).unwrap();

    let mut animated = Vec::new();
    let mut encoder = png::Encoder::new(&mut animated, 1, 1);
    encoder.set_animated(2, 0).unwrap();
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[1]).unwrap();
    writer.write_image_data(&[2]).unwrap();
    writer.finish().unwrap();
    assert!(image_of(&animated, ImageOptions::default()).is_err());
    assert_eq!(image_of(&animated, options).unwrap().data, [1; 3]);
}

/// A palette PNG of 4 x 1 pixels whose palette has any length.
fn indexed(palette: &[u8], indices: [u8; 4]) -> Vec<u8> {
    png_of(&[0, 0, 0, 4, 0, 0, 0, 1, 8, 3, 0, 0, 0], palette, indices)
}

/// A PNG with this header, whatever it says.
fn png_of(header: &[u8; 13], palette: &[u8], indices: [u8; 4]) -> Vec<u8> {
    let chunk = |kind: &[u8; 4], data: &[u8]| {
        let crc = update(update(u32::MAX, kind), data);
        let mut chunk = (data.len() as u32).to_be_bytes().to_vec();
        chunk.extend(kind);
        chunk.extend(data);
        chunk.extend((crc ^ u32::MAX).to_be_bytes());
        chunk
    };
    let row = [&[0][..], &indices].concat();
    // A stored block of zlib.
    let mut data = vec![0x78, 0x01, 0x01, 5, 0, 0xfa, 0xff];
    data.extend(&row);
    let (mut a, mut b) = (1u32, 0u32);
    for &byte in &row {
        a = (a + u32::from(byte)) % 65521;
        b = (b + a) % 65521;
    }
    data.extend(((b << 16) | a).to_be_bytes());
    [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        chunk(b"IHDR", header),
        chunk(b"PLTE", palette),
        chunk(b"IDAT", &data),
        chunk(b"IEND", &[]),
    ]
    .concat()
}

/// CRC-32 of the PNG specification, annex D.
fn update(mut crc: u32, data: &[u8]) -> u32 {
    for &byte in data {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                0xedb8_8320 ^ (crc >> 1)
            } else {
                crc >> 1
            };
        }
    }
    crc
}

#[test]
fn a_palette_png_never_panics() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let palette = [0, 0, 0, 255, 255, 255, 9, 9, 9];
    let mut faults = Vec::new();
    for length in 0..=palette.len() {
        let bytes = indexed(&palette[..length], [0, 1, 2, 200]);
        for error in [
            image_of(&bytes, ImageOptions::default()).err(),
            decode_mask(Path::new(PATH), &bytes, false).err(),
            decode_class_map(Path::new(PATH), &bytes, false).err(),
            decode_header(Path::new(PATH), &bytes).err(),
        ] {
            faults.extend(error.map(|error| (length, error)));
        }
    }
    std::panic::set_hook(hook);
    for (length, error) in faults {
        assert!(
            !matches!(error, ImageError::Decoder { .. }),
            "{length}: {error}"
        );
    }
    let bytes = indexed(&palette, [0, 1, 2, 200]);
    let image = image_of(&bytes, ImageOptions::default()).unwrap();
    assert_eq!(image.data, [0, 0, 0, 255, 255, 255, 9, 9, 9, 0, 0, 0]);
}

#[test]
fn rules_make_foreground_of_levels() {
    let levels = [0, 1, 2, 127, 128, 255];
    let bytes = png(6, &levels, 1);
    assert_eq!(mask_of(&bytes, LevelRule::Half).data, [0, 0, 0, 0, 1, 1]);
    assert_eq!(mask_of(&bytes, LevelRule::NonZero).data, [0, 1, 1, 1, 1, 1]);
    assert_eq!(
        mask_of(&bytes, LevelRule::Void).data,
        [0, 1, 0, 0, 0, Mask::IGNORE]
    );
    let mask = decode_mask(Path::new(PATH), &bytes, false).unwrap();
    let counts = mask.histogram().unwrap();
    let found: Vec<usize> = (0..256).filter(|&level| counts[level] > 0).collect();
    assert_eq!(found, levels.map(usize::from));
    // Palette masks have indices, whatever their colours.
    let palette = [0, 0, 0, 255, 255, 255];
    let bytes = indexed(&palette, [0, 1, 255, 1]);
    assert_eq!(
        mask_of(&bytes, LevelRule::Void).data,
        [0, 1, Mask::IGNORE, 1]
    );
    assert_eq!(mask_of(&bytes, LevelRule::Half).data, [0, 1, 0, 1]);
}

#[test]
fn alpha_and_wide_levels_are_noticed() {
    let encoded = |image: image::DynamicImage| {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        decode_mask(Path::new(PATH), bytes.get_ref(), false).unwrap()
    };
    let rgba = |alpha: [u8; 2]| {
        let data = vec![255, 255, 255, alpha[0], 255, 255, 255, alpha[1]];
        encoded(image::RgbaImage::from_raw(2, 1, data).unwrap().into())
    };
    assert!(rgba([0, 255]).alpha_varies);
    assert!(!rgba([255, 255]).alpha_varies);
    let wide = |max: u16| {
        let data = vec![0, max];
        let image = image::ImageBuffer::<image::Luma<u16>, _>::from_raw(2, 1, data);
        encoded(image.unwrap().into())
            .histogram()
            .map(|counts| counts[255])
    };
    assert_eq!(
        [wide(255), wide(400), wide(65535)],
        [Some(1), None, Some(1)]
    );
}

#[test]
fn a_small_file_that_claims_a_huge_image_is_an_error() {
    // 60000 x 60000 pixels: grey, RGB, palette and RGB of 16 bits.
    for (bits, colour) in [(8, 0), (8, 2), (8, 3), (16, 2)] {
        let side = 60_000u32.to_be_bytes();
        let mut header = [0; 13];
        header[..4].copy_from_slice(&side);
        header[4..8].copy_from_slice(&side);
        (header[8], header[9]) = (bits, colour);
        let bytes = png_of(&header, &[0, 0, 0], [0; 4]);
        for error in [
            image_of(&bytes, ImageOptions::default()).err(),
            decode_mask(Path::new(PATH), &bytes, false).err(),
            decode_class_map(Path::new(PATH), &bytes, false).err(),
        ] {
            let error = error.unwrap().to_string();
            assert!(
                error.contains(PATH) && error.to_lowercase().contains("limit"),
                "{error}"
            );
        }
    }
}
