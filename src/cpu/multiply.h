/* SPDX-License-Identifier: Apache-2.0 */
/* Tiles of products of states and weights that live in registers. Sums of at most RC_CHUNK products are taken
 * in real, and those of up to eight such sums, everything longer in double. */
#ifndef RATECL_SRC_CPU_MULTIPLY_H
#define RATECL_SRC_CPU_MULTIPLY_H

#include "tile.h"
#include "vector.h"

enum {
    RC_CHUNK = 32,
    RC_MEETING = 8 * RC_CHUNK,
    RC_PANEL = 2 * RC_LANES,
    /* Rows of a tile: its two columns of vectors fill the registers, of which AVX-512 has 32, others 16. */
    RC_TILE_ROWS = RC_VECTOR_BYTES == 64 ? 8 : 4
};
_Static_assert(RC_PANEL % RC_TILE_ROWS == 0, "the tiles of a panel end at the diagonal");
_Static_assert(8 % RC_TILE_ROWS == 0, "copies have room for rows up to a multiple of eight");
_Static_assert(RC_PANEL <= (int)RC_PIECE_ROWS, "one piece holds the rows of a panel");

typedef rc_vector rc_tile[RC_TILE_ROWS][2];

static inline const rc_vector *rc_vectors(const real *x)
{
    return (const rc_vector *)(const void *)x;
}

/* product[i][v] = sum_k a[k a_step + i a_row] b[k b_step + v], k < count <= RC_CHUNK, of the tile's columns
 * of vectors v from `first` on and before `end`, which are constants wherever this is used. */
RC_INLINE void rc_multiply_chunk(rc_tile product, const real *a, int64_t a_row, int64_t a_step, const real *b,
                                 int64_t b_step, int64_t count, const int first, const int end)
{
    rc_tile t = { { { 0 } } };
    for (int64_t k = 0; k < count; k++) {
        const rc_vector *const b_k = rc_vectors(b + k * b_step);
        const rc_vector b0 = b_k[first], b1 = b_k[end - 1];
        for (int i = 0; i < RC_TILE_ROWS; i++) {
            const real a_ki = a[k * a_step + i * a_row];
            t[i][first] += a_ki * b0;
            if (first + 1 < end)
                t[i][1] += a_ki * b1;
        }
    }
    memcpy(product, t, sizeof t);
}

/* The same for count <= RC_MEETING. */
RC_INLINE void rc_multiply(rc_tile product, const real *a, int64_t a_row, int64_t a_step, const real *b,
                           int64_t b_step, int64_t count, const int first, const int end)
{
    rc_tile total = { { { 0 } } };
    for (int64_t k = 0; k < count; k += RC_CHUNK) {
        rc_tile part;
        rc_multiply_chunk(part, a + k * a_step, a_row, a_step, b + k * b_step, b_step,
                          rc_least(RC_CHUNK, count - k), first, end);
        for (int i = 0; i < RC_TILE_ROWS; i++)
            for (int v = first; v < end; v++)
                total[i][v] += part[i][v];
    }
    memcpy(product, total, sizeof total);
}

/* sums[i][:] += the same for any count; sums: (RC_TILE_ROWS, RC_PANEL). To join the doubles costs as much as
 * half a chunk. */
RC_INLINE void rc_multiply_add(double *sums, const real *a, int64_t a_row, int64_t a_step, const real *b,
                               int64_t b_step, int64_t count)
{
    for (int64_t k = 0; k < count; k += RC_MEETING) {
        rc_tile product;
        rc_multiply(product, a + k * a_step, a_row, a_step, b + k * b_step, b_step,
                    rc_least(RC_MEETING, count - k), 0, 2);
        real elements[RC_TILE_ROWS * RC_PANEL];
        memcpy(elements, product, sizeof elements);
#pragma omp simd
        for (int j = 0; j < RC_TILE_ROWS * RC_PANEL; j++)
            sums[j] += (double)elements[j];
    }
}

/* Copy the columns [column, column + columns) of rows of the states to (count, leading) reals: zero beyond
 * the columns up to `width`, and zero rows beyond `count` up to a multiple of RC_TILE_ROWS. */
static inline void rc_copy_rows(const rc_view *states, const void *memory, int64_t first, int64_t count,
                                int64_t column, int64_t columns, int64_t width, real *copy, int64_t leading)
{
    for (int64_t r = 0; r < count; r += RC_PIECE_ROWS) {
        const rc_rows rows = rc_rows_find(states, first + r, rc_least(RC_PIECE_ROWS, count - r));
        rc_tile_load(states, memory, &rows, column, columns, copy + r * leading, leading);
    }
    for (int64_t r = 0; r < count; r++)
        memset(copy + r * leading + columns, 0, sizeof(real) * (size_t)(width - columns));
    for (int64_t r = count; r % RC_TILE_ROWS != 0; r++)
        memset(copy + r * leading, 0, sizeof(real) * (size_t)width);
}

#endif
