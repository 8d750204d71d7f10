//! A crate with one import cycle: the fixture of `cargo xtask modules`. It is read, never compiled.

mod above;
mod first;
mod ground;
mod second;

pub use first::First;
pub use second::*;
