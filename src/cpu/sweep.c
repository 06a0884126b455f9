/* SPDX-License-Identifier: Apache-2.0 */
/* sweep: one read of the states for moments, row sums and lagged differences; and the entropy with eps > 0.
 * Sums of at most eight reals are taken in real, everything longer in double. */
#include <math.h>

#include "logarithm.h"
#include "tile.h"

/* A function of one vector loop. GCC 12 runs some of these loops element by element once they are inlined. */
#define LOOP static __attribute__((noinline))

enum { TILE = RC_TILE_COLUMNS, GROUP_ROWS = 8 };

typedef struct thread_scratch {
    real now[RC_PIECE_ROWS * RC_PIECE_LEADING];
    real later[RC_PIECE_ROWS * RC_PIECE_LEADING];
} thread_scratch;

/* Moments of a tile's columns about a shift: of d = S - shift the sums of d and d^2. */
typedef struct columns {
    real shift[TILE];
    double sum[TILE];
    double squares[TILE];
} columns;

/* sum_j x_j: eight slices side by side, so that a run in real is no longer than eight. */
LOOP double sum(const real *x, int64_t n)
{
    const int64_t h = n / 8;
    double total = 0;
#pragma omp simd reduction(+ : total)
    for (int64_t j = 0; j < h; j++)
        total += (double)(((x[j] + x[j + h]) + (x[j + 2 * h] + x[j + 3 * h])) +
                          ((x[j + 4 * h] + x[j + 5 * h]) + (x[j + 6 * h] + x[j + 7 * h])));
    for (int64_t j = 8 * h; j < n; j++)
        total += (double)x[j];
    return total;
}

static inline real square(real x)
{
    return x * x;
}

/* sum_j (x_j - y_j)^2, in the order of sum(). */
LOOP double sum_squared_differences(const real *x, const real *y, int64_t n)
{
    const int64_t h = n / 8;
    double total = 0;
#pragma omp simd reduction(+ : total)
    for (int64_t j = 0; j < h; j++) {
        const real a = square(x[j] - y[j]) + square(x[j + h] - y[j + h]);
        const real b = square(x[j + 2 * h] - y[j + 2 * h]) + square(x[j + 3 * h] - y[j + 3 * h]);
        const real c = square(x[j + 4 * h] - y[j + 4 * h]) + square(x[j + 5 * h] - y[j + 5 * h]);
        const real d = square(x[j + 6 * h] - y[j + 6 * h]) + square(x[j + 7 * h] - y[j + 7 * h]);
        total += (double)((a + b) + (c + d));
    }
    for (int64_t j = 8 * h; j < n; j++)
        total += (double)square(x[j] - y[j]);
    return total;
}

static inline real least(real x, real y)
{
    return x < y ? x : y;
}

/* sum_j x_j (log x_j - e log 2), four slices side by side. NaN where an x is negative. */
#define DEFINE_SUM_X_LOG_X(name, log)                                                                        \
    LOOP double name(const real *x, int64_t n, real e)                                                       \
    {                                                                                                        \
        const int64_t h = n / 4;                                                                             \
        double total = 0;                                                                                    \
        real lowest = 0;                                                                                     \
        _Pragma("omp simd reduction(+ : total) reduction(min : lowest)") for (int64_t j = 0; j < h; j++)     \
        {                                                                                                    \
            const real a = x[j], b = x[j + h], c = x[j + 2 * h], d = x[j + 3 * h];                           \
            total += (double)((a * log(a, e) + b * log(b, e)) + (c * log(c, e) + d * log(d, e)));            \
            lowest = least(lowest, least(least(a, b), least(c, d)));                                         \
        }                                                                                                    \
        _Pragma("omp simd reduction(+ : total) reduction(min : lowest)") for (int64_t j = 4 * h; j < n; j++) \
        {                                                                                                    \
            total += (double)(x[j] * log(x[j], e));                                                          \
            lowest = least(lowest, x[j]);                                                                    \
        }                                                                                                    \
        return lowest < 0 ? (double)NAN : total;                                                             \
    }

DEFINE_SUM_X_LOG_X(sum_of_any, rc_log_scaled)
DEFINE_SUM_X_LOG_X(sum_of_normal, rc_log_scaled_normal)

/* sum_j x_j log x_j, where z = sum_j x_j. The terms are formed as x log(x / 2^e) with 2^e about the mean,
 * which keeps the error small at every scale of x. */
static double sum_x_log_x(const real *x, int64_t n, double z)
{
    const double ln2 = 0.69314718055994530942;
    /* Beside a sum that large, a subnormal number's logarithm may be wrong by the 16 that it then is. */
    const bool large = z > (double)RC_LOG_NORMAL * 0x1p62;
    int e = 0;
    if (z > 0 && z < (double)INFINITY)
        (void)frexp(z / (double)n, &e);
    return (large ? sum_of_normal : sum_of_any)(x, n, (real)e) + e * ln2 * z;
}

/* -sum_j p_j log(p_j + eps) with p = x / divisor. NaN where an x is negative. */
LOOP double sum_p_log_p(const real *x, int64_t n, real divisor, real eps)
{
    real term[TILE];
#pragma omp simd
    for (int64_t j = 0; j < n; j++) {
        const real p = x[j] / divisor;
        term[j] = x[j] < 0 ? (real)NAN : -p * rc_log_scaled(p + eps, 0);
    }
    return sum(term, n);
}

/* sum_j p_j^2 / (p_j + eps) with p = x / divisor. */
LOOP double sum_p_share(const real *x, int64_t n, real divisor, real eps)
{
    real term[TILE];
#pragma omp simd
    for (int64_t j = 0; j < n; j++) {
        const real p = x[j] / divisor;
        term[j] = p > 0 ? p * (p / (p + eps)) : 0;
    }
    return sum(term, n);
}

static inline real median(real a, real b, real c)
{
    const real low = a < b ? a : b, high = a < b ? b : a;
    return c < low ? low : c > high ? high : c;
}

/* The shift is a sample, so that a constant neuron's variance is exactly 0, and the median of three, so that
 * one outlier does not spoil it. */
LOOP void begin_columns(columns *c, const real *const row[3], int64_t n)
{
    const real *const first = row[0], *const middle = row[1], *const last = row[2];
#pragma omp simd
    for (int64_t j = 0; j < n; j++) {
        c->shift[j] = median(first[j], middle[j], last[j]);
        c->sum[j] = 0;
        c->squares[j] = 0;
    }
}

LOOP void add_one_row(columns *c, const real *row, int64_t n)
{
#pragma omp simd
    for (int64_t j = 0; j < n; j++) {
        const real d = row[j] - c->shift[j];
        c->sum[j] += (double)d;
        c->squares[j] += (double)(d * d);
    }
}

LOOP void add_eight_rows(columns *c, const real *const row[GROUP_ROWS], int64_t n)
{
    const real *const r0 = row[0], *const r1 = row[1], *const r2 = row[2], *const r3 = row[3];
    const real *const r4 = row[4], *const r5 = row[5], *const r6 = row[6], *const r7 = row[7];
#pragma omp simd
    for (int64_t j = 0; j < n; j++) {
        const real m = c->shift[j];
        const real d0 = r0[j] - m, d1 = r1[j] - m, d2 = r2[j] - m, d3 = r3[j] - m;
        const real d4 = r4[j] - m, d5 = r5[j] - m, d6 = r6[j] - m, d7 = r7[j] - m;
        c->sum[j] += (double)(((d0 + d1) + (d2 + d3)) + ((d4 + d5) + (d6 + d7)));
        c->squares[j] += (double)(((d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)) +
                                  ((d4 * d4 + d5 * d5) + (d6 * d6 + d7 * d7)));
    }
}

/* Merge the moments of a block of `rows` rows into those of the `before` rows above it in the band. */
LOOP void merge_columns(const columns *c, int64_t n, int64_t rows, int64_t before, double *mean,
                        double *deviations)
{
    const double count = (double)rows;
#pragma omp simd
    for (int64_t j = 0; j < n; j++) {
        const double delta = c->sum[j] / count;
        const double rest = c->squares[j] - c->sum[j] * delta;
        const double block_mean = (double)c->shift[j] + delta, block_deviations = rest < 0 ? 0 : rest;
        if (before == 0) {
            mean[j] = block_mean;
            deviations[j] = block_deviations;
        } else {
            rc_merge_moments(&mean[j], &deviations[j], (double)before, block_mean, block_deviations, count);
        }
    }
}

/* Add the squared differences of `rows`, which `row` points at, from the rows tau steps later. */
static void add_lag(const rc_cpu_sweep *sweep, const rc_rows *rows, const real *const row[], int64_t tau,
                    int64_t column, int64_t n, real *piece, double *lag_sum)
{
    const int64_t T = sweep->view->shape[1], distance = tau * sweep->view->strides[1];
    rc_rows later = { .count = 0 };
    const real *now_row[RC_PIECE_ROWS], *later_row[RC_PIECE_ROWS];
    for (int64_t k = 0; k < rows->count; k++) {
        if (rows->step[k] + tau < T) {
            now_row[later.count] = row[k];
            later.offset[later.count++] = rows->offset[k] + distance;
        }
    }
    rc_tile_rows(sweep->view, sweep->memory, &later, column, n, piece, later_row);
    double total = 0;
    for (int64_t k = 0; k < later.count; k++)
        total += sum_squared_differences(now_row[k], later_row[k], n);
    *lag_sum += total;
}

static void add_piece_moments(columns *c, const real *const *row, int64_t rows, int64_t n)
{
    int64_t k = 0;
    for (; k + GROUP_ROWS <= rows; k += GROUP_ROWS)
        add_eight_rows(c, row + k, n);
    for (; k < rows; k++)
        add_one_row(c, row[k], n);
}

/* A part of a task: the rows [first, first + rows) of one block, the columns [column, column + n) of a tile.
 */
typedef struct region {
    int64_t first, rows, column, n;
} region;

static void find_shift(const rc_cpu_sweep *sweep, region at, real *piece, columns *c)
{
    const int64_t sample[3] = { at.first, at.first + at.rows / 2, at.first + at.rows - 1 };
    rc_rows rows = { .count = 3 };
    for (int k = 0; k < 3; k++)
        rows.offset[k] = rc_rows_find(sweep->view, sample[k], 1).offset[0];
    const real *row[RC_PIECE_ROWS] = { NULL };
    rc_tile_rows(sweep->view, sweep->memory, &rows, at.column, at.n, piece, row);
    begin_columns(c, row, at.n);
}

/* What row `done` of the region has in its place in the next piece. */
static void fetch_ahead(const rc_cpu_sweep *sweep, region at, int64_t done)
{
    rc_tile_fetch(sweep->view, sweep->memory, at.first + done + RC_PIECE_ROWS, at.column, at.n);
}

static void sweep_tile(const rc_cpu_sweep *sweep, region at, thread_scratch *scratch, columns *c,
                       double *row_sums, double *lag_sums)
{
    if (sweep->moments)
        find_shift(sweep, at, scratch->now, c);
    for (int64_t done = 0; done < at.rows; done += RC_PIECE_ROWS) {
        const int64_t left = at.rows - done;
        const rc_rows rows =
            rc_rows_find(sweep->view, at.first + done, left < RC_PIECE_ROWS ? left : RC_PIECE_ROWS);
        const real *row[RC_PIECE_ROWS];
        rc_tile_rows(sweep->view, sweep->memory, &rows, at.column, at.n, scratch->now, row);
        if (sweep->moments)
            add_piece_moments(c, row, rows.count, at.n);
        for (int64_t k = 0; sweep->entropy && k < rows.count; k++) {
            fetch_ahead(sweep, at, done + k);
            const double z = sum(row[k], at.n);
            row_sums[2 * (done + k)] += z;
            row_sums[2 * (done + k) + 1] += sum_x_log_x(row[k], at.n, z);
        }
        for (size_t l = 0; l < sweep->lag_count; l++)
            add_lag(sweep, &rows, row, sweep->lags[l], at.column, at.n, scratch->later, &lag_sums[l]);
    }
}

void rc_sweep_task(const void *work, int64_t task, void *scratch)
{
    const rc_cpu_sweep *const sweep = work;
    const rc_cpu_grid *const grid = &sweep->grid;
    const int64_t N = sweep->view->shape[2], R = rc_view_rows(sweep->view);
    const int64_t band = task / grid->groups, group = task % grid->groups;
    const int64_t first = band * grid->band_rows, end = rc_least(R, first + grid->band_rows);
    const int64_t left = group * grid->group_columns, right = rc_least(N, left + grid->group_columns);
    double *const lag_sums = sweep->lag_sums + task * (int64_t)sweep->lag_count;
    const bool whole_rows = grid->groups == 1;
    double block_sums[2 * RC_BLOCK_ROWS] = { 0 }; /* (rows, 2) */
    columns c;

    for (size_t l = 0; l < sweep->lag_count; l++)
        lag_sums[l] = 0;
    if (sweep->entropy && whole_rows)
        sweep->entropy_sums[band] = 0;
    for (int64_t r = first; r < end; r += RC_BLOCK_ROWS) {
        const int64_t rows = rc_least(RC_BLOCK_ROWS, end - r);
        double *row_sums = block_sums;
        if (sweep->entropy && !whole_rows)
            row_sums = sweep->row_sums + 2 * (group * R + r);
        for (int64_t k = 0; sweep->entropy && k < 2 * rows; k++)
            row_sums[k] = 0;
        for (int64_t i = left; i < right; i += TILE) {
            const region at = { r, rows, i, rc_least(TILE, right - i) };
            sweep_tile(sweep, at, scratch, &c, row_sums, lag_sums);
            if (sweep->moments)
                merge_columns(&c, at.n, rows, r - first, sweep->mean + band * N + i,
                              sweep->deviations + band * N + i);
        }
        if (sweep->entropy && whole_rows)
            sweep->entropy_sums[band] += rc_merge_row_entropy(
                row_sums, 1, rows, rows, N, sweep->entropy_rows ? sweep->entropy_rows + 2 * r : NULL);
    }
}

/* Z of each row of a piece, over all tiles. */
static void piece_sums(const rc_cpu_entropy *entropy, const rc_rows *rows, real *piece,
                       double z[RC_PIECE_ROWS])
{
    const int64_t N = entropy->view->shape[2];
    const real *row[RC_PIECE_ROWS];
    for (int64_t k = 0; k < rows->count; k++)
        z[k] = 0;
    for (int64_t i = 0; i < N; i += TILE) {
        const int64_t n = rc_least(TILE, N - i);
        rc_tile_rows(entropy->view, entropy->memory, rows, i, n, piece, row);
        for (int64_t k = 0; k < rows->count; k++)
            z[k] += sum(row[k], n);
    }
}

/* Sum over the rows of a piece and the columns of a tile; a silent row, Z = 0, counts as p = S = 0. Where
 * entropy_rows, (rows, 2), is not NULL, the rows' shares of G are added to it. */
static double piece_entropy(const real *const *row, int64_t rows, int64_t n, const double *z, double eps,
                            double *entropy_rows)
{
    double total = 0;
    for (int64_t k = 0; k < rows; k++) {
        const real divisor = z[k] == 0 ? 1 : (real)(z[k] + eps);
        const double H = sum_p_log_p(row[k], n, divisor, (real)eps);
        total += H;
        if (entropy_rows != NULL)
            entropy_rows[2 * k] += H - sum_p_share(row[k], n, divisor, (real)eps);
    }
    return total;
}

/* The rows of rc_cpu_entropy.entropy_rows that begin at row r, for eps number `e`. */
static double *rows_of(const rc_cpu_entropy *entropy, size_t e, int64_t r)
{
    return entropy->entropy_rows ? entropy->entropy_rows + 2 * ((int64_t)e * rc_view_rows(entropy->view) + r)
                                 : NULL;
}

static void begin_rows(const rc_cpu_entropy *entropy, int64_t r, int64_t rows, const double *z)
{
    for (size_t e = 0; entropy->entropy_rows && e < entropy->count; e++)
        for (int64_t k = 0; k < rows; k++) {
            double *const row = rows_of(entropy, e, r + k);
            row[0] = 0;
            row[1] = z[k] == 0 ? 0 : 1 / (z[k] + entropy->epsilons[e]);
        }
}

void rc_entropy_task(const void *work, int64_t task, void *scratch)
{
    const rc_cpu_entropy *const entropy = work;
    const int64_t N = entropy->view->shape[2], first = task * entropy->band_rows;
    const int64_t end = rc_least(rc_view_rows(entropy->view), first + entropy->band_rows);
    real *const piece = ((thread_scratch *)scratch)->now;
    double *const sums = entropy->sums + task * (int64_t)entropy->count;
    double z[RC_PIECE_ROWS];

    for (size_t e = 0; e < entropy->count; e++)
        sums[e] = 0;
    for (int64_t r = first; r < end; r += RC_PIECE_ROWS) {
        const rc_rows rows = rc_rows_find(entropy->view, r, rc_least(RC_PIECE_ROWS, end - r));
        piece_sums(entropy, &rows, piece, z);
        begin_rows(entropy, r, rows.count, z);
        for (int64_t i = 0; i < N; i += TILE) {
            const int64_t n = rc_least(TILE, N - i);
            const real *row[RC_PIECE_ROWS];
            rc_tile_rows(entropy->view, entropy->memory, &rows, i, n, piece, row);
            for (size_t e = 0; e < entropy->count; e++)
                sums[e] += piece_entropy(row, rows.count, n, z, entropy->epsilons[e], rows_of(entropy, e, r));
        }
    }
}

const rc_cpu_passes rc_cpu_passes_table = { .real_bytes = sizeof(real),
                                            .panel = 2 * RC_VECTOR_BYTES / (int64_t)sizeof(real),
                                            .sweep_scratch = sizeof(thread_scratch),
                                            .gradient_scratch = rc_gradient_scratch,
                                            .sweep = rc_sweep_task,
                                            .entropy = rc_entropy_task,
                                            .fold = rc_fold_task,
                                            .batch = rc_batch_task,
                                            .step = rc_step_task,
                                            .product = rc_product_task,
                                            .weights = rc_weights_task,
                                            .weights_gradient = rc_weights_gradient_task,
                                            .gradient = rc_gradient_task };
