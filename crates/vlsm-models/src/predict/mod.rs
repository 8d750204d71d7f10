//! Prediction: from images and prompts to masks and labels.

mod device;
mod labels;
mod masks;
mod prompts;

pub use device::device;
pub use labels::label_images;
pub use masks::threshold;
pub use prompts::{PromptEncoder, PromptStates};
