//! Images of every format.

use std::io::Cursor;

use image::codecs::bmp::BmpEncoder;
use image::{DynamicImage, ExtendedColorType, ImageFormat};

use crate::seeds::{Seeds, file};

fn drawing() -> DynamicImage {
    let pixel = |x: u32, y: u32| image::Rgba([x as u8 * 20, y as u8 * 30, 99, (x * y) as u8]);
    image::RgbaImage::from_fn(11, 7, pixel).into()
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn pngs() -> Seeds {
    let drawing = drawing();
    let mut seeds: Seeds = [
        drawing.clone(),
        drawing.to_rgb8().into(),
        drawing.to_luma8().into(),
        drawing.to_luma_alpha16().into(),
        drawing.to_rgb16().into(),
    ]
    .iter()
    .map(|image| encoded(image, ImageFormat::Png))
    .collect();
    for (depth, row) in [
        (png::BitDepth::One, vec![0b1010_0000]),
        (png::BitDepth::Four, vec![0x01, 0x20]),
        (png::BitDepth::Eight, vec![0, 1, 2]),
    ] {
        for palette in [false, true] {
            let mut bytes = Vec::new();
            let mut encoder = png::Encoder::new(&mut bytes, 3, 2);
            encoder.set_depth(depth);
            encoder.set_color(png::ColorType::Grayscale);
            if palette {
                encoder.set_color(png::ColorType::Indexed);
                encoder.set_palette(vec![0, 0, 0, 128, 0, 0, 255, 255, 255]);
                encoder.set_trns(vec![0, 255]);
            }
            let mut writer = encoder.write_header().unwrap();
            writer.write_image_data(&row.repeat(2)).unwrap();
            writer.finish().unwrap();
            seeds.push(bytes);
        }
    }
    seeds
}

pub(crate) fn png() -> Seeds {
    pngs()
}

pub(crate) fn image() -> Seeds {
    let drawing = drawing();
    let mut seeds = pngs();
    let opaque = DynamicImage::from(drawing.to_rgb8());
    for format in [
        ImageFormat::Jpeg,
        ImageFormat::Bmp,
        ImageFormat::Tiff,
        ImageFormat::WebP,
    ] {
        seeds.push(encoded(&opaque, format));
    }
    seeds.push(encoded(&drawing.to_luma8().into(), ImageFormat::Tiff));
    seeds.push(encoded(&drawing.to_luma16().into(), ImageFormat::Tiff));
    seeds.push(encoded(&drawing, ImageFormat::WebP));
    // A JPEG with an orientation, as cameras write it.
    let mut jpeg = encoded(&opaque, ImageFormat::Jpeg);
    let exif = b"\xff\xe1\x00\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    jpeg.splice(2..2, exif.iter().copied());
    seeds.push(jpeg);
    let mut bmp = Vec::new();
    let palette = [[0, 0, 0], [128, 0, 0], [0, 128, 0]];
    BmpEncoder::new(&mut bmp)
        .encode_with_palette(
            &[0, 1, 2, 2, 1, 0],
            3,
            2,
            ExtendedColorType::L8,
            Some(&palette),
        )
        .unwrap();
    seeds.push(bmp);
    seeds.push(file("fixtures/preprocess/1.jpg"));
    seeds.push(file("fixtures/preprocess/mask.png"));
    seeds
}
