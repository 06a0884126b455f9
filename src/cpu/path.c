/* SPDX-License-Identifier: Apache-2.0 */
/* The OpenMP path: contexts, plans with all the memory they need, and the order of the passes. */
#define _POSIX_C_SOURCE 200809L

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "cpu.h"

enum {
    MOST_BANDS = 256,  /* bounds the partial sums: at most one set in 2 RC_BLOCK_ROWS rows */
    ENOUGH_TASKS = 64, /* for the threads of a large machine, and to even out their loads */
    BATCH_STEPS = 128, /* time steps that meet a tile of the weights while it is in cache */
    CACHE_LINE = 64,
    MOST_BLOCKS = 16 /* of a plan's memory */
};

typedef struct cpu_context {
    int threads;
    const rc_cpu_isa *isa;
} cpu_context;

typedef struct cpu_plan {
    rc_spec spec;
    int threads;
    const rc_cpu_passes *passes;
    bool sweeps[2]; /* of RC_STATES and RC_REFERENCE */
    rc_cpu_sweep sweep[2];
    rc_cpu_entropy entropy;
    rc_cpu_correlation correlation;
    double *lags;         /* (lag_count) */
    double *entropies;    /* (entropy_count) */
    size_t scratch_bytes; /* of one thread */
    char *scratch;        /* (threads, scratch_bytes) */
    void *blocks[MOST_BLOCKS];
    int block_count;
} cpu_plan;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t divide_up(int64_t a, int64_t b)
{
    return a / b + (a % b != 0);
}

static int64_t round_up(int64_t a, int64_t b)
{
    return divide_up(a, b) * b;
}

/* ---- Memory ---- */

/* Take rows x columns elements of `bytes` bytes, which belong to the plan. */
static ratecl_status take(cpu_plan *plan, void *pointer, int64_t rows, int64_t columns, size_t bytes)
{
    const uint64_t most_elements = (PTRDIFF_MAX - CACHE_LINE) / bytes;
    void *block = NULL;
    if ((uint64_t)columns <= most_elements / (uint64_t)most(rows, 1)) {
        const size_t wanted = (size_t)rows * (size_t)columns * bytes;
        block = aligned_alloc(CACHE_LINE, (wanted / CACHE_LINE + 1) * CACHE_LINE);
    }
    if (block == NULL)
        return rc_fail(RATECL_ERROR_MEMORY, "no memory for the plan's scratch of %lld x %lld x %zu bytes",
                       (long long)rows, (long long)columns, bytes);
    plan->blocks[plan->block_count++] = block;
    memcpy(pointer, &block, sizeof block);
    return RATECL_OK;
}

static void plan_release(void *plan_state)
{
    cpu_plan *const plan = plan_state;
    for (int k = 0; plan != NULL && k < plan->block_count; k++)
        free(plan->blocks[k]);
    free(plan);
}

/* ---- Plans ---- */

/* Cut an input by its shape: bands of rows, and groups of columns where the rows alone give few tasks. */
static void cut_sweep(rc_cpu_sweep *sweep)
{
    const int64_t R = rc_view_rows(sweep->view), N = sweep->view->shape[2];
    const int64_t bands = least(divide_up(R, 2 * RC_BLOCK_ROWS), MOST_BANDS);
    const int64_t tiles = divide_up(N, RC_TILE_COLUMNS);
    const int64_t groups = 2 * bands >= ENOUGH_TASKS ? 1 : least(tiles, divide_up(ENOUGH_TASKS, bands));
    sweep->band_rows = round_up(divide_up(R, bands), RC_BLOCK_ROWS);
    sweep->bands = divide_up(R, sweep->band_rows);
    sweep->group_columns = divide_up(tiles, groups) * RC_TILE_COLUMNS;
    sweep->groups = divide_up(N, sweep->group_columns);
}

static ratecl_status plan_sweep(cpu_plan *plan, int input)
{
    const rc_spec *const spec = &plan->spec;
    rc_cpu_sweep *const sweep = &plan->sweep[input];
    const bool states = input == RC_STATES;
    sweep->view = &spec->inputs[input];
    sweep->moments = states ? spec->moments : spec->uses[RC_REFERENCE];
    sweep->entropy = states && rc_sweep_has_entropy(spec);
    sweep->lag_count = states ? spec->lag_count : 0;
    sweep->lags = spec->lags;
    plan->sweeps[input] = sweep->moments || sweep->entropy || sweep->lag_count > 0;
    if (!plan->sweeps[input])
        return RATECL_OK;

    cut_sweep(sweep);
    const int64_t N = sweep->view->shape[2], tasks = sweep->bands * sweep->groups;
    if (sweep->moments) {
        RC_TRY(take(plan, &sweep->mean, sweep->bands, N, sizeof(double)));
        RC_TRY(take(plan, &sweep->deviations, sweep->bands, N, sizeof(double)));
    }
    if (sweep->entropy)
        RC_TRY(take(plan, &sweep->entropy_sums, sweep->bands, 1, sizeof(double)));
    if (sweep->entropy && sweep->groups > 1)
        RC_TRY(take(plan, &sweep->row_sums, sweep->groups, rc_view_rows(sweep->view), 2 * sizeof(double)));
    plan->scratch_bytes = plan->passes->sweep_scratch;
    return take(plan, &sweep->lag_sums, tasks, (int64_t)sweep->lag_count, sizeof(double));
}

static ratecl_status plan_entropy(cpu_plan *plan)
{
    const rc_spec *const spec = &plan->spec;
    rc_cpu_entropy *const entropy = &plan->entropy;
    const size_t swept = rc_sweep_has_entropy(spec); /* the first eps, where it is 0 */
    entropy->view = &spec->inputs[RC_STATES];
    entropy->count = spec->entropy_count - swept;
    if (entropy->count == 0)
        return RATECL_OK;
    entropy->epsilons = spec->epsilons + swept;
    entropy->band_rows = divide_up(rc_view_rows(entropy->view), MOST_BANDS);
    entropy->bands = divide_up(rc_view_rows(entropy->view), entropy->band_rows);
    plan->scratch_bytes = plan->passes->sweep_scratch;
    return take(plan, &entropy->sums, entropy->bands, (int64_t)entropy->count, sizeof(double));
}

/* Cut the correlation over time: by batch, by chunk of time, and by panels where those give few tasks. */
static void cut_batch(rc_cpu_correlation *work)
{
    const int64_t B = work->states->shape[0], T = work->states->shape[1];
    work->batch_steps = least(T, BATCH_STEPS);
    work->batch_chunks = divide_up(T, work->batch_steps);
    const int64_t tasks = B > ENOUGH_TASKS ? B : B * least(work->batch_chunks, ENOUGH_TASKS);
    work->batch_parts = 2 * tasks >= ENOUGH_TASKS ? 1 : least(work->panels, divide_up(ENOUGH_TASKS, tasks));
    const bool whole = work->batch_chunks * work->batch_parts == 1;
    work->batch_run = whole ? most(1, least(BATCH_STEPS / T, B / ENOUGH_TASKS)) : 1;
    work->batch_runs = divide_up(B, work->batch_run);
}

static ratecl_status plan_correlation(cpu_plan *plan)
{
    const rc_spec *const spec = &plan->spec;
    rc_cpu_correlation *const work = &plan->correlation;
    if (!spec->hebbian_batch && !spec->hebbian_step)
        return RATECL_OK;
    const int64_t real_bytes = plan->passes->real_bytes, panel = plan->passes->panel;
    work->states = &spec->inputs[RC_STATES];
    work->weights = &spec->inputs[RC_WEIGHTS];
    work->panel = panel;
    work->panels = divide_up(work->states->shape[2], panel);
    /* An odd number of cache lines: rows at the same column do not share cache sets. */
    const int64_t lines = divide_up(work->panels * panel * real_bytes, CACHE_LINE) | 1;
    work->leading = lines * CACHE_LINE / real_bytes;
    RC_TRY(
        take(plan, &work->folded, work->panels * panel, (work->panels + 1) * panel / 2, (size_t)real_bytes));

    int64_t copy_rows = 0;
    if (spec->hebbian_batch) {
        cut_batch(work);
        copy_rows = work->batch_steps;
        RC_TRY(take(plan, &work->batch_sums, work->batch_runs * work->batch_parts, work->batch_chunks,
                    sizeof(double)));
    }
    if (spec->hebbian_step) {
        const int64_t R = rc_view_rows(work->states);
        work->step_rows = least(round_up(divide_up(R, ENOUGH_TASKS), 8), RC_STEP_ROWS);
        work->step_tasks = divide_up(R, work->step_rows);
        copy_rows = most(copy_rows, work->step_rows);
        RC_TRY(take(plan, &work->step_sums, work->step_tasks, 1, sizeof(double)));
    }
    const int64_t reals = most(round_up(copy_rows, 8) * work->leading, 2 * panel * panel);
    plan->scratch_bytes = (size_t)most((int64_t)plan->scratch_bytes, reals * real_bytes);
    return RATECL_OK;
}

static ratecl_status plan_fill(cpu_plan *plan)
{
    RC_TRY(plan_sweep(plan, RC_STATES));
    RC_TRY(plan_sweep(plan, RC_REFERENCE));
    RC_TRY(plan_entropy(plan));
    RC_TRY(plan_correlation(plan));
    RC_TRY(take(plan, &plan->lags, (int64_t)plan->spec.lag_count, 1, sizeof(double)));
    RC_TRY(take(plan, &plan->entropies, (int64_t)plan->spec.entropy_count, 1, sizeof(double)));
    plan->scratch_bytes = (size_t)round_up((int64_t)plan->scratch_bytes, CACHE_LINE);
    return take(plan, &plan->scratch, plan->threads, (int64_t)plan->scratch_bytes, 1);
}

static ratecl_status plan_create(void *context_state, const rc_spec *spec, void **plan_state)
{
    const cpu_context *const context = context_state;
    cpu_plan *const plan = calloc(1, sizeof *plan);
    if (plan == NULL)
        return rc_fail(RATECL_ERROR_MEMORY, "no memory for a plan of %zu bytes", sizeof *plan);
    plan->spec = *spec;
    plan->threads = context->threads;
    plan->passes = context->isa->passes[spec->precision];
    const ratecl_status status = plan_fill(plan);
    if (status != RATECL_OK) {
        plan_release(plan);
        return status;
    }
    *plan_state = plan;
    return RATECL_OK;
}

/* ---- Evaluation ---- */

static int thread_index(void)
{
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}

static void run(const cpu_plan *plan, rc_cpu_task task, const void *work, int64_t tasks)
{
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic) num_threads(plan->threads) if (tasks > 1)
#endif
    for (int64_t k = 0; k < tasks; k++)
        task(work, k, plan->scratch + (size_t)thread_index() * plan->scratch_bytes);
}

/* The sum of `count` numbers that lie `stride` apart. */
static double sum(const double *x, int64_t count, int64_t stride)
{
    double total = 0;
    for (int64_t k = 0; k < count; k++)
        total += x[k * stride];
    return total;
}

static void run_sweep(cpu_plan *plan, int input, const void *memory)
{
    rc_cpu_sweep *const sweep = &plan->sweep[input];
    if (!plan->sweeps[input])
        return;
    sweep->memory = memory;
    const int64_t tasks = sweep->bands * sweep->groups, lags = (int64_t)sweep->lag_count;
    run(plan, plan->passes->sweep, sweep, tasks);
    if (sweep->moments)
        run(plan, rc_merge_bands, sweep, divide_up(sweep->view->shape[2], RC_TILE_COLUMNS));
    if (sweep->entropy && sweep->groups > 1)
        run(plan, rc_merge_band_rows, sweep, sweep->bands);
    for (int64_t l = 0; l < lags; l++)
        plan->lags[l] = sum(sweep->lag_sums + l, tasks, lags);
    if (sweep->entropy)
        plan->entropies[0] = sum(sweep->entropy_sums, sweep->bands, 1);
}

static void run_entropy(cpu_plan *plan, const void *memory)
{
    rc_cpu_entropy *const entropy = &plan->entropy;
    const size_t swept = plan->spec.entropy_count - entropy->count;
    const int64_t count = (int64_t)entropy->count;
    entropy->memory = memory;
    run(plan, plan->passes->entropy, entropy, entropy->bands);
    for (int64_t e = 0; e < count; e++)
        plan->entropies[(int64_t)swept + e] = sum(entropy->sums + e, entropy->bands, count);
}

static double sum_batches(const rc_cpu_correlation *work)
{
    const int64_t pieces = work->batch_chunks * work->batch_parts;
    double total = 0;
    for (int64_t b = 0; b < work->batch_runs; b++)
        total += fabs(sum(work->batch_sums + b * pieces, pieces, 1));
    return total;
}

static void run_correlation(cpu_plan *plan, const void *states, const void *weights, double hebbian[2])
{
    rc_cpu_correlation *const work = &plan->correlation;
    work->states_memory = states;
    work->weights_memory = weights;
    run(plan, plan->passes->fold, work, work->panels);
    if (plan->spec.hebbian_batch) {
        run(plan, plan->passes->batch, work, work->batch_runs * work->batch_chunks * work->batch_parts);
        hebbian[RATECL_OVER_BATCH] = sum_batches(work);
    }
    if (plan->spec.hebbian_step) {
        run(plan, plan->passes->step, work, work->step_tasks);
        hebbian[RATECL_OVER_STEP] = sum(work->step_sums, work->step_tasks, 1);
    }
}

static ratecl_status evaluate(void *plan_state, const void *const inputs[RC_INPUT_COUNT], double *values,
                              int64_t *skipped)
{
    cpu_plan *const plan = plan_state;
    const rc_cpu_sweep *const sweep = plan->sweep;
    rc_cpu_sums sums = { .mean = { sweep[RC_STATES].mean, sweep[RC_REFERENCE].mean },
                         .variance = { sweep[RC_STATES].deviations, sweep[RC_REFERENCE].deviations },
                         .lags = plan->lags,
                         .entropies = plan->entropies };
    run_sweep(plan, RC_STATES, inputs[RC_STATES]);
    run_sweep(plan, RC_REFERENCE, inputs[RC_REFERENCE]);
    run_entropy(plan, inputs[RC_STATES]);
    run_correlation(plan, inputs[RC_STATES], inputs[RC_WEIGHTS], sums.hebbian);
    rc_cpu_finish(&plan->spec, &sums, values, skipped);
    return RATECL_OK;
}

/* ---- Contexts ---- */

ratecl_status rc_cpu_context_create(int32_t threads, void **context_state)
{
    cpu_context *const context = malloc(sizeof *context);
    if (context == NULL)
        return rc_fail(RATECL_ERROR_MEMORY, "no memory for a context of %zu bytes", sizeof *context);
#ifdef _OPENMP
    context->threads = threads > 0 ? threads : omp_get_max_threads();
#else
    (void)threads;
    context->threads = 1;
#endif
    context->isa = rc_cpu_isa_choose();
    *context_state = context;
    return RATECL_OK;
}

static uint64_t physical_memory(void)
{
    const long pages = sysconf(_SC_PHYS_PAGES), bytes = sysconf(_SC_PAGESIZE);
    return pages > 0 && bytes > 0 ? (uint64_t)pages * (uint64_t)bytes : 0;
}

static void device_info(const void *context_state, ratecl_device_info *info)
{
    const cpu_context *const context = context_state;
    snprintf(info->id, sizeof info->id, "cpu");
    snprintf(info->name, sizeof info->name, "CPU, %s code", context->isa->name);
    snprintf(info->platform, sizeof info->platform, "OpenMP");
    snprintf(info->version, sizeof info->version, "%s", ratecl_version());
    info->kind = RATECL_DEVICE_OPENMP;
    info->fp64 = 1;
    info->chosen = 0;
    info->compute_units = context->threads;
    info->memory = physical_memory();
    info->largest_buffer = 0;
}

static bool has_fp64(const void *context_state)
{
    (void)context_state;
    return true;
}

const rc_path rc_cpu_path = { .context_release = free,
                              .device_info = device_info,
                              .has_fp64 = has_fp64,
                              .plan_create = plan_create,
                              .plan_release = plan_release,
                              .evaluate = evaluate };
