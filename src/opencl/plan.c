/* SPDX-License-Identifier: Apache-2.0 */
/* A plan's kernels, scratch and steps:
 *   sweep (states, reference) -> merge_moments, merge_entropy -> sweep again for each eps > 0
 *   fold -> correlate, correlate_step -> merge_steps, merge_batches
 *   finish -> coefficients -> gradient (states, reference); correlate_weights -> gradient_weights */
#include <stdlib.h>
#include <string.h>

#include "builder.h"

static rc_cl_sums_layout lay_out(const rc_cl_plan *plan)
{
    const rc_spec *spec = plan->spec;
    const rc_tuning *t = &plan->tuning;
    const int64_t *shape = spec->inputs[RC_STATES].shape, R = rc_view_rows(&spec->inputs[RC_STATES]);
    rc_cl_sums_layout at = { .sweep_tiles = rc_ceil_div(shape[2], rc_cl_sweep_tile(t)) };
    at.block_rows = rc_cl_block_rows(plan, &spec->inputs[RC_STATES]);
    at.blocks = rc_ceil_div(R, at.block_rows);
    at.groups = rc_ceil_div(R, MERGE_ROWS);
    at.entropies = (int64_t)spec->lag_count * at.blocks * at.sweep_tiles;
    at.batches = at.entropies + ((int64_t)spec->entropy_count + 1) * at.blocks;
    at.steps = at.batches + (spec->hebbian_batch ? shape[0] : 0);
    at.count = at.steps + at.groups;
    at.padded = rc_ceil_div(shape[2], t->tile) * t->tile;
    at.chunks = rc_ceil_div(shape[1], t->chunk_steps);
    at.pairs = at.padded / t->tile * (at.padded / t->tile + 1) / 2;
    at.factors = (int64_t)(spec->lag_count + spec->entropy_count) + 2;
    return at;
}

/* Rows of a packed array that fit into what may be staged: at least one, at most all. */
static int64_t rows_that_fit(const rc_cl_plan *plan, const rc_view *view)
{
    const uint64_t row_bytes = (uint64_t)view->shape[2] * rc_element_bytes(view->element);
    const uint64_t fitting = plan->context->staging_limit / row_bytes, rows = (uint64_t)rc_view_rows(view);
    return fitting < 1 ? 1 : (int64_t)(fitting < rows ? fitting : rows);
}

/* Inputs that are too large to be staged whole come in pieces of so many rows, packed; gradients always go
 * so. */
static void choose_staging(rc_cl_plan *plan)
{
    for (int k = 0; k < RC_INPUT_COUNT; ++k) {
        const rc_view *view = &plan->spec->inputs[k];
        const uint64_t bytes = (uint64_t)view->extent * rc_element_bytes(view->element);
        if (k != RC_WEIGHTS && plan->spec->uses[k] && bytes > plan->context->staging_limit)
            plan->staging_rows[k] = rows_that_fit(plan, view);
        if (plan->spec->gradients[k].wanted)
            plan->gradient_rows[k] = rows_that_fit(plan, &plan->spec->gradients[k].view);
    }
}

/* A piece holds at least one unit of each pass, with what it reads beyond that. */
static void round_staging_up(rc_cl_plan *plan)
{
    for (size_t k = 0; k < plan->step_count; ++k) {
        const rc_cl_step *step = &plan->steps[k];
        const int64_t read = step->unit_rows + step->before + step->after;
        if (step->input != RC_NO_INPUT && plan->staging_rows[step->input] > 0 &&
            plan->staging_rows[step->input] < read)
            plan->staging_rows[step->input] = read;
        if (step->gradient != RC_NO_INPUT && plan->gradient_rows[step->gradient] < step->unit_rows)
            plan->gradient_rows[step->gradient] = step->unit_rows;
    }
}

static ratecl_status build_steps(rc_cl_plan *plan)
{
    rc_cl_builder b = { .plan = plan, .spec = plan->spec, .at = lay_out(plan) };
    RC_TRY(rc_cl_scratch_reals(&b, b.at.count, &b.sums));
    b.none = b.row_z = b.row_sums = b.exponents = b.taus = b.row_factors = b.block_exponents = b.sums;
    b.row_energies = b.product = b.shared = b.statistics[RC_STATES] = b.statistics[RC_REFERENCE] = b.none;
    RC_TRY(rc_cl_add_sweeps(&b));
    RC_TRY(rc_cl_add_correlation(&b));
    RC_TRY(rc_cl_add_finish(&b));
    RC_TRY(rc_cl_add_gradients(&b));
    round_staging_up(plan);
    return RATECL_OK;
}

static ratecl_status plan_fill(rc_cl_plan *plan, const rc_spec *spec)
{
    plan->spec = spec;
    plan->real_bytes = spec->precision == RATECL_PRECISION_F64 ? sizeof(cl_double) : sizeof(cl_float);
    rc_device_limits limits = plan->context->limits;
    limits.group_lanes = plan->group_lanes;
    RC_TRY(rc_tuning_choose(&limits, spec->precision, &plan->tuning));
    choose_staging(plan);
    plan->host_values = calloc(spec->value_count + 1, plan->real_bytes);
    plan->host_skipped = calloc(spec->term_count, sizeof *plan->host_skipped);
    const size_t cotangents = spec->cotangent_count * (size_t)spec->inputs[RC_STATES].shape[2] + 1;
    plan->host_cotangents = calloc(cotangents, plan->real_bytes);
    if (!plan->host_values || !plan->host_skipped || !plan->host_cotangents)
        return rc_fail_memory((spec->value_count + 1) * plan->real_bytes);
    return build_steps(plan);
}

void rc_cl_plan_release(void *plan_state)
{
    rc_cl_plan *plan = plan_state;
    if (plan->last) {
        clWaitForEvents(1, &plan->last);
        clReleaseEvent(plan->last);
    }
    for (int k = 0; k < RC_INPUT_COUNT; ++k) {
        if (plan->inputs[k])
            clReleaseMemObject(plan->inputs[k]);
        if (plan->staging[k])
            clReleaseMemObject(plan->staging[k]);
        if (plan->gradient_staging[k])
            clReleaseMemObject(plan->gradient_staging[k]);
    }
    for (size_t k = 0; k < plan->step_count; ++k)
        clReleaseKernel(plan->steps[k].kernel);
    for (size_t k = 0; k < plan->buffer_count; ++k)
        clReleaseMemObject(plan->buffers[k]);
    free(plan->steps);
    free(plan->buffers);
    free(plan->host_values);
    free(plan->host_skipped);
    free(plan->host_cotangents);
    free(plan);
}

/* With groups of at most *lanes; where that was too many, *lanes is how many the kernels allow. */
static ratecl_status try_plan(rc_cl_context *context, const rc_spec *spec, size_t *lanes, rc_cl_plan **made)
{
    rc_cl_plan *plan = calloc(1, sizeof *plan);
    if (!plan)
        return rc_fail_memory(sizeof *plan);
    plan->context = context;
    plan->group_lanes = *lanes;
    const ratecl_status status = plan_fill(plan, spec);
    *lanes = plan->group_lanes;
    if (status == RATECL_OK)
        *made = plan;
    else
        rc_cl_plan_release(plan);
    return status;
}

ratecl_status rc_cl_plan_create(void *context_state, const rc_spec *spec, void **plan_state)
{
    rc_cl_context *context = context_state;
    rc_cl_plan *plan = NULL;
    size_t tried, lanes = context->limits.group_lanes;
    ratecl_status status;
    do {
        tried = lanes;
        status = try_plan(context, spec, &lanes, &plan);
    } while (status == RATECL_ERROR_UNSUPPORTED && lanes > 0 && lanes < tried);
    *plan_state = plan;
    return status;
}
