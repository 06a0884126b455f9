/* SPDX-License-Identifier: Apache-2.0 */
#include "tile.h"

#include <stdlib.h>
#include <string.h>

#ifdef __SSE2__
#include <immintrin.h>
#endif

static inline real from_f32(float x)
{
    return (real)x;
}
static inline real from_f64(double x)
{
    return (real)x;
}
static inline real from_u8(uint8_t x)
{
    return (real)x;
}

/* Half precision in integer steps that vectorise. The exponent's bias differs by 112, and a product with
 * 2^112 also normalises subnormal numbers; infinity and NaN get the wider format's exponent of all ones. */
static inline real from_f16(uint16_t half)
{
    const uint32_t magnitude = (uint32_t)(half & 0x7fff) << 13;
    float x;
    memcpy(&x, &magnitude, sizeof x);
    x *= 0x1p112F;
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits |= magnitude >= 0x0f800000 ? 0x7f800000 : 0;
    bits |= (uint32_t)(half & 0x8000) << 16;
    memcpy(&x, &bits, sizeof x);
    return (real)x;
}

typedef void load_function(const void *memory, const int64_t *offset, int64_t rows, int64_t n, int64_t stride,
                           bool along_rows, real *copy, int64_t leading);

/* Elements are read in the order in which they lie closest. */
#define DEFINE_LOAD(name, type, convert)                                                                 \
    static void name(const void *memory, const int64_t *offset, int64_t rows, int64_t n, int64_t stride, \
                     bool along_rows, real *copy, int64_t leading)                                       \
    {                                                                                                    \
        const type *const element = memory;                                                              \
        if (along_rows) {                                                                                \
            for (int64_t i = 0; i < n; i++)                                                              \
                for (int64_t k = 0; k < rows; k++)                                                       \
                    copy[k * leading + i] = convert(element[offset[k] + i * stride]);                    \
            return;                                                                                      \
        }                                                                                                \
        for (int64_t k = 0; k < rows; k++) {                                                             \
            const type *const row = element + offset[k];                                                 \
            real *const to = copy + k * leading;                                                         \
            if (stride == 1) {                                                                           \
                _Pragma("omp simd") for (int64_t i = 0; i < n; i++) to[i] = convert(row[i]);             \
            } else {                                                                                     \
                for (int64_t i = 0; i < n; i++)                                                          \
                    to[i] = convert(row[i * stride]);                                                    \
            }                                                                                            \
        }                                                                                                \
    }

DEFINE_LOAD(load_f32, float, from_f32)
DEFINE_LOAD(load_f64, double, from_f64)
DEFINE_LOAD(load_f16, uint16_t, from_f16)
DEFINE_LOAD(load_u8, uint8_t, from_u8)

static load_function *const load[] = {
    [RATECL_F32] = load_f32, [RATECL_F64] = load_f64, [RATECL_F16] = load_f16, [RATECL_U8] = load_u8
};

void rc_tile_load(const rc_view *view, const void *memory, const rc_rows *rows, int64_t column, int64_t n,
                  real *copy, int64_t leading)
{
    const int64_t stride = view->shape[2] == 1 ? 1 : view->strides[2];
    int64_t offset[RC_PIECE_ROWS];
    for (int64_t k = 0; k < rows->count; k++)
        offset[k] = rows->offset[k] + column * stride;
    load[view->element](memory, offset, rows->count, n, stride, llabs(view->strides[1]) < llabs(stride), copy,
                        leading);
}

typedef void store_function(void *memory, const int64_t *offset, int64_t rows, int64_t n, int64_t stride,
                            bool along_rows, bool accumulate, const real *piece, int64_t leading);

/* Elements are written in the order in which they lie closest. */
#define DEFINE_STORE(name, type)                                                                   \
    static void name(void *memory, const int64_t *offset, int64_t rows, int64_t n, int64_t stride, \
                     bool along_rows, bool accumulate, const real *piece, int64_t leading)         \
    {                                                                                              \
        type *const element = memory;                                                              \
        if (along_rows) {                                                                          \
            for (int64_t i = 0; i < n; i++)                                                        \
                for (int64_t k = 0; k < rows; k++) {                                               \
                    type *const to = element + offset[k] + i * stride;                             \
                    *to = (type)piece[k * leading + i] + (accumulate ? *to : 0);                   \
                }                                                                                  \
            return;                                                                                \
        }                                                                                          \
        for (int64_t k = 0; k < rows; k++) {                                                       \
            type *const to = element + offset[k];                                                  \
            const real *const from = piece + k * leading;                                          \
            if (stride == 1 && accumulate) {                                                       \
                _Pragma("omp simd") for (int64_t i = 0; i < n; i++) to[i] += (type)from[i];        \
            } else if (stride == 1) {                                                              \
                _Pragma("omp simd") for (int64_t i = 0; i < n; i++) to[i] = (type)from[i];         \
            } else {                                                                               \
                for (int64_t i = 0; i < n; i++)                                                    \
                    to[i * stride] = (type)from[i] + (accumulate ? to[i * stride] : 0);            \
            }                                                                                      \
        }                                                                                          \
    }

DEFINE_STORE(store_f32, float)
DEFINE_STORE(store_f64, double)

static store_function *const store[] = { [RATECL_F32] = store_f32, [RATECL_F64] = store_f64 };

#ifdef __SSE2__
/* Whether an array that no cache holds is written past the caches: its old lines need not be read then, which
 * takes a third to a half off the time of a gradient that needs little arithmetic. */
static bool streams(const rc_gradient *to)
{
    enum { UNCACHED = (1 << 25) / sizeof(real) };
    return !to->accumulate && rc_tile_in_place(&to->view) && to->view.extent >= UNCACHED;
}

/* A cache line past the caches, in as few stores as there can be: few of them wait at a time. */
static inline void stream_line(real *to, const real *from)
{
#if defined(__AVX512F__)
    _mm512_stream_si512((void *)to, _mm512_loadu_si512((const void *)from));
#elif defined(__AVX__)
    for (int half = 0; half < 2; half++)
        _mm256_stream_si256((__m256i *)(void *)to + half,
                            _mm256_loadu_si256((const __m256i *)(const void *)from + half));
#else
    for (int quarter = 0; quarter < 4; quarter++)
        _mm_stream_si128((__m128i *)(void *)to + quarter,
                         _mm_loadu_si128((const __m128i *)(const void *)from + quarter));
#endif
}

static void stream_row(real *to, const real *from, int64_t n)
{
    enum { CACHE_LINE = 64, LINE = CACHE_LINE / sizeof(real) };
    int64_t i = 0;
    for (; i < n && (uintptr_t)(to + i) % CACHE_LINE != 0; i++)
        to[i] = from[i];
    for (; i + LINE <= n; i += LINE)
        stream_line(to + i, from + i);
    for (; i < n; i++)
        to[i] = from[i];
}
#endif

void rc_tile_store(const rc_gradient *to, void *memory, const rc_rows *rows, int64_t column, int64_t n,
                   const real *piece, int64_t leading)
{
    const rc_view *const view = &to->view;
    const int64_t stride = view->shape[2] == 1 ? 1 : view->strides[2];
    int64_t offset[RC_PIECE_ROWS];
    for (int64_t k = 0; k < rows->count; k++)
        offset[k] = rows->offset[k] + column * stride;
#ifdef __SSE2__
    if (streams(to)) {
        for (int64_t k = 0; k < rows->count; k++)
            stream_row((real *)memory + offset[k], piece + k * leading, n);
        return;
    }
#endif
    store[view->element](memory, offset, rows->count, n, stride, llabs(view->strides[1]) < llabs(stride),
                         to->accumulate, piece, leading);
}

void rc_tile_store_end(void)
{
#ifdef __SSE2__
    _mm_sfence();
#endif
}
