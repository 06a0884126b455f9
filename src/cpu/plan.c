/* SPDX-License-Identifier: Apache-2.0 */
/* Plans: how the work is cut into tasks, and all the memory that it needs. */
#include <stdlib.h>
#include <string.h>

#include "path.h"

enum {
    MOST_BANDS = 256,  /* bounds the partial sums: at most one set in 2 RC_BLOCK_ROWS rows */
    ENOUGH_TASKS = 64, /* for the threads of a large machine, and to even out their loads */
    BATCH_STEPS = 128, /* time steps that meet a tile of the weights while it is in cache */
    PART_SIDE = 256,   /* columns of a part of the weights' gradient, whose sums stay in cache */
};

static int64_t round_up(int64_t a, int64_t b)
{
    return rc_divide_up(a, b) * b;
}

/* ---- Memory ---- */

/* Take rows x columns elements of `bytes` bytes, which belong to the plan. */
static ratecl_status take(rc_cpu_plan *plan, void *pointer, int64_t rows, int64_t columns, size_t bytes)
{
    const uint64_t most_elements = (PTRDIFF_MAX - RC_CACHE_LINE) / bytes;
    void *block = NULL;
    if ((uint64_t)columns <= most_elements / (uint64_t)rc_most(rows, 1)) {
        const size_t wanted = (size_t)rows * (size_t)columns * bytes;
        block = aligned_alloc(RC_CACHE_LINE, (wanted / RC_CACHE_LINE + 1) * RC_CACHE_LINE);
    }
    if (block == NULL)
        return rc_fail(RATECL_ERROR_MEMORY, "no memory for the plan's scratch of %lld x %lld x %zu bytes",
                       (long long)rows, (long long)columns, bytes);
    plan->blocks[plan->block_count++] = block;
    memcpy(pointer, &block, sizeof block);
    return RATECL_OK;
}

/* Let each thread's scratch hold at least `bytes`. */
static void want_scratch(rc_cpu_plan *plan, size_t bytes)
{
    const size_t lines = bytes / RC_CACHE_LINE + (bytes % RC_CACHE_LINE != 0);
    plan->scratch_bytes =
        lines * RC_CACHE_LINE > plan->scratch_bytes ? lines * RC_CACHE_LINE : plan->scratch_bytes;
}

void rc_cpu_plan_release(void *plan_state)
{
    rc_cpu_plan *const plan = plan_state;
    for (int k = 0; plan != NULL && k < plan->block_count; k++)
        free(plan->blocks[k]);
    free(plan);
}

/* ---- Plans ---- */

/* Cut an input by its shape: bands of rows, and groups of columns where the rows alone give few tasks. */
static rc_cpu_grid cut_grid(const rc_view *view)
{
    const int64_t R = rc_view_rows(view), N = view->shape[2];
    const int64_t bands = rc_least(rc_divide_up(R, 2 * RC_BLOCK_ROWS), MOST_BANDS);
    const int64_t tiles = rc_divide_up(N, RC_TILE_COLUMNS);
    const int64_t groups = 2 * bands >= ENOUGH_TASKS ? 1 : rc_least(tiles, rc_divide_up(ENOUGH_TASKS, bands));
    const int64_t band_rows = round_up(rc_divide_up(R, bands), RC_BLOCK_ROWS);
    const int64_t group_columns = rc_divide_up(tiles, groups) * RC_TILE_COLUMNS;
    return (rc_cpu_grid){ .bands = rc_divide_up(R, band_rows),
                          .band_rows = band_rows,
                          .groups = rc_divide_up(N, group_columns),
                          .group_columns = group_columns };
}

static ratecl_status plan_sweep(rc_cpu_plan *plan, int input)
{
    const rc_spec *const spec = &plan->spec;
    rc_cpu_sweep *const sweep = &plan->sweep[input];
    const bool states = input == RC_STATES;
    sweep->view = &spec->inputs[input];
    sweep->moments = states ? spec->moments : spec->uses[RC_REFERENCE];
    sweep->quotients = spec->uses[RC_REFERENCE];
    sweep->entropy = states && rc_sweep_has_entropy(spec);
    sweep->lag_count = states ? spec->lag_count : 0;
    sweep->lags = spec->lags;
    plan->sweeps[input] = sweep->moments || sweep->entropy || sweep->lag_count > 0;
    if (!plan->sweeps[input])
        return RATECL_OK;

    const rc_cpu_grid grid = sweep->grid = cut_grid(sweep->view);
    const int64_t N = sweep->view->shape[2];
    if (sweep->moments) {
        RC_TRY(take(plan, &sweep->mean, grid.bands, N, sizeof(double)));
        RC_TRY(take(plan, &sweep->deviations, grid.bands, N, sizeof(double)));
    }
    if (sweep->entropy)
        RC_TRY(take(plan, &sweep->entropy_sums, grid.bands, 1, sizeof(double)));
    if (sweep->entropy && grid.groups > 1)
        RC_TRY(take(plan, &sweep->row_sums, grid.groups, rc_view_rows(sweep->view), 2 * sizeof(double)));
    want_scratch(plan, plan->passes->sweep_scratch());
    return take(plan, &sweep->lag_sums, grid.bands * grid.groups, (int64_t)sweep->lag_count, sizeof(double));
}

static ratecl_status plan_entropy(rc_cpu_plan *plan)
{
    const rc_spec *const spec = &plan->spec;
    rc_cpu_entropy *const entropy = &plan->entropy;
    const size_t swept = rc_sweep_has_entropy(spec); /* the first eps, where it is 0 */
    entropy->view = &spec->inputs[RC_STATES];
    entropy->count = spec->entropy_count - swept;
    if (entropy->count == 0)
        return RATECL_OK;
    entropy->epsilons = spec->epsilons + swept;
    entropy->band_rows = rc_divide_up(rc_view_rows(entropy->view), MOST_BANDS);
    entropy->bands = rc_divide_up(rc_view_rows(entropy->view), entropy->band_rows);
    want_scratch(plan, plan->passes->sweep_scratch());
    return take(plan, &entropy->sums, entropy->bands, (int64_t)entropy->count, sizeof(double));
}

/* Cut the correlation over time: by batch, by chunk of time, and by panels where those give few tasks. Where
 * `each` batch's sum is wanted, no task adds up several. */
static void cut_batch(rc_cpu_correlation *work, bool each)
{
    const int64_t B = work->states->shape[0], T = work->states->shape[1];
    work->batch_steps = rc_least(T, BATCH_STEPS);
    work->batch_chunks = rc_divide_up(T, work->batch_steps);
    const int64_t tasks = B > ENOUGH_TASKS ? B : B * rc_least(work->batch_chunks, ENOUGH_TASKS);
    work->batch_parts =
        2 * tasks >= ENOUGH_TASKS ? 1 : rc_least(work->panels, rc_divide_up(ENOUGH_TASKS, tasks));
    const bool several = work->batch_chunks * work->batch_parts == 1 && !each;
    work->batch_run = several ? rc_most(1, rc_least(BATCH_STEPS / T, B / ENOUGH_TASKS)) : 1;
    work->batch_runs = rc_divide_up(B, work->batch_run);
}

/* The values from the triangle, by batches or by rows. */
static ratecl_status plan_triangle(rc_cpu_plan *plan)
{
    const rc_spec *const spec = &plan->spec;
    rc_cpu_correlation *const work = &plan->correlation;
    int64_t copy_rows = 0;
    if (spec->hebbian_batch) {
        cut_batch(work, spec->gradients[RC_WEIGHTS].wanted);
        copy_rows = work->batch_steps;
        RC_TRY(take(plan, &work->batch_sums, work->batch_runs * work->batch_parts, work->batch_chunks,
                    sizeof(double)));
    }
    if (spec->hebbian_step) {
        copy_rows = rc_most(copy_rows, work->step_rows);
        RC_TRY(take(plan, &work->step_sums, work->step_tasks, 1, sizeof(double)));
    }
    want_scratch(plan, (size_t)(round_up(copy_rows, 8) * work->leading * plan->passes->real_bytes));
    return RATECL_OK;
}

static ratecl_status plan_correlation(rc_cpu_plan *plan)
{
    const rc_spec *const spec = &plan->spec;
    rc_cpu_correlation *const work = &plan->correlation;
    if (!spec->uses[RC_WEIGHTS])
        return RATECL_OK;
    const int64_t real_bytes = plan->passes->real_bytes, panel = plan->passes->panel;
    work->states = &spec->inputs[RC_STATES];
    work->weights = &spec->inputs[RC_WEIGHTS];
    const int64_t R = rc_view_rows(work->states), N = work->states->shape[2];
    work->panel = panel;
    work->panels = rc_divide_up(N, panel);
    work->whole = spec->gradients[RC_STATES].wanted;
    /* An odd number of cache lines: rows at the same column do not share cache sets. */
    const int64_t lines = rc_divide_up(work->panels * panel * real_bytes, RC_CACHE_LINE) | 1;
    work->leading = lines * RC_CACHE_LINE / real_bytes;
    work->step_rows = rc_least(round_up(rc_divide_up(R, ENOUGH_TASKS), 8), RC_STEP_ROWS);
    work->step_tasks = rc_divide_up(R, work->step_rows);
    want_scratch(plan, (size_t)(2 * panel * panel * real_bytes));
    RC_TRY(take(plan, &work->folded, work->panels * panel,
                work->whole ? work->panels * panel : (work->panels + 1) * panel / 2, (size_t)real_bytes));
    if (spec->gradients[RC_STATES].wanted || spec->gradients[RC_WEIGHTS].wanted) {
        RC_TRY(take(plan, &work->forms, R, 1, sizeof(double)));
        RC_TRY(take(plan, &plan->batch_forms, work->states->shape[0], 1, sizeof(double)));
    }
    if (!work->whole)
        return plan_triangle(plan);
    want_scratch(plan, RC_STEP_ROWS * (size_t)(work->leading * real_bytes + panel * (int64_t)sizeof(double)));
    return take(plan, &work->product, R, N, (size_t)real_bytes);
}

static ratecl_status plan_weights(rc_cpu_plan *plan)
{
    const rc_cpu_correlation *const correlation = &plan->correlation;
    rc_cpu_weights *const work = &plan->weights;
    if (!plan->spec.gradients[RC_WEIGHTS].wanted)
        return RATECL_OK;
    const int64_t R = rc_view_rows(correlation->states), panel = correlation->panel;
    const int64_t real_bytes = plan->passes->real_bytes;
    work->states = correlation->states;
    work->row_factors = correlation->forms;
    work->to = &plan->spec.gradients[RC_WEIGHTS];
    work->panel = panel;
    work->panels = correlation->panels;
    work->side = PART_SIDE / panel;
    work->leading = PART_SIDE + RC_CACHE_LINE / real_bytes;
    const int64_t sides = rc_divide_up(work->panels, work->side);
    work->parts = sides * (sides + 1) / 2;
    const int64_t chunks = rc_divide_up(ENOUGH_TASKS / 2, work->parts);
    work->chunk_rows = round_up(rc_divide_up(R, chunks), RC_STEP_ROWS);
    work->chunks = rc_divide_up(R, work->chunk_rows);
    work->chunk_sums = panel * panel * work->panels * (work->panels + 1) / 2;
    want_scratch(plan, RC_STEP_ROWS * (size_t)((2 * work->leading + panel) * real_bytes));
    RC_TRY(take(plan, &work->spoiled, work->panels, 1, sizeof(bool)));
    return take(plan, &work->sums, work->chunks, work->chunk_sums, sizeof(double));
}

static ratecl_status plan_coefficients(rc_cpu_plan *plan)
{
    const rc_spec *const spec = &plan->spec;
    rc_cpu_coefficients *const to = &plan->coefficients;
    const int64_t N = spec->inputs[RC_STATES].shape[2];
    if (!rc_wants_gradients(spec))
        return RATECL_OK;
    for (int k = 0; k < 2; k++) {
        RC_TRY(take(plan, &to->alpha[k], 3, N, sizeof(double)));
        to->beta[k] = to->alpha[k] + N;
        to->centre[k] = to->beta[k] + N;
    }
    RC_TRY(take(plan, &to->lags, (int64_t)spec->lag_count, 1, sizeof(double)));
    return take(plan, &to->entropies, (int64_t)spec->entropy_count, 1, sizeof(double));
}

/* Have the passes over the rows leave what entropy's gradient needs of each. */
static ratecl_status plan_entropy_rows(rc_cpu_plan *plan, rc_cpu_gradient *gradient)
{
    const rc_spec *const spec = &plan->spec;
    const int64_t R = rc_view_rows(gradient->view), swept = rc_sweep_has_entropy(spec);
    double *rows;
    RC_TRY(take(plan, &rows, (int64_t)spec->entropy_count, 2 * R, sizeof(double)));
    plan->sweep[RC_STATES].entropy_rows = rows;
    plan->entropy.entropy_rows = rows + 2 * R * swept;
    gradient->entropy_rows = rows;
    return RATECL_OK;
}

static ratecl_status plan_gradient(rc_cpu_plan *plan, int input)
{
    const rc_spec *const spec = &plan->spec;
    const rc_cpu_coefficients *const coefficients = &plan->coefficients;
    rc_cpu_gradient *const gradient = &plan->gradient[input];
    if (!spec->gradients[input].wanted)
        return RATECL_OK;
    gradient->view = &spec->inputs[input];
    gradient->reads = spec->gradient_reads;
    gradient->by_pair = !spec->moments && spec->entropy_count == 0;
    gradient->to = &spec->gradients[input];
    gradient->grid = cut_grid(gradient->view);
    gradient->alpha = coefficients->alpha[input];
    gradient->beta = coefficients->beta[input];
    gradient->centre = coefficients->centre[input];
    if (input == RC_STATES) {
        gradient->lag_count = spec->lag_count;
        gradient->lags = spec->lags;
        gradient->lag_factors = coefficients->lags;
        gradient->entropy_count = spec->entropy_count;
        gradient->epsilons = spec->epsilons;
        gradient->entropy_factors = coefficients->entropies;
        gradient->product = plan->correlation.product;
        gradient->row_factors = plan->correlation.forms;
        if (spec->entropy_count > 0)
            RC_TRY(plan_entropy_rows(plan, gradient));
    }
    want_scratch(plan, plan->passes->gradient_scratch(gradient->lag_count));
    return take(plan, &gradient->spoiled, gradient->grid.bands, gradient->grid.groups, sizeof(bool));
}

static ratecl_status plan_fill(rc_cpu_plan *plan)
{
    RC_TRY(plan_sweep(plan, RC_STATES));
    RC_TRY(plan_sweep(plan, RC_REFERENCE));
    RC_TRY(plan_entropy(plan));
    RC_TRY(plan_correlation(plan));
    RC_TRY(plan_weights(plan));
    RC_TRY(plan_coefficients(plan));
    RC_TRY(plan_gradient(plan, RC_STATES));
    RC_TRY(plan_gradient(plan, RC_REFERENCE));
    RC_TRY(take(plan, &plan->lags, (int64_t)plan->spec.lag_count, 1, sizeof(double)));
    RC_TRY(take(plan, &plan->entropies, (int64_t)plan->spec.entropy_count, 1, sizeof(double)));
    return take(plan, &plan->scratch, plan->threads, (int64_t)plan->scratch_bytes, 1);
}

/* Whether a thread is through with a plan before it could have woken another one. */
static bool is_tiny(const rc_spec *spec)
{
    enum { TINY = 1 << 17 };
    const double N = (double)spec->inputs[RC_STATES].shape[2];
    double elements = (double)rc_view_rows(&spec->inputs[RC_STATES]) * N;
    if (spec->uses[RC_WEIGHTS])
        elements *= 1 + N / RC_STEP_ROWS;
    if (spec->uses[RC_REFERENCE])
        elements += (double)rc_view_rows(&spec->inputs[RC_REFERENCE]) * N;
    return elements < TINY;
}

ratecl_status rc_cpu_plan_create(void *context_state, const rc_spec *spec, void **plan_state)
{
    const rc_cpu_context *const context = context_state;
    rc_cpu_plan *const plan = calloc(1, sizeof *plan);
    if (plan == NULL)
        return rc_fail(RATECL_ERROR_MEMORY, "no memory for a plan of %zu bytes", sizeof *plan);
    plan->spec = *spec;
    plan->threads = is_tiny(spec) ? 1 : context->threads;
    plan->passes = context->isa->passes[spec->precision];
    const ratecl_status status = plan_fill(plan);
    if (status != RATECL_OK) {
        rc_cpu_plan_release(plan);
        return status;
    }
    *plan_state = plan;
    return RATECL_OK;
}
