//! Sublayers on slices: forward and backward, by tiles that the compiler turns into vector instructions.

mod adapter;
mod attention;
mod exp;
mod gradient;
mod heads;
mod mlp;
mod norm;
mod panels;
mod product;
mod sublayer;

pub(crate) use adapter::Adapter;
pub(crate) use attention::Attention;
pub(crate) use exp::{exp, exp_wide, fuses, multiply_add};
pub(crate) use mlp::Mlp;
pub(crate) use norm::Norm;
pub(crate) use panels::Rows;
pub(crate) use product::{Linear, Weights};
pub(crate) use sublayer::{Core, Keep, Kept, ParameterGrads, Sublayer, Wanted};
