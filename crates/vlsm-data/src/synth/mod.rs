//! Generated data: referring-segmentation scenes that a base is trained on, and phantom domains that look like what it
//! is adapted to.
//!
//! Everything is a function of domain, seed, index and side: two machines draw the same pixels.

#[cfg_attr(not(test), expect(dead_code))]
mod canvas;
#[cfg_attr(not(test), expect(dead_code))]
mod endoscopy;
#[cfg_attr(not(test), expect(dead_code))]
mod phantom;
#[cfg(test)]
mod phantom_tests;
#[cfg_attr(not(test), expect(dead_code))]
mod shapes;
#[cfg_attr(not(test), expect(dead_code))]
mod street;
#[cfg_attr(not(test), expect(dead_code))]
mod ultrasound;
