//! Generated data: referring-segmentation scenes that a base is trained on, and phantom domains that look like what it
//! is adapted to.
//!
//! Everything is a function of domain, seed, index and side: two machines draw the same pixels.

mod canvas;
