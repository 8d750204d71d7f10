//! Bases in another precision than f32.

use burn::module::Module;
use burn::tensor::{Device, FloatDType};

use crate::base::Base;
use crate::error::{ModelError, Result};
use crate::methods::MethodConfig;
use crate::precision::Precision;
use crate::predict::is_cpu;

impl Base {
    /// The base in another precision. The towers' f32 matrices are freed: the base can no longer be written, merged or exported.
    ///
    /// # Errors
    /// If the base's architecture or its device has no such precision.
    pub fn with_precision(mut self, precision: Precision) -> Result<Self> {
        let wrong = |message: String| Err(ModelError::Precision(message));
        let devices = self.network.devices();
        let cpu = devices.iter().all(is_cpu);
        match precision {
            Precision::F32 => return Ok(self),
            Precision::Int8 if !cpu => {
                return wrong("`int8` runs on the CPU only; use `f32`, or `--device cpu`".into());
            }
            Precision::Bf16 if cpu => {
                return wrong(
                    "`bf16` runs on accelerators only; use `f32`, `int8`, or another `--device`"
                        .into(),
                );
            }
            Precision::Bf16 if !devices.iter().all(has_bf16) => {
                return wrong("this device does not compute in `bf16`; use `f32`".into());
            }
            Precision::Bf16 | Precision::Int8 => (),
        }
        if !self.network.set_precision(precision) {
            return wrong(format!(
                "a {} has no `{}`, only CLIPSeg and BiomedCLIPSeg have it; use `f32`",
                self.network.architecture().name(),
                precision.name()
            ));
        }
        self.precision = precision;
        Ok(self)
    }

    /// The precision of the towers.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Refuses methods that train matrices that are not in f32, or change those that are in 8 bits.
    pub(crate) fn check_precision(&self, method: &MethodConfig) -> Result<()> {
        match (self.precision, method) {
            (Precision::Bf16 | Precision::Int8, MethodConfig::Full(_))
            | (Precision::Int8, MethodConfig::Lora(_)) => Err(ModelError::Precision(format!(
                "`{}` is for frozen towers, and {} changes their matrices; use `f32`, or a method that does not, such as \
                 `dense`",
                self.precision.name(),
                method.label()
            ))),
            _ => Ok(()),
        }
    }

    /// Refuses what needs all weights in f32.
    pub(crate) fn expect_f32(&self, what: &str) -> Result<()> {
        match self.precision {
            Precision::F32 => Ok(()),
            precision => Err(ModelError::Precision(format!(
                "{what} needs the base's weights in f32; load it without `{}`",
                precision.name()
            ))),
        }
    }
}

/// Whether products in bf16 run on a device.
fn has_bf16(device: &Device) -> bool {
    device.supports_dtype(FloatDType::BF16)
}
