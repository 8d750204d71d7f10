//! How a function is compiled for each instruction set, and what differs between them.

use super::half::{self, HalfLane};
use super::int8::{self, Sums, Word};
use super::panels::{LANES, Lane};
use super::tile::array;
use crate::int8::OUTPUTS;

/// An instruction set at compile time, over which the body of a [`dispatch`]ed function is generic. Without methods of its own it has
/// loops over arrays, which the compiler turns into vectors.
pub(crate) trait Isa: Sized {
    /// Whether there is a fused multiply-add.
    const FMA: bool;

    /// Outputs of a tile.
    const TILE: usize = array::TILE;

    /// `rows[input][output] * lanes[input]`, summed over the inputs, for each of some panels. `rows` are packed in tiles,
    /// `[tile][input][output]`, the last one padded; there are as many outputs as `to` has lanes. Adds to `to` or overwrites it.
    #[inline(always)]
    fn mix<const PANELS: usize, const ADD: bool>(
        rows: &[f32],
        lanes: [&[Lane]; PANELS],
        to: [&mut [Lane]; PANELS],
    ) {
        for (lanes, to) in lanes.into_iter().zip(to) {
            array::mix::<Self, ADD>(rows, lanes, to);
        }
    }

    /// [`mix`](Self::mix) for 16 outputs at most, in rows of 16.
    #[inline(always)]
    fn dot<const PANELS: usize, const ADD: bool>(
        rows: &[Lane],
        lanes: [&[Lane]; PANELS],
        to: [&mut [Lane]; PANELS],
    ) {
        for (lanes, to) in lanes.into_iter().zip(to) {
            array::dot::<Self, ADD>(rows, lanes, to);
        }
    }

    /// Rounds to half precision.
    #[inline(always)]
    fn to_half(lane: &Lane) -> HalfLane {
        half::lane_to_half(lane)
    }

    /// From half precision.
    #[inline(always)]
    fn from_half(lane: &HalfLane) -> Lane {
        half::lane_from_half(lane)
    }

    /// Exchanges rows and columns.
    #[inline(always)]
    fn transpose(from: &[Lane; LANES], to: &mut [Lane; LANES]) {
        array::transpose(from, to);
    }

    /// The products of bytes, `rows[inputs][output] * words[inputs]`, summed over the inputs, for each of some panels.
    #[inline(always)]
    fn int8_tile<const PANELS: usize>(
        rows: &[[u32; OUTPUTS]],
        words: [&[Word]; PANELS],
    ) -> [Sums; PANELS] {
        words.map(|words| int8::tile(rows, words))
    }

    /// Adds an output's sums for a panel, less `offset`, times `scale` and the scale of each token.
    #[inline(always)]
    fn int8_add(to: &mut Lane, sums: &[i32; LANES], offset: i32, scale: f32, scales: &Lane) {
        int8::add(to, sums, offset, scale, scales);
    }
}

/// What every processor has.
pub(crate) struct Portable;

impl Isa for Portable {
    const FMA: bool = false;
}

/// NEON.
#[cfg(any(test, target_arch = "aarch64"))]
pub(crate) struct Fused;

#[cfg(any(test, target_arch = "aarch64"))]
impl Isa for Fused {
    const FMA: bool = true;
}

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
        $vis fn $name($set: $crate::InstructionSet, $($arg: $type),*) $(-> $result)? {
            assert!($set.is_available(), "the processor has the instruction set");
            $crate::cpu::isa::dispatch! { @available $set, ($($arg: $type),*), ($(-> $result)?), $body }
        }
    };
    (
        $(#[$meta:meta])*
        $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? = $body:ident;
    ) => {
        $(#[$meta])*
        $vis fn $name($($arg: $type),*) $(-> $result)? {
            let set = $crate::InstructionSet::in_use();
            $crate::cpu::isa::dispatch! { @available set, ($($arg: $type),*), ($(-> $result)?), $body }
        }
    };
    (@available $set:ident, ($($arg:ident: $type:ty),*), ($(-> $result:ty)?), $body:ident) => {{
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
        fn avx512_vnni($($arg: $type),*) $(-> $result)? {
            $body::<$crate::cpu::avx512::Avx512<true>>($($arg),*)
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
        fn avx512($($arg: $type),*) $(-> $result)? {
            $body::<$crate::cpu::avx512::Avx512<false>>($($arg),*)
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
        fn avx_vnni($($arg: $type),*) $(-> $result)? {
            $body::<$crate::cpu::avx2::Avx2<true>>($($arg),*)
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,f16c")]
        fn avx2($($arg: $type),*) $(-> $result)? {
            $body::<$crate::cpu::avx2::Avx2<false>>($($arg),*)
        }

        match $set {
            // SAFETY: the processor has the instruction set, which is all that the function requires: it is in use or was checked.
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code)]
            $crate::InstructionSet::Avx512Vnni => unsafe { avx512_vnni($($arg),*) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code)]
            $crate::InstructionSet::Avx512 => unsafe { avx512($($arg),*) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code)]
            $crate::InstructionSet::AvxVnni => unsafe { avx_vnni($($arg),*) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code)]
            $crate::InstructionSet::Avx2 => unsafe { avx2($($arg),*) },
            #[cfg(target_arch = "aarch64")]
            $crate::InstructionSet::Neon => $body::<$crate::cpu::isa::Fused>($($arg),*),
            _ => $body::<$crate::cpu::isa::Portable>($($arg),*),
        }
    }};
}

pub(crate) use dispatch;

/// Stops the compiler from computing several iterations of the loop around it at once. Of a loop over lanes with an inner loop over
/// the values of a lane, LLVM may unroll the inner loop and vectorise the outer one, with a gather and a scatter for each value, which
/// takes several times as long as a register for each lane.
#[inline(always)]
pub(crate) fn lane_by_lane() {
    #[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
    // SAFETY: no instructions.
    #[allow(unsafe_code)]
    unsafe {
        std::arch::asm!("", options(nomem, nostack, preserves_flags));
    }
}

dispatch! {
    /// Outputs of a tile of the instruction set in use, by which operands are packed.
    pub(crate) fn tile() -> usize = tile_of;
}

#[inline(always)]
fn tile_of<I: Isa>() -> usize {
    I::TILE
}
