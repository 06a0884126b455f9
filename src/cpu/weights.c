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

/* What a task has of the triangle: the rows [top, bottom) of the panels [begin, end). */
typedef struct part {
    int64_t top, bottom, begin, end;
} part;

/* Number `k` of the parts of the triangle, column by column. */
static part find_part(const rc_cpu_weights *work, int64_t k)
{
    int64_t j = 0;
    while (k > j)
        k -= ++j;
    const int64_t height = work->side * PANEL, begin = j * work->side;
    return (part){ .top = k * height,
                   .bottom = (k + 1) * height,
                   .begin = begin,
                   .end = rc_least(work->panels, begin + work->side) };
}

/* Where a panel's rows in the part end. */
static int64_t bottom_of(const part *at, int64_t p)
{
    return rc_least(at->bottom, (p + 1) * PANEL);
}

/* A copy of `count` rows from row r on, in the columns [begin, end), which are those of whole panels. */
static void copy_columns(const rc_cpu_weights *work, int64_t r, int64_t count, int64_t begin, int64_t end,
                         real *copy)
{
    rc_copy_rows(work->states, work->states_memory, r, count, begin,
                 rc_least(work->states->shape[2], end) - begin, end - begin, copy, work->leading);
}

/* Add the products of `count` rows from row r on to the sums of a part's panels. The scratch holds the rows
 * in the columns of the part's rows, in those of its panels, and one panel of them, scaled. */
static void add_part(const rc_cpu_weights *work, const part *at, int64_t r, int64_t count, real *scratch,
                     double *sums)
{
    const int64_t leading = work->leading;
    const bool diagonal = at->top == at->begin * PANEL;
    real *const down = scratch, *const across = diagonal ? down : down + RC_STEP_ROWS * leading;
    real *const scaled = down + 2 * RC_STEP_ROWS * leading;
    copy_columns(work, r, count, at->top, bottom_of(at, at->end - 1), down);
    if (!diagonal)
        copy_columns(work, r, count, at->begin * PANEL, at->end * PANEL, across);
    for (int64_t p = at->begin; p < at->end; p++) {
        scale_rows(across + (p - at->begin) * PANEL, leading, work->row_factors + r, count, scaled);
        for (int64_t i = at->top; i < bottom_of(at, p); i += RC_TILE_ROWS)
            rc_multiply_add(sums + panel_begin(p) + i * PANEL, down + i - at->top, 1, leading, scaled, PANEL,
                            count);
    }
}

void rc_weights_task(const void *weights, int64_t task, void *scratch)
{
    const rc_cpu_weights *const work = weights;
    const int64_t chunk = task % work->chunks, R = rc_view_rows(work->states);
    const int64_t first = chunk * work->chunk_rows, last = rc_least(R, first + work->chunk_rows);
    const part at = find_part(work, task / work->chunks);
    double *const sums = work->sums + chunk * work->chunk_sums;
    for (int64_t p = at.begin; p < at.end; p++)
        memset(sums + panel_begin(p) + at.top * PANEL, 0,
               sizeof *sums * (size_t)((bottom_of(&at, p) - at.top) * PANEL));
    for (int64_t r = first; r < last; r += RC_STEP_ROWS)
        add_part(work, &at, r, rc_least(RC_STEP_ROWS, last - r), scratch, sums);
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
    rc_vector spoiled = { 0 };
    real *const block = scratch, *const transpose = block + PANEL * PANEL;
    for (int64_t q = 0; q <= p; q++) {
        const int64_t row = q * PANEL;
        const rc_rows above = rc_rows_find(view, row, rc_least(PANEL, N - row));
        take_block(work, q, p, block, transpose);
        spoiled = rc_spoil(spoiled, block, PANEL * PANEL, rc_spoil_factor(view->element));
        rc_tile_store(work->to, work->gradient, &above, column, columns, block, PANEL);
        if (q < p)
            rc_tile_store(work->to, work->gradient, &below, row, PANEL, transpose, PANEL);
    }
    work->spoiled[p] = rc_is_spoiled(spoiled);
}
