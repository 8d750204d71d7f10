//! The precision of a base's frozen towers.

use serde::{Deserialize, Serialize};

/// The precision in which the linear layers of a base's towers compute. Everything else (attention scores, normalisation,
/// adapters, decoder, loss and optimiser) is in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floating point.
    #[default]
    F32,
    /// 8-bit integers, for frozen CLIPSeg and BiomedCLIPSeg towers on the CPU: forward, and backward to the layers' inputs. See
    /// [`Int8Weights`](vlsm_kernels::Int8Weights).
    Int8,
}

impl std::str::FromStr for Precision {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        match name {
            "f32" => Ok(Self::F32),
            "int8" => Ok(Self::Int8),
            _ => Err(format!(
                "`{name}` is no precision; there are `f32` and `int8`"
            )),
        }
    }
}
