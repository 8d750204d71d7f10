//! Frozen sublayers on slices: forward and backward, by tiles that the compiler turns into vector instructions.

mod attention;
mod exp;
mod heads;
mod mlp;
mod norm;
mod panels;
mod product;

pub(crate) use attention::{Attention, Kept};
pub(crate) use exp::{exp, exp_wide};
pub(crate) use mlp::Mlp;
pub(crate) use norm::Norm;
pub(crate) use panels::{Panels, Rows};
pub(crate) use product::Weights;
