//! What several tests share.

#![allow(clippy::unwrap_used)]

use burn::tensor::Device;

/// The device under test: the CPU, or the one that `VLSM_TEST_DEVICE` names in a build that has it, as in `cargo xtask device-tests`.
pub(crate) fn tested() -> Device {
    let name = std::env::var("VLSM_TEST_DEVICE");
    vlsm_models::device(name.as_deref().unwrap_or("cpu")).unwrap()
}
