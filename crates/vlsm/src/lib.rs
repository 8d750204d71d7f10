//! Vision-language segmentation: a text prompt and an image go in, a mask comes out.
//!
//! [`Segmenter`] loads a base, adds an adapter, encodes an image once and answers many prompts about it. [`Engine`] serves
//! many adapters over one base from many threads. The crates below are re-exported: [`image`] (images, masks, overlays),
//! [`data`] (samples, metrics) and [`models`] (architectures, methods, weights). Training and evaluation are in the crate
//! `vlsm-train`.
//!
//! ```
//! use vlsm::{Segmenter, image::RgbImage};
//!
//! # fn main() -> vlsm::Result<()> {
//! // A small base that is part of the library. With a run's adapter: `.with_adapter("runs/polyp/adapter.safetensors")?`.
//! let segmenter = Segmenter::from_pretrained("builtin:tiny")?;
//! // Or from a file: `segmenter.set_image_file("street.jpg")?`.
//! let picture = RgbImage::filled(100, 80, [127; 3]);
//! let image = segmenter.set_image(&picture)?;
//! for prediction in segmenter.predict_all(&image, &["a red disc", "a blue square"])? {
//!     println!("{}: {:.1} %", prediction.prompt, 100.0 * prediction.share());
//! }
//! # Ok(())
//! # }
//! ```

mod error;
mod segmenter;

pub use vlsm_data as data;
pub use vlsm_image as image;
pub use vlsm_image::{ClassList, overlay, overlay_labels};
pub use vlsm_models as models;
pub use vlsm_models::InstructionSet;
pub use vlsm_models::predict::{Adapter, EncodedImage, Engine, Prediction, Request, Tiles};

pub use error::{Error, Result};
pub use segmenter::Segmenter;
