//! Words for what a mask shows: number, size, colour, shape and position of its objects, and the prompts p0 to p6 that the
//! published data sets make of such words.
//!
//! All of it but the class is read from the ground truth (the colour from the image *under the mask*), so a prompt that
//! says it is an oracle: at prediction time these words are unknown. [`Description::oracle`] lists them.

mod colour;
mod components;
mod shape;

use std::collections::BTreeMap;

use crate::prompt::Prompts;
use components::{Component, Neighbours, components, union};
use vlsm_image::{Mask, RgbImage};

/// Share of the image below which a component is a speck, if it is also small compared with the largest one.
const SPECK_OF_IMAGE: f64 = 1e-4;

/// Share of the largest component's area, likewise.
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

/// Words for a number, from one.
const NUMBERS: [&str; 12] = [
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve",
];

/// What a mask shows, in words. An object is a connected component (8 neighbours) of the foreground that is no speck.
///
/// Of an empty mask nothing but the class is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// What the objects are, in the user's words.
    pub class: String,
    /// Number of objects.
    pub count: usize,
    /// Sizes that occur, from small to large: `small`, `medium` for an object that covers more than 8 % of the image,
    /// `large` for more than 30 %. These are the shares that the published prompts were made with.
    pub sizes: Vec<&'static str>,
    /// Colour: the name of the median colour of all objects' pixels.
    pub colour: Option<&'static str>,
    /// Shape of the largest object's outline: `round`, `oval`, `elongated`, `triangular`, `square`, `rectangular` or
    /// `irregular`. `None` if it is too few pixels for a shape.
    pub shape: Option<&'static str>,
    /// Cells of a 3x3 grid over the image that hold the middles of the objects' bounding boxes (`top left`, `top`,
    /// ..., `center`, ..., `bottom right`), each once, in the order in which the objects begin from the top.
    pub places: Vec<&'static str>,
    /// The box around all objects in pixels of the mask: x0, y0, x1, y1; x1 and y1 are exclusive. This is
    /// field `bbox` of the published format.
    pub bbox: Option<[usize; 4]>,
}

/// Describes the objects of a mask, which are of class `class` ("polyp"), and their colour in the image.
///
/// Components are specks, and left out, if they cover less than a ten-thousandth of the image and less than a tenth of
/// the largest component's area. Image and mask should be of one size; where they are not, the colour is that of the
/// pixels that both have.
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
        let place = place(object.bbox, mask);
        if !places.contains(&place) {
            places.push(place);
        }
    }
    let boxes = objects.iter().map(|object| object.bbox);
    // Of equals the first.
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

/// The components of the foreground that are no specks.
fn objects(mask: &Mask) -> Vec<Component> {
    let mut objects = components(mask, Neighbours::Eight);
    let largest = objects.iter().map(|object| object.area).max().unwrap_or(0);
    let of_image = SPECK_OF_IMAGE * (mask.width * mask.height) as f64;
    let least = of_image.min(SPECK_OF_LARGEST * largest as f64);
    objects.retain(|object| object.area as f64 >= least);
    objects
}

/// The cell of the grid that holds the middle of a box.
fn place([x0, y0, x1, y1]: [usize; 4], mask: &Mask) -> &'static str {
    let third = |low: usize, high: usize, length: usize| (3 * (low + high) / (2 * length)).min(2);
    PLACES[3 * third(y0, y1, mask.height) + third(x0, x1, mask.width)]
}

impl Description {
    /// The prompts of the published format, each richer than the one before: p0 is empty, p1 the class, p2 adds the shape,
    /// p3 the colour, p4 the size, p5 the number, p6 the position: "one medium yellow round polyp, located in top, right of
    /// the image".
    ///
    /// All seven are always there, so that a recipe can ask for any of them; what is not known is left out, and for an
    /// empty mask p2 to p6 are the class alone.
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

    /// What each prompt says that is read from the ground truth, in the order of its words: `shape`, `colour`, `size`,
    /// `number`, `place`. Prompts that say nothing of the kind are left out. (Saying nothing about an empty mask
    /// reveals that it is empty.)
    pub fn oracle(&self) -> BTreeMap<&'static str, Vec<&'static str>> {
        let attributes_of = [
            ("p2", "shape", self.shape.is_some()),
            ("p3", "colour", self.colour.is_some()),
            ("p4", "size", !self.sizes.is_empty()),
            ("p5", "number", self.count > 0),
            ("p6", "place", !self.places.is_empty()),
        ];
        let mut oracle = BTreeMap::new();
        let mut attributes = Vec::new();
        for (prompt, attribute, is_said) in attributes_of {
            match (is_said, prompt) {
                (false, _) => {}
                (true, "p6") => attributes.push(attribute),
                // Each word comes before those of the previous prompt.
                (true, _) => attributes.insert(0, attribute),
            }
            if !attributes.is_empty() {
                oracle.insert(prompt, attributes.clone());
            }
        }
        oracle
    }
}

/// A number in words up to twelve, in digits from there on. None is not a number to speak of.
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
