//! Describes the objects of a mask in words (number, size, colour, shape and position) and builds the prompts p0 to p6
//! of the published data sets from them.
//!
//! All words except the class come from the ground truth (the colour from the image *under the mask*). A prompt with
//! such words is an oracle prompt, because they are unknown at inference time. [`Description::oracle`] lists them.

mod colour;
pub(crate) mod components;
mod shape;

use std::collections::BTreeMap;

use crate::prompt::Prompts;
use components::{Component, Neighbours, components, union};
use vlsm_image::{Mask, RgbImage};

/// Share of the image below which a component is a speck, if it is also small compared with the largest one.
const SPECK_OF_IMAGE: f64 = 1e-4;

/// Share of the largest component's area below which a component is a speck, if it is also below `SPECK_OF_IMAGE`.
const SPECK_OF_LARGEST: f64 = 0.1;

/// Share of the image above which an object is medium.
const MEDIUM: f64 = 0.08;

/// Share of the image above which an object is large.
const LARGE: f64 = 0.30;

/// Words for a size, from small to large.
const SIZES: [&str; 3] = ["small", "medium", "large"];

/// Words for the cells of a 3x3 grid over the image, row by row.
const PLACES: [&str; 9] = [
    "top left",
    "top",
    "top right",
    "left",
    "center",
    "right",
    "bottom left",
    "bottom",
    "bottom right",
];

/// Words for numbers, starting at one.
const NUMBERS: [&str; 12] = [
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve",
];

/// Describes a mask in words. An object is a connected component (8 neighbours) of the foreground that is not a speck.
///
/// For an empty mask only the class is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The class of the objects, in the user's words.
    pub class: String,
    /// Number of objects.
    pub count: usize,
    /// Sizes that occur, from small to large: `medium` for an object that covers more than 8 % of the image, `large` for
    /// more than 30 %, otherwise `small`. The published prompts use the same thresholds.
    pub sizes: Vec<&'static str>,
    /// Colour: the name of the median colour of all objects' pixels.
    pub colour: Option<&'static str>,
    /// Shape of the largest object's outline: `round`, `oval`, `elongated`, `triangular`, `square`, `rectangular` or
    /// `irregular`. `None` if it has too few pixels.
    pub shape: Option<&'static str>,
    /// Cells of a 3x3 grid over the image (`top left`, `top`, ..., `center`, ..., `bottom right`) that contain the centres
    /// of the objects' bounding boxes. Each is listed once, in the order of the objects' first pixels from the top.
    pub places: Vec<&'static str>,
    /// Bounding box of all objects in pixels of the mask: x0, y0, x1, y1, where x1 and y1 are exclusive. This is field
    /// `bbox` of the published format.
    pub bbox: Option<[usize; 4]>,
}

/// Number of connected parts of a mask's foreground, without single pixels.
pub(crate) fn parts(mask: &Mask) -> usize {
    let parts = components(mask, Neighbours::Eight);
    parts.iter().filter(|part| part.area > 1).count()
}

/// Describes the objects of a mask, which have class `class` ("polyp"), and their colour in the image.
///
/// Specks are left out. These are components that cover less than a ten-thousandth of the image and less than a tenth of
/// the largest component's area. Image and mask should have the same size; if not, the colour is that of the pixels that
/// both have.
///
/// ```
/// use vlsm_data::describe;
/// use vlsm_image::{Mask, RgbImage};
///
/// // A red square of two by two pixels in the top left corner of a grey image.
/// let mask = Mask::from_fn(60, 40, |x, y| u8::from(x < 2 && y < 2));
/// let image = RgbImage::from_fn(60, 40, |x, y| if x < 2 && y < 2 { [200, 20, 20] } else { [90; 3] });
/// let prompts = describe("dot", &image, &mask).prompts();
/// assert_eq!(prompts.get("p6").unwrap(), ["one small red dot, located in top left of the image"]);
/// ```
pub fn describe(class: &str, image: &RgbImage, mask: &Mask) -> Description {
    let objects = objects(mask);
    let pixels = (mask.width * mask.height) as f64;
    let mut sizes: Vec<usize> = objects
        .iter()
        .map(|object| {
            let share = object.area as f64 / pixels;
            usize::from(share > MEDIUM) + usize::from(share > LARGE)
        })
        .collect();
    sizes.sort_unstable();
    sizes.dedup();
    let mut places = Vec::new();
    for object in &objects {
        let cell = cell(object.bbox, mask);
        if !places.contains(&cell) {
            places.push(cell);
        }
    }
    let boxes = objects.iter().map(|object| object.bbox);
    // `max_by_key` returns the last of equals; reversed, this is the first.
    let largest = objects.iter().rev().max_by_key(|object| object.area);
    Description {
        class: class.to_string(),
        count: objects.len(),
        sizes: sizes.into_iter().map(|size| SIZES[size]).collect(),
        colour: colour::colour(image, objects.iter()),
        shape: largest.and_then(shape::shape),
        places,
        bbox: boxes.reduce(union),
    }
}

/// The components of the foreground that are not specks.
fn objects(mask: &Mask) -> Vec<Component> {
    let mut objects = components(mask, Neighbours::Eight);
    let largest = objects.iter().map(|object| object.area).max().unwrap_or(0);
    let of_image = SPECK_OF_IMAGE * (mask.width * mask.height) as f64;
    let least = of_image.min(SPECK_OF_LARGEST * largest as f64);
    objects.retain(|object| object.area as f64 >= least);
    objects
}

/// The cell of the grid that contains the centre of a box.
fn cell([x0, y0, x1, y1]: [usize; 4], mask: &Mask) -> &'static str {
    let third = |low: usize, high: usize, length: usize| (3 * (low + high) / (2 * length)).min(2);
    PLACES[3 * third(y0, y1, mask.height) + third(x0, x1, mask.width)]
}

impl Description {
    /// The prompts of the published format. p0 is empty and p1 is the class. p2 adds the shape, p3 the colour, p4 the size,
    /// p5 the number and p6 the position: "one medium yellow round polyp, located in top, right of the image".
    ///
    /// All seven always exist, so that a recipe can use any of them. Unknown words are left out; for an empty mask p2 to
    /// p6 are the class alone.
    pub fn prompts(&self) -> Prompts {
        let mut prompts = Prompts::new();
        prompts.insert("p0", vec![String::new()]);
        prompts.insert("p1", vec![self.class.clone()]);
        let sizes = (!self.sizes.is_empty()).then(|| self.sizes.join(", "));
        let words = [
            ("p2", self.shape.map(str::to_string)),
            ("p3", self.colour.map(str::to_string)),
            ("p4", sizes),
            ("p5", number(self.count)),
        ];
        let mut text = self.class.clone();
        for (name, word) in words {
            if let Some(word) = word {
                text = format!("{word} {text}");
            }
            prompts.insert(name, vec![text.clone()]);
        }
        if !self.places.is_empty() {
            text += &format!(", located in {} of the image", self.places.join(", "));
        }
        prompts.insert("p6", vec![text]);
        prompts
    }

    /// The attributes of each prompt that come from the ground truth, in the order of its words: `shape`, `colour`, `size`,
    /// `number`, `place`. Prompts without any are left out, so the prompts of an empty mask reveal that it is empty.
    pub fn oracle(&self) -> BTreeMap<&'static str, Vec<&'static str>> {
        let attributes = [
            ("p2", "shape", self.shape.is_some()),
            ("p3", "colour", self.colour.is_some()),
            ("p4", "size", !self.sizes.is_empty()),
            ("p5", "number", self.count > 0),
            ("p6", "place", !self.places.is_empty()),
        ];
        let mut oracle = BTreeMap::new();
        let mut used = Vec::new();
        for (prompt, attribute, is_used) in attributes {
            match (is_used, prompt) {
                (false, _) => {}
                (true, "p6") => used.push(attribute),
                // A new word goes in front of the earlier ones.
                (true, _) => used.insert(0, attribute),
            }
            if !used.is_empty() {
                oracle.insert(prompt, used.clone());
            }
        }
        oracle
    }
}

impl Description {
    /// As [`oracle`](Self::oracle), for a [`Sample`](crate::Sample).
    pub(crate) fn owned_oracle(&self) -> BTreeMap<String, Vec<String>> {
        let words = |list: Vec<&'static str>| list.into_iter().map(str::to_owned).collect();
        let oracle = self.oracle().into_iter();
        oracle
            .map(|(prompt, list)| (prompt.to_owned(), words(list)))
            .collect()
    }
}

/// A number in words up to twelve, in digits above; `None` for 0.
fn number(count: usize) -> Option<String> {
    let word = || {
        NUMBERS
            .get(count - 1)
            .map_or_else(|| count.to_string(), ToString::to_string)
    };
    (count > 0).then(word)
}

#[cfg(test)]
mod tests;
