//! Products on AVX-512, in f32 and in 8 bits: a panel of 16 tokens is one register.
//!
//! A tile of 8 outputs and two panels keeps 16 sums in registers, enough to hide the latency of two multiply-adds a cycle, and
//! loads 10 values for 16 multiply-adds. With one panel each weight would be loaded for a single multiply-add, and loads would
//! limit the speed. Written with intrinsics since the compiler uses 256-bit vectors for loops over arrays, or moves the sums to
//! memory.

use std::arch::x86_64::{
    __m512, __m512i, _mm512_add_ps, _mm512_castpd_ps, _mm512_castps_pd, _mm512_cvtepi32_ps,
    _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_setzero_si512, _mm512_shuffle_f32x4, _mm512_sub_epi32,
    _mm512_unpackhi_pd, _mm512_unpackhi_ps, _mm512_unpacklo_pd, _mm512_unpacklo_ps,
};

use super::avx2::Avx2;
use super::half::HalfLane;
use super::int8::{Sums, Word};
use super::isa::Isa;
use super::panels::{LANES, Lane};
use crate::int8::OUTPUTS;

/// AVX-512, with VNNI or without.
pub(crate) struct Avx512<const VNNI: bool>;

/// Outputs of a tile.
const TILE: usize = 8;

impl<const VNNI: bool> Isa for Avx512<VNNI> {
    const FMA: bool = true;
    const TILE: usize = TILE;

    #[inline(always)]
    fn mix<const PANELS: usize, const ADD: bool>(
        rows: &[f32],
        lanes: [&[Lane]; PANELS],
        to: [&mut [Lane]; PANELS],
    ) {
        // SAFETY: this implementation is only run where the processor has AVX-512; see `dispatch`.
        #[allow(unsafe_code)]
        unsafe {
            mix::<PANELS, ADD>(rows, lanes, to)
        }
    }

    #[inline(always)]
    fn dot<const PANELS: usize, const ADD: bool>(
        rows: &[Lane],
        lanes: [&[Lane]; PANELS],
        to: [&mut [Lane]; PANELS],
    ) {
        // SAFETY: as above.
        #[allow(unsafe_code)]
        unsafe {
            dot::<PANELS, ADD>(rows, lanes, to)
        }
    }

    #[inline(always)]
    fn to_half(lane: &Lane) -> HalfLane {
        Avx2::<false>::to_half(lane)
    }

    #[inline(always)]
    fn from_half(lane: &HalfLane) -> Lane {
        Avx2::<false>::from_half(lane)
    }

    #[inline(always)]
    fn transpose(from: &[Lane; LANES], to: &mut [Lane; LANES]) {
        // SAFETY: as above.
        #[allow(unsafe_code)]
        unsafe {
            transpose(from, to)
        }
    }

    #[inline(always)]
    fn int8_tile<const PANELS: usize>(
        rows: &[[u32; OUTPUTS]],
        words: [&[Word]; PANELS],
    ) -> [Sums; PANELS] {
        if VNNI {
            // SAFETY: as above, with VNNI.
            #[allow(unsafe_code)]
            unsafe {
                int8_tile(rows, words)
            }
        } else {
            Avx2::<false>::int8_tile(rows, words)
        }
    }

    #[inline(always)]
    fn int8_add(to: &mut Lane, sums: &[i32; LANES], offset: i32, scale: f32, scales: &Lane) {
        // SAFETY: as above.
        #[allow(unsafe_code)]
        unsafe {
            int8_add(to, sums, offset, scale, scales)
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn mix<const PANELS: usize, const ADD: bool>(
    rows: &[f32],
    lanes: [&[Lane]; PANELS],
    mut to: [&mut [Lane]; PANELS],
) {
    let (rows, _) = rows.as_chunks::<TILE>();
    let outputs = to.first().map_or(0, |to| to.len());
    for (rows, first) in rows.chunks(lanes[0].len()).zip((0..outputs).step_by(TILE)) {
        let sums = tile::<PANELS, TILE, 0>(rows, lanes);
        for (to, sums) in to.iter_mut().zip(&sums) {
            let to = &mut to[first..];
            match to.first_chunk_mut::<TILE>() {
                Some(to) => write::<ADD>(to, sums),
                None => write::<ADD>(to, sums),
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn dot<const PANELS: usize, const ADD: bool>(
    rows: &[Lane],
    lanes: [&[Lane]; PANELS],
    to: [&mut [Lane]; PANELS],
) {
    let low = tile::<PANELS, LANES, 0>(rows, lanes);
    let high = tile::<PANELS, LANES, TILE>(rows, lanes);
    for ((to, low), high) in to.into_iter().zip(&low).zip(&high) {
        match to.first_chunk_mut::<LANES>() {
            Some(to) => {
                let (first, second) = to.split_at_mut(TILE);
                write::<ADD>(first, low);
                write::<ADD>(second, high);
            }
            None => {
                let (first, second) = to.split_at_mut(TILE.min(to.len()));
                write::<ADD>(first, low);
                write::<ADD>(second, high);
            }
        }
    }
}

/// Rows in pairs, then fours of each 128 bits, then 128 bits of different rows.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(from: &[Lane; LANES], to: &mut [Lane; LANES]) {
    let mut rows = [_mm512_setzero_ps(); LANES];
    for (row, lane) in rows.iter_mut().zip(from) {
        *row = load(lane);
    }
    let mut fours = [[_mm512_setzero_ps(); 4]; 4];
    for (rows, four) in rows.chunks_exact(4).zip(&mut fours) {
        let low = _mm512_castps_pd(_mm512_unpacklo_ps(rows[0], rows[1]));
        let high = _mm512_castps_pd(_mm512_unpackhi_ps(rows[0], rows[1]));
        let other_low = _mm512_castps_pd(_mm512_unpacklo_ps(rows[2], rows[3]));
        let other_high = _mm512_castps_pd(_mm512_unpackhi_ps(rows[2], rows[3]));
        // Column 4 k + j of four rows is in the 128 bits k of register j.
        *four = [
            _mm512_castpd_ps(_mm512_unpacklo_pd(low, other_low)),
            _mm512_castpd_ps(_mm512_unpackhi_pd(low, other_low)),
            _mm512_castpd_ps(_mm512_unpacklo_pd(high, other_high)),
            _mm512_castpd_ps(_mm512_unpackhi_pd(high, other_high)),
        ];
    }
    for j in 0..4 {
        let [a, b, c, d] = [fours[0][j], fours[1][j], fours[2][j], fours[3][j]];
        let even = _mm512_shuffle_f32x4::<EVEN>(a, b);
        let odd = _mm512_shuffle_f32x4::<ODD>(a, b);
        let other_even = _mm512_shuffle_f32x4::<EVEN>(c, d);
        let other_odd = _mm512_shuffle_f32x4::<ODD>(c, d);
        store(&mut to[j], _mm512_shuffle_f32x4::<EVEN>(even, other_even));
        store(&mut to[4 + j], _mm512_shuffle_f32x4::<EVEN>(odd, other_odd));
        store(
            &mut to[8 + j],
            _mm512_shuffle_f32x4::<ODD>(even, other_even),
        );
        store(&mut to[12 + j], _mm512_shuffle_f32x4::<ODD>(odd, other_odd));
    }
}

/// Selects the 128 bits 0 and 2 of each operand.
const EVEN: i32 = 0b10_00_10_00;
/// Selects the 128 bits 1 and 3 of each operand.
const ODD: i32 = 0b11_01_11_01;

/// `rows[input][FIRST + output] * lanes[input]`, summed over the inputs, for one panel or two.
#[inline]
#[target_feature(enable = "avx512f")]
fn tile<const PANELS: usize, const ROW: usize, const FIRST: usize>(
    rows: &[[f32; ROW]],
    lanes: [&[Lane]; PANELS],
) -> [[__m512; TILE]; PANELS] {
    let mut sums = [[_mm512_setzero_ps(); TILE]; PANELS];
    // Iterators in step: with indices, bounds would be checked in the innermost loop.
    match (lanes.as_slice(), sums.as_mut_slice()) {
        ([lanes], [sums]) => {
            for (row, lane) in rows.iter().zip(*lanes) {
                let x = load(lane);
                for output in 0..TILE {
                    let weight = _mm512_set1_ps(row[FIRST + output]);
                    sums[output] = _mm512_fmadd_ps(weight, x, sums[output]);
                }
            }
        }
        ([first, second], [sums, others]) => {
            for ((row, first), second) in rows.iter().zip(*first).zip(*second) {
                let (x, y) = (load(first), load(second));
                for output in 0..TILE {
                    let weight = _mm512_set1_ps(row[FIRST + output]);
                    sums[output] = _mm512_fmadd_ps(weight, x, sums[output]);
                    others[output] = _mm512_fmadd_ps(weight, y, others[output]);
                }
            }
        }
        _ => unreachable!("one panel or two"),
    }
    sums
}

/// See [`Isa::int8_tile`].
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn int8_tile<const PANELS: usize>(
    rows: &[[u32; OUTPUTS]],
    words: [&[Word]; PANELS],
) -> [Sums; PANELS] {
    let mut totals = [[_mm512_setzero_si512(); OUTPUTS]; PANELS];
    match (words.as_slice(), totals.as_mut_slice()) {
        ([words], [totals]) => {
            for (row, word) in rows.iter().zip(*words) {
                let x = load_word(word);
                for output in 0..OUTPUTS {
                    let weights = _mm512_set1_epi32(row[output].cast_signed());
                    totals[output] = _mm512_dpbusd_epi32(totals[output], x, weights);
                }
            }
        }
        ([first, second], [totals, others]) => {
            for ((row, first), second) in rows.iter().zip(*first).zip(*second) {
                let (x, y) = (load_word(first), load_word(second));
                for output in 0..OUTPUTS {
                    let weights = _mm512_set1_epi32(row[output].cast_signed());
                    totals[output] = _mm512_dpbusd_epi32(totals[output], x, weights);
                    others[output] = _mm512_dpbusd_epi32(others[output], y, weights);
                }
            }
        }
        _ => unreachable!("one panel or two"),
    }
    let mut sums = [[[0; LANES]; OUTPUTS]; PANELS];
    for (sums, totals) in sums.iter_mut().zip(&totals) {
        for (sums, totals) in sums.iter_mut().zip(totals) {
            *sums = store_sums(*totals);
        }
    }
    sums
}

#[inline]
#[target_feature(enable = "avx512f")]
fn int8_add(to: &mut Lane, sums: &[i32; LANES], offset: i32, scale: f32, scales: &Lane) {
    let sums = _mm512_sub_epi32(load_sums(sums), _mm512_set1_epi32(offset));
    let scales = _mm512_mul_ps(_mm512_set1_ps(scale), load(scales));
    let change = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), scales);
    store(to, _mm512_add_ps(load(to), change));
}

/// As [`load`].
#[inline(always)]
fn load_sums(sums: &[i32; LANES]) -> __m512i {
    // SAFETY: as for `load`, with 16 values of i32.
    #[allow(unsafe_code)]
    unsafe {
        std::mem::transmute::<[i32; LANES], __m512i>(*sums)
    }
}

/// As [`store`].
#[inline(always)]
fn store_sums(totals: __m512i) -> [i32; LANES] {
    // SAFETY: as for `load`, with 16 values of i32.
    #[allow(unsafe_code)]
    unsafe {
        std::mem::transmute::<__m512i, [i32; LANES]>(totals)
    }
}

/// As [`load`].
#[inline(always)]
fn load_word(word: &Word) -> __m512i {
    // SAFETY: as for `load`, with 16 values of u32.
    #[allow(unsafe_code)]
    unsafe {
        std::mem::transmute::<Word, __m512i>(*word)
    }
}

/// Adds the sums to lanes, of which there may be fewer, or overwrites them.
#[inline]
#[target_feature(enable = "avx512f")]
fn write<const ADD: bool>(to: &mut [Lane], sums: &[__m512; TILE]) {
    for (to, sum) in to.iter_mut().zip(sums) {
        store(
            to,
            if ADD {
                _mm512_add_ps(load(to), *sum)
            } else {
                *sum
            },
        );
    }
}

/// A lane as a register. The intrinsic for loads is slower where debug assertions are on: it checks its pointer.
#[inline(always)]
fn load(lane: &Lane) -> __m512 {
    // SAFETY: both types are 16 values of f32, and any bits are a value.
    #[allow(unsafe_code)]
    unsafe {
        std::mem::transmute::<Lane, __m512>(*lane)
    }
}

/// A register as a lane.
#[inline(always)]
fn store(lane: &mut Lane, values: __m512) {
    // SAFETY: as for `load`.
    #[allow(unsafe_code)]
    unsafe {
        *lane = std::mem::transmute::<__m512, Lane>(values);
    }
}
