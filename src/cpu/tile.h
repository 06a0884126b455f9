/* SPDX-License-Identifier: Apache-2.0 */
/* Loading and storing: pieces of any array as contiguous rows of reals. */
#ifndef RATECL_SRC_CPU_TILE_H
#define RATECL_SRC_CPU_TILE_H

#include "variant.h"

enum {
    RC_PIECE_ROWS = 32,
    /* A piece's rows are no power of two apart, so that they do not share cache sets. */
    RC_PIECE_LEADING = RC_TILE_COLUMNS + 16
};

/* Up to RC_PIECE_ROWS rows r = b T + t of an input. */
typedef struct rc_rows {
    int64_t count;
    int64_t offset[RC_PIECE_ROWS]; /* of the row's first element, in elements */
    int64_t step[RC_PIECE_ROWS];   /* t */
} rc_rows;

static inline rc_rows rc_rows_find(const rc_view *view, int64_t first, int64_t count)
{
    rc_rows rows = { .count = count };
    const int64_t T = view->shape[1];
    int64_t b = first / T, t = first % T;
    for (int64_t k = 0; k < count; k++) {
        rows.offset[k] = view->offset + b * view->strides[0] + t * view->strides[1];
        rows.step[k] = t;
        if (++t == T) {
            t = 0;
            b++;
        }
    }
    return rows;
}

/* Copy the columns [column, column + n) of `rows` into (count, leading) reals. */
void rc_tile_load(const rc_view *view, const void *memory, const rc_rows *rows, int64_t column, int64_t n,
                  real *copy, int64_t leading);
/* Write (count, leading) reals to the columns [column, column + n) of `rows`, or add them to what is there. Other
 * threads see them after this one's rc_tile_store_end(). */
void rc_tile_store(const rc_gradient *to, void *memory, const rc_rows *rows, int64_t column, int64_t n,
                   const real *piece, int64_t leading);

void rc_tile_store_end(void);

static inline bool rc_tile_in_place(const rc_view *view)
{
    const ratecl_element own = RC_REAL_BITS == 64 ? RATECL_F64 : RATECL_F32;
    return view->element == own && (view->strides[2] == 1 || view->shape[2] == 1);
}

/* Point at the columns [column, column + n), n <= RC_TILE_COLUMNS, of each row: in place where the input
 * allows it, else in `piece`, (RC_PIECE_ROWS, RC_PIECE_LEADING). */
static inline void rc_tile_rows(const rc_view *view, const void *memory, const rc_rows *rows, int64_t column,
                                int64_t n, real *piece, const real *row[RC_PIECE_ROWS])
{
    const bool in_place = rc_tile_in_place(view);
    if (!in_place)
        rc_tile_load(view, memory, rows, column, n, piece, RC_PIECE_LEADING);
    for (int64_t k = 0; k < rows->count; k++)
        row[k] = in_place ? (const real *)memory + rows->offset[k] + column : piece + k * RC_PIECE_LEADING;
}

/* Have the columns [column, column + n) of row r on their way to the second-level cache while rows before it are
 * at work. A row begins a page or so, and processors drop prefetches from pages whose translation they do not
 * have: one element is read for its sake. */
static inline void rc_tile_fetch(const rc_view *view, const void *memory, int64_t r, int64_t column, int64_t n)
{
    enum { CACHE_LINE = 64 };
    if (!rc_tile_in_place(view) || r >= rc_view_rows(view))
        return;
    const rc_rows rows = rc_rows_find(view, r, 1);
    const real *const row = (const real *)memory + rows.offset[0] + column;
    (void)*(const volatile real *)row;
    for (int64_t j = 0; j < n; j += CACHE_LINE / (int64_t)sizeof(real))
        __builtin_prefetch(row + j, 0, 2);
}

#endif
