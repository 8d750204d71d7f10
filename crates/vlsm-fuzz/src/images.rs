//! Images and masks.

use std::path::Path;

use vlsm_image::{
    ImageOptions, LevelRule, decode_class_map, decode_header, decode_image, decode_mask,
};

/// A file as an image, as a mask, as a class map, and its header alone.
pub fn image(bytes: &[u8]) -> bool {
    [false, true]
        .map(|first_page| decodes(bytes, first_page))
        .contains(&true)
}

fn decodes(bytes: &[u8], first_page: bool) -> bool {
    let path = Path::new("input");
    let options = ImageOptions {
        first_page,
        ..ImageOptions::default()
    };
    let image = decode_image(path, bytes, options);
    let mask = decode_mask(path, bytes, first_page);
    let map = decode_class_map(path, bytes, first_page);
    let header = decode_header(path, bytes);
    if let (Ok(image), Ok(header)) = (&image, &header) {
        assert_eq!(image.data.len(), 3 * image.width * image.height);
        assert_eq!((image.width, image.height), header.size);
    }
    if let Ok(levels) = &mask {
        let mask = levels.mask(LevelRule::File);
        assert_eq!(mask.data.len(), levels.width * levels.height);
        assert!(mask.data.iter().all(|&level| level <= 1));
    }
    if let Ok(map) = &map {
        assert_eq!(map.data.len(), map.width * map.height);
    }
    image.is_ok() || mask.is_ok() || map.is_ok()
}

/// As [`image`], of a PNG whose chunks get the checksums of their contents, so that mutated contents reach the decoder.
pub fn png(bytes: &[u8]) -> bool {
    image(&with_checksums(bytes))
}

/// Bytes before the first chunk; of a chunk's length and of its type.
const SIGNATURE: usize = 8;
const FIELD: usize = 4;

fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut at = SIGNATURE;
    while let Some(length) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        let length = u32::from_be_bytes(*length) as usize;
        let content = at + FIELD..(at + 2 * FIELD).saturating_add(length);
        let Some(checked) = bytes.get(content.clone()) else {
            break;
        };
        let mut checksum = flate2::Crc::new();
        checksum.update(checked);
        let Some(field) = bytes.get_mut(content.end..content.end + FIELD) else {
            break;
        };
        field.copy_from_slice(&checksum.sum().to_be_bytes());
        at = content.end + FIELD;
    }
    bytes
}
