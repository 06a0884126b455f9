/* SPDX-License-Identifier: Apache-2.0 */
/* correlation: sum_{i <= j} U_ij S_i S_j, over time within a batch or in each row, by tiles that live in
 * registers; and with whole weights the product S (W + W^T), which gives each row's sum too. */
#include <math.h>

#include "multiply.h"

enum { LANES = RC_LANES, PANEL = RC_PANEL, TILE_ROWS = RC_TILE_ROWS };

static void copy_rows(const rc_cpu_correlation *work, int64_t first, int64_t count, real *copy)
{
    rc_copy_rows(work->states, work->states_memory, first, count, 0, work->states->shape[2], work->leading,
                 copy, work->leading);
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

/* Fold the block of W, (PANEL, PANEL), whose rows and columns begin at `row` and `column`, of which `rows`
 * and `columns` exist, with the same one of W^T. */
static void fold_block(const rc_cpu_correlation *work, int64_t row, int64_t rows, int64_t column,
                       int64_t columns, const real *block, const real *transposed, real *folded)
{
    for (int64_t i = 0; i < PANEL; i++)
#pragma omp simd
        for (int64_t j = 0; j < PANEL; j++) {
            const int64_t at = i * PANEL + j;
            const bool exists = i < rows && j < columns;
            const bool above = row + i < column + j, diagonal = row + i == column + j;
            const real both = block[at] + transposed[at];
            const real own = work->whole || above ? both : diagonal ? block[at] : 0;
            folded[at] = exists ? own : 0;
        }
}

void rc_fold_task(const void *correlation, int64_t p, void *scratch)
{
    const rc_cpu_correlation *const work = correlation;
    const int64_t N = work->weights->shape[2], column = p * PANEL, columns = rc_least(PANEL, N - column);
    real *const block = scratch, *const transposed = block + PANEL * PANEL;
    rc_view across = *work->weights;
    across.strides[1] = work->weights->strides[2];
    across.strides[2] = work->weights->strides[1];
    for (int64_t row = 0; row < panel_rows(work, p); row += PANEL) {
        const int64_t rows = rc_least(PANEL, N - row);
        const rc_rows own = rc_rows_find(work->weights, row, rows), other = rc_rows_find(&across, row, rows);
        rc_tile_load(work->weights, work->weights_memory, &own, column, columns, block, PANEL);
        rc_tile_load(&across, work->weights_memory, &other, column, columns, transposed, PANEL);
        fold_block(work, row, rows, column, columns, block, transposed, folded_panel(work, p) + row * PANEL);
    }
}

/* Columns of vectors of a tile: those from `first` on and before `end`, which are constants wherever this is
 * used. Their products over `steps` rows, of `rows` with `columns`, meet the weights. */
RC_INLINE void meet_tile(const real *rows, const real *columns, int64_t leading, int64_t steps,
                         const rc_vector *weights, double sums[LANES], const int first, const int end)
{
    for (int64_t t = 0; t < steps; t += RC_MEETING) {
        rc_tile c;
        rc_multiply(c, rows + t * leading, 1, leading, columns + t * leading, leading,
                    rc_least(RC_MEETING, steps - t), first, end);
        for (int v = first; v < end; v++) {
            rc_vector met = c[0][v] * weights[v];
            for (int k = 1; k < TILE_ROWS; k++)
                met += c[k][v] * weights[2 * k + v];
            rc_add_lanes(sums, met);
        }
    }
}

/* The rows [top, bottom) of panel p, of whose tiles the last are below the diagonal in their first column of
 * vectors. */
static void meet_panel(const rc_cpu_correlation *work, const real *copy, int64_t steps, int64_t p,
                       int64_t top, int64_t bottom, double sums[LANES])
{
    const int64_t column = p * PANEL, leading = work->leading;
    const bool narrow = column + LANES >= work->states->shape[2];
    const real *const columns = copy + column;
    const rc_vector *weights = rc_vectors(folded_panel(work, p) + top * PANEL);
    for (int64_t i = top; i < bottom; i += TILE_ROWS, weights += 2 * TILE_ROWS) {
        if (narrow)
            meet_tile(copy + i, columns, leading, steps, weights, sums, 0, 1);
        else if (i >= column + LANES)
            meet_tile(copy + i, columns, leading, steps, weights, sums, 1, 2);
        else
            meet_tile(copy + i, columns, leading, steps, weights, sums, 0, 2);
    }
}

/* sum_ij U_ij C_ij over the panels [begin, end), where C is the product of `steps` rows of `copy` with
 * themselves; a few columns of them, which stay in cache, meet one panel after another. */
static double meet_batch(const rc_cpu_correlation *work, const real *copy, int64_t steps, int64_t begin,
                         int64_t end)
{
    enum { HEIGHT = 256 };
    const int64_t N = work->states->shape[2];
    double sums[LANES] = { 0 };
    for (int64_t top = 0; top < rc_least(N, end * PANEL); top += HEIGHT)
        for (int64_t p = rc_most(begin, top / PANEL); p < end; p++)
            meet_panel(work, copy, steps, p, top, rc_least(rc_least(N, (p + 1) * PANEL), top + HEIGHT), sums);
    return rc_sum_lanes(sums);
}

/* The first of a triangle's panels that part `part` of `parts` has: panel p is as long as p + 1, so equal
 * areas end at square roots. */
static int64_t part_begin(int64_t panels, int64_t part, int64_t parts)
{
    return (int64_t)((double)panels * sqrt((double)part / (double)parts));
}

void rc_batch_task(const void *correlation, int64_t task, void *scratch)
{
    const rc_cpu_correlation *const work = correlation;
    const int64_t B = work->states->shape[0], T = work->states->shape[1], parts = work->batch_parts;
    const int64_t part = task % parts, chunk = task / parts % work->batch_chunks;
    const int64_t begin = part_begin(work->panels, part, parts),
                  end = part_begin(work->panels, part + 1, parts);
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
    rc_multiply(y, rows + i, leading, 1, panel + i * PANEL, PANEL, count, 0, 2);
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
        const int64_t depth = rc_least((p + 1) * PANEL, work->states->shape[2]);
        for (int64_t i = 0; i < depth; i += RC_MEETING)
            for (int64_t r = 0; r < count; r += TILE_ROWS)
                meet_rows(copy + r * leading, leading, panel, p, i, rc_least(RC_MEETING, depth - i),
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
    const int64_t depth = work->states->shape[2], leading = work->leading; /* what is beyond is zero */
    const real *const panel = folded_panel(work, p);
    memset(sums, 0, sizeof *sums * RC_STEP_ROWS * PANEL);
    for (int64_t i = 0; i < depth; i += RC_MEETING)
        for (int64_t r = 0; r < count; r += TILE_ROWS)
            rc_multiply_add(sums + r * PANEL, rows + r * leading + i, leading, 1, panel + i * PANEL, PANEL,
                            rc_least(RC_MEETING, depth - i));
}

/* Put the sums of one row, of which `columns` are wanted, into the product; returns what they give with the
 * row's states, which are zero beyond. */
static double put_products(const double sums[PANEL], const real states[PANEL], int64_t columns, real *product)
{
    real products[PANEL];
    double form[LANES] = { 0 };
    for (int64_t j = 0; j < PANEL; j += LANES)
        for (int l = 0; l < LANES; l++) {
            products[j + l] = (real)sums[j + l];
            form[l] += (double)states[j + l] * sums[j + l];
        }
    memcpy(product, products, sizeof(real) * (size_t)columns);
    return rc_sum_lanes(form);
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
