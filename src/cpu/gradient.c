/* SPDX-License-Identifier: Apache-2.0 */
/* gradient: one write of the gradient to the states or the reference, after at most one read of them. A row
 * of a tile stays in the first-level cache while one term after another adds to it. */
#include <math.h>

#include "logarithm.h"
#include "tile.h"

/* A function of one vector loop, as in sweep.c. */
#define LOOP static __attribute__((noinline))

enum { TILE = RC_TILE_COLUMNS, ROWS_AHEAD = 6, LATER = 0, EARLIER = 1 };

/* What all rows have in common in a tile's columns: offset + slope (S - centre). */
typedef struct columns {
    real offset[TILE], slope[TILE], centre[TILE];
} columns;

/* For each row of a piece the rows tau steps later and earlier; the row itself where there is no such row. */
typedef struct neighbours {
    const real *row[2][RC_PIECE_ROWS];
    real piece[2][RC_PIECE_ROWS * RC_PIECE_LEADING];
} neighbours;

typedef struct thread_scratch {
    columns columns;
    real piece[RC_PIECE_ROWS * RC_PIECE_LEADING];
    real gradient[RC_PIECE_ROWS * RC_PIECE_LEADING];
    neighbours lags[];
} thread_scratch;

size_t rc_gradient_scratch(size_t lag_count)
{
    return sizeof(thread_scratch) + lag_count * sizeof(neighbours);
}

/* ---- What is added to a row ---- */

LOOP void begin_constant(real *g, const columns *c, int64_t n)
{
#pragma omp simd
    for (int64_t j = 0; j < n; j++)
        g[j] = c->offset[j];
}

LOOP void begin_line(real *g, const columns *c, const real *x, int64_t n)
{
#pragma omp simd
    for (int64_t j = 0; j < n; j++)
        g[j] = c->offset[j] + c->slope[j] * (x[j] - c->centre[j]);
}

LOOP void add_differences(real *g, const real *x, const real *later, const real *earlier, int64_t n,
                          real factor)
{
#pragma omp simd
    for (int64_t j = 0; j < n; j++)
        g[j] += factor * ((x[j] - later[j]) + (x[j] - earlier[j]));
}

/* eps = 0: dH/dS_j = (A/Z - log S_j) / Z, where mean = A/Z - e log(2); nothing where S_j = 0. */
LOOP void add_entropy(real *g, const real *x, int64_t n, real factor, real mean, real e)
{
#pragma omp simd
    for (int64_t j = 0; j < n; j++)
        g[j] += x[j] == 0 ? 0 : factor * (mean - rc_log_scaled(x[j], e));
}

typedef struct entropy_row {
    real factor, mean, inverse;
} entropy_row;

/* eps > 0: dH/dS_j = (h_j - G) / (Z + eps), h = -log(p + eps) - p / (p + eps). log(eps) is given: eps itself
 * may be too small for a real. */
LOOP void add_entropy_eps(real *g, const real *x, int64_t n, entropy_row row, real eps, real log_eps)
{
#pragma omp simd
    for (int64_t j = 0; j < n; j++) {
        const real p = x[j] * row.inverse, q = p + eps;
        const real h = p > 0 ? -rc_log_scaled(q, 0) - p / q : -log_eps;
        g[j] += row.factor * (h - row.mean);
    }
}

LOOP void add_product(real *g, const real *product, int64_t n, real factor)
{
#pragma omp simd
    for (int64_t j = 0; j < n; j++)
        g[j] += factor * product[j];
}

/* ---- A piece ---- */

/* Some rows of the input, and the columns [column, column + n) of a tile. */
typedef struct piece {
    rc_rows rows;
    int64_t first, column, n;
    const real *row[RC_PIECE_ROWS];
} piece;

/* Rounding the mean to a real takes `rest` from it, which may be large beside S - mean. */
static void begin_columns(const rc_cpu_gradient *work, int64_t column, int64_t n, columns *c)
{
    for (int64_t j = 0; j < n; j++) {
        const int64_t i = column + j;
        c->centre[j] = (real)work->centre[i];
        c->slope[j] = (real)work->beta[i];
        const double rest = work->centre[i] - (double)c->centre[j];
        c->offset[j] = (real)(work->alpha[i] - work->beta[i] * rest);
    }
}

/* The rows `distance` steps later (or earlier, where it is negative). */
static void find_neighbours(const rc_cpu_gradient *work, const piece *at, int64_t distance, real *copy,
                            const real *row[RC_PIECE_ROWS])
{
    const int64_t T = work->view->shape[1], stride = work->view->strides[1];
    rc_rows found = { .count = 0 };
    const real *found_row[RC_PIECE_ROWS];
    int64_t place[RC_PIECE_ROWS];
    for (int64_t k = 0; k < at->rows.count; k++) {
        const int64_t t = at->rows.step[k] + distance;
        row[k] = at->row[k];
        if (t >= 0 && t < T) {
            place[found.count] = k;
            found.offset[found.count++] = at->rows.offset[k] + distance * stride;
        }
    }
    rc_tile_rows(work->view, work->memory, &found, at->column, at->n, copy, found_row);
    for (int64_t k = 0; k < found.count; k++)
        row[place[k]] = found_row[k];
}

/* e is the exponent of the row's mean: the logarithms are taken of S / 2^e, which are small at any scale. */
static void add_entropies(const rc_cpu_gradient *work, const piece *at, int64_t k, real *g)
{
    const double ln2 = 0.69314718055994530942;
    const int64_t R = rc_view_rows(work->view), N = work->view->shape[2];
    for (size_t e = 0; e < work->entropy_count; e++) {
        const double *const row = work->entropy_rows + 2 * ((int64_t)e * R + at->first + k);
        const double mean = row[0], inverse = row[1], factor = work->entropy_factors[e] * inverse;
        const double eps = work->epsilons[e];
        int exponent = 0;
        if (inverse == 0)
            continue;
        if (eps == 0) {
            (void)frexp(1 / (inverse * (double)N), &exponent);
            add_entropy(g, at->row[k], at->n, (real)factor, (real)(mean - exponent * ln2), (real)exponent);
        } else {
            const entropy_row numbers = { (real)factor, (real)mean, (real)inverse };
            add_entropy_eps(g, at->row[k], at->n, numbers, (real)eps, (real)log(eps));
        }
    }
}

static void row_gradient(const rc_cpu_gradient *work, const piece *at, int64_t k,
                         const thread_scratch *scratch, real *g)
{
    const int64_t r = at->first + k, N = work->view->shape[2];
    if (work->reads)
        begin_line(g, &scratch->columns, at->row[k], at->n);
    else
        begin_constant(g, &scratch->columns, at->n);
    for (size_t l = 0; l < work->lag_count; l++) {
        const neighbours *const lag = &scratch->lags[l];
        add_differences(g, at->row[k], lag->row[LATER][k], lag->row[EARLIER][k], at->n,
                        (real)work->lag_factors[l]);
    }
    add_entropies(work, at, k, g);
    if (work->product)
        add_product(g, (const real *)work->product + r * N + at->column, at->n,
                    (real)(work->product_factor * work->row_factors[r]));
}

static void piece_gradient(const rc_cpu_gradient *work, piece *at, thread_scratch *scratch)
{
    const bool by_row = work->to->view.strides[2] == 1 || work->to->view.shape[2] == 1;
    if (work->reads)
        rc_tile_rows(work->view, work->memory, &at->rows, at->column, at->n, scratch->piece, at->row);
    for (size_t l = 0; l < work->lag_count; l++) {
        neighbours *const lag = &scratch->lags[l];
        find_neighbours(work, at, work->lags[l], lag->piece[LATER], lag->row[LATER]);
        find_neighbours(work, at, -work->lags[l], lag->piece[EARLIER], lag->row[EARLIER]);
    }
    for (int64_t k = 0; k < at->rows.count; k++) {
        if (work->reads)
            rc_tile_fetch(work->view, work->memory, at->first + k + ROWS_AHEAD, at->column, at->n);
        /* A row that lies as it was made is written while it is in the first-level cache. */
        real *const g = scratch->gradient + (by_row ? 0 : k * RC_PIECE_LEADING);
        row_gradient(work, at, k, scratch, g);
        if (by_row) {
            const rc_rows to = rc_rows_find(&work->to->view, at->first + k, 1);
            rc_tile_store(work->to, work->gradient, &to, at->column, at->n, g, RC_PIECE_LEADING);
        }
    }
    if (!by_row) {
        const rc_rows to = rc_rows_find(&work->to->view, at->first, at->rows.count);
        rc_tile_store(work->to, work->gradient, &to, at->column, at->n, scratch->gradient, RC_PIECE_LEADING);
    }
}

void rc_gradient_task(const void *gradient, int64_t task, void *thread)
{
    const rc_cpu_gradient *const work = gradient;
    const rc_cpu_grid *const grid = &work->grid;
    const int64_t N = work->view->shape[2], R = rc_view_rows(work->view);
    const int64_t first = task / grid->groups * grid->band_rows, end = rc_least(R, first + grid->band_rows);
    const int64_t left = task % grid->groups * grid->group_columns,
                  right = rc_least(N, left + grid->group_columns);
    thread_scratch *const scratch = thread;
    for (int64_t block = first; block < end; block += RC_BLOCK_ROWS)
        for (int64_t i = left; i < right; i += TILE) {
            const int64_t n = rc_least(TILE, right - i), block_end = rc_least(end, block + RC_BLOCK_ROWS);
            begin_columns(work, i, n, &scratch->columns);
            for (int64_t r = block; r < block_end; r += RC_PIECE_ROWS) {
                piece at = { .first = r, .column = i, .n = n };
                at.rows = rc_rows_find(work->view, r, rc_least(RC_PIECE_ROWS, block_end - r));
                piece_gradient(work, &at, scratch);
            }
        }
    rc_tile_store_end();
}
