/* SPDX-License-Identifier: Apache-2.0 */
/* Vectors of reals, as wide as the instruction set has them. */
#ifndef RATECL_SRC_CPU_VECTOR_H
#define RATECL_SRC_CPU_VECTOR_H

#include <float.h>
#include <math.h>
#include <string.h>

#ifdef __SSE2__
#include <immintrin.h>
#endif

#include "variant.h"

#define RC_INLINE static inline __attribute__((always_inline))
/* A function of one vector loop. GCC 12 runs some of these loops element by element once they are inlined. */
#define RC_LOOP static __attribute__((noinline))

#if RC_REAL_BITS == 64
typedef uint64_t rc_bits;
#else
typedef uint32_t rc_bits;
#endif

enum {
    RC_LANES = RC_VECTOR_BYTES / sizeof(real),
    RC_RUN = 8 * RC_LANES /* columns of a row whose sums are taken in real */
};

typedef real rc_vector __attribute__((vector_size(RC_VECTOR_BYTES), may_alias));
typedef rc_bits rc_bit_vector __attribute__((vector_size(RC_VECTOR_BYTES), may_alias));

RC_INLINE rc_vector rc_load(const real *x)
{
    rc_vector v;
    memcpy(&v, x, sizeof v);
    return v;
}

/* The first n < RC_LANES of them, and zeros. */
RC_INLINE rc_vector rc_load_some(const real *x, int64_t n)
{
#if defined(__AVX512F__) && RC_REAL_BITS == 32
    return (rc_vector)_mm512_maskz_loadu_ps((__mmask16)((1U << n) - 1), x);
#elif defined(__AVX512F__)
    return (rc_vector)_mm512_maskz_loadu_pd((__mmask8)((1U << n) - 1), x);
#else
    real some[RC_LANES] = { 0 };
    for (int64_t k = 0; k < n; k++)
        some[k] = x[k];
    return rc_load(some);
#endif
}

/* As many as there are, up to RC_LANES. */
RC_INLINE rc_vector rc_load_up_to(const real *x, int64_t n)
{
    return n >= RC_LANES ? rc_load(x) : rc_load_some(x, n);
}

/* RC_LANES counts. */
RC_INLINE rc_vector rc_load_u8(const uint8_t *x)
{
#if defined(__AVX512F__) && RC_REAL_BITS == 32
    return (rc_vector)_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)x)));
#elif defined(__AVX512F__)
    return (rc_vector)_mm512_cvtepi32_pd(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)x)));
#elif defined(__AVX2__) && RC_REAL_BITS == 32
    return (rc_vector)_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)x)));
#else
    real counts[RC_LANES];
    for (int l = 0; l < RC_LANES; l++)
        counts[l] = (real)x[l];
    return rc_load(counts);
#endif
}

/* RC_LANES numbers of half precision, where the instruction set has them. */
#ifdef __AVX512F__
#define RC_LOADS_F16 1
RC_INLINE rc_vector rc_load_f16(const uint16_t *x)
{
#if RC_REAL_BITS == 32
    return (rc_vector)_mm512_cvtph_ps(_mm256_loadu_si256((const void *)x));
#else
    const __m256i low = _mm256_castsi128_si256(_mm_loadu_si128((const void *)x));
    return (rc_vector)_mm512_cvtps_pd(_mm512_castps512_ps256(_mm512_cvtph_ps(low)));
#endif
}
#endif

RC_INLINE void rc_store(real *to, rc_vector v)
{
    memcpy(to, &v, sizeof v);
}

/* Whether a component of x is below y. */
RC_INLINE bool rc_any_below(rc_vector x, real y)
{
#if defined(__AVX512F__) && RC_REAL_BITS == 32
    return _mm512_cmp_ps_mask((__m512)x, _mm512_set1_ps(y), _CMP_LT_OQ) != 0;
#elif defined(__AVX512F__)
    return _mm512_cmp_pd_mask((__m512d)x, _mm512_set1_pd(y), _CMP_LT_OQ) != 0;
#elif defined(__AVX__) && RC_REAL_BITS == 32
    return _mm256_movemask_ps(_mm256_cmp_ps((__m256)x, _mm256_set1_ps(y), _CMP_LT_OQ)) != 0;
#elif defined(__AVX__)
    return _mm256_movemask_pd(_mm256_cmp_pd((__m256d)x, _mm256_set1_pd(y), _CMP_LT_OQ)) != 0;
#else
    bool below = false;
    for (int l = 0; l < RC_LANES; l++)
        below |= x[l] < y;
    return below;
#endif
}

/* Components of x where the mask's are all ones, of y where they are 0. */
RC_INLINE rc_vector rc_select(rc_bit_vector mask, rc_vector x, rc_vector y)
{
    return (rc_vector)(((rc_bit_vector)x & mask) | ((rc_bit_vector)y & ~mask));
}

/* The same number in every lane. */
RC_INLINE rc_vector rc_all(real x)
{
    return x - (rc_vector){ 0 };
}

/* Whether a sign bit is set; that of -0 may be. */
RC_INLINE bool rc_any_sign(rc_bit_vector signs)
{
    const rc_bits sign = (rc_bits)1 << (RC_REAL_BITS - 1);
    return rc_any_below((rc_vector)((signs & sign) | (rc_bit_vector)rc_all(1)), 0);
}

static inline bool rc_any_negative(const real *x, int64_t n)
{
    bool negative = false;
    for (int64_t j = 0; j < n; j++)
        negative |= x[j] < 0;
    return negative;
}

RC_INLINE void rc_add_lanes(double sums[RC_LANES], rc_vector x)
{
#pragma omp simd
    for (int l = 0; l < RC_LANES; l++)
        sums[l] += (double)x[l];
}

/* The same of whole numbers. */
RC_INLINE void rc_add_whole_lanes(uint32_t sums[RC_LANES], rc_vector x)
{
    typedef int32_t integers __attribute__((vector_size(4 * RC_LANES)));
    integers before;
    memcpy(&before, sums, sizeof before);
    before += __builtin_convertvector(x, integers);
    memcpy(sums, &before, sizeof before);
}

/* By halves: a chain of all lanes would take longer than a short row. */
RC_INLINE double rc_sum_lanes(const double sums[RC_LANES])
{
    typedef double pair __attribute__((vector_size(2 * sizeof(double))));
    pair pairs[RC_LANES / 2];
    memcpy(pairs, sums, sizeof pairs);
#pragma GCC unroll 3
    for (int half = RC_LANES / 4; half > 0; half /= 2)
#pragma GCC unroll 4
        for (int k = 0; k < half; k++)
            pairs[k] += pairs[k + half];
    return pairs[0][0] + pairs[0][1];
}

RC_INLINE double rc_sum(rc_vector x)
{
    double sums[RC_LANES] = { 0 };
    rc_add_lanes(sums, x);
    return rc_sum_lanes(sums);
}

/* Add x - x of each number, which is 0 but for infinities and NaN, to `spoiled`. What is written to f32 must
 * be in its range: in double, `factor` takes an end of that range to the end of double's; otherwise it is 1.
 */
RC_INLINE rc_vector rc_spoil(rc_vector spoiled, const real *x, int64_t n, real factor)
{
    for (int64_t j = 0; j < n; j += RC_LANES) {
        const rc_vector v = factor * rc_load_up_to(x + j, n - j);
        spoiled += v - v;
    }
    return spoiled;
}

static inline real rc_spoil_factor(ratecl_element written)
{
    return RC_REAL_BITS == 64 && written == RATECL_F32 ? (real)0x1p896 : 1;
}

RC_INLINE bool rc_is_spoiled(rc_vector spoiled)
{
    bool any = false;
    for (int l = 0; l < RC_LANES; l++)
        any |= spoiled[l] != 0;
    return any;
}

/* e of a mean in [2^(e-1), 2^e); 0 where there is none. */
static inline int rc_exponent_of(double mean)
{
    uint64_t bits;
    memcpy(&bits, &mean, sizeof bits);
    return mean > DBL_MIN && mean < (double)INFINITY ? (int)(bits >> 52) - 1022 : 0;
}

/* Have the cache line `bytes` after x on its way to the second-level cache; there need be none. */
RC_INLINE void rc_fetch(const void *x, int64_t bytes)
{
    __builtin_prefetch((const char *)x + bytes, 0, 2);
}

RC_INLINE void rc_fetch_to_write(const void *x, int64_t bytes)
{
    __builtin_prefetch((const char *)x + bytes, 1, 2);
}

#endif
