/* SPDX-License-Identifier: Apache-2.0 */
/* What a search of the parameters needs: their choices, plans with them, and the time that one takes. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <string.h>

#include "../clock.h"
#include "cl.h"

static const rc_tuning_group cpu_groups[] = {
    { RC_TUNE_SWEEPS,
      { "sweep_vectors=64", "sweep_vectors=32", "sweep_vectors=16", "sweep_vectors=8", "sweep_vectors=4" } },
    { 1 << RATECL_TUNE_SWEEP, { "sweep_step=8", "sweep_step=4", "sweep_step=2", "sweep_step=16" } },
    { 1 << RATECL_TUNE_GRADIENT, { "gradient_step=4", "gradient_step=2", "gradient_step=8" } },
    { RC_TUNE_SWEEPS,
      { "sweep_rows=512", "sweep_rows=256", "sweep_rows=1024", "sweep_rows=128", "sweep_rows=2048" } },
    { RC_TUNE_SWEEPS, { "sweep_vector=16", "sweep_vector=8", "sweep_vector=4" } },
    { RC_TUNE_CORRELATIONS, { "tile=256", "tile=128", "tile=64", "tile=192", "tile=96" } },
    { RC_TUNE_CORRELATIONS,
      { "across=2,down=8,panel=32", "across=2,down=4,panel=32", "across=2,down=16,panel=32",
        "across=4,down=4,panel=64", "across=1,down=16,panel=16", "across=3,down=8,panel=48" } },
    { RC_TUNE_CORRELATIONS, { "depth=128", "depth=256", "depth=64", "depth=512" } },
    { RC_TUNE_CORRELATIONS,
      { "chunk_steps=1024", "chunk_steps=512", "chunk_steps=2048", "chunk_steps=256" } },
    { 0, { NULL } },
};

static const rc_tuning_group gpu_groups[] = {
    { RC_TUNE_SWEEPS, { "sweep_lanes=256", "sweep_lanes=128", "sweep_lanes=512", "sweep_lanes=64" } },
    { RC_TUNE_SWEEPS, { "sweep_across=64", "sweep_across=32", "sweep_across=128", "sweep_across=16" } },
    { 1 << RATECL_TUNE_SWEEP, { "sweep_step=4", "sweep_step=8", "sweep_step=2", "sweep_step=1" } },
    { 1 << RATECL_TUNE_GRADIENT, { "gradient_step=2", "gradient_step=1", "gradient_step=4" } },
    { 1 << RATECL_TUNE_SWEEP, { "sweep_rounds=16", "sweep_rounds=8", "sweep_rounds=4", "sweep_rounds=32" } },
    { 1 << RATECL_TUNE_GRADIENT, { "gradient_rounds=16", "gradient_rounds=8", "gradient_rounds=32" } },
    { RC_TUNE_SWEEPS, { "merge_lanes=256", "merge_lanes=128", "merge_lanes=64" } },
    { RC_TUNE_SWEEPS, { "merge_vector=4", "merge_vector=2" } },
    /* 64 sums of the product for each work-item, or 32. */
    { RC_TUNE_CORRELATIONS,
      { "tile=128,tile_lanes=256", "tile=64,tile_lanes=64", "tile=64,tile_lanes=128",
        "tile=128,tile_lanes=512" } },
    { RC_TUNE_CORRELATIONS, { "depth=16", "depth=8", "depth=32" } },
    { RC_TUNE_CORRELATIONS, { "chunk_steps=256", "chunk_steps=512", "chunk_steps=128" } },
    { 0, { NULL } },
};

static const rc_tuning_group *groups(const void *context_state)
{
    static const rc_tuning_group *const of_families[] = {
        [RC_FAMILY_CPU] = cpu_groups, [RC_FAMILY_GPU] = gpu_groups
    };
    const rc_cl_context *context = context_state;
    rc_tuning tuning;
    if (rc_tuning_choose(&context->limits, RATECL_PRECISION_F32, "", &tuning) != RATECL_OK)
        return cpu_groups; /* a wrong RATECL_TUNING, which the first plan refuses */
    return of_families[rc_kernel_set_of(&tuning)->family];
}

static ratecl_status set(void *context_state, ratecl_precision precision, const char *text, char *all,
                         size_t all_bytes)
{
    rc_cl_context *context = context_state;
    char chosen[RC_TUNING_BYTES];
    rc_tuning tuning;
    RC_TRY(rc_tuning_choose(&context->limits, precision, text, &tuning));
    rc_tuning_print(&tuning, chosen);
    if (snprintf(all, all_bytes, "%s", chosen) >= (int)all_bytes)
        return rc_fail(RATECL_ERROR_ARGUMENT, "%zu bytes do not hold the parameters", all_bytes);
    memcpy(context->tuned[precision], chosen, sizeof chosen);
    return RATECL_OK;
}

static ratecl_status keep(void *context_state, ratecl_precision precision, const char *all, char *file,
                          size_t file_bytes)
{
    return rc_cl_tuned_keep(context_state, precision, all, file, file_bytes);
}

/* ---- Time ---- */

enum { LEAST_RUNS = 3, MOST_RUNS = 20 };
static const double enough_seconds = 0.06;

static size_t bytes_of(const rc_view *view)
{
    return (size_t)view->extent * rc_element_bytes(view->element);
}

static ratecl_status make_buffers(const rc_cl_plan *plan, const rc_evaluation *evaluation,
                                  rc_cl_exchange *exchange)
{
    for (int k = 0; k < RC_INPUT_COUNT; ++k) {
        cl_int code = CL_SUCCESS;
        if (plan->spec->uses[k])
            exchange->inputs[k].memory =
                clCreateBuffer(plan->context->context, CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR,
                               bytes_of(&plan->spec->inputs[k]), (void *)evaluation->inputs[k], &code);
        if (code == CL_SUCCESS && plan->spec->gradients[k].wanted)
            exchange->gradients[k].memory =
                clCreateBuffer(plan->context->context, CL_MEM_READ_WRITE,
                               bytes_of(&plan->spec->gradients[k].view), NULL, &code);
        if (code != CL_SUCCESS)
            return rc_cl_fail("clCreateBuffer", code);
    }
    exchange->scale_value = evaluation->scale;
    return RATECL_OK;
}

static ratecl_status time_runs(rc_cl_plan *plan, const rc_evaluation *evaluation,
                               const rc_cl_exchange *exchange, double *seconds)
{
    double spent = 0;
    for (int run = -1; run < LEAST_RUNS || (run < MOST_RUNS && spent < enough_seconds); ++run) {
        const double start = rc_seconds_now();
        RC_TRY(rc_cl_plan_enqueue(plan, exchange, 0, NULL));
        RC_TRY(rc_cl_plan_wait(plan, evaluation->values, evaluation->skipped));
        const double taken = rc_seconds_now() - start;
        if (run < 0)
            continue; /* the first one brings things into place */
        spent += taken;
        if (run == 0 || taken < *seconds)
            *seconds = taken;
    }
    return RATECL_OK;
}

static ratecl_status read_gradients(const rc_cl_plan *plan, const rc_evaluation *evaluation,
                                    const rc_cl_exchange *exchange)
{
    for (int k = 0; k < RC_INPUT_COUNT; ++k)
        if (exchange->gradients[k].memory)
            CL_TRY(clEnqueueReadBuffer(plan->context->queue, exchange->gradients[k].memory, CL_TRUE, 0,
                                       bytes_of(&plan->spec->gradients[k].view), evaluation->gradients[k], 0,
                                       NULL, NULL));
    return RATECL_OK;
}

static ratecl_status time_plan(void *plan_state, const rc_evaluation *evaluation, double *seconds)
{
    rc_cl_plan *plan = plan_state;
    rc_cl_exchange exchange = { .values = NULL };
    ratecl_status status = make_buffers(plan, evaluation, &exchange);
    if (status == RATECL_OK)
        status = time_runs(plan, evaluation, &exchange, seconds);
    if (status == RATECL_OK)
        status = read_gradients(plan, evaluation, &exchange);
    clFinish(plan->context->queue);
    rc_cl_exchange_release(&exchange);
    return status;
}

const rc_tuner rc_cl_tuner = { .groups = groups, .set = set, .time = time_plan, .keep = keep };
