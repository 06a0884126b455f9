/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled once for each instruction set; VARIANT names the table that is made. */
#include "loops.h"

#include <string.h>
#ifdef __SSE2__
#include <immintrin.h>
#endif

#ifdef __AVX512F__
enum { VECTOR = 64 };
#elif defined(__AVX__)
enum { VECTOR = 32 };
#else
enum { VECTOR = 16 };
#endif
enum { LANES = VECTOR / (int)sizeof(float), LINE = 16 /* words in a cache line */ };

typedef float floats __attribute__((vector_size(VECTOR), may_alias));
typedef uint32_t words __attribute__((vector_size(VECTOR), may_alias));

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* `streams` is a constant in every call: what is inlined has no inner loop left. */
ALWAYS_INLINE uint32_t read_streams(const uint32_t *x, size_t count, int streams, size_t ahead)
{
    enum { UNROLLED = 4, MOST = 8 };
    words sums[MOST][UNROLLED];
    memset(sums, 0, sizeof sums);
    const size_t part = count / (size_t)streams;
    for (size_t k = 0; k < part; k += (size_t)(UNROLLED * LANES))
        for (int s = 0; s < streams; ++s) {
            const uint32_t *from = x + (size_t)s * part + k;
            for (int u = 0; ahead && u < UNROLLED * LANES; u += LINE)
                __builtin_prefetch(from + ahead + u, 0, 3);
            for (int u = 0; u < UNROLLED; ++u)
                sums[s][u] += *(const words *)(const void *)(from + u * LANES);
        }
    uint32_t sum = 0;
    for (int s = 0; s < streams; ++s)
        for (int u = 0; u < UNROLLED; ++u)
            for (int lane = 0; lane < LANES; ++lane)
                sum += sums[s][u][lane];
    return sum;
}

static uint32_t read_words(const uint32_t *x, size_t count, int streams, size_t ahead)
{
    switch (streams) {
    case 8:
        return read_streams(x, count, 8, ahead);
    case 4:
        return read_streams(x, count, 4, ahead);
    case 2:
        return read_streams(x, count, 2, ahead);
    default:
        return read_streams(x, count, 1, ahead);
    }
}

ALWAYS_INLINE void store(float *to, floats value, bool non_temporal)
{
#if defined(__AVX512F__)
    if (non_temporal) {
        _mm512_stream_ps(to, (__m512)value);
        return;
    }
#elif defined(__AVX__)
    if (non_temporal) {
        _mm256_stream_ps(to, (__m256)value);
        return;
    }
#elif defined(__SSE2__)
    if (non_temporal) {
        _mm_stream_ps(to, (__m128)value);
        return;
    }
#endif
    (void)non_temporal;
    *(floats *)(void *)to = value;
}

/* Non-temporal stores are ordered by this alone. */
static void end_stores(void)
{
#ifdef __SSE2__
    _mm_sfence();
#endif
}

ALWAYS_INLINE floats load(const float *from)
{
    return *(const floats *)(const void *)from;
}

/* Memory is fetched a block ahead of what is written, so that it changes direction rarely. */
ALWAYS_INLINE void fetch(const float *from, size_t ahead)
{
    for (size_t k = 0; k < ahead; k += LINE)
        __builtin_prefetch(from + k, 0, 3);
}

static void write_floats(float *x, float value, size_t count, bool non_temporal)
{
    const floats all = value - (floats){ 0 };
    for (size_t k = 0; k < count; k += LANES)
        store(x + k, all, non_temporal);
    end_stores();
}

static void copy_floats(float *y, const float *x, size_t count, bool non_temporal, size_t ahead)
{
    const size_t block = ahead ? ahead : LOOP_BLOCK;
    for (size_t first = 0; first < count; first += block) {
        fetch(x + first, ahead);
        for (size_t k = first; k < first + block; k += LANES)
            store(y + k, load(x + k), non_temporal);
    }
    end_stores();
}

static void triad_floats(float *x, const float *y, const float *z, float scale, size_t count,
                         bool non_temporal, size_t ahead)
{
    const size_t block = ahead ? ahead : LOOP_BLOCK;
    for (size_t first = 0; first < count; first += block) {
        fetch(y + first, ahead);
        fetch(z + first, ahead);
        for (size_t k = first; k < first + block; k += LANES)
            store(x + k, load(y + k) + scale * load(z + k), non_temporal);
    }
    end_stores();
}

static void multiply_add(float *x, float factor, float term, int64_t rounds)
{
    const floats factors = factor - (floats){ 0 }, terms = term - (floats){ 0 };
    floats all[LOOP_ACCUMULATORS];
    memcpy(all, x, sizeof all);
    for (int64_t round = 0; round < rounds; ++round)
        for (int k = 0; k < LOOP_ACCUMULATORS; ++k)
            all[k] = all[k] * factors + terms;
    memcpy(x, all, sizeof all);
}

static int supported(void)
{
#if defined(__AVX512F__)
    return __builtin_cpu_supports("avx512f");
#elif defined(__AVX__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return 1;
#endif
}

#define TEXT_(name) #name
#define TEXT(name) TEXT_(name)
#define TABLE_(name) loops_##name
#define TABLE(name) TABLE_(name)

extern const loops TABLE(VARIANT);
const loops TABLE(VARIANT) = { TEXT(VARIANT), supported,   LANES,        read_words,
                               write_floats,  copy_floats, triad_floats, multiply_add };
