//! The precision of a base's frozen towers.

use serde::{Deserialize, Serialize};

/// The precision in which the linear layers of a base's towers compute. Everything else (attention scores, normalisation,
/// adapters, decoder, loss and optimiser) is in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floating point. Some accelerators round the factors of a product to 19 bits (TF32).
    #[default]
    F32,
    /// bfloat16, for frozen CLIPSeg and BiomedCLIPSeg towers on accelerators: matrices of half the size, and products summed in
    /// f32.
    Bf16,
    /// Half precision (IEEE 754 binary16), for frozen CLIPSeg and BiomedCLIPSeg towers. On the CPU, matrices, and what is kept for
    /// the backward pass, take half the memory, and products are computed in f32. On accelerators products are in half precision
    /// too, so a training scales its loss.
    F16,
    /// 8-bit integers, for frozen CLIPSeg and BiomedCLIPSeg towers on the CPU: forward, and backward to the layers' inputs. What is
    /// kept for the backward pass is in half precision. See [`Int8Weights`](vlsm_kernels::Int8Weights).
    Int8,
}

impl Precision {
    /// Its name in recipes and options.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        }
    }
}

impl std::str::FromStr for Precision {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        let all = [Self::F32, Self::Bf16, Self::F16, Self::Int8];
        let found = all.into_iter().find(|precision| precision.name() == name);
        found.ok_or_else(|| {
            format!("`{name}` is no precision; there are `f32`, `bf16`, `f16` and `int8`")
        })
    }
}
