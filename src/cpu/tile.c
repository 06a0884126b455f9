/* SPDX-License-Identifier: Apache-2.0 */
#include "tile.h"

#include "vector.h"

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

enum { ROWS_AHEAD = 8 };

/* ---- Squares of RC_LANES rows x RC_LANES columns ---- */

/* The components that two vectors give to the lower and the upper half of their interleaved whole. */
#define LOWER_2 0, 2
#define UPPER_2 1, 3
#define LOWER_4 0, 4, 1, 5
#define UPPER_4 2, 6, 3, 7
#define LOWER_8 0, 8, 1, 9, 2, 10, 3, 11
#define UPPER_8 4, 12, 5, 13, 6, 14, 7, 15
#define LOWER_16 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define UPPER_16 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#if RC_VECTOR_BYTES * 8 == 16 * RC_REAL_BITS
#define INTERLEAVE(x, y, half) __builtin_shufflevector(x, y, half##_16)
#elif RC_VECTOR_BYTES * 8 == 8 * RC_REAL_BITS
#define INTERLEAVE(x, y, half) __builtin_shufflevector(x, y, half##_8)
#elif RC_VECTOR_BYTES * 8 == 4 * RC_REAL_BITS
#define INTERLEAVE(x, y, half) __builtin_shufflevector(x, y, half##_4)
#else
#define INTERLEAVE(x, y, half) __builtin_shufflevector(x, y, half##_2)
#endif

/* A perfect shuffle of all, log2(RC_LANES) times. */
RC_INLINE void transpose(rc_vector square[RC_LANES])
{
    enum { HALF = RC_LANES / 2 };
#pragma GCC unroll 4
    for (int stage = 1; stage < RC_LANES; stage *= 2) {
        rc_vector shuffled[RC_LANES];
#pragma GCC unroll 8
        for (int k = 0; k < HALF; k++) {
            shuffled[2 * k] = INTERLEAVE(square[k], square[k + HALF], LOWER);
            shuffled[2 * k + 1] = INTERLEAVE(square[k], square[k + HALF], UPPER);
        }
        memcpy(square, shuffled, sizeof shuffled);
    }
}

/* Whether RC_LANES rows from `offset` on are neighbours. */
static bool neighbours(const int64_t *offset)
{
    bool all = true;
    for (int64_t k = 1; k < RC_LANES; k++)
        all &= offset[k] == offset[0] + k;
    return all;
}

/* ---- Loading ---- */

typedef void load_function(const void *memory, const int64_t *offset, int64_t rows, int64_t n, int64_t stride,
                           int64_t ahead, bool across, real *copy, int64_t leading);

#define DEFINE_LOAD_RUN(name, type, convert)            \
    RC_INLINE rc_vector name##_run(const type *element) \
    {                                                   \
        real run[RC_LANES];                             \
        for (int k = 0; k < RC_LANES; k++)              \
            run[k] = convert(element[k]);               \
        return rc_load(run);                            \
    }
DEFINE_LOAD_RUN(load_f32, float, from_f32)
DEFINE_LOAD_RUN(load_f64, double, from_f64)
#define load_u8_run rc_load_u8
#ifdef RC_LOADS_F16
#define load_f16_run rc_load_f16
#else
DEFINE_LOAD_RUN(load_f16, uint16_t, from_f16)
#endif

/* Elements are read in the order in which they lie closest: across the rows by squares where these are
 * neighbours, while the rows of the next piece are fetched; else along the rows, while what lies `ahead`
 * elements after them is. */
#define DEFINE_LOAD(name, type, convert)                                                                     \
    static void name##_square(const type *element, int64_t stride, real *copy, int64_t leading)              \
    {                                                                                                        \
        rc_vector square[RC_LANES];                                                                          \
        _Pragma("GCC unroll 16") for (int i = 0; i < RC_LANES; i++)                                          \
        {                                                                                                    \
            square[i] = name##_run(element + i * stride);                                                    \
            rc_fetch(element + i * stride, RC_PIECE_ROWS * (int64_t)sizeof(type));                           \
        }                                                                                                    \
        transpose(square);                                                                                   \
        _Pragma("GCC unroll 16") for (int k = 0; k < RC_LANES; k++) rc_store(copy + k * leading, square[k]); \
    }                                                                                                        \
    static void name(const void *memory, const int64_t *offset, int64_t rows, int64_t n, int64_t stride,     \
                     int64_t ahead, bool across, real *copy, int64_t leading)                                \
    {                                                                                                        \
        const type *const element = memory;                                                                  \
        for (int64_t k = 0, count; k < rows; k += count) {                                                   \
            const bool squares = across && k + RC_LANES <= rows && neighbours(offset + k);                   \
            int64_t i = 0;                                                                                   \
            count = squares ? RC_LANES : 1;                                                                  \
            for (; squares && i + RC_LANES <= n; i += RC_LANES)                                              \
                name##_square(element + offset[k] + i * stride, stride, copy + k * leading + i, leading);    \
            for (int64_t r = k; r < k + count; r++) {                                                        \
                const type *const row = element + offset[r];                                                 \
                real *const to = copy + r * leading;                                                         \
                int64_t j = i;                                                                               \
                for (; stride == 1 && j + RC_LANES <= n; j += RC_LANES) {                                    \
                    rc_store(to + j, name##_run(row + j));                                                   \
                    rc_fetch(row + j, ahead * (int64_t)sizeof(type));                                        \
                }                                                                                            \
                for (; j < n; j++)                                                                           \
                    to[j] = convert(row[j * stride]);                                                        \
            }                                                                                                \
        }                                                                                                    \
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
    load[view->element](memory, offset, rows->count, n, stride, ROWS_AHEAD * view->strides[1],
                        rc_tile_across(view), copy, leading);
}

/* ---- Storing ---- */

/* The types of what is stored, by the functions' names: macros' arguments are no part of a pointer's type. */
typedef float store_f32_element;
typedef double store_f64_element;

typedef void store_function(void *memory, const int64_t *offset, int64_t rows, int64_t n, int64_t stride,
                            bool across, bool accumulate, const real *piece, int64_t leading);

/* Elements are written in the order in which they lie closest; by squares while what the next piece writes is
 * fetched. */
#define DEFINE_STORE(name)                                                                                   \
    static void name##_square(name##_element *element, int64_t stride, bool accumulate, const real *piece,   \
                              int64_t leading)                                                               \
    {                                                                                                        \
        rc_vector square[RC_LANES];                                                                          \
        _Pragma("GCC unroll 16") for (int k = 0; k < RC_LANES; k++) square[k] =                              \
            rc_load(piece + k * leading);                                                                    \
        transpose(square);                                                                                   \
        _Pragma("GCC unroll 16") for (int i = 0; i < RC_LANES; i++)                                          \
        {                                                                                                    \
            name##_element *const to = element + i * stride;                                                 \
            rc_fetch_to_write(to, RC_PIECE_ROWS *(int64_t)sizeof(*to));                                      \
            real run[RC_LANES];                                                                              \
            rc_store(run, square[i]);                                                                        \
            for (int k = 0; k < RC_LANES; k++)                                                               \
                to[k] = (name##_element)run[k] + (accumulate ? to[k] : 0);                                   \
        }                                                                                                    \
    }                                                                                                        \
    static void name(void *memory, const int64_t *offset, int64_t rows, int64_t n, int64_t stride,           \
                     bool across, bool accumulate, const real *piece, int64_t leading)                       \
    {                                                                                                        \
        name##_element *const element = memory;                                                              \
        for (int64_t k = 0, count; k < rows; k += count) {                                                   \
            const bool squares = across && k + RC_LANES <= rows && neighbours(offset + k);                   \
            int64_t i = 0;                                                                                   \
            count = squares ? RC_LANES : 1;                                                                  \
            for (; squares && i + RC_LANES <= n; i += RC_LANES)                                              \
                name##_square(element + offset[k] + i * stride, stride, accumulate, piece + k * leading + i, \
                              leading);                                                                      \
            for (int64_t r = k; r < k + count; r++) {                                                        \
                name##_element *const to = element + offset[r];                                              \
                const real *const from = piece + r * leading;                                                \
                if (stride == 1) {                                                                           \
                    _Pragma("omp simd") for (int64_t j = 0; j < n; j++) to[j] =                              \
                        (name##_element)from[j] + (accumulate ? to[j] : 0);                                  \
                } else {                                                                                     \
                    for (int64_t j = i; j < n; j++)                                                          \
                        to[j * stride] = (name##_element)from[j] + (accumulate ? to[j * stride] : 0);        \
                }                                                                                            \
            }                                                                                                \
        }                                                                                                    \
    }

DEFINE_STORE(store_f32)
DEFINE_STORE(store_f64)

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
    enum { LINE = RC_CACHE_LINE / sizeof(real) };
    int64_t i = 0;
    for (; i < n && (uintptr_t)(to + i) % RC_CACHE_LINE != 0; i++)
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
    store[view->element](memory, offset, rows->count, n, stride, rc_tile_across(view), to->accumulate, piece,
                         leading);
}

void rc_tile_store_end(void)
{
#ifdef __SSE2__
    _mm_sfence();
#endif
}
