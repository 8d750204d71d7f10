//! Compares every operation with a composition of Burn's operations, forward and backward: the kernels in f32, `compose` in f64.

#![allow(clippy::unwrap_used)]

mod operations;
mod sublayer_support;
mod sublayers;
mod support;
