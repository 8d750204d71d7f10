//! Images, masks and class maps, and the operations on their pixels.
//!
//! - [`RgbImage`], [`Mask`] and [`ClassMap`] are the arrays that all other crates pass around.
//! - [`read_image`], [`read_mask`] and [`read_class_map`] decode files; [`write_png_mask`] and its siblings write them.
//! - [`resize_image`] and [`resize_mask`] equal PIL level for level; [`normalize`] computes a model's input.
//! - [`ClassList`] names the classes of whole-image labels; [`ArgMax`] computes the labels from logits.
//! - [`overlay`] and [`overlay_labels`] draw results over an image.
//! - [`write_atomic`] writes files completely or not at all; [`read_json`] reads JSON with clear errors.
//!
//! ```
//! use vlsm_image::{Mask, RgbImage, overlay, resize_image};
//!
//! # fn main() -> vlsm_image::Result<()> {
//! let image = RgbImage::filled(64, 48, [200, 40, 90]);
//! let mask = Mask::from_fn(64, 48, |x, y| u8::from(x > 20 && y > 20));
//! assert_eq!(mask.bounding_box(), Some([21, 21, 64, 48]));
//! let square = resize_image(&image, 32);
//! assert_eq!(square.data, [200, 40, 90].repeat(32 * 32));
//! let picture = overlay(&image, &mask);
//! assert_eq!((picture.width, picture.height), (64, 48));
//! assert!(RgbImage::new(64, 48, vec![0; 5]).is_err());
//! # Ok(())
//! # }
//! ```

mod arg_max;
mod arrays;
mod class_list;
mod class_map;
mod class_names;
mod decode;
mod encode;
mod error;
mod fit;
pub mod fs;
mod grey_mask;
mod json;
mod label_overlay;
mod luma;
mod overlay;
mod pages;
mod panics;
mod raw_png;
mod resample;
mod resize;
mod window;

pub use arg_max::ArgMax;
pub use arrays::{ClassMap, Mask, RgbImage};
pub use class_list::ClassList;
#[cfg(test)]
mod reading_tests;

pub use class_map::{decode_class_map, read_class_map};
pub use class_names::ClassNames;
pub use decode::{
    ImageHeader, ImageOptions, decode_16_bit_histogram, decode_header, decode_image, read_image,
    read_image_with, read_size,
};
pub use encode::{jpeg, png_stencil, write_png_gray, write_png_mask, write_png_rgb};
pub use error::{ImageError, Result};
pub use fit::Fit;
pub use fs::{read_bytes, write_atomic, write_atomic_bytes};
pub use grey_mask::{GreyMask, LevelRule, decode_mask, read_mask};
pub use json::{read_json, read_text};
pub use label_overlay::{class_colour, overlay_labels};
pub use overlay::{outline, overlay};
pub use panics::{catch_panic, panic_is_caught};
pub use resize::{fit_image, normalize, resize_class_map, resize_image, resize_map, resize_mask};
pub use window::{FULL as FULL_WINDOW, Window, window_of};
