/* SPDX-License-Identifier: Apache-2.0 */
/* correlation: sum_{i <= j} U_ij S_i S_j, over time within a batch or in each row, by tiles that live in
 * registers; and with whole weights the product S (W + W^T), which gives each row's sum too. */
#include <math.h>

#include "multiply.h"

enum { LANES = RC_LANES, PANEL = RC_PANEL, TILE_ROWS = RC_TILE_ROWS, CHUNK = RC_CHUNK };

static void copy_rows(const rc_cpu_correlation *work, int64_t first, int64_t count, real *copy)
{
    rc_copy_rows(work->states, work->states_memory, first, count, work->states->shape[2], work->leading, copy,
                 work->leading);
}

/* The rows that panel p of the folded weights has. */
static int64_t panel_rows(const rc_cpu_correlation *work, int64_t p)
{
    return PANEL * (work->whole ? work->panels : p + 1);
}

/* Panel p of the folded weights, (panel_rows, PANEL). */
static real *folded_panel(const rc_cpu_correlation *work, int64_t p)
{
    return (real *)work->folded + PANEL * PANEL * (work->whole ? p * work->panels : p * (p + 1) / 2);
}

/* Fold W's blocks above and below the diagonal, (PANEL, PANEL), whose rows and columns begin at `row` and
 * `column`, of which `rows` and `columns` exist. */
static void fold_block(const rc_cpu_correlation *work, int64_t row, int64_t rows, int64_t column,
                       int64_t columns, const real *upper, const real *lower, real *folded)
{
    memset(folded, 0, sizeof(real) * PANEL * PANEL);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) {
            const int64_t beyond = column + j - (row + i);
            if (work->whole || beyond > 0)
                folded[i * PANEL + j] = upper[i * PANEL + j] + lower[j * PANEL + i];
            else if (beyond == 0)
                folded[i * PANEL + j] = upper[i * PANEL + j];
        }
}

void rc_fold_task(const void *correlation, int64_t p, void *scratch)
{
    const rc_cpu_correlation *const work = correlation;
    const int64_t N = work->weights->shape[2], column = p * PANEL, columns = rc_least(PANEL, N - column);
    real *const upper = scratch, *const lower = upper + PANEL * PANEL;
    for (int64_t row = 0; row < panel_rows(work, p); row += PANEL) {
        const int64_t rows = rc_least(PANEL, N - row);
        const rc_rows above = rc_rows_find(work->weights, row, rows);
        const rc_rows below = rc_rows_find(work->weights, column, columns);
        rc_tile_load(work->weights, work->weights_memory, &above, column, columns, upper, PANEL);
        rc_tile_load(work->weights, work->weights_memory, &below, row, rows, lower, PANEL);
        fold_block(work, row, rows, column, columns, upper, lower, folded_panel(work, p) + row * PANEL);
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
        const rc_vector *weights = rc_vectors(folded_panel(work, p));
        for (int64_t i = 0; i < (p + 1) * PANEL; i += TILE_ROWS, weights += 2 * TILE_ROWS) {
            for (int64_t t = 0; t < steps; t += CHUNK) {
                const real *const now = copy + t * leading;
                rc_tile c;
                rc_multiply(c, now + i, 1, leading, now + p * PANEL, leading, rc_least(CHUNK, steps - t));
                rc_vector met0 = c[0][0] * weights[0], met1 = c[0][1] * weights[1];
                for (int k = 1; k < TILE_ROWS; k++) {
                    met0 += c[k][0] * weights[2 * k];
                    met1 += c[k][1] * weights[2 * k + 1];
                }
                rc_add_lanes(sums, met0);
                rc_add_lanes(sums, met1);
            }
        }
    }
    return rc_sum_lanes(sums);
}

void rc_batch_task(const void *correlation, int64_t task, void *scratch)
{
    const rc_cpu_correlation *const work = correlation;
    const int64_t B = work->states->shape[0], T = work->states->shape[1], parts = work->batch_parts;
    const int64_t part = task % parts, chunk = task / parts % work->batch_chunks;
    const int64_t begin = rc_part_begin(work->panels, part, parts),
                  end = rc_part_begin(work->panels, part + 1, parts);
    const int64_t first = task / parts / work->batch_chunks * work->batch_run;
    const int64_t t = chunk * work->batch_steps, steps = rc_least(work->batch_steps, T - t);
    const bool several = work->batch_run > 1;
    double total = 0;
    for (int64_t b = first; b < rc_least(B, first + work->batch_run); b++) {
        copy_rows(work, b * T + t, steps, scratch);
        const double met = meet_batch(work, scratch, steps, begin, end);
        total += several ? fabs(met) : met;
    }
    work->batch_sums[task] = total;
}

/* Add to the sums of TILE_ROWS rows what U's panel p gives with the rows' columns [i, i + count). */
static inline void meet_rows(const real *rows, int64_t leading, const real *panel, int64_t p, int64_t i,
                             int64_t count, double (*sums)[LANES])
{
    rc_tile y;
    rc_multiply(y, rows + i, leading, 1, panel + i * PANEL, PANEL, count);
    for (int k = 0; k < TILE_ROWS; k++) {
        const rc_vector *const s = rc_vectors(rows + k * leading + p * PANEL);
        rc_add_lanes(sums[k], y[k][0] * s[0] + y[k][1] * s[1]);
    }
}

void rc_step_task(const void *correlation, int64_t task, void *scratch)
{
    const rc_cpu_correlation *const work = correlation;
    const int64_t first = task * work->step_rows, leading = work->leading;
    const int64_t count = rc_least(work->step_rows, rc_view_rows(work->states) - first);
    const real *const copy = scratch;
    double sums[RC_STEP_ROWS][LANES];
    memset(sums, 0, sizeof sums);
    copy_rows(work, first, count, scratch);
    for (int64_t p = 0; p < work->panels; p++) {
        const real *const panel = folded_panel(work, p);
        for (int64_t i = 0; i < (p + 1) * PANEL; i += CHUNK)
            for (int64_t r = 0; r < count; r += TILE_ROWS)
                meet_rows(copy + r * leading, leading, panel, p, i, rc_least(CHUNK, (p + 1) * PANEL - i),
                          sums + r);
    }
    double total = 0;
    for (int64_t r = 0; r < count; r++) {
        const double form = rc_sum_lanes(sums[r]);
        total += fabs(form);
        if (work->forms)
            work->forms[first + r] = form;
    }
    work->step_sums[task] = total;
}

/* sums (count, PANEL) = the rows' products with panel p, by blocks of the weights that stay in cache. */
static void multiply_panel(const rc_cpu_correlation *work, const real *rows, int64_t count, int64_t p,
                           double *sums)
{
    enum { BLOCK = 128 };
    const int64_t depth = panel_rows(work, p), leading = work->leading;
    const real *const panel = folded_panel(work, p);
    memset(sums, 0, sizeof *sums * RC_STEP_ROWS * PANEL);
    for (int64_t i = 0; i < depth; i += BLOCK)
        for (int64_t r = 0; r < count; r += TILE_ROWS)
            rc_multiply_add(sums + r * PANEL, rows + r * leading + i, leading, 1, panel + i * PANEL, PANEL,
                            rc_least(BLOCK, depth - i));
}

/* Put `columns` sums of one row into the product; returns what they give with the row's states. */
static double put_products(const double *sums, const real *states, int64_t columns, real *product)
{
    double form = 0;
#pragma omp simd reduction(+ : form)
    for (int64_t j = 0; j < columns; j++) {
        form += (double)states[j] * sums[j];
        product[j] = (real)sums[j];
    }
    return form;
}

/* The scratch holds the copy of the rows, and then the sums of a panel. */
void rc_product_task(const void *correlation, int64_t task, void *scratch)
{
    const rc_cpu_correlation *const work = correlation;
    const int64_t N = work->states->shape[2], leading = work->leading, first = task * work->step_rows;
    const int64_t count = rc_least(work->step_rows, rc_view_rows(work->states) - first);
    real *const copy = scratch, *const product = (real *)work->product + first * N;
    double *const sums = (void *)(copy + RC_STEP_ROWS * leading), *const forms = work->forms + first;
    copy_rows(work, first, count, copy);
    for (int64_t r = 0; r < count; r++)
        forms[r] = 0;
    for (int64_t p = 0; p < work->panels; p++) {
        const int64_t column = p * PANEL, columns = rc_least(PANEL, N - column);
        multiply_panel(work, copy, count, p, sums);
        for (int64_t r = 0; r < count; r++)
            forms[r] += put_products(sums + r * PANEL, copy + r * leading + column, columns,
                                     product + r * N + column);
    }
    for (int64_t r = 0; r < count; r++)
        forms[r] /= 2; /* W + W^T counts each pair twice */
}
