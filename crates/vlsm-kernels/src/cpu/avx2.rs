//! Products in 8 bits on AVX2, with AVX-VNNI or without. Those in f32 are loops over arrays, which the compiler turns into vectors.

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _MM_FROUND_TO_NEAREST_INT, _mm256_add_epi32, _mm256_and_si256,
    _mm256_cvtph_ps, _mm256_cvtps_ph, _mm256_dpbusd_avx_epi32, _mm256_madd_epi16,
    _mm256_set1_epi16, _mm256_set1_epi32, _mm256_setzero_si256, _mm256_slli_epi16,
    _mm256_srai_epi16, _mm256_srli_epi16,
};

use super::half::HalfLane;
use super::int8::{Sums, Word};
use super::isa::Isa;
use super::panels::{LANES, Lane};
use crate::int8::OUTPUTS;

/// AVX2 and FMA, with AVX-VNNI or without.
pub(crate) struct Avx2<const VNNI: bool>;

/// Outputs at a time: twice as many sums, and four registers of tokens.
const ROWS: usize = 4;

/// A word of 16 tokens in two registers.
type Halves = [__m256i; 2];

impl<const VNNI: bool> Isa for Avx2<VNNI> {
    const FMA: bool = true;

    #[inline(always)]
    fn to_half(lane: &Lane) -> HalfLane {
        // SAFETY: this implementation is only run where the processor has F16C; see `dispatch`.
        #[allow(unsafe_code)]
        unsafe {
            to_half(lane)
        }
    }

    #[inline(always)]
    fn from_half(lane: &HalfLane) -> Lane {
        // SAFETY: as above.
        #[allow(unsafe_code)]
        unsafe {
            from_half(lane)
        }
    }

    #[inline(always)]
    fn int8_tile<const PANELS: usize>(
        rows: &[[u32; OUTPUTS]],
        words: [&[Word]; PANELS],
    ) -> [Sums; PANELS] {
        words.map(|words| {
            // SAFETY: this implementation is only run where the processor has AVX2, and AVX-VNNI if `VNNI`; see `dispatch`.
            #[allow(unsafe_code)]
            let halves = unsafe {
                if VNNI {
                    [
                        by_dot_products::<0>(rows, words),
                        by_dot_products::<ROWS>(rows, words),
                    ]
                } else {
                    [by_pairs::<0>(rows, words), by_pairs::<ROWS>(rows, words)]
                }
            };
            let mut sums = [[0; LANES]; OUTPUTS];
            for (sums, totals) in sums.iter_mut().zip(halves.as_flattened()) {
                *sums = store(*totals);
            }
            sums
        })
    }
}

/// The sums of four outputs: one instruction multiplies and adds four bytes.
#[inline]
#[target_feature(enable = "avx2,avxvnni")]
fn by_dot_products<const FIRST: usize>(rows: &[[u32; OUTPUTS]], words: &[Word]) -> [Halves; ROWS] {
    let mut totals = [[_mm256_setzero_si256(); 2]; ROWS];
    for (row, word) in rows.iter().zip(words) {
        let [low, high] = load(word);
        for (output, total) in totals.iter_mut().enumerate() {
            let weights = _mm256_set1_epi32(row[FIRST + output].cast_signed());
            total[0] = _mm256_dpbusd_avx_epi32(total[0], low, weights);
            total[1] = _mm256_dpbusd_avx_epi32(total[1], high, weights);
        }
    }
    totals
}

/// The sums of four outputs, the bytes as pairs of 16-bit integers: products of bytes would not fit the instruction for bytes,
/// which saturates at 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn by_pairs<const FIRST: usize>(rows: &[[u32; OUTPUTS]], words: &[Word]) -> [Halves; ROWS] {
    let mask = _mm256_set1_epi16(0xff);
    let mut totals = [[_mm256_setzero_si256(); 2]; ROWS];
    for (row, word) in rows.iter().zip(words) {
        let [low, high] = load(word);
        let even = [_mm256_and_si256(low, mask), _mm256_and_si256(high, mask)];
        let odd = [_mm256_srli_epi16::<8>(low), _mm256_srli_epi16::<8>(high)];
        for (output, total) in totals.iter_mut().enumerate() {
            let weights = _mm256_set1_epi32(row[FIRST + output].cast_signed());
            let even_weights = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(weights));
            let odd_weights = _mm256_srai_epi16::<8>(weights);
            for half in 0..2 {
                let products = _mm256_add_epi32(
                    _mm256_madd_epi16(even[half], even_weights),
                    _mm256_madd_epi16(odd[half], odd_weights),
                );
                total[half] = _mm256_add_epi32(total[half], products);
            }
        }
    }
    totals
}

#[inline]
#[target_feature(enable = "avx,f16c")]
fn to_half(lane: &Lane) -> HalfLane {
    // SAFETY: both types are 16 values of f32, and any bits are a value.
    #[allow(unsafe_code)]
    let halves = unsafe { std::mem::transmute::<Lane, [__m256; 2]>(*lane) };
    let halves = halves.map(|half| _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(half));
    // SAFETY: both types are 16 values of 16 bits, and any bits are a value.
    #[allow(unsafe_code)]
    unsafe {
        std::mem::transmute::<[__m128i; 2], HalfLane>(halves)
    }
}

#[inline]
#[target_feature(enable = "avx,f16c")]
fn from_half(lane: &HalfLane) -> Lane {
    // SAFETY: as in `to_half`.
    #[allow(unsafe_code)]
    let halves = unsafe { std::mem::transmute::<HalfLane, [__m128i; 2]>(*lane) };
    let halves = halves.map(|half| _mm256_cvtph_ps(half));
    // SAFETY: as in `to_half`.
    #[allow(unsafe_code)]
    unsafe {
        std::mem::transmute::<[__m256; 2], Lane>(halves)
    }
}

#[inline(always)]
fn load(word: &Word) -> Halves {
    // SAFETY: both types are 16 values of 32 bits, and any bits are a value.
    #[allow(unsafe_code)]
    unsafe {
        std::mem::transmute::<Word, Halves>(*word)
    }
}

#[inline(always)]
fn store(totals: Halves) -> [i32; LANES] {
    // SAFETY: as for `load`.
    #[allow(unsafe_code)]
    unsafe {
        std::mem::transmute::<Halves, [i32; LANES]>(totals)
    }
}
