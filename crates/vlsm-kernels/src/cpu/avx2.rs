//! Products in 8 bits on AVX2, with AVX-VNNI or without. Those in f32 are loops over arrays, which the compiler turns into vectors.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_and_si256, _mm256_dpbusd_avx_epi32, _mm256_madd_epi16,
    _mm256_set1_epi16, _mm256_set1_epi32, _mm256_setzero_si256, _mm256_slli_epi16,
    _mm256_srai_epi16, _mm256_srli_epi16,
};

use super::int8::{Sums, Word};
use super::isa::Isa;
use super::panels::{LANES, Lane};
use super::tile::array;
use crate::int8::OUTPUTS;

/// AVX2 and FMA, with AVX-VNNI or without.
pub(crate) struct Avx2<const VNNI: bool>;

/// Outputs at a time: twice as many sums, and four registers of tokens.
const ROWS: usize = 4;

/// A word of 16 tokens in two registers.
type Halves = [__m256i; 2];

impl<const VNNI: bool> Isa for Avx2<VNNI> {
    const FMA: bool = true;
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
        for (words, sums) in words.into_iter().zip(sums) {
            // SAFETY: this implementation is only run where the processor has AVX2, and AVX-VNNI if `VNNI`; see `dispatch`.
            #[allow(unsafe_code)]
            unsafe {
                if VNNI {
                    by_dot_products::<0>(rows, words, sums);
                    by_dot_products::<ROWS>(rows, words, sums);
                } else {
                    by_pairs::<0>(rows, words, sums);
                    by_pairs::<ROWS>(rows, words, sums);
                }
            }
        }
    }
}

/// Adds the sums of four outputs: one instruction multiplies and adds four bytes.
#[inline]
#[target_feature(enable = "avx2,avxvnni")]
fn by_dot_products<const FIRST: usize>(rows: &[[u32; OUTPUTS]], words: &[Word], sums: &mut Sums) {
    let mut totals = [[_mm256_setzero_si256(); 2]; ROWS];
    for (row, word) in rows.iter().zip(words) {
        let [low, high] = load(word);
        for (output, total) in totals.iter_mut().enumerate() {
            let weights = _mm256_set1_epi32(row[FIRST + output].cast_signed());
            total[0] = _mm256_dpbusd_avx_epi32(total[0], low, weights);
            total[1] = _mm256_dpbusd_avx_epi32(total[1], high, weights);
        }
    }
    add::<FIRST>(sums, &totals);
}

/// Adds the sums of four outputs, the bytes as pairs of 16-bit integers: products of bytes would not fit the instruction for bytes,
/// which saturates at 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn by_pairs<const FIRST: usize>(rows: &[[u32; OUTPUTS]], words: &[Word], sums: &mut Sums) {
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
    add::<FIRST>(sums, &totals);
}

#[inline(always)]
fn load(word: &Word) -> Halves {
    // SAFETY: both types are 16 values of 32 bits, and any bits are a value.
    #[allow(unsafe_code)]
    unsafe {
        std::mem::transmute::<Word, Halves>(*word)
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn add<const FIRST: usize>(sums: &mut Sums, totals: &[Halves; ROWS]) {
    for (sum, total) in sums[FIRST..].iter_mut().zip(totals) {
        // SAFETY: as for `load`.
        #[allow(unsafe_code)]
        unsafe {
            let [low, high] = std::mem::transmute::<[i32; LANES], Halves>(*sum);
            let both = [
                _mm256_add_epi32(low, total[0]),
                _mm256_add_epi32(high, total[1]),
            ];
            *sum = std::mem::transmute::<Halves, [i32; LANES]>(both);
        }
    }
}
