//! Draws a mask over its image.

use crate::arrays::{Mask, RgbImage};

/// Colour of the mask: a green that is rare in tissue, streets and skin.
const COLOUR: [u8; 3] = [64, 255, 96];
/// Opacity of the colour over the image inside the mask, in 256ths.
const TINT: u16 = 90;
/// The outline's width is the image's shorter side divided by this, but at least one pixel.
const OUTLINE: usize = 240;

/// The image with the mask tinted and outlined. The outline is inside the mask, so it does not hide the surroundings.
///
/// If the mask's size differs from the image's, the part that both have is tinted.
pub fn overlay(image: &RgbImage, mask: &Mask) -> RgbImage {
    let mut picture = image.clone();
    let inner = eroded(mask, (image.width.min(image.height) / OUTLINE).max(1));
    let width = image.width.min(mask.width);
    for y in 0..image.height.min(mask.height) {
        for x in 0..width {
            let index = y * mask.width + x;
            if mask.data[index] != 1 {
                continue;
            }
            let pixel = &mut picture.data[3 * (y * image.width + x)..][..3];
            let share = if inner[index] { TINT } else { 256 };
            for (level, colour) in pixel.iter_mut().zip(COLOUR) {
                let mixed =
                    u16::from(*level) * (256 - share) / 256 + u16::from(colour) * (share - 1) / 256;
                *level = mixed.min(255) as u8;
            }
        }
    }
    picture
}

/// The rim of a mask, `width` pixels wide and inside the mask.
pub fn outline(mask: &Mask, width: usize) -> Mask {
    let inner = eroded(mask, width);
    let rim = mask.data.iter().zip(inner);
    Mask {
        width: mask.width,
        height: mask.height,
        data: rim
            .map(|(value, inner)| u8::from(*value == 1 && !inner))
            .collect(),
    }
}

/// The foreground pixels whose whole neighbourhood of `radius` is foreground. Outside the border is background.
fn eroded(mask: &Mask, radius: usize) -> Vec<bool> {
    let (width, height) = (mask.width, mask.height);
    let whole = |position: usize, length: usize, get: &dyn Fn(usize) -> bool| {
        position >= radius
            && position + radius < length
            && (position - radius..=position + radius).all(get)
    };
    let pixels = || (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let across: Vec<bool> = pixels()
        .map(|(x, y)| whole(x, width, &|x| mask.data[y * width + x] == 1))
        .collect();
    pixels()
        .map(|(x, y)| whole(y, height, &|y| across[y * width + x]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tints_inside_outlines_the_rim_and_leaves_the_rest() {
        let image = RgbImage {
            width: 5,
            height: 5,
            data: vec![100; 75],
        };
        // 3 x 3 foreground in the middle: its centre is inside, the eight others are the rim.
        let mut mask = Mask {
            width: 5,
            height: 5,
            data: vec![0; 25],
        };
        for y in 1..4 {
            mask.data[5 * y + 1..5 * y + 4].fill(1);
        }
        let picture = overlay(&image, &mask);
        let pixel = |x: usize, y: usize| &picture.data[3 * (5 * y + x)..][..3];
        assert_eq!(pixel(0, 0), [100; 3]);
        assert_eq!(pixel(1, 1), pixel(3, 2));
        assert!(pixel(1, 1)[1] > 250 && pixel(1, 1)[0] < 70);
        let inside = pixel(2, 2);
        assert!(inside[1] > 140 && inside[1] < 200 && inside[0] < 100);
    }

    #[test]
    fn an_outline_is_the_rim_inside_the_mask() {
        let mask = Mask {
            width: 4,
            height: 3,
            data: vec![1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, Mask::IGNORE],
        };
        assert_eq!(outline(&mask, 1).data, [1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0]);
    }

    #[test]
    fn an_empty_mask_changes_nothing() {
        let image = RgbImage {
            width: 2,
            height: 1,
            data: vec![1, 2, 3, 4, 5, 6],
        };
        let mask = Mask {
            width: 2,
            height: 1,
            data: vec![0, Mask::IGNORE],
        };
        assert_eq!(overlay(&image, &mask), image);
    }
}
