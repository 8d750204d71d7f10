//! A crate with one import cycle, as a fixture of `cargo xtask modules`. It is parsed, never compiled.

mod above;
mod first;
mod ground;
mod second;

pub use first::First;
pub use second::*;
