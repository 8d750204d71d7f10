//! Devices by name.

use burn::tensor::Device;

use crate::error::{ModelError, Result};

/// The device with a name: `cpu`, or, in builds with the feature of that name, `vulkan`, `metal`,
/// `webgpu`, `cuda` or `rocm`.
///
/// # Errors
/// If the name is none of these or the build lacks the feature.
// In a build with all backends, the arm that refuses them is unreachable.
#[allow(unreachable_patterns)]
pub fn device(name: &str) -> Result<Device> {
    match name {
        "cpu" => Ok(Device::flex()),
        #[cfg(feature = "vulkan")]
        "vulkan" => Ok(Device::vulkan(Default::default())),
        #[cfg(feature = "metal")]
        "metal" => Ok(Device::metal(Default::default())),
        #[cfg(feature = "webgpu")]
        "webgpu" => Ok(Device::webgpu(Default::default())),
        #[cfg(feature = "cuda")]
        "cuda" => Ok(Device::cuda(0)),
        #[cfg(feature = "rocm")]
        "rocm" => Ok(Device::rocm(0)),
        "vulkan" | "metal" | "webgpu" | "cuda" | "rocm" => Err(ModelError::Device {
            name: name.into(),
            message: format!(
                "this build does not have it; build with `--features {name}` or use `cpu`"
            ),
        }),
        _ => Err(ModelError::Device {
            name: name.into(),
            message: "is not one of cpu, vulkan, metal, webgpu, cuda, rocm".into(),
        }),
    }
}
