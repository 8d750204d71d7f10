//! Devices by name.

use std::panic::{UnwindSafe, catch_unwind};

use burn::tensor::{Device, Tensor};

use crate::error::{ModelError, Result};
use crate::weights::to_host;

/// The devices that a build can have, and whether this one has them.
const DEVICES: [(&str, bool); 6] = [
    ("cpu", true),
    ("vulkan", cfg!(feature = "vulkan")),
    ("metal", cfg!(feature = "metal")),
    ("webgpu", cfg!(feature = "webgpu")),
    ("cuda", cfg!(feature = "cuda")),
    ("rocm", cfg!(feature = "rocm")),
];

/// The device with a name: `cpu`, or, in builds with the feature of that name, `vulkan`, `metal`,
/// `webgpu`, `cuda` or `rocm`.
///
/// # Errors
/// If the name is none of these, the build lacks the feature, or the machine has no such device.
pub fn device(name: &str) -> Result<Device> {
    match name {
        "cpu" => Ok(Device::flex()),
        #[cfg(feature = "vulkan")]
        "vulkan" => working(name, || Device::vulkan(Default::default())),
        #[cfg(feature = "metal")]
        "metal" => working(name, || Device::metal(Default::default())),
        #[cfg(feature = "webgpu")]
        "webgpu" => working(name, || Device::webgpu(Default::default())),
        #[cfg(feature = "cuda")]
        "cuda" => working(name, || Device::cuda(0)),
        #[cfg(feature = "rocm")]
        "rocm" => working(name, || Device::rocm(0)),
        _ => {
            let has = DEVICES.iter().filter(|(_, built)| *built);
            let has: Vec<&str> = has.map(|(device, _)| *device).collect();
            let has = has.join(", ");
            let message = match DEVICES.iter().any(|(device, _)| *device == name) {
                true => format!(
                    "this build is without it; build with `--features {name}`, or use one that it has: {has}"
                ),
                false => format!("there is no such device; this build has: {has}"),
            };
            Err(error(name, message))
        }
    }
}

/// A device on which a tensor can be made and read. The backends open a device at its first use, and panic if there is none.
#[cfg_attr(
    not(any(
        test,
        feature = "vulkan",
        feature = "metal",
        feature = "webgpu",
        feature = "cuda",
        feature = "rocm"
    )),
    allow(dead_code)
)]
fn working(name: &str, open: impl FnOnce() -> Device + UnwindSafe) -> Result<Device> {
    let tried = catch_unwind(|| {
        let device = open();
        let one = to_host(Tensor::<1>::ones([1], &device));
        (one == [1.0]).then_some(device)
    });
    match tried {
        Ok(Some(device)) => Ok(device),
        Ok(None) => Err(error(
            name,
            "it computes wrong values; update its driver, or use `cpu`".into(),
        )),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let reason = text.or(panic.downcast_ref::<&str>().copied());
            Err(error(
                name,
                format!(
                    "it cannot be opened: {}; check that this machine has such a device and its driver, or use `cpu`",
                    reason.unwrap_or("no reason is given")
                ),
            ))
        }
    }
}

fn error(name: &str, message: String) -> ModelError {
    ModelError::Device {
        name: name.into(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_device_is_an_error_that_lists_those_there_are() {
        let error = |name: &str| device(name).unwrap_err().to_string();
        let unknown = error("gpu");
        assert!(
            unknown.contains("`gpu`") && unknown.contains("cpu"),
            "{unknown}"
        );
        for (name, _) in DEVICES.into_iter().filter(|(_, built)| !built) {
            let error = error(name);
            let feature = format!("--features {name}");
            assert!(
                error.contains(&feature) && error.contains("has: cpu"),
                "{error}"
            );
        }
    }

    #[test]
    #[allow(clippy::panic)]
    fn a_device_that_cannot_be_opened_is_an_error() {
        assert!(working("cpu", Device::flex).is_ok());
        let error = working("cuda", || panic!("no driver {}", 7)).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("`cuda`") && error.contains("no driver 7"),
            "{error}"
        );
    }
}
