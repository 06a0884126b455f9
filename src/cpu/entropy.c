/* SPDX-License-Identifier: Apache-2.0 */
/* entropy: the pass for an eps > 0, which stands inside the logarithm: Z is known before a row is read for
 * it. Sums of at most eight reals are taken in real, everything longer in double. */
#include <math.h>

#include "logarithm.h"
#include "tile.h"

/* ---- One row ---- */

/* With p = x / divisor: the sum of p^2 / (p + eps) where the share is wanted, else that of -p log(p + eps),
 * NaN where an x is negative. */
RC_INLINE double take_row_eps(const real *x, int64_t n, real divisor, real eps, const bool share)
{
    double sums[RC_LANES] = { 0 };
    rc_bit_vector signs = { 0 };
    for (int64_t begin = 0; begin < n; begin += RC_RUN) {
        const int64_t end = rc_least(n, begin + RC_RUN);
        rc_vector run = { 0 };
        for (int64_t j = begin; j < end; j += RC_LANES) {
            const rc_vector v = rc_load_up_to(x + j, n - j);
            const rc_vector p = v / divisor;
            if (share)
                run += rc_select((rc_bit_vector)(p > 0), p * (p / (p + eps)), (rc_vector){ 0 });
            else
                run -= p * rc_log_scaled(p + eps, 0);
            signs |= (rc_bit_vector)v;
        }
        rc_add_lanes(sums, run);
    }
    return !share && rc_any_sign(signs) && rc_any_negative(x, n) ? (double)NAN : rc_sum_lanes(sums);
}

RC_LOOP double sum_p_log_p(const real *x, int64_t n, real divisor, real eps)
{
    return take_row_eps(x, n, divisor, eps, false);
}

RC_LOOP double sum_p_share(const real *x, int64_t n, real divisor, real eps)
{
    return take_row_eps(x, n, divisor, eps, true);
}

/* sum_j x_j: eight slices side by side, so that a run in real is no longer than eight. */
RC_LOOP double sum(const real *x, int64_t n)
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

/* ---- A piece ---- */

/* Z of each row of a piece, over all tiles. */
static void piece_sums(const rc_cpu_entropy *entropy, const rc_rows *rows, real *copy,
                       double z[RC_PIECE_ROWS])
{
    const int64_t N = entropy->view->shape[2];
    const real *row[RC_PIECE_ROWS];
    for (int64_t k = 0; k < rows->count; k++)
        z[k] = 0;
    const int64_t tile = rc_tile_columns(entropy->view);
    for (int64_t i = 0; i < N; i += tile) {
        const int64_t n = rc_least(tile, N - i);
        rc_tile_rows(entropy->view, entropy->memory, rows, i, n, copy, row);
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
    const int64_t tile = rc_tile_columns(entropy->view);
    real *const copy = scratch; /* one of a sweep's two pieces */
    double *const sums = entropy->sums + task * (int64_t)entropy->count;
    double z[RC_PIECE_ROWS];

    for (size_t e = 0; e < entropy->count; e++)
        sums[e] = 0;
    for (int64_t r = first; r < end; r += RC_PIECE_ROWS) {
        const rc_rows rows = rc_rows_find(entropy->view, r, rc_least(RC_PIECE_ROWS, end - r));
        piece_sums(entropy, &rows, copy, z);
        begin_rows(entropy, r, rows.count, z);
        for (int64_t i = 0; i < N; i += tile) {
            const int64_t n = rc_least(tile, N - i);
            const real *row[RC_PIECE_ROWS];
            rc_tile_rows(entropy->view, entropy->memory, &rows, i, n, copy, row);
            for (size_t e = 0; e < entropy->count; e++)
                sums[e] += piece_entropy(row, rows.count, n, z, entropy->epsilons[e], rows_of(entropy, e, r));
        }
    }
}
