//! Draws the labels of an image over it, with a legend below.
//!
//! The legend's font is GNU Unifont (SIL Open Font License 1.1), which covers the scripts of Unicode's basic plane.

use unifont::{Glyph, get_glyph};

use crate::arrays::{ClassMap, RgbImage};
use crate::class_list::ClassList;

/// Opacity of a class's colour over the image, in 256ths.
const TINT: u16 = 150;
/// Colours of the legend.
const PAPER: [u8; 3] = [245; 3];
const INK: [u8; 3] = [30; 3];
/// Height of a letter and side of a colour's square, in font pixels.
const LETTER: usize = 16;
/// Height of a line, and space between entries.
const LINE: usize = 20;
/// The font is enlarged if the image is wider than this, so that it stays legible when the picture is shown smaller.
const FONT_WIDTH: usize = 400;

/// The colour of a class id. Consecutive ids differ in hue by the golden angle.
pub fn class_colour(id: u8) -> [u8; 3] {
    let hue = (f32::from(id) * 137.508).rem_euclid(360.0) / 60.0;
    let (saturation, value) = [(0.9, 1.0), (0.7, 0.8), (0.55, 1.0)][usize::from(id) % 3];
    // HSV to RGB, from each channel's distance to the hue in sixths of the circle.
    [5.0, 3.0, 1.0].map(|channel| {
        let at = (channel + hue) % 6.0;
        let share = f32::min(at, 4.0 - at).clamp(0.0, 1.0);
        (255.0 * value * (1.0 - saturation * share)).round() as u8
    })
}

/// The image tinted by its labels. Below it are the names of the classes that occur, each next to its colour. Pixels without
/// a class are unchanged. The picture is wider than the image if the legend needs it.
///
/// If the labels' size differs from the image's, the part that both have is tinted.
pub fn overlay_labels(image: &RgbImage, labels: &ClassMap, classes: &ClassList) -> RgbImage {
    let shown = labels.ids();
    let entries: Vec<(u8, &str)> = classes
        .targets()
        .filter(|(id, _)| shown.contains(id))
        .collect();
    let scale = (image.width / FONT_WIDTH).max(1);
    let legend = Legend::new(&entries, image.width, scale);
    let mut picture = RgbImage {
        width: legend.width,
        height: image.height + legend.height,
        data: PAPER.repeat(legend.width * (image.height + legend.height)),
    };
    let rows = picture.data.chunks_exact_mut(3 * legend.width.max(1));
    for (row, from) in rows.zip(image.data.chunks_exact(3 * image.width.max(1))) {
        row[..from.len()].copy_from_slice(from);
    }
    let mut tints = [None; 256];
    for (id, _) in &entries {
        tints[usize::from(*id)] = Some(class_colour(*id));
    }
    let width = image.width.min(labels.width);
    for y in 0..image.height.min(labels.height) {
        for x in 0..width {
            if let Some(colour) = tints[usize::from(labels.data[y * labels.width + x])] {
                let pixel = &mut picture.data[3 * (y * legend.width + x)..][..3];
                for (level, colour) in pixel.iter_mut().zip(colour) {
                    let mixed = u16::from(*level) * (256 - TINT) + u16::from(colour) * TINT;
                    *level = (mixed / 256) as u8;
                }
            }
        }
    }
    for ((id, name), (x, y)) in entries.iter().zip(&legend.corners) {
        let (x, y) = (*x, image.height + y);
        fill(&mut picture, (x, y), LETTER * scale, class_colour(*id));
        write(&mut picture, (x + LINE * scale, y), scale, name);
    }
    picture
}

/// Layout of a legend.
struct Legend {
    width: usize,
    height: usize,
    /// The upper left corner of each entry.
    corners: Vec<(usize, usize)>,
}

impl Legend {
    /// Lays out entries from left to right in lines of `width`, or of the longest entry's length if that is larger.
    fn new(entries: &[(u8, &str)], width: usize, scale: usize) -> Self {
        let margin = (LINE - LETTER) * scale;
        let length =
            |name: &str| scale * (LINE + name.chars().map(|c| glyph(c).get_width()).sum::<usize>());
        let longest = entries.iter().map(|(_, name)| length(name)).max();
        let width = width.max(longest.map_or(0, |length| length + 2 * margin));
        let (mut x, mut y) = (margin, margin);
        let mut corners = Vec::with_capacity(entries.len());
        for (_, name) in entries {
            if x > margin && x + length(name) + margin > width {
                (x, y) = (margin, y + LINE * scale);
            }
            corners.push((x, y));
            x += length(name) + LINE * scale;
        }
        let height = if entries.is_empty() {
            0
        } else {
            y + LINE * scale
        };
        Self {
            width,
            height,
            corners,
        }
    }
}

/// Paints a square.
fn fill(picture: &mut RgbImage, (x, y): (usize, usize), side: usize, colour: [u8; 3]) {
    for row in y..(y + side).min(picture.height) {
        for column in x..(x + side).min(picture.width) {
            picture.data[3 * (row * picture.width + column)..][..3].copy_from_slice(&colour);
        }
    }
}

/// The glyph of a letter, 8 or 16 pixels wide; a question mark outside Unicode's Basic Multilingual Plane.
fn glyph(letter: char) -> &'static Glyph {
    const BLANK: &Glyph = &Glyph::Halfwidth([0; 16]);
    get_glyph(letter)
        .or_else(|| get_glyph('?'))
        .unwrap_or(BLANK)
}

/// Writes a line of text from its upper left corner, from left to right in every script.
fn write(picture: &mut RgbImage, (mut x, y): (usize, usize), scale: usize, text: &str) {
    for letter in text.chars() {
        let glyph = glyph(letter);
        for row in 0..LETTER {
            for column in (0..glyph.get_width()).filter(|&column| glyph.get_pixel(column, row)) {
                fill(picture, (x + scale * column, y + scale * row), scale, INK);
            }
        }
        x += scale * glyph.get_width();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(names: &[&str]) -> ClassList {
        ClassList::of_prompts(names).unwrap()
    }

    #[test]
    fn labelled_pixels_are_tinted_and_the_legend_names_the_classes_that_occur() {
        let image = RgbImage {
            width: 300,
            height: 2,
            data: vec![100; 1800],
        };
        let mut labels = ClassMap {
            width: 300,
            height: 2,
            data: vec![ClassList::NONE; 600],
        };
        labels.data[1] = 2;
        let picture = overlay_labels(&image, &labels, &classes(&["road", "car", "sky"]));
        assert_eq!((picture.width, picture.height), (300, 2 + 4 + LINE));
        let pixel = |x: usize, y: usize| [0, 1, 2].map(|c| picture.data[3 * (300 * y + x) + c]);
        assert_eq!(pixel(0, 0), [100; 3]);
        let tinted = class_colour(2).map(|c| ((u16::from(c) * 150 + 100 * 106) / 256) as u8);
        assert_eq!(pixel(1, 0), tinted);
        // One entry: its square, and the `k` of "sky" in ink.
        assert_eq!(pixel(4, 2 + 4), class_colour(2));
        let k = glyph('k');
        for (x, y) in (0..8).flat_map(|x| (0..LETTER).map(move |y| (x, y))) {
            let is_ink = pixel(4 + LINE + 8 + x, 2 + 4 + y) == INK;
            assert_eq!(is_ink, k.get_pixel(x, y));
        }
        assert!(
            !picture
                .data
                .windows(3)
                .any(|three| three == class_colour(0))
        );
    }

    /// The image is 20 pixels wide; the entries have 20 + 8 * 4 and 20 + 8 * 3, so there is one per line, with margins of 4.
    #[test]
    fn a_legend_is_as_wide_as_its_longest_name() {
        let legend = Legend::new(&[(0, "road"), (1, "car")], 20, 1);
        assert_eq!((legend.width, legend.height), (60, 44));
        assert_eq!(legend.corners, [(4, 4), (4, 24)]);
        let none = Legend::new(&[], 20, 1);
        assert_eq!((none.width, none.height), (20, 0));
    }

    #[test]
    fn letters_of_other_scripts_are_drawn() {
        let question = glyph('?');
        for (letter, width) in [('ß', 8), ('ж', 8), ('ب', 8), ('車', 16), ('한', 16)] {
            assert_eq!(glyph(letter).get_width(), width, "{letter}");
            assert!(!std::ptr::eq(glyph(letter), question), "{letter}");
        }
        assert!(std::ptr::eq(glyph('\u{1f697}'), question));
    }

    #[test]
    fn colours_of_the_first_twenty_ids_differ() {
        for a in 0..20u8 {
            for b in 0..a {
                let pair = class_colour(a).into_iter().zip(class_colour(b));
                let far: i32 = pair.map(|(a, b)| (i32::from(a) - i32::from(b)).abs()).sum();
                assert!(far > 60, "{a} and {b} differ by {far}");
            }
        }
    }

    #[test]
    fn any_name_and_any_size_can_be_drawn() {
        let list = classes(&["Straße", "車", "x"]);
        for (width, height) in [(0, 0), (1, 1), (900, 3)] {
            let image = RgbImage {
                width,
                height,
                data: vec![0; width * height * 3],
            };
            let labels = ClassMap {
                width: 3,
                height: 1,
                data: vec![0, 1, 2],
            };
            let picture = overlay_labels(&image, &labels, &list);
            assert_eq!(picture.data.len(), 3 * picture.width * picture.height);
        }
    }
}
