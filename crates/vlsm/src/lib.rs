//! Vision-language segmentation: a text prompt and an image go in, a mask comes out.
//!
//! [`Segmenter`] is the small door: load a base, put an adapter on it, set an image once, ask many
//! prompts. What stands behind it is there under its own name: [`data`] (samples, masks,
//! metrics), [`models`] (CLIPSeg, adapters, weights) and [`train`] (recipes, training,
//! evaluation).
//!
//! ```no_run
//! use vlsm::{Result, Segmenter};
//!
//! # fn main() -> Result<()> {
//! let segmenter = Segmenter::from_pretrained("CIDAS/clipseg-rd64-refined")?
//!     .with_adapter("runs/clipseg_dense_vlc/adapter.safetensors")?;
//! let image = segmenter.set_image_file("colonoscopy.jpg")?;
//! for prediction in segmenter.predict_all(&image, &["a polyp", "one large polyp"])? {
//!     println!("{}: {:.1} %", prediction.prompt, 100.0 * prediction.share());
//!     vlsm::data::write_png_mask("polyp.png".as_ref(), &prediction.mask)?;
//! }
//! # Ok(())
//! # }
//! ```

mod error;
mod segmenter;

pub use vlsm_data as data;
pub use vlsm_data::{ClassList, overlay, overlay_labels};
pub use vlsm_models as models;
pub use vlsm_train as train;

pub use error::{Error, Result};
pub use segmenter::{EncodedImage, Prediction, Segmenter};
