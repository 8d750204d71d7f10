//! Generated data: referring-segmentation scenes that a base is trained on, and phantom domains that look like what it
//! is adapted to.
//!
//! Everything is a function of domain, seed, index and side: two machines draw the same pixels.

// Nothing calls the phantom domains yet.
#![cfg_attr(not(test), expect(dead_code))]

mod canvas;
mod endoscopy;
mod phantom;
#[cfg(test)]
mod phantom_tests;
mod shapes;
mod street;
mod ultrasound;
