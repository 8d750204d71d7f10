//! Names the colour of an object.

use super::components::Component;
use vlsm_image::RgbImage;

/// Chroma below which a colour has no clear hue and is white, grey or black.
const NEUTRAL: f64 = 0.035;

/// The colour name of the objects' pixels, from the median of each channel. Highlights and background pixels at the rim
/// do not shift the median, and it is the same in linear light.
///
/// `None` if no pixel of the components is in the image.
pub(super) fn colour<'a>(
    image: &RgbImage,
    components: impl Iterator<Item = &'a Component>,
) -> Option<&'static str> {
    let mut histograms = [[0_usize; 256]; 3];
    let mut count = 0;
    for run in components.flat_map(|component| &component.runs) {
        let row = run.y.saturating_mul(image.width);
        let (x0, x1) = (run.x0.min(image.width), run.x1.min(image.width));
        let Some(pixels) = image.data.get((row + x0) * 3..(row + x1) * 3) else {
            continue;
        };
        for pixel in pixels.chunks_exact(3) {
            count += 1;
            for (histogram, &level) in histograms.iter_mut().zip(pixel) {
                histogram[usize::from(level)] += 1;
            }
        }
    }
    (count > 0).then(|| name(histograms.map(|histogram| median(&histogram, count))))
}

/// The lower median of `count` levels.
fn median(histogram: &[usize; 256], count: usize) -> u8 {
    let mut below = 0;
    for (level, number) in (0..=255).zip(histogram) {
        below += number;
        if below * 2 >= count {
            return level;
        }
    }
    255
}

/// The basic colour term (Berlin and Kay 1969, and cyan) for an sRGB colour.
///
/// OKLCh, the polar form of OKLab, is cut into sectors of hue. Brown is dark or dull orange, dull red and dark yellow; pink
/// is light or purplish red and pale orange. The cuts are chosen so that the CSS colours of these names, and their darker
/// and lighter variants, get the expected name.
fn name(rgb: [u8; 3]) -> &'static str {
    let (lightness, chroma, hue) = oklch(rgb);
    if lightness < 0.2 || (lightness < 0.3 && chroma < NEUTRAL) {
        return "black";
    }
    if chroma < NEUTRAL {
        return if lightness < 0.87 { "grey" } else { "white" };
    }
    // The name above a lightness, the lightness, and the name at or below it.
    let (light, from, dark) = match hue {
        h if h < 15.0 => ("pink", 0.63, "red"),
        h if h < 38.0 && chroma < 0.08 && h >= 25.0 => ("pink", 0.65, "brown"),
        h if h < 38.0 && chroma < 0.16 => ("pink", 0.65, "red"),
        h if h < 38.0 => return "red",
        h if h < 82.0 && chroma > 0.11 => ("orange", 0.6, "brown"),
        h if h < 70.0 => ("pink", 0.72, "brown"),
        h if h < 82.0 => ("yellow", 0.8, "brown"),
        h if h < 100.0 => ("yellow", 0.65, "brown"),
        h if h < 118.0 => ("yellow", 0.65, "green"),
        h if h < 170.0 => return "green",
        h if h < 225.0 => return "cyan",
        h if h < 288.0 => return "blue",
        h if h < 340.0 => return "purple",
        _ => ("pink", 0.63, "red"),
    };
    if lightness > from { light } else { dark }
}

/// Lightness (0 to 1), chroma (0 to about 0.32) and hue (degrees, 0 to below 360) of an sRGB colour in OKLCh:
/// Björn Ottosson, "A perceptual color space for image processing", 2020.
fn oklch(rgb: [u8; 3]) -> (f64, f64, f64) {
    let [r, g, b] = rgb.map(|level| {
        let level = f64::from(level) / 255.0;
        if level <= 0.04045 {
            level / 12.92
        } else {
            ((level + 0.055) / 1.055).powf(2.4)
        }
    });
    let l = (0.412_221_470_8 * r + 0.536_332_536_3 * g + 0.051_445_992_9 * b).cbrt();
    let m = (0.211_903_498_2 * r + 0.680_699_545_1 * g + 0.107_396_956_6 * b).cbrt();
    let s = (0.088_302_461_9 * r + 0.281_718_837_6 * g + 0.629_978_700_5 * b).cbrt();
    let lightness = 0.210_454_255_3 * l + 0.793_617_785 * m - 0.004_072_046_8 * s;
    let a = 1.977_998_495_1 * l - 2.428_592_205 * m + 0.450_593_709_9 * s;
    let b = 0.025_904_037_1 * l + 0.782_771_766_2 * m - 0.808_675_766 * s;
    (
        lightness,
        a.hypot(b),
        b.atan2(a).to_degrees().rem_euclid(360.0),
    )
}

#[cfg(test)]
mod tests {
    use super::super::components::{Neighbours, components};
    use super::*;
    use vlsm_image::Mask;

    #[test]
    fn oklch_agrees_with_css_color_4() {
        // CSS Color 4 gives oklch(0.628 0.2577 29.23) for red and oklch(0.452 0.3132 264.05) for blue.
        let close = |rgb, expected: (f64, f64, f64)| {
            let (l, c, h) = oklch(rgb);
            assert!((l - expected.0).abs() < 1e-3, "{l}");
            assert!((c - expected.1).abs() < 1e-3, "{c}");
            assert!((h - expected.2).abs() < 0.1, "{h}");
        };
        close([255, 0, 0], (0.628, 0.2577, 29.23));
        close([0, 0, 255], (0.452, 0.3132, 264.05));
        let (l, c, _) = oklch([255, 255, 255]);
        assert!((l - 1.0).abs() < 1e-6 && c < 1e-6);
    }

    #[test]
    fn css_colours_have_their_names() {
        // The colour with the name itself, and others that it must cover: snow; lightgrey, dimgrey; darkred, crimson,
        // firebrick, tomato; hotpink, deeppink, salmon, peachpuff; darkorange, coral, sandybrown; saddlebrown, sienna, tan;
        // gold, khaki, moccasin; lime, forestgreen, olive; turquoise, teal; navy, royalblue, skyblue; violet, indigo,
        // darkviolet.
        let named: [(&str, &[u32]); 12] = [
            ("white", &[0xffffff, 0xf5f5f5, 0xfffafa]),
            ("grey", &[0x808080, 0xd3d3d3, 0x696969]),
            ("black", &[0x000000, 0x141419, 0x190505]),
            ("red", &[0xff0000, 0x8b0000, 0xdc143c, 0xb22222, 0xff6347]),
            ("pink", &[0xffc0cb, 0xff69b4, 0xff1493, 0xfa8072, 0xffdab9]),
            ("orange", &[0xffa500, 0xff8c00, 0xff7f50, 0xf4a460]),
            ("brown", &[0x8b4513, 0xa0522d, 0xd2b48c, 0x654321]),
            ("yellow", &[0xffff00, 0xffd700, 0xf0e68c, 0xffe4b5]),
            ("green", &[0x008000, 0x00ff00, 0x228b22, 0x808000]),
            ("cyan", &[0x00ffff, 0x40e0d0, 0x008080]),
            ("blue", &[0x0000ff, 0x000080, 0x4169e1, 0x87ceeb]),
            ("purple", &[0x800080, 0xee82ee, 0x4b0082, 0x9400d3]),
        ];
        for (expected, colours) in named {
            for colour in colours {
                let [_, r, g, b] = colour.to_be_bytes();
                let rgb = [r, g, b];
                assert_eq!(name(rgb), expected, "{rgb:?} {:?}", oklch(rgb));
            }
        }
    }

    #[test]
    fn highlights_and_pixels_outside_the_mask_do_not_count() {
        let mask = Mask::new(5, 1, vec![0, 1, 1, 1, 0]).unwrap();
        let blue = [10, 20, 200];
        let pixels = [[255, 0, 0], blue, blue, [255, 255, 255], [255, 0, 0]];
        let image = RgbImage::new(5, 1, pixels.concat()).unwrap();
        let found = components(&mask, Neighbours::Eight);
        assert_eq!(colour(&image, found.iter()), Some("blue"));
        let none = RgbImage::new(0, 0, vec![]).unwrap();
        assert_eq!(colour(&none, found.iter()), None);
    }
}
