/* SPDX-License-Identifier: Apache-2.0 */
/* correlation: sum_{i <= j} U_ij S_i S_j, over time within a batch or in each row, by tiles that live in
 * registers. Sums of at most CHUNK products are taken in real, everything longer in double. */
#include <math.h>
#include <string.h>

#include "tile.h"

enum {
    CHUNK = 32,
    LANES = RC_VECTOR_BYTES / sizeof(real),
    PANEL = 2 * LANES,
    /* Rows of a tile: its two columns of vectors fill the registers, of which AVX-512 has 32, others 16. */
    TILE_ROWS = RC_VECTOR_BYTES == 64 ? 8 : 4
};
_Static_assert(PANEL % TILE_ROWS == 0, "the tiles of a panel end at the diagonal");
_Static_assert(8 % TILE_ROWS == 0, "copies have room for rows up to a multiple of eight");
_Static_assert(PANEL <= (int)RC_PIECE_ROWS, "one piece holds the rows of a panel");

typedef real vector __attribute__((vector_size(RC_VECTOR_BYTES), may_alias));
typedef vector tile[TILE_ROWS][2];

static inline int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline const vector *vectors(const real *x)
{
    return (const vector *)(const void *)x;
}

/* product[i][:] = sum_k a[k a_step + i a_row] b[k b_step + :], k < count. */
static inline __attribute__((always_inline)) void multiply(tile product, const real *a, int64_t a_row,
                                                           int64_t a_step, const real *b, int64_t b_step,
                                                           int64_t count)
{
    tile t = { { { 0 } } };
    for (int64_t k = 0; k < count; k++) {
        const vector b0 = vectors(b + k * b_step)[0], b1 = vectors(b + k * b_step)[1];
        for (int i = 0; i < TILE_ROWS; i++) {
            const real a_ki = a[k * a_step + i * a_row];
            t[i][0] += a_ki * b0;
            t[i][1] += a_ki * b1;
        }
    }
    memcpy(product, t, sizeof t);
}

static inline void add_lanes(double sums[LANES], vector x)
{
#pragma omp simd
    for (int l = 0; l < LANES; l++)
        sums[l] += (double)x[l];
}

static double sum_lanes(const double sums[LANES])
{
    double total = 0;
    for (int l = 0; l < LANES; l++)
        total += sums[l];
    return total;
}

/* Copy rows of the states, zero beyond N and beyond `count` up to a multiple of TILE_ROWS. */
static void copy_rows(const rc_cpu_correlation *work, int64_t first, int64_t count, real *copy)
{
    const int64_t N = work->states->shape[2], leading = work->leading;
    for (int64_t r = 0; r < count; r += RC_PIECE_ROWS) {
        const rc_rows rows = rc_rows_find(work->states, first + r, least(RC_PIECE_ROWS, count - r));
        rc_tile_load(work->states, work->states_memory, &rows, 0, N, copy + r * leading, leading);
    }
    for (int64_t r = 0; r < count; r++)
        memset(copy + r * leading + N, 0, sizeof(real) * (size_t)(leading - N));
    for (int64_t r = count; r % TILE_ROWS != 0; r++)
        memset(copy + r * leading, 0, sizeof(real) * (size_t)leading);
}

/* Panel p of the folded weights, ((p + 1) PANEL, PANEL). */
static real *folded_panel(const rc_cpu_correlation *work, int64_t p)
{
    return (real *)work->folded + PANEL * PANEL * (p * (p + 1) / 2);
}

void rc_fold_task(const void *correlation, int64_t p, void *scratch)
{
    const rc_cpu_correlation *const work = correlation;
    const int64_t N = work->weights->shape[2], column = p * PANEL, columns = least(PANEL, N - column);
    real *const upper = scratch, *const lower = upper + PANEL * PANEL;
    for (int64_t q = 0; q <= p; q++) {
        const int64_t row = q * PANEL, rows = least(PANEL, N - row);
        real *const folded = folded_panel(work, p) + row * PANEL;
        const rc_rows above = rc_rows_find(work->weights, row, rows);
        const rc_rows below = rc_rows_find(work->weights, column, columns);
        rc_tile_load(work->weights, work->weights_memory, &above, column, columns, upper, PANEL);
        rc_tile_load(work->weights, work->weights_memory, &below, row, rows, lower, PANEL);
        memset(folded, 0, sizeof(real) * PANEL * PANEL);
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = q == p ? i : 0; j < columns; j++)
                folded[i * PANEL + j] =
                    upper[i * PANEL + j] + (row + i == column + j ? 0 : lower[j * PANEL + i]);
    }
}

/* sum_ij U_ij C_ij over the panels [begin, end), where C is the product of `steps` rows of `copy` with
 * themselves. */
static double meet_batch(const rc_cpu_correlation *work, const real *copy, int64_t steps, int64_t begin,
                         int64_t end)
{
    const int64_t leading = work->leading;
    double sums[LANES] = { 0 };
    for (int64_t p = begin; p < end; p++) {
        const vector *weights = vectors(folded_panel(work, p));
        for (int64_t i = 0; i < (p + 1) * PANEL; i += TILE_ROWS, weights += 2 * TILE_ROWS) {
            for (int64_t t = 0; t < steps; t += CHUNK) {
                const real *const now = copy + t * leading;
                tile c;
                multiply(c, now + i, 1, leading, now + p * PANEL, leading, least(CHUNK, steps - t));
                vector met0 = c[0][0] * weights[0], met1 = c[0][1] * weights[1];
                for (int k = 1; k < TILE_ROWS; k++) {
                    met0 += c[k][0] * weights[2 * k];
                    met1 += c[k][1] * weights[2 * k + 1];
                }
                add_lanes(sums, met0);
                add_lanes(sums, met1);
            }
        }
    }
    return sum_lanes(sums);
}

/* The first panel of part `part`: panel p is as long as p + 1, so equal areas end at square roots. */
static int64_t part_begin(const rc_cpu_correlation *work, int64_t part)
{
    return (int64_t)((double)work->panels * sqrt((double)part / (double)work->batch_parts));
}

void rc_batch_task(const void *correlation, int64_t task, void *scratch)
{
    const rc_cpu_correlation *const work = correlation;
    const int64_t B = work->states->shape[0], T = work->states->shape[1], parts = work->batch_parts;
    const int64_t part = task % parts, chunk = task / parts % work->batch_chunks;
    const int64_t begin = part_begin(work, part), end = part_begin(work, part + 1);
    const int64_t first = task / parts / work->batch_chunks * work->batch_run;
    const int64_t t = chunk * work->batch_steps, steps = least(work->batch_steps, T - t);
    const bool whole = parts * work->batch_chunks == 1;
    double total = 0;
    for (int64_t b = first; b < least(B, first + work->batch_run); b++) {
        copy_rows(work, b * T + t, steps, scratch);
        const double met = meet_batch(work, scratch, steps, begin, end);
        total += whole ? fabs(met) : met;
    }
    work->batch_sums[task] = total;
}

/* Add to the sums of TILE_ROWS rows what U's panel p gives with the rows' columns [i, i + count). */
static inline void meet_rows(const real *rows, int64_t leading, const real *panel, int64_t p, int64_t i,
                             int64_t count, double (*sums)[LANES])
{
    tile y;
    multiply(y, rows + i, leading, 1, panel + i * PANEL, PANEL, count);
    for (int k = 0; k < TILE_ROWS; k++) {
        const vector *const s = vectors(rows + k * leading + p * PANEL);
        add_lanes(sums[k], y[k][0] * s[0] + y[k][1] * s[1]);
    }
}

void rc_step_task(const void *correlation, int64_t task, void *scratch)
{
    const rc_cpu_correlation *const work = correlation;
    const int64_t first = task * work->step_rows, leading = work->leading;
    const int64_t count = least(work->step_rows, rc_view_rows(work->states) - first);
    const real *const copy = scratch;
    double sums[RC_STEP_ROWS][LANES];
    memset(sums, 0, sizeof sums);
    copy_rows(work, first, count, scratch);
    for (int64_t p = 0; p < work->panels; p++) {
        const real *const panel = folded_panel(work, p);
        for (int64_t i = 0; i < (p + 1) * PANEL; i += CHUNK)
            for (int64_t r = 0; r < count; r += TILE_ROWS)
                meet_rows(copy + r * leading, leading, panel, p, i, least(CHUNK, (p + 1) * PANEL - i),
                          sums + r);
    }
    double total = 0;
    for (int64_t r = 0; r < count; r++)
        total += fabs(sum_lanes(sums[r]));
    work->step_sums[task] = total;
}
