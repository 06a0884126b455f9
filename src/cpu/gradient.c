/* SPDX-License-Identifier: Apache-2.0 */
/* gradient: one write of the gradient to the states or the reference, after at most one read of them. A row
 * of a tile stays in the first-level cache while one term after another adds to it. */
#include <math.h>

#include "logarithm.h"
#include "tile.h"

enum { TILE = RC_TILE_COLUMNS, ROWS_AHEAD = 6, LATER = 0, EARLIER = 1 };

/* What all rows have in common in a tile's columns: offset + slope (S - centre). */
typedef struct columns {
    real offset[TILE], slope[TILE], centre[TILE];
    /* The columns whose slope is beyond the reals, or so small that it has lost digits: their lines are added
     * in double, and are 0 above. */
    int64_t steep_count;
    int32_t steep[TILE];
} columns;

/* For each row of a piece the rows tau steps later and earlier; the row itself where there is no such row. */
typedef struct neighbours {
    const real *row[2][RC_PIECE_ROWS];
    real piece[2][RC_PIECE_ROWS * RC_PIECE_LEADING];
} neighbours;

typedef struct thread_scratch {
    columns columns;
    rc_vector spoiled; /* 0, or NaN where a number of the gradient is not finite */
    real piece[RC_PIECE_ROWS * RC_PIECE_LEADING];
    real gradient[RC_PIECE_ROWS * RC_PIECE_LEADING];
    neighbours lags[];
} thread_scratch;

size_t rc_gradient_scratch(size_t lag_count)
{
    return sizeof(thread_scratch) + lag_count * sizeof(neighbours);
}

/* ---- What is added to a row ---- */

RC_LOOP void begin_constant(real *g, const columns *c, int64_t n)
{
#pragma omp simd
    for (int64_t j = 0; j < n; j++)
        g[j] = c->offset[j];
}

/* A row, and what it meets; its rows have room for whole vectors, but for those of the input. */
typedef struct row_inputs {
    const real *x, *later, *earlier; /* the row itself where there is no other */
    int64_t ahead;                   /* bytes from x to what is wanted soon */
    real lag_factor;
    /* eps = 0: dH/dS_j = (A/Z - log S_j) / Z, where mean = A/Z - e log(2). */
    real entropy_factor, mean, e;
} row_inputs;

/* Nothing where S_j = 0. */
RC_INLINE rc_vector entropy_part(rc_vector x, const row_inputs *in)
{
    if (!rc_any_below(x, RC_LOG_NORMAL))
        return in->entropy_factor * (in->mean - rc_log_scaled_normal(x, in->e));
    const rc_vector g = in->entropy_factor * (in->mean - rc_log_scaled(x, in->e)), zero = { 0 };
    return rc_select((rc_bit_vector)(x == zero), zero, g);
}

/* The line offset + slope (x - centre), the first lag's differences, and the entropy's part; lag and entropy
 * are constants wherever this is used. */
RC_INLINE void begin_row(real *g, const columns *c, const row_inputs *given, int64_t n, const bool lag,
                         const bool entropy)
{
    const row_inputs in = *given; /* which g cannot change */
    for (int64_t j = 0; j < n; j += RC_LANES) {
        const int64_t left = n - j;
        const rc_vector x = rc_load_up_to(in.x + j, left);
        rc_vector sum = rc_load(c->offset + j) + rc_load(c->slope + j) * (x - rc_load(c->centre + j));
        rc_fetch(in.x + j, in.ahead);
        if (lag) {
            const rc_vector later = rc_load_up_to(in.later + j, left);
            const rc_vector earlier = rc_load_up_to(in.earlier + j, left);
            sum += in.lag_factor * ((x - later) + (x - earlier));
        }
        if (entropy)
            sum += entropy_part(x, &in);
        rc_store(g + j, sum);
    }
}

#define DEFINE_BEGIN(name, lag, entropy)                                          \
    RC_LOOP void name(real *g, const columns *c, const row_inputs *in, int64_t n) \
    {                                                                             \
        begin_row(g, c, in, n, lag, entropy);                                     \
    }
DEFINE_BEGIN(begin_line, false, false)
DEFINE_BEGIN(begin_lag, true, false)
DEFINE_BEGIN(begin_entropy, false, true)
DEFINE_BEGIN(begin_entropy_and_lag, true, true)

RC_LOOP void add_differences(real *g, const real *x, const real *later, const real *earlier, int64_t n,
                             real factor)
{
#pragma omp simd
    for (int64_t j = 0; j < n; j++)
        g[j] += factor * ((x[j] - later[j]) + (x[j] - earlier[j]));
}

typedef struct entropy_row {
    real factor, mean, inverse;
} entropy_row;

/* eps > 0: dH/dS_j = (h_j - G) / (Z + eps), h = -log(p + eps) - p / (p + eps). log(eps) is given: eps itself
 * may be too small for a real. */
RC_LOOP void add_entropy_eps(real *g, const real *x, int64_t n, entropy_row row, real eps, real log_eps)
{
    for (int64_t j = 0; j < n; j += RC_LANES) {
        const rc_vector v = rc_load_up_to(x + j, n - j);
        const rc_vector p = v * row.inverse, q = p + eps, h = -rc_log_scaled(q, 0) - p / q;
        const rc_vector known = rc_select((rc_bit_vector)(p > 0), h, rc_all(-log_eps));
        rc_store(g + j, rc_load(g + j) + row.factor * (known - row.mean));
    }
}

RC_LOOP void add_product(real *g, const real *product, int64_t n, real factor)
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

/* True if a slope is no normal real, with room for its product. */
static bool is_steep(double slope)
{
    const double magnitude = fabs(slope);
    return RC_REAL_BITS == 32 && slope != 0 && !(magnitude > 0x1p-100 && magnitude < 0x1p100);
}

/* Rounding the mean to a real takes `rest` from it, which may be large beside S - mean. */
static void begin_columns(const rc_cpu_gradient *work, int64_t column, int64_t n, columns *c)
{
    c->steep_count = 0;
    for (int64_t j = 0; j < n; j++) {
        const int64_t i = column + j;
        c->centre[j] = (real)work->centre[i];
        if (is_steep(work->beta[i])) {
            c->offset[j] = c->slope[j] = 0;
            c->steep[c->steep_count++] = (int32_t)j;
            continue;
        }
        c->slope[j] = (real)work->beta[i];
        const double rest = work->centre[i] - (double)c->centre[j];
        c->offset[j] = (real)(work->alpha[i] - work->beta[i] * rest);
    }
}

static void find_neighbours(const rc_cpu_gradient *work, const piece *at, int64_t distance, real *copy,
                            const real *row[RC_PIECE_ROWS])
{
    rc_tile_later(work->view, work->memory, &at->rows, at->row, distance, at->column, at->n, copy, row);
    for (int64_t k = 0; k < at->rows.count; k++)
        row[k] = row[k] != NULL ? row[k] : at->row[k];
}

/* What the first eps has of a row where it is 0: false where that is nothing. e is the exponent of the row's
 * mean: the logarithms are taken of S / 2^e, which are small at any scale. */
static bool find_entropy(const rc_cpu_gradient *work, int64_t r, row_inputs *in)
{
    const double ln2 = 0.69314718055994530942;
    if (work->entropy_count == 0 || work->epsilons[0] != 0 || work->entropy_rows[2 * r + 1] == 0)
        return false;
    const double inverse = work->entropy_rows[2 * r + 1];
    const int exponent = rc_exponent_of(1 / (inverse * (double)work->view->shape[2]));
    in->entropy_factor = (real)(work->entropy_factors[0] * inverse);
    in->mean = (real)(work->entropy_rows[2 * r] - exponent * ln2);
    in->e = (real)exponent;
    return true;
}

static void add_entropies_eps(const rc_cpu_gradient *work, const piece *at, int64_t k, real *g)
{
    const int64_t R = rc_view_rows(work->view);
    for (size_t e = 0; e < work->entropy_count; e++) {
        const double *const row = work->entropy_rows + 2 * ((int64_t)e * R + at->first + k);
        const double inverse = row[1], eps = work->epsilons[e];
        const entropy_row numbers = { (real)(work->entropy_factors[e] * inverse), (real)row[0],
                                      (real)inverse };
        if (inverse != 0 && eps != 0)
            add_entropy_eps(g, at->row[k], at->n, numbers, (real)eps, (real)log(eps));
    }
}

/* True if no term reads row k: that it is not finite is then of no account. */
static bool is_unread(const rc_cpu_gradient *work, const piece *at, int64_t k, const neighbours *lags)
{
    bool unread = work->by_pair;
    for (size_t l = 0; l < work->lag_count && unread; l++)
        unread = lags[l].row[LATER][k] == at->row[k] && lags[l].row[EARLIER][k] == at->row[k];
    return unread;
}

/* Add the lines of the steep columns. */
static void add_steep(const rc_cpu_gradient *work, const columns *c, const piece *at, int64_t k, real *g)
{
    for (int64_t s = 0; s < c->steep_count; s++) {
        const int64_t j = c->steep[s], i = at->column + j;
        g[j] += (real)(work->alpha[i] + work->beta[i] * ((double)at->row[k][j] - work->centre[i]));
    }
}

static void row_gradient(const rc_cpu_gradient *work, const piece *at, int64_t k,
                         const thread_scratch *scratch, real *g)
{
    static void (*const begin[2][2])(real *, const columns *, const row_inputs *,
                                     int64_t) = { { begin_line, begin_entropy },
                                                  { begin_lag, begin_entropy_and_lag } };
    const int64_t r = at->first + k, N = work->view->shape[2];
    const neighbours *const lags = scratch->lags;
    if (work->reads && !is_unread(work, at, k, lags)) {
        row_inputs in = { .x = at->row[k], .ahead = rc_tile_ahead(work->view, ROWS_AHEAD) };
        const bool lag = work->lag_count > 0, entropy = find_entropy(work, r, &in);
        if (lag) {
            in.later = lags->row[LATER][k];
            in.earlier = lags->row[EARLIER][k];
            in.lag_factor = (real)work->lag_factors[0];
        }
        begin[lag][entropy](g, &scratch->columns, &in, at->n);
        add_steep(work, &scratch->columns, at, k, g);
    } else {
        begin_constant(g, &scratch->columns, at->n);
    }
    for (size_t l = 1; l < work->lag_count; l++)
        if (lags[l].row[LATER][k] != at->row[k] || lags[l].row[EARLIER][k] != at->row[k])
            add_differences(g, at->row[k], lags[l].row[LATER][k], lags[l].row[EARLIER][k], at->n,
                            (real)work->lag_factors[l]);
    add_entropies_eps(work, at, k, g);
    if (work->product)
        add_product(g, (const real *)work->product + r * N + at->column, at->n,
                    (real)(work->product_factor * work->row_factors[r]));
}

RC_LOOP rc_vector spoil_row(rc_vector spoiled, const real *g, int64_t n, real factor)
{
    return rc_spoil(spoiled, g, n, factor);
}

static void piece_gradient(const rc_cpu_gradient *work, piece *at, thread_scratch *scratch)
{
    const bool by_row = !rc_tile_across(&work->to->view);
    if (work->reads)
        rc_tile_rows(work->view, work->memory, &at->rows, at->column, at->n, scratch->piece, at->row);
    for (size_t l = 0; l < work->lag_count; l++) {
        neighbours *const lag = &scratch->lags[l];
        find_neighbours(work, at, work->lags[l], lag->piece[LATER], lag->row[LATER]);
        find_neighbours(work, at, -work->lags[l], lag->piece[EARLIER], lag->row[EARLIER]);
    }
    for (int64_t k = 0; k < at->rows.count; k++) {
        /* A row that lies as it was made is written while it is in the first-level cache. */
        real *const g = scratch->gradient + (by_row ? 0 : k * RC_PIECE_LEADING);
        row_gradient(work, at, k, scratch, g);
        scratch->spoiled = spoil_row(scratch->spoiled, g, at->n, rc_spoil_factor(work->to->view.element));
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

static int64_t piece_columns(const rc_cpu_gradient *work)
{
    return rc_least(rc_tile_columns(work->view), rc_tile_columns(&work->to->view));
}

static int64_t piece_rows(const rc_cpu_gradient *work)
{
    return rc_tile_across(&work->to->view) ? RC_PIECE_ROWS : rc_tile_piece_rows(work->view);
}

void rc_gradient_task(const void *gradient, int64_t task, void *thread)
{
    const rc_cpu_gradient *const work = gradient;
    const rc_cpu_grid *const grid = &work->grid;
    const int64_t N = work->view->shape[2], R = rc_view_rows(work->view);
    /* Backwards: of an array that no cache holds, the sweep has left the end there. */
    const int64_t first = (grid->bands - 1 - task / grid->groups) * grid->band_rows;
    const int64_t end = rc_least(R, first + grid->band_rows), tile = piece_columns(work),
                  most = piece_rows(work);
    const int64_t left = task % grid->groups * grid->group_columns,
                  right = rc_least(N, left + grid->group_columns);
    thread_scratch *const scratch = thread;
    scratch->spoiled = (rc_vector){ 0 };
    for (int64_t block = first; block < end; block += RC_BLOCK_ROWS)
        for (int64_t i = left; i < right; i += tile) {
            const int64_t n = rc_least(tile, right - i), block_end = rc_least(end, block + RC_BLOCK_ROWS);
            begin_columns(work, i, n, &scratch->columns);
            for (int64_t r = block; r < block_end; r += most) {
                piece at = { .first = r, .column = i, .n = n };
                at.rows = rc_rows_find(work->view, r, rc_least(most, block_end - r));
                piece_gradient(work, &at, scratch);
            }
        }
    work->spoiled[task] = rc_is_spoiled(scratch->spoiled);
    rc_tile_store_end();
}
