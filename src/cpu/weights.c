/* SPDX-License-Identifier: Apache-2.0 */
/* weights: the gradient to W, scale / R sum_r rho_r S_r S_r^T. Its triangle i <= j grows by tiles that live
 * in registers, a chunk of rows in each; then the chunks are added up and written to both triangles. */
#include "multiply.h"

enum { PANEL = RC_PANEL };

/* Where the sums of panel p, ((p + 1) PANEL, PANEL), lie in a chunk's. */
static int64_t panel_begin(int64_t p)
{
    return PANEL * PANEL * (p * (p + 1) / 2);
}

/* Each row's part of one panel, times the row's factor: (count, PANEL). */
static void scale_rows(const real *panel, int64_t leading, const double *factors, int64_t count, real *scaled)
{
    for (int64_t r = 0; r < count; r++) {
        const real factor = (real)factors[r];
        for (int64_t j = 0; j < PANEL; j++)
            scaled[r * PANEL + j] = factor * panel[r * leading + j];
    }
}

/* Add the products of `count` rows to panel p's sums. */
static void add_panel(const rc_cpu_weights *work, const real *copy, const double *factors, int64_t count,
                      int64_t p, real *scaled, double *sums)
{
    scale_rows(copy + p * PANEL, work->leading, factors, count, scaled);
    for (int64_t i = 0; i < (p + 1) * PANEL; i += RC_TILE_ROWS)
        rc_multiply_add(sums + i * PANEL, copy + i, 1, work->leading, scaled, PANEL, count);
}

/* The scratch holds a copy of up to RC_STEP_ROWS rows, and then one panel of them, scaled. */
void rc_weights_task(const void *weights, int64_t task, void *scratch)
{
    const rc_cpu_weights *const work = weights;
    const int64_t N = work->states->shape[2], R = rc_view_rows(work->states), leading = work->leading;
    const int64_t part = task / work->chunks, chunk = task % work->chunks;
    const int64_t begin = rc_part_begin(work->panels, part, work->parts);
    const int64_t end = rc_part_begin(work->panels, part + 1, work->parts), width = end * PANEL;
    const int64_t first = chunk * work->chunk_rows, last = rc_least(R, first + work->chunk_rows);
    double *const sums = work->sums + chunk * work->chunk_sums;
    real *const copy = scratch, *const scaled = copy + RC_STEP_ROWS * leading;

    memset(sums + panel_begin(begin), 0, sizeof *sums * (size_t)(panel_begin(end) - panel_begin(begin)));
    for (int64_t r = first; r < last; r += RC_STEP_ROWS) {
        const int64_t count = rc_least(RC_STEP_ROWS, last - r);
        rc_copy_rows(work->states, work->states_memory, r, count, rc_least(N, width), width, copy, leading);
        for (int64_t p = begin; p < end; p++)
            add_panel(work, copy, work->row_factors + r, count, p, scaled, sums + panel_begin(p));
    }
}

/* Block q of panel p, rows times columns, from all chunks, and its transpose. On the diagonal, where the sums
 * are no more symmetric than their rounding, both come from the upper triangle. */
static void take_block(const rc_cpu_weights *work, int64_t q, int64_t p, real *block, real *transpose)
{
    const double *const sums = work->sums + panel_begin(p) + q * PANEL * PANEL;
    for (int64_t i = 0; i < PANEL; i++)
        for (int64_t j = q == p ? i : 0; j < PANEL; j++) {
            double sum = 0;
            for (int64_t c = 0; c < work->chunks; c++)
                sum += sums[c * work->chunk_sums + i * PANEL + j];
            block[i * PANEL + j] = transpose[j * PANEL + i] = (real)(work->factor * sum);
            if (q == p)
                block[j * PANEL + i] = block[i * PANEL + j];
        }
}

void rc_weights_gradient_task(const void *weights, int64_t p, void *scratch)
{
    const rc_cpu_weights *const work = weights;
    const rc_view *const view = &work->to->view;
    const int64_t N = work->states->shape[2], column = p * PANEL, columns = rc_least(PANEL, N - column);
    const rc_rows below = rc_rows_find(view, column, columns);
    real *const block = scratch, *const transpose = block + PANEL * PANEL;
    for (int64_t q = 0; q <= p; q++) {
        const int64_t row = q * PANEL;
        const rc_rows above = rc_rows_find(view, row, rc_least(PANEL, N - row));
        take_block(work, q, p, block, transpose);
        rc_tile_store(work->to, work->gradient, &above, column, columns, block, PANEL);
        if (q < p)
            rc_tile_store(work->to, work->gradient, &below, row, PANEL, transpose, PANEL);
    }
}
