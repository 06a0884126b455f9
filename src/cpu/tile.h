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
    rc_rows rows; /* not all of which is set: that takes as long as a short row */
    rows.count = count;
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
/* Write (count, leading) reals to the columns [column, column + n) of `rows`, or add them to what is there.
 * Other threads see them after this one's rc_tile_store_end(). */
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

/* Of each of `rows`, which `row` points at, the one `distance` steps later (or earlier, where that is
 * negative): NULL where there is none. Those that are not among `rows` are had like them, in `piece`. */
static inline void rc_tile_later(const rc_view *view, const void *memory, const rc_rows *rows,
                                 const real *const *row, int64_t distance, int64_t column, int64_t n,
                                 real *piece, const real *later[RC_PIECE_ROWS])
{
    const int64_t T = view->shape[1], stride = view->strides[1];
    rc_rows beyond;
    const real *beyond_row[RC_PIECE_ROWS];
    int8_t place[RC_PIECE_ROWS] = { 0 };
    beyond.count = 0;
    for (int64_t k = 0; k < rows->count; k++) {
        const int64_t t = rows->step[k] + distance, there = k + distance;
        const bool exists = t >= 0 && t < T, here = exists && there >= 0 && there < rows->count;
        later[k] = here ? row[there] : NULL;
        if (exists && !here) {
            place[beyond.count] = (int8_t)k;
            beyond.offset[beyond.count++] = rows->offset[k] + distance * stride;
        }
    }
    rc_tile_rows(view, memory, &beyond, column, n, piece, beyond_row);
    for (int64_t k = 0; k < beyond.count; k++)
        later[place[k]] = beyond_row[k];
}

/* Whether the rows of an input that must be copied are read across: they are neighbours then, the columns are
 * not. */
static inline bool rc_tile_across(const rc_view *view)
{
    return view->shape[2] > 1 && view->strides[1] == 1 && view->strides[2] != 1;
}

/* Columns of a tile. Those that are read across have cache lines of their own, which may fall on few cache
 * sets. */
static inline int64_t rc_tile_columns(const rc_view *view)
{
    return rc_tile_across(view) ? RC_TILE_COLUMNS / 4 : RC_TILE_COLUMNS;
}

/* Rows of a piece: copies stay in the first-level cache, but for those that use up cache lines. */
static inline int64_t rc_tile_piece_rows(const rc_view *view)
{
    return rc_tile_in_place(view) || rc_tile_across(view) ? RC_PIECE_ROWS : RC_PIECE_ROWS / 4;
}

/* How far ahead to fetch, in bytes: what is `steps` time steps after a row, but never nearer than what is
 * read while memory answers; 0 where rows are copies. */
static inline int64_t rc_tile_ahead(const rc_view *view, int64_t steps)
{
    enum { LEAST = 1 << 14 };
    const int64_t ahead = steps * view->strides[1] * (int64_t)sizeof(real);
    if (!rc_tile_in_place(view))
        return 0;
    return ahead < 0 ? rc_least(ahead, -LEAST) : rc_most(ahead, LEAST);
}

#endif
