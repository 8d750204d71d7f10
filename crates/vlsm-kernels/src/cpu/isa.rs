//! How a function is compiled for each instruction set, and what differs between them.

use super::int8::{self, Sums, Word};
use super::panels::{LANES, Lane};
use super::tile::array;
use crate::int8::OUTPUTS;

/// An instruction set at compile time, over which the body of a [`dispatch`]ed function is generic.
pub(crate) trait Isa {
    /// Whether there is a fused multiply-add.
    const FMA: bool;

    /// Outputs of a tile.
    const TILE: usize;

    /// `rows[input][output] * lanes[input]`, summed over the inputs, for each of some panels. `rows` are packed in tiles,
    /// `[tile][input][output]`, the last one padded; there are as many outputs as `to` has lanes. Adds to `to` or overwrites it.
    fn mix<const PANELS: usize, const ADD: bool>(
        rows: &[f32],
        lanes: [&[Lane]; PANELS],
        to: [&mut [Lane]; PANELS],
    );

    /// [`mix`](Self::mix) for 16 outputs at most, in rows of 16.
    fn dot<const PANELS: usize, const ADD: bool>(
        rows: &[Lane],
        lanes: [&[Lane]; PANELS],
        to: [&mut [Lane]; PANELS],
    );

    /// Exchanges rows and columns.
    fn transpose(from: &[Lane; LANES], to: &mut [Lane; LANES]);

    /// Adds the products of bytes, `rows[inputs][output] * words[inputs]`, summed over the inputs, for each of some panels.
    fn int8_tile<const PANELS: usize>(
        rows: &[[u32; OUTPUTS]],
        words: [&[Word]; PANELS],
        sums: &mut [Sums; PANELS],
    );
}

/// Arrays, which the compiler turns into vectors, without fused multiply-adds.
pub(crate) struct Portable;

/// Arrays, which the compiler turns into vectors, with fused multiply-adds: NEON.
#[cfg(any(test, target_arch = "aarch64"))]
pub(crate) struct Fused;

macro_rules! arrays {
    ($isa:ty, $fma:literal) => {
        impl Isa for $isa {
            const FMA: bool = $fma;
            const TILE: usize = array::TILE;

            #[inline(always)]
            fn mix<const PANELS: usize, const ADD: bool>(
                rows: &[f32],
                lanes: [&[Lane]; PANELS],
                to: [&mut [Lane]; PANELS],
            ) {
                array::mix_all::<Self, PANELS, ADD>(rows, lanes, to);
            }

            #[inline(always)]
            fn dot<const PANELS: usize, const ADD: bool>(
                rows: &[Lane],
                lanes: [&[Lane]; PANELS],
                to: [&mut [Lane]; PANELS],
            ) {
                array::dot_all::<Self, PANELS, ADD>(rows, lanes, to);
            }

            #[inline(always)]
            fn transpose(from: &[Lane; LANES], to: &mut [Lane; LANES]) {
                array::transpose(from, to);
            }

            #[inline(always)]
            fn int8_tile<const PANELS: usize>(
                rows: &[[u32; OUTPUTS]],
                words: [&[Word]; PANELS],
                sums: &mut [Sums; PANELS],
            ) {
                int8::tile(rows, words, sums);
            }
        }
    };
}

arrays!(Portable, false);
#[cfg(any(test, target_arch = "aarch64"))]
arrays!(Fused, true);

/// Defines a function that runs a generic one, compiled for each instruction set: `dispatch! { fn name(argument: Type) -> Result =
/// generic; }` calls `generic::<I>(argument)`, where `I` is the [`Isa`] of the instruction set in use. With `in set` as its first
/// argument, the function takes an instruction set, which the processor must have.
///
/// The generic function must always be inlined, and so must the functions that it calls in its loops: what is not inlined is
/// compiled for any processor.
macro_rules! dispatch {
    (
        $(#[$meta:meta])*
        $vis:vis fn $name:ident(in $set:ident, $($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? = $body:ident;
    ) => {
        $(#[$meta])*
        $vis fn $name($set: crate::InstructionSet, $($arg: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
            fn avx512_vnni($($arg: $type),*) $(-> $result)? {
                $body::<crate::cpu::avx512::Avx512<true>>($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            fn avx512($($arg: $type),*) $(-> $result)? {
                $body::<crate::cpu::avx512::Avx512<false>>($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,avxvnni")]
            fn avx_vnni($($arg: $type),*) $(-> $result)? {
                $body::<crate::cpu::avx2::Avx2<true>>($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $type),*) $(-> $result)? {
                $body::<crate::cpu::avx2::Avx2<false>>($($arg),*)
            }

            assert!($set.is_available(), "the processor has the instruction set");
            match $set {
                // SAFETY: the processor has the instruction set, which is all that the function requires.
                #[cfg(target_arch = "x86_64")]
                #[allow(unsafe_code)]
                crate::InstructionSet::Avx512Vnni => unsafe { avx512_vnni($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                #[allow(unsafe_code)]
                crate::InstructionSet::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                #[allow(unsafe_code)]
                crate::InstructionSet::AvxVnni => unsafe { avx_vnni($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                #[allow(unsafe_code)]
                crate::InstructionSet::Avx2 => unsafe { avx2($($arg),*) },
                #[cfg(target_arch = "aarch64")]
                crate::InstructionSet::Neon => $body::<crate::cpu::isa::Fused>($($arg),*),
                _ => $body::<crate::cpu::isa::Portable>($($arg),*),
            }
        }
    };
    (
        $(#[$meta:meta])*
        $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? = $body:ident;
    ) => {
        $(#[$meta])*
        $vis fn $name($($arg: $type),*) $(-> $result)? {
            $crate::cpu::isa::dispatch! { fn on(in set, $($arg: $type),*) $(-> $result)? = $body; }
            on($crate::InstructionSet::in_use(), $($arg),*)
        }
    };
}

pub(crate) use dispatch;

dispatch! {
    /// Outputs of a tile of the instruction set in use, by which operands are packed.
    pub(crate) fn tile() -> usize = tile_of;
}

#[inline(always)]
fn tile_of<I: Isa>() -> usize {
    I::TILE
}
