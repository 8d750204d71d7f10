//! Grey levels of colours.

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
