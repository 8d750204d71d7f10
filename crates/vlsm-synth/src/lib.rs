//! Drawn data sets: referring-segmentation scenes for training a base, and phantoms that resemble the domains it is
//! adapted to.
//!
//! Drawings depend on domain, seed, split, index and side alone: two runs draw the same pixels.
//!
//! - [`open`] opens a recipe's data set, drawn (`builtin:street`) or read from files.
//! - [`DrawingId::draw`] draws one image; [`write_dataset`] and [`write_classes`] write a drawn data set to files.
//! - [`write_relations`] writes scenes with expressions such as "the circle to the left of the largest square".
//!
//! ```
//! use vlsm_data::DataConfig;
//!
//! # fn main() -> vlsm_data::Result<()> {
//! let mut config = DataConfig::new("builtin:ultrasound");
//! (config.generate.train, config.generate.val, config.generate.test) = (2, 0, 0);
//! config.generate.side = 96;
//! let dataset = vlsm_synth::open(&config)?;
//! let (image, mask) = dataset.train[0].read(None)?;
//! assert_eq!((image.width, mask.width), (96, 96));
//! assert!(mask.foreground() > 0);
//! # Ok(())
//! # }
//! ```

mod canvas;
mod drawing;
mod drawing_id;
mod endoscopy;
mod export;
mod open;
mod phantom;
#[cfg(test)]
mod phantom_tests;
mod relations;
mod scenes;
mod shapes;
mod street;
mod ultrasound;

pub use drawing::{Drawing, DrawnReferent, Referent};
pub use drawing_id::{Domain, DrawingId};
pub use export::{write_classes, write_dataset};
pub use open::open;
pub use relations::write_relations;
