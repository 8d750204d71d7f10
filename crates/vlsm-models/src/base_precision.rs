//! Bases in another precision than f32.

use burn::module::Module;
use burn::tensor::Device;

use crate::base::Base;
use crate::error::{ModelError, Result};
use crate::methods::MethodConfig;
use crate::precision::Precision;

impl Base {
    /// The base in another precision. In `int8` the towers' matrices are replaced by theirs in 8 bits: the f32 ones are freed,
    /// and the base can no longer be written, merged or exported.
    ///
    /// # Errors
    /// If the base's architecture or its device has no such precision.
    pub fn with_precision(mut self, precision: Precision) -> Result<Self> {
        if precision == Precision::F32 {
            return Ok(self);
        }
        let wrong = |message: String| ModelError::Precision(message);
        let devices = self.network.devices();
        if devices.iter().any(|device| *device != Device::flex()) {
            return Err(wrong(
                "`int8` runs on the CPU only; use `f32`, or `--device cpu`".into(),
            ));
        }
        if !self.network.quantize() {
            return Err(wrong(format!(
                "a {} has no `int8`, only CLIPSeg and BiomedCLIPSeg have it; use `f32`",
                self.network.architecture().name()
            )));
        }
        self.precision = precision;
        Ok(self)
    }

    /// The precision of the towers.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Refuses methods that change matrices that are in 8 bits.
    pub(crate) fn check_precision(&self, method: &MethodConfig) -> Result<()> {
        match (self.precision, method) {
            (Precision::Int8, MethodConfig::Full(_) | MethodConfig::Lora(_)) => {
                Err(ModelError::Precision(format!(
                    "`int8` is for frozen towers, and {} changes their matrices; use `f32`, or a method that does not, such as \
                     `dense`",
                    method.label()
                )))
            }
            _ => Ok(()),
        }
    }

    /// Refuses what needs all weights in f32.
    pub(crate) fn expect_f32(&self, what: &str) -> Result<()> {
        match self.precision {
            Precision::F32 => Ok(()),
            Precision::Int8 => Err(ModelError::Precision(format!(
                "{what} needs the base's weights in f32; load it without `int8`"
            ))),
        }
    }
}
