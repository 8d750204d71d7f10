//! Devices by name.

use burn::tensor::{DType, Device, Tensor};
#[cfg(feature = "accelerator")]
use burn::tensor::{DeviceFilter, DeviceType};

use vlsm_image::catch_panic;

use crate::error::{ModelError, Result};
use crate::weights::to_host;

/// The kinds of devices that a build can have, and whether this one has them; accelerators in the order in which `auto` looks
/// for one.
const KINDS: [(&str, bool); 6] = [
    ("cpu", true),
    ("cuda", cfg!(feature = "cuda")),
    ("rocm", cfg!(feature = "rocm")),
    ("metal", cfg!(feature = "metal")),
    ("vulkan", cfg!(feature = "vulkan")),
    ("webgpu", cfg!(feature = "webgpu")),
];

/// A device of this machine that this build can use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceDescription {
    /// The name that [`device`] takes, as `cuda:0`.
    pub name: String,
    /// What the device is called by its maker; empty for the CPU.
    pub model: String,
    /// Its memory in bytes, if its driver states it; none for the CPU.
    pub memory: Option<u64>,
}

/// The device with a name: `cpu`; an accelerator, `cuda`, `rocm`, `metal`, `vulkan` or `webgpu`, with an index if it is not the
/// first, as `cuda:1`; or `auto`, the first accelerator there is, else the CPU. An accelerator needs a build with the feature of
/// that name.
///
/// # Errors
/// If the name is none of these, the build lacks the feature, or the machine has no such device.
pub fn device(name: &str) -> Result<Device> {
    if name == "auto" {
        let kinds = KINDS.iter().skip(1).filter(|(_, built)| *built);
        let found = kinds.flat_map(|(kind, _)| listed(kind)).next();
        return found.map_or_else(|| Ok(Device::flex()), |device| working(name, || device));
    }
    let (kind, index) = match name.split_once(':') {
        Some((kind, index)) => (
            kind,
            index.parse::<usize>().map_err(|_| {
                let message = format!("`{index}` is not an index; write for example `{kind}:0`");
                error(name, message)
            })?,
        ),
        None => (name, 0),
    };
    let built: Vec<&str> = KINDS
        .iter()
        .filter(|(_, built)| *built)
        .map(|(kind, _)| *kind)
        .collect();
    match KINDS.iter().find(|(known, _)| *known == kind) {
        Some(("cpu", _)) if index == 0 => Ok(Device::flex()),
        Some((_, true)) => {
            let devices = listed(kind);
            let count = devices.len();
            match devices.into_iter().nth(index) {
                Some(device) => working(name, || device),
                None => Err(error(name, absent(kind, count))),
            }
        }
        Some(_) => Err(error(
            name,
            format!(
                "this build is without it; build with `--features {kind}`, or use one that it has: {}",
                built.join(", ")
            ),
        )),
        None => Err(error(
            name,
            format!(
                "there is no such device; this build has: {}",
                built.join(", ")
            ),
        )),
    }
}

/// Whether a device is the CPU.
pub fn is_cpu(device: &Device) -> bool {
    device.clone().without_autodiff() == Device::flex()
}

/// Whether pixels are copied to a device as bytes and converted there, a quarter of the bytes of f32. Not on the CPU, nor where
/// kernels have no 8-bit integers, as with WGSL.
pub fn takes_bytes(device: &Device) -> bool {
    !is_cpu(device) && device.supports_dtype(DType::U8)
}

/// What is wrong if a machine has `count` devices of a kind, and not the one asked for.
fn absent(kind: &str, count: usize) -> String {
    match count {
        0 => format!(
            "this machine has no `{kind}` device, or not its driver; install the driver, or use `cpu`"
        ),
        1 => format!("this machine has one `{kind}` device; use `{kind}`"),
        _ => format!(
            "this machine has {count} `{kind}` devices; use `{kind}:0` to `{kind}:{}`",
            count - 1
        ),
    }
}

/// The devices of this machine that this build can use, the CPU first.
pub fn devices() -> Vec<DeviceDescription> {
    let mut all = Vec::new();
    for (kind, _) in KINDS.iter().filter(|(_, built)| *built) {
        for (index, device) in listed(kind).into_iter().enumerate() {
            all.push(match *kind {
                "cpu" => DeviceDescription {
                    name: "cpu".into(),
                    model: String::new(),
                    memory: None,
                },
                _ => DeviceDescription {
                    name: format!("{kind}:{index}"),
                    memory: memory(&device),
                    model: model(device),
                },
            });
        }
    }
    all
}

/// What an accelerator is called by its maker.
#[cfg(feature = "accelerator")]
fn model(device: Device) -> String {
    let identity = catch_panic(|| device.identity());
    identity
        .ok()
        .flatten()
        .map_or_else(String::new, |identity| identity.name)
}

#[cfg(not(feature = "accelerator"))]
fn model(_device: Device) -> String {
    String::new()
}

/// An accelerator's memory in bytes.
#[cfg(feature = "accelerator")]
fn memory(device: &Device) -> Option<u64> {
    catch_panic(|| vlsm_kernels::device_memory(device)).ok()?
}

#[cfg(not(feature = "accelerator"))]
fn memory(_device: &Device) -> Option<u64> {
    None
}

/// The devices of a kind; none if the kind's driver cannot be loaded.
fn listed(kind: &str) -> Vec<Device> {
    #[cfg(feature = "accelerator")]
    {
        let filter = match kind {
            #[cfg(feature = "cuda")]
            "cuda" => DeviceType::Cuda,
            #[cfg(feature = "rocm")]
            "rocm" => DeviceType::Rocm,
            #[cfg(feature = "metal")]
            "metal" => DeviceType::Metal,
            #[cfg(feature = "vulkan")]
            "vulkan" => DeviceType::Vulkan,
            // Burn's own name for it means a browser's.
            #[cfg(feature = "webgpu")]
            "webgpu" => DeviceType::Wgpu,
            _ => return vec![Device::flex()],
        };
        vlsm_kernels::keep_compiled_kernels();
        let list = catch_panic(|| Device::enumerate(DeviceFilter::new().with(filter)).into_vec());
        list.unwrap_or_default()
    }
    #[cfg(not(feature = "accelerator"))]
    match kind {
        "cpu" => vec![Device::flex()],
        _ => Vec::new(),
    }
}

/// A device on which a tensor can be made and read. The backends open a device at its first use, and panic if there is none.
fn working(name: &str, open: impl FnOnce() -> Device) -> Result<Device> {
    let tried = catch_panic(|| {
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
        Err(reason) => Err(error(
            name,
            format!(
                "it cannot be opened: {reason}; check that this machine has such a device and its driver, or use `cpu`"
            ),
        )),
    }
}

/// Runs work on a device. What goes wrong there, such as too little memory, which accelerators report by a panic, is an error;
/// `smaller` is the advice to a user if memory ran out.
///
/// # Errors
/// If an accelerator fails.
pub fn on_device<T>(device: &Device, smaller: &str, work: impl FnOnce() -> T) -> Result<T> {
    if is_cpu(device) {
        return Ok(work());
    }
    catch_panic(work).map_err(|reason| {
        let description = catch_panic(|| model(device.clone())).unwrap_or_default();
        error(&description, failure(&reason, smaller))
    })
}

/// What an accelerator's panic says, in one line: that memory ran out, or the deepest of its causes.
fn failure(reason: &str, smaller: &str) -> String {
    let memory = ["out of device memory", "out-of-memory", "can't allocate"];
    let line = reason.lines().find(|line| {
        let line = line.to_lowercase();
        memory.iter().any(|words| line.contains(words))
    });
    if let Some(line) = line {
        return format!("{}; {smaller}", line.trim());
    }
    let cause = reason.rsplit("Caused by:").next().unwrap_or(reason);
    let cause = cause.lines().find(|line| !line.trim().is_empty());
    let cause = cause.unwrap_or_default().trim();
    format!("{cause}; if this happens again, use `--device cpu`")
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
        assert!(device("cpu").is_ok() && device("auto").is_ok());
        assert_eq!(devices()[0].name, "cpu");
        let index = error("cuda:one");
        assert!(
            index.contains("`one`") && index.contains("cuda:0"),
            "{index}"
        );
        let unknown = error("gpu");
        assert!(
            unknown.contains("`gpu`") && unknown.contains("cpu"),
            "{unknown}"
        );
        for (name, _) in KINDS.into_iter().filter(|(_, built)| !built) {
            let error = error(name);
            let feature = format!("--features {name}");
            assert!(
                error.contains(&feature) && error.contains("has: cpu"),
                "{error}"
            );
        }
    }

    #[test]
    fn too_little_memory_is_an_error_with_advice() {
        let reason =
            "Error in a stream\nCaused by:\n  out of device memory allocating 8 bytes\n<backtrace>";
        assert_eq!(
            failure(reason, "lower it"),
            "out of device memory allocating 8 bytes; lower it"
        );
        for reason in ["lost\nmore", "Error\nCaused by:\n  A\nCaused by:\n  lost\n"] {
            let other = failure(reason, "lower it");
            assert!(other.starts_with("lost; ") && !other.contains("lower it"));
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
