//! Every operation against a composition of Burn's own, forward and backward: in f32 the kernels, in f64 the bodies of `compose`.

#![allow(clippy::unwrap_used)]

mod operations;
mod sublayer_support;
mod sublayers;
mod support;
