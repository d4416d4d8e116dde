//! The nonce search on the vector instructions of x86-64: 8 nonces at a time with AVX-512, 4 with
//! AVX2.
//!
//! The only module of this crate with `unsafe`: two calls of functions that need a processor feature, each
//! directly after the check for that feature.

use super::Task;

/// Searches 8 nonces at a time. `None` when this processor lacks AVX-512F.
#[expect(unsafe_code, reason = "the compiler cannot know what processor this will run on")]
pub(super) fn search_8(task: &Task, start: u64, batches: u64, mask: u64) -> Option<Option<u64>> {
    if !has_avx512() {
        return None;
    }
    // SAFETY: the processor has AVX-512F, the only thing that this function needs.
    Some(unsafe { avx512::search(task, start, batches, mask) })
}

/// Searches 4 nonces at a time. `None` when this processor lacks AVX2.
#[expect(unsafe_code, reason = "the compiler cannot know what processor this will run on")]
pub(super) fn search_4(task: &Task, start: u64, batches: u64, mask: u64) -> Option<Option<u64>> {
    if !has_avx2() {
        return None;
    }
    // SAFETY: the processor has AVX2, the only thing that this function needs.
    Some(unsafe { avx2::search(task, start, batches, mask) })
}

/// Whether this processor supports [`search_8`].
pub(super) fn has_avx512() -> bool {
    std::arch::is_x86_feature_detected!("avx512f")
}

/// Whether this processor supports [`search_4`].
pub(super) fn has_avx2() -> bool {
    std::arch::is_x86_feature_detected!("avx2")
}

mod avx512 {
    use core::arch::x86_64::{
        __m512i, _mm512_rol_epi64, _mm512_set1_epi64, _mm512_setr_epi64, _mm512_ternarylogic_epi64,
        _mm512_testn_epi64_mask, _mm512_xor_si512,
    };

    use super::super::{
        Task,
        keccak::{LAST_CONSTANT, LAST_LANE, ROUND_CONSTANTS, search_with},
    };

    search_with!(__m512i, 8, #[target_feature(enable = "avx512f")]);

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn splat(word: u64) -> __m512i {
        _mm512_set1_epi64(word.cast_signed())
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn pack(words: [u64; 8]) -> __m512i {
        let [a, b, c, d, e, f, g, h] = words.map(u64::cast_signed);
        _mm512_setr_epi64(a, b, c, d, e, f, g, h)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn xor(a: __m512i, b: __m512i) -> __m512i {
        _mm512_xor_si512(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn xor3(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
        _mm512_ternarylogic_epi64::<0b1001_0110>(a, b, c)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn rotate<const LEFT: i32>(a: __m512i) -> __m512i {
        _mm512_rol_epi64::<LEFT>(a)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn chi(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
        _mm512_ternarylogic_epi64::<0b1101_0010>(a, b, c)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn first_hit(lanes: __m512i, mask: u64) -> Option<u32> {
        let hits = _mm512_testn_epi64_mask(lanes, splat(mask));
        (hits != 0).then(|| hits.trailing_zeros())
    }
}

mod avx2 {
    use core::arch::x86_64::{
        __m256i, _mm_cvtsi32_si128, _mm256_and_si256, _mm256_andnot_si256, _mm256_castsi256_pd,
        _mm256_cmpeq_epi64, _mm256_movemask_pd, _mm256_or_si256, _mm256_set1_epi64x,
        _mm256_setr_epi64x, _mm256_setzero_si256, _mm256_sll_epi64, _mm256_srl_epi64,
        _mm256_xor_si256,
    };

    use super::super::{
        Task,
        keccak::{LAST_CONSTANT, LAST_LANE, ROUND_CONSTANTS, search_with},
    };

    search_with!(__m256i, 4, #[target_feature(enable = "avx2")]);

    #[inline]
    #[target_feature(enable = "avx2")]
    fn splat(word: u64) -> __m256i {
        _mm256_set1_epi64x(word.cast_signed())
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn pack(words: [u64; 4]) -> __m256i {
        let [a, b, c, d] = words.map(u64::cast_signed);
        _mm256_setr_epi64x(a, b, c, d)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn xor(a: __m256i, b: __m256i) -> __m256i {
        _mm256_xor_si256(a, b)
    }

    // Each operand is used five times: this form lets the compiler compute the common part once.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn xor3(a: __m256i, b: __m256i, c: __m256i) -> __m256i {
        _mm256_xor_si256(a, _mm256_xor_si256(b, c))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn rotate<const LEFT: i32>(a: __m256i) -> __m256i {
        // Immediate shifts would need `64 - LEFT` as a constant; the compiler folds these.
        let left = _mm256_sll_epi64(a, _mm_cvtsi32_si128(LEFT));
        let right = _mm256_srl_epi64(a, _mm_cvtsi32_si128(64 - LEFT));
        _mm256_or_si256(left, right)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn chi(a: __m256i, b: __m256i, c: __m256i) -> __m256i {
        _mm256_xor_si256(a, _mm256_andnot_si256(b, c))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn first_hit(lanes: __m256i, mask: u64) -> Option<u32> {
        let rest = _mm256_and_si256(lanes, splat(mask));
        let hits = _mm256_cmpeq_epi64(rest, _mm256_setzero_si256());
        let hits = _mm256_movemask_pd(_mm256_castsi256_pd(hits));
        (hits != 0).then(|| hits.trailing_zeros())
    }
}
