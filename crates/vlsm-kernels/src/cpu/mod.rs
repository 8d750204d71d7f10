//! Sublayers on slices: forward and backward, by tiles that the compiler turns into vector instructions.

mod attention;
mod exp;
mod gradient;
mod heads;
mod mlp;
mod norm;
mod panels;
mod product;

pub(crate) use attention::{Attention, AttentionKept, SublayerGrads, Wanted};
pub(crate) use exp::{exp, exp_wide, fuses, multiply_add};
pub(crate) use mlp::{Activation, Mlp, MlpKept};
pub(crate) use norm::Norm;
pub(crate) use panels::Rows;
pub(crate) use product::Weights;
