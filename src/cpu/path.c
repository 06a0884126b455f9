/* SPDX-License-Identifier: Apache-2.0 */
/* The OpenMP path: contexts, and the order of an evaluation's passes. */
#define _POSIX_C_SOURCE 200809L

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "../process.h"
#include "compensated.h"
#include "path.h"

#ifdef _OPENMP
/* The process whose OpenMP threads evaluations run on. */
static rc_owner openmp_owner;
#endif

/* Return how many threads an evaluation runs on: one in a child that fork() made of a process that has run on
 * several, since libgomp waits there for threads that the child does not have. */
static int usable_threads(const rc_cpu_plan *plan)
{
#ifdef _OPENMP
    return plan->threads == 1 || !rc_own(&openmp_owner) ? 1 : plan->threads;
#else
    (void)plan;
    return 1;
#endif
}

static void run(const rc_cpu_plan *plan, rc_cpu_task task, const void *work, int64_t tasks)
{
#ifdef _OPENMP
    if (plan->running_threads > 1 && tasks > 1) {
#pragma omp parallel for schedule(dynamic) num_threads(plan->running_threads)
        for (int64_t k = 0; k < tasks; k++)
            task(work, k, plan->scratch + (size_t)omp_get_thread_num() * plan->scratch_bytes);
        return;
    }
#endif
    for (int64_t k = 0; k < tasks; k++)
        task(work, k, plan->scratch);
}

/* The sum of `count` numbers that lie `stride` apart. */
static double sum(const double *x, int64_t count, int64_t stride)
{
    double total = 0;
    for (int64_t k = 0; k < count; k++)
        total += x[k * stride];
    return total;
}

static void run_sweep(rc_cpu_plan *plan, int input, const void *memory)
{
    rc_cpu_sweep *const sweep = &plan->sweep[input];
    if (!plan->sweeps[input])
        return;
    sweep->memory = memory;
    const int64_t tasks = sweep->grid.bands * sweep->grid.groups, lags = (int64_t)sweep->lag_count;
    run(plan, plan->passes->sweep, sweep, tasks);
    if (sweep->moments)
        run(plan, rc_merge_bands, sweep, rc_divide_up(sweep->view->shape[2], RC_TILE_COLUMNS));
    if (sweep->entropy && sweep->grid.groups > 1)
        run(plan, rc_merge_band_rows, sweep, sweep->grid.bands);
    for (int64_t l = 0; l < lags; l++)
        plan->lags[l] = sum(sweep->lag_sums + l, tasks, lags);
    if (sweep->entropy)
        plan->entropies[0] = sum(sweep->entropy_sums, sweep->grid.bands, 1);
}

static void run_entropy(rc_cpu_plan *plan, const void *memory)
{
    rc_cpu_entropy *const entropy = &plan->entropy;
    const size_t swept = plan->spec.entropy_count - entropy->count;
    const int64_t count = (int64_t)entropy->count;
    entropy->memory = memory;
    run(plan, plan->passes->entropy, entropy, entropy->bands);
    for (int64_t e = 0; e < count; e++)
        plan->entropies[(int64_t)swept + e] = sum(entropy->sums + e, entropy->bands, count);
}

/* Sum of the batches' absolute sums, which `forms`, (B) or NULL, receives. */
static double sum_batches(const rc_cpu_correlation *work, double *forms)
{
    const int64_t pieces = work->batch_chunks * work->batch_parts;
    double total = 0;
    for (int64_t b = 0; b < work->batch_runs; b++) {
        const double form = sum(work->batch_sums + b * pieces, pieces, 1);
        total += fabs(form);
        if (forms)
            forms[b] = form;
    }
    return total;
}

/* The sums from those of the rows, which the product gave. */
static void sum_rows(rc_cpu_plan *plan, double hebbian[2])
{
    const int64_t B = plan->correlation.states->shape[0], T = plan->correlation.states->shape[1];
    rc_compensated batches = { 0, 0 }, steps = { 0, 0 };
    for (int64_t b = 0; b < B; b++) {
        rc_compensated batch = { 0, 0 };
        for (int64_t r = b * T; r < (b + 1) * T; r++) {
            rc_add(&batch, plan->correlation.forms[r]);
            rc_add(&steps, fabs(plan->correlation.forms[r]));
        }
        plan->batch_forms[b] = rc_total(&batch);
        rc_add(&batches, fabs(plan->batch_forms[b]));
    }
    hebbian[RATECL_OVER_BATCH] = rc_total(&batches);
    hebbian[RATECL_OVER_STEP] = rc_total(&steps);
}

static void run_correlation(rc_cpu_plan *plan, const void *states, const void *weights, double hebbian[2])
{
    rc_cpu_correlation *const work = &plan->correlation;
    work->states_memory = states;
    work->weights_memory = weights;
    run(plan, plan->passes->fold, work, work->panels);
    if (work->whole) {
        run(plan, plan->passes->product, work, work->step_tasks);
        sum_rows(plan, hebbian);
        return;
    }
    if (plan->spec.hebbian_batch) {
        run(plan, plan->passes->batch, work, work->batch_runs * work->batch_chunks * work->batch_parts);
        hebbian[RATECL_OVER_BATCH] = sum_batches(work, plan->batch_forms);
    }
    if (plan->spec.hebbian_step) {
        run(plan, plan->passes->step, work, work->step_tasks);
        hebbian[RATECL_OVER_STEP] = sum(work->step_sums, work->step_tasks, 1);
    }
}

static bool any(const bool *given, int64_t count)
{
    bool found = false;
    for (int64_t k = 0; k < count; k++)
        found |= given[k];
    return found;
}

/* Return whether an element is not finite. */
static bool run_gradient(rc_cpu_plan *plan, int input, const rc_evaluation *evaluation)
{
    rc_cpu_gradient *const gradient = &plan->gradient[input];
    if (!plan->spec.gradients[input].wanted)
        return false;
    gradient->memory = evaluation->inputs[input];
    gradient->gradient = evaluation->gradients[input];
    gradient->product_factor = evaluation->scale / (double)rc_view_rows(gradient->view);
    const int64_t tasks = gradient->grid.bands * gradient->grid.groups;
    run(plan, plan->passes->gradient, gradient, tasks);
    return any(gradient->spoiled, tasks);
}

static bool run_weights(rc_cpu_plan *plan, const rc_evaluation *evaluation)
{
    rc_cpu_weights *const work = &plan->weights;
    if (!plan->spec.gradients[RC_WEIGHTS].wanted)
        return false;
    work->states_memory = evaluation->inputs[RC_STATES];
    work->gradient = evaluation->gradients[RC_WEIGHTS];
    work->factor = evaluation->scale / (double)rc_view_rows(work->states);
    run(plan, plan->passes->weights, work, work->parts * work->chunks);
    run(plan, plan->passes->weights_gradient, work, work->panels);
    return any(work->spoiled, work->panels);
}

static void run_gradients(rc_cpu_plan *plan, const rc_cpu_sums *sums, const rc_evaluation *evaluation)
{
    bool spoiled = false;
    if (!rc_wants_gradients(&plan->spec))
        return;
    rc_cpu_coefficients_find(&plan->spec, sums, evaluation, &plan->coefficients);
    if (plan->correlation.forms)
        rc_cpu_row_factors(&plan->spec, plan->coefficients.hebbian, plan->batch_forms,
                           plan->correlation.forms);
    spoiled |= run_gradient(plan, RC_STATES, evaluation);
    spoiled |= run_gradient(plan, RC_REFERENCE, evaluation);
    spoiled |= run_weights(plan, evaluation);
    evaluation->skipped[plan->spec.term_count] = spoiled;
}

static ratecl_status evaluate(void *plan_state, const rc_evaluation *evaluation)
{
    rc_cpu_plan *const plan = plan_state;
    const void *const *const inputs = evaluation->inputs;
    const rc_cpu_sweep *const sweep = plan->sweep;
    rc_cpu_sums sums = { .mean = { sweep[RC_STATES].mean, sweep[RC_REFERENCE].mean },
                         .variance = { sweep[RC_STATES].deviations, sweep[RC_REFERENCE].deviations },
                         .lags = plan->lags,
                         .entropies = plan->entropies };
    plan->running_threads = usable_threads(plan);
    run_sweep(plan, RC_REFERENCE, inputs[RC_REFERENCE]);
    run_sweep(plan, RC_STATES, inputs[RC_STATES]); /* the last: the gradient finds their end in the cache */
    run_entropy(plan, inputs[RC_STATES]);
    if (plan->spec.uses[RC_WEIGHTS])
        run_correlation(plan, inputs[RC_STATES], inputs[RC_WEIGHTS], sums.hebbian);
    rc_cpu_finish(&plan->spec, &sums, evaluation->values, evaluation->skipped);
    evaluation->skipped[plan->spec.term_count] = 0;
    run_gradients(plan, &sums, evaluation);
    return RATECL_OK;
}

static ratecl_status read_moments(void *plan_state, int input, int64_t first, int64_t count, double *mean,
                                  double *deviation)
{
    const rc_cpu_sweep *const sweep = &((const rc_cpu_plan *)plan_state)->sweep[input];
    for (int64_t k = 0; k < count; k++) {
        mean[k] = sweep->mean[first + k];
        deviation[k] = sqrt(sweep->deviations[first + k]); /* by now divided by the number of rows */
    }
    return RATECL_OK;
}

/* ---- Contexts ---- */

ratecl_status rc_cpu_context_create(int32_t threads, void **context_state)
{
    rc_cpu_context *const context = malloc(sizeof *context);
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
    const rc_cpu_context *const context = context_state;
    *info = (ratecl_device_info){ .size = sizeof *info };
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
                              .plan_create = rc_cpu_plan_create,
                              .plan_release = rc_cpu_plan_release,
                              .evaluate = evaluate,
                              .read_moments = read_moments };
