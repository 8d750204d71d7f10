//! Splits grey levels into foreground and background.

use crate::arrays::Mask;

/// A binarised mask, and the largest level of the file.
#[derive(Clone, Debug)]
pub struct DecodedMask {
    /// The mask.
    pub mask: Mask,
    /// The largest level of the file; 1 if its levels are {0, 1}.
    pub max_level: u16,
}

/// Binarises `levels` of a format whose full scale is `full`; see [`read_mask`](crate::read_mask).
pub(crate) fn binarise(
    width: usize,
    height: usize,
    levels: Vec<u16>,
    full: u16,
    lossless: bool,
) -> DecodedMask {
    let max_level = levels.iter().copied().max().unwrap_or(0);
    let half = match max_level {
        1 if lossless => 1,
        255 if full == 65535 => 128,
        _ => full / 2 + 1,
    };
    let data = levels
        .iter()
        .map(|&level| u8::from(level >= half))
        .collect();
    DecodedMask {
        mask: Mask {
            width,
            height,
            data,
        },
        max_level,
    }
}

/// Binarises the luma `levels` of a palette mask whose palette indices are `indices`.
pub(crate) fn palette_mask(
    width: usize,
    height: usize,
    indices: &[u8],
    levels: Vec<u16>,
) -> DecodedMask {
    let mut decoded = binarise(width, height, levels, 255, true);
    let dark = decoded.mask.foreground() == 0;
    if dark && indices.iter().all(|&index| index <= 1) {
        decoded.mask.data = indices.to_vec();
    }
    decoded
}

/// ITU-R 601-2 luma in PIL's fixed-point arithmetic (`ImagingConvert`, macro `L24`).
pub(crate) fn luma(r: u8, g: u8, b: u8) -> u16 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u16
}

/// [`luma`] of 16-bit levels.
pub(crate) fn luma16(pixel: &[u16]) -> u16 {
    ((u64::from(pixel[0]) * 19595
        + u64::from(pixel[1]) * 38470
        + u64::from(pixel[2]) * 7471
        + 0x8000)
        >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PIL: `Image.new("RGB", (1, 1), colour).convert("L")`.
    #[test]
    fn luma_equals_pil() {
        for ([r, g, b], expected) in [
            ([255, 0, 0], 76),
            ([0, 255, 0], 150),
            ([0, 0, 255], 29),
            ([255, 255, 255], 255),
        ] {
            assert_eq!(luma(r, g, b), expected);
        }
    }
}
