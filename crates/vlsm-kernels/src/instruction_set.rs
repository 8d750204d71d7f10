//! The instruction sets that the CPU kernels are compiled for.

use std::sync::OnceLock;

use crate::InstructionSet::{Avx2, Avx512, Avx512Vnni, AvxVnni, Neon, Portable};

/// An instruction set that the CPU kernels are compiled for.
///
/// All give the same bits, except for [`Portable`], which has no fused multiply-add and rounds differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstructionSet {
    /// [`Avx512`] and VNNI, for products in 8 bits: Intel servers from 2019 on, AMD from Zen 4 on.
    Avx512Vnni,
    /// AVX-512 F, BW, DQ and VL: 512-bit vectors.
    Avx512,
    /// [`Avx2`] and AVX-VNNI, for products in 8 bits: Intel desktops from 2021 on.
    AvxVnni,
    /// AVX2, FMA and F16C: 256-bit vectors on x86-64.
    Avx2,
    /// NEON, which every 64-bit Arm processor has: 128-bit vectors.
    Neon,
    /// What every processor of the architecture has.
    Portable,
}

/// The environment variable that chooses an instruction set, for tests and benchmarks.
const VARIABLE: &str = "VLSM_ISA";

impl InstructionSet {
    /// The instruction set that the kernels use: the one that the environment variable `VLSM_ISA` names (`avx512vnni`, `avx512`, `avxvnni`, `avx2`, `neon` or
    /// `portable`) if the processor has it, else the widest that the processor has. Decided at the first use.
    pub fn in_use() -> Self {
        static IN_USE: OnceLock<InstructionSet> = OnceLock::new();
        *IN_USE.get_or_init(|| {
            Self::requested()
                .unwrap_or_default()
                .unwrap_or(Self::widest())
        })
    }

    /// What the environment variable `VLSM_ISA` asks for, if it is set. An error says why that cannot be.
    pub fn requested() -> Result<Option<Self>, String> {
        let Some(name) = std::env::var_os(VARIABLE) else {
            return Ok(None);
        };
        let name = name.to_string_lossy();
        let available: Vec<_> = Self::available().collect();
        match available.iter().find(|set| set.name() == name) {
            Some(set) => Ok(Some(*set)),
            None => {
                let names: Vec<_> = available.iter().map(|set| set.name()).collect();
                Err(format!(
                    "{VARIABLE} is {name:?}, but the instruction sets of this processor that the kernels can use are: {}",
                    names.join(", ")
                ))
            }
        }
    }

    /// Those that the processor has, the widest first.
    pub fn available() -> impl Iterator<Item = Self> {
        [Avx512Vnni, Avx512, AvxVnni, Avx2, Neon, Portable]
            .into_iter()
            .filter(|set| set.is_available())
    }

    /// Its name, as in `VLSM_ISA`.
    pub fn name(self) -> &'static str {
        match self {
            Avx512Vnni => "avx512vnni",
            Avx512 => "avx512",
            AvxVnni => "avxvnni",
            Avx2 => "avx2",
            Neon => "neon",
            Portable => "portable",
        }
    }

    fn widest() -> Self {
        Self::available().next().unwrap_or(Portable)
    }

    /// Whether the processor has it.
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Avx512Vnni => Avx512.is_available() && is_x86_feature_detected!("avx512vnni"),
            #[cfg(target_arch = "x86_64")]
            Avx512 => {
                Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "x86_64")]
            AvxVnni => Avx2.is_available() && is_x86_feature_detected!("avxvnni"),
            #[cfg(target_arch = "x86_64")]
            Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Avx512Vnni | Avx512 | AvxVnni | Avx2 => false,
            Neon => cfg!(target_arch = "aarch64"),
            Portable => true,
        }
    }
}

impl std::fmt::Display for InstructionSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
