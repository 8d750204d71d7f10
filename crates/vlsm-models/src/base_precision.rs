//! Bases in another precision than f32.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, FloatDType, Tensor};
use vlsm_kernels::HalfWeights;

use crate::base::Base;
use crate::device::is_cpu;
use crate::error::{ModelError, Result};
use crate::methods::MethodConfig;
use crate::precision::Precision;
use crate::registry::Network;

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
                    "`bf16` runs on accelerators only; use `f32`, `f16` or `int8`, or another device"
                        .into(),
                );
            }
            Precision::Bf16 if !computes_in(&devices, FloatDType::BF16) => {
                return wrong("this device does not compute in `bf16`; use `f32` or `f16`".into());
            }
            Precision::F16 if !cpu && !computes_in(&devices, FloatDType::F16) => {
                return wrong("this device does not compute in `f16`; use `f32`".into());
            }
            Precision::F16 if largest_weight(&self.network) > HalfWeights::MAX => {
                return wrong(format!(
                    "the base has weights above {}, the largest number in `f16`; use `f32`",
                    HalfWeights::MAX
                ));
            }
            Precision::Bf16 | Precision::F16 | Precision::Int8 => (),
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

    /// Refuses methods that train matrices that are not in f32, or change those that are in 8 bits or in half
    /// precision.
    pub(crate) fn check_precision(&self, method: &MethodConfig) -> Result<()> {
        let trains = matches!(method, MethodConfig::Full(_));
        let refused = match self.precision {
            Precision::F32 => false,
            Precision::Bf16 => trains,
            Precision::F16 | Precision::Int8 => trains || method.changes_matrices(),
        };
        if !refused {
            return Ok(());
        }
        Err(ModelError::Precision(format!(
            "`{}` is for frozen towers, and {} changes their matrices; use `f32`, or a method that does not, such as `dense`",
            self.precision.name(),
            method.label()
        )))
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

/// The largest absolute value of a matrix.
fn largest_weight(network: &Network) -> f32 {
    struct Largest(f32);
    impl ModuleVisitor for Largest {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if D == 2 {
                let largest = param.val().abs().max().into_scalar::<f32>();
                self.0 = self.0.max(largest);
            }
        }
    }
    let mut largest = Largest(0.0);
    network.visit(&mut largest);
    largest.0
}

/// Whether products in a precision run on devices.
fn computes_in(devices: &[Device], dtype: FloatDType) -> bool {
    devices.iter().all(|device| device.supports_dtype(dtype))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::DType;

    use super::*;
    use crate::methods::{FullConfig, LoraConfig};
    use crate::registry::Model;
    use crate::tensor_file::WrittenAs;
    use crate::weights::for_each_parameter;

    /// The CPU does not compute in bf16, but it converts.
    #[test]
    fn only_the_towers_matrices_are_in_bf16() {
        struct Dtypes(Vec<(usize, DType)>);
        impl ModuleVisitor for Dtypes {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.0.push((D, param.val().dtype()));
            }
        }
        let mut base = Base::load("builtin:tiny", &Device::flex()).unwrap();
        let parameters = base.parameters();
        assert!(base.network.set_precision(Precision::Bf16));
        base.precision = Precision::Bf16;
        assert_eq!(base.parameters(), parameters);
        let mut dtypes = Dtypes(Vec::new());
        base.network.visit(&mut dtypes);
        let mut names = Vec::new();
        for_each_parameter(&base.network, |name, _| names.push(name.to_owned()));
        assert_eq!(names.len(), dtypes.0.len());
        for (name, (dimensions, dtype)) in names.iter().zip(dtypes.0) {
            let tower = name.contains(".encoder.layers.") && dimensions == 2;
            assert_eq!(dtype == DType::BF16, tower, "{name}");
        }

        Model::new(&base, LoraConfig::default().into(), 0).unwrap();
        let error = Model::new(&base, FullConfig::default().into(), 0).unwrap_err();
        assert!(error.to_string().contains("`bf16`"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let error = base.write(folder.path(), WrittenAs::F32).unwrap_err();
        assert!(error.to_string().contains("without `bf16`"), "{error}");
    }
}
