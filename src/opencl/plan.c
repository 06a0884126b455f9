/* SPDX-License-Identifier: Apache-2.0 */
/* A plan's kernels, scratch and steps:
 *   sweep (reference, states); fold -> correlate or correlate_step
 *   merge -> for each eps > 0: sweep again, merge -> deviations -> finish
 *   gradient (states, reference); correlate_weights -> gradient_weights */
#include <stdlib.h>
#include <string.h>

#include "builder.h"
#include "staging.h"

static rc_cl_sums_layout lay_out(const rc_cl_plan *plan)
{
    const rc_spec *spec = plan->spec;
    const rc_tuning *t = &plan->tuning;
    const int64_t *shape = spec->inputs[RC_STATES].shape, vector = rc_max(t->sweep_vector, t->merge_vector);
    const rc_cl_grid grid = rc_cl_sweep_grid(plan, &spec->inputs[RC_STATES]);
    rc_cl_sums_layout at = { .sweep_tiles = grid.tiles,
                             .block_rows = grid.block_rows,
                             .blocks = grid.blocks };
    at.pitch = rc_round_up(shape[2], vector);
    at.lags = RC_FIRST_TERM + 2 * (int64_t)spec->term_count;
    at.entropies = at.lags + (int64_t)spec->lag_count;
    at.batches = at.entropies + (int64_t)spec->entropy_count + 1;
    at.steps = at.batches + 1;
    at.quantities = at.steps + 1;
    at.padded = rc_round_up(shape[2], t->tile);
    at.chunks = rc_ceil_div(shape[1], t->chunk_steps);
    at.pairs = rc_cl_tile_pairs(shape[2], t->tile);
    at.factors = (int64_t)(spec->lag_count + spec->entropy_count) + 2;
    return at;
}

/* Large beside what a launch costs, small beside the arrays that are worth cutting. */
enum { PIECE_BYTES = 16 << 20 };

/* Choose how an array in host memory that cannot be had as a whole is cut. Of the slots there are two, which
 * together hold no more than may be staged. With lags, rows are read again by the pieces before and after:
 * the pieces are longer then. */
static void cut(const rc_cl_plan *plan, const rc_view *view, rc_cl_staging *staging)
{
    const int64_t pitch = rc_cl_row_pitch(view), R = rc_view_rows(view);
    const size_t element = rc_element_bytes(view->element);
    const int64_t row_bytes = view->shape[2] * (int64_t)element;
    const uint64_t limit = plan->context->staging_limit;
    staging->in_place = plan->shares_host_memory && pitch > 0;
    uint64_t rows = limit / 2 / (uint64_t)row_bytes;
    const uint64_t enough = (uint64_t)(PIECE_BYTES / row_bytes + 8 * rc_longest_lag(plan->spec));
    if (staging->in_place)
        rows = limit / ((uint64_t)pitch * element);
    else if (rows > enough)
        rows = enough;
    staging->rows = rows < 1 ? 1 : rows < (uint64_t)R ? (int64_t)rows : R;
}

static uint64_t bytes_of(const rc_view *view, int64_t elements)
{
    return (uint64_t)elements * rc_element_bytes(view->element);
}

static bool is_too_large(const rc_cl_plan *plan, const rc_view *view)
{
    return bytes_of(view, view->extent) > plan->context->staging_limit;
}

/* Whether no gap is between the elements of a view that has no two in the same place. */
static bool is_dense(const rc_view *view)
{
    for (int axis = 0; axis < 3; ++axis)
        if (view->shape[axis] > 1 && view->strides[axis] < 0)
            return false;
    return view->extent - view->offset == rc_view_rows(view) * view->shape[2];
}

/* Let a gradient lie in device memory as in host memory, or in C order if there are gaps, which must stay as
 * they are. */
static void lay_out_result(const rc_view *view, rc_cl_result *result)
{
    result->wanted = true;
    result->has_gaps = !is_dense(view);
    result->view = *view;
    result->view.offset = 0;
    result->view.extent = rc_view_rows(view) * view->shape[2];
    if (result->has_gaps) {
        result->view.strides[0] = view->shape[1] * view->shape[2];
        result->view.strides[1] = view->shape[2];
        result->view.strides[2] = 1;
    }
}

/* Where memory is not shared, arrays are copied whole as long as they fit, since sweep and gradient read them
 * both and a bus is far slower than either; a gradient to the weights always is, since it has no pieces. */
static void choose_staging(rc_cl_plan *plan)
{
    const rc_spec *spec = plan->spec;
    const uint64_t memory = plan->context->info.memory;
    uint64_t copied = 0;
    for (int k = 0; k < RC_INPUT_COUNT; ++k) {
        const rc_view *view = &spec->inputs[k];
        if (!spec->uses[k])
            continue;
        if (k != RC_WEIGHTS && is_too_large(plan, view))
            cut(plan, view, &plan->staging[k]);
        else
            copied += bytes_of(view, view->extent);
    }
    for (int k = 0; k < RC_INPUT_COUNT; ++k) {
        const rc_view *view = &spec->gradients[k].view;
        if (!spec->gradients[k].wanted)
            continue;
        if (plan->shares_host_memory) {
            if (is_too_large(plan, view))
                cut(plan, view, &plan->gradient_staging[k]);
            continue;
        }
        const uint64_t bytes = bytes_of(view, rc_view_rows(view) * view->shape[2]);
        const bool fits = bytes <= plan->context->staging_limit && (!memory || copied + bytes <= memory / 2);
        if (!fits && k != RC_WEIGHTS) {
            cut(plan, view, &plan->gradient_staging[k]);
            continue;
        }
        lay_out_result(view, &plan->gradients[k]);
        copied += bytes;
    }
}

static void hold_at_least(rc_cl_staging *staging, int64_t rows)
{
    if (staging->rows > 0 && staging->rows < rows)
        staging->rows = rows;
    staging->slot_rows = rc_max(staging->slot_rows, staging->rows);
}

/* ---- Windows ----
 *
 * A piece is read with the rows that are a lag apart from its own. Where these are too far away for all rows
 * between to be there as well, a slot holds windows of as many rows as the piece, each one lag away from it:
 *
 *   piece | tau[0] later | tau[1] later ... | tau[0] earlier | tau[1] earlier ...
 *
 * The kernels take the distances in memory from an argument. */

/* Return how many rows the steps of the states read that have no windows, or at most `lag` rows away from
 * their own; and the rows of the largest unit that has windows. */
static int64_t rows_within(const rc_cl_plan *plan, int64_t lag, int64_t *unit_rows)
{
    int64_t rows = 0;
    *unit_rows = 0;
    for (size_t k = 0; k < plan->step_count; ++k) {
        const rc_cl_step *step = &plan->steps[k];
        if (step->input != RC_STATES)
            continue;
        const int64_t after = step->windows ? lag : step->after;
        const int64_t before = step->before ? rc_round_up(lag, RC_PIECE_UNIT) : 0;
        rows = rc_max(rows, step->unit_rows + before + after);
        if (step->windows)
            *unit_rows = rc_max(*unit_rows, step->unit_rows);
    }
    return rows;
}

static int64_t longest_lag_within(const rc_spec *spec, int64_t rows)
{
    int64_t longest = 0;
    for (size_t k = 0; k < spec->lag_count; ++k)
        if (spec->lags[k] <= rows)
            longest = rc_max(longest, spec->lags[k]);
    return longest;
}

/* True if a lag's rows are in a window of their own. Earlier ones are for the gradient alone. */
static bool has_window(const rc_spec *spec, int k, int64_t near)
{
    const int64_t shift = rc_cl_window_shift(spec, k);
    return shift > near || (shift < -near && spec->gradients[RC_STATES].wanted);
}

/* Give the kernel's argument the distances that a slot has: a piece's own rows begin after `before` others.
 */
static ratecl_status make_cut_taus(rc_cl_builder *b, rc_cl_step *step)
{
    const rc_spec *spec = b->spec;
    const int64_t *window_at = b->plan->staging[RC_STATES].window_at;
    const size_t count = spec->lag_count;
    cl_long *taus = calloc(3 * count, sizeof *taus);
    if (!taus)
        return rc_fail_memory(3 * count * sizeof *taus);
    memcpy(taus, spec->lags, count * sizeof *taus);
    for (size_t k = 0; k < 2 * count; ++k)
        taus[count + k] = window_at[k] ? window_at[k] - step->before : rc_cl_window_shift(spec, (int)k);
    const ratecl_status status = rc_cl_scratch(b, 3 * (int64_t)count, sizeof *taus, taus, &step->cut_taus);
    free(taus);
    return status;
}

/* Let the steps of the states read windows, with the lags up to `near` inside of the piece. */
static ratecl_status set_windows(rc_cl_plan *plan, int64_t near)
{
    rc_cl_builder b = { .plan = plan, .spec = plan->spec };
    for (size_t k = 0; k < plan->step_count; ++k) {
        rc_cl_step *step = &plan->steps[k];
        if (step->input != RC_STATES || !step->windows)
            continue;
        step->after = near;
        step->before = step->before ? rc_round_up(near, RC_PIECE_UNIT) : 0;
        RC_TRY(make_cut_taus(&b, step));
    }
    return RATECL_OK;
}

/* Lay out a slot with `count` windows, for units of so many rows, of which a piece reads `margin` rows more.
 */
static ratecl_status place_windows(rc_cl_plan *plan, int64_t near, int64_t unit_rows, int64_t margin,
                                   int count)
{
    const rc_spec *spec = plan->spec;
    const rc_view *view = &spec->inputs[RC_STATES];
    rc_cl_staging *staging = &plan->staging[RC_STATES];
    const int64_t row_bytes = view->shape[2] * (int64_t)rc_element_bytes(view->element);
    const int64_t room =
        (int64_t)rc_min((int64_t)(plan->context->staging_limit / 2), PIECE_BYTES) / row_bytes;
    staging->window_at = calloc(2 * spec->lag_count, sizeof *staging->window_at);
    if (!staging->window_at)
        return rc_fail_memory(2 * spec->lag_count * sizeof *staging->window_at);
    staging->in_place = false;
    staging->window_rows = rc_max(unit_rows, (room - margin) / (count + 1));
    staging->rows = staging->slot_rows = margin + staging->window_rows;
    for (int k = 0; k < 2 * (int)spec->lag_count; ++k)
        if (has_window(spec, k, near)) {
            staging->window_at[k] = staging->slot_rows;
            staging->slot_rows += staging->window_rows;
        }
    return RATECL_OK;
}

/* Cut the states with windows, where a piece with all rows up to the longest lag is too long for a slot. */
static ratecl_status cut_windows(rc_cl_plan *plan)
{
    const rc_spec *spec = plan->spec;
    const rc_cl_staging *staging = &plan->staging[RC_STATES];
    if (staging->rows == 0 || spec->lag_count == 0)
        return RATECL_OK;
    int64_t unit_rows;
    const int64_t R = rc_view_rows(&spec->inputs[RC_STATES]);
    const int64_t together = rc_min(rows_within(plan, rc_longest_lag(spec), &unit_rows), R);
    const int64_t near = longest_lag_within(spec, unit_rows), within = rows_within(plan, near, &unit_rows);
    int count = 0;
    for (int k = 0; k < 2 * (int)spec->lag_count; ++k)
        count += has_window(spec, k, near);
    if (together <= staging->rows || count == 0 || within + count * unit_rows >= together)
        return RATECL_OK;
    RC_TRY(place_windows(plan, near, unit_rows, within - unit_rows, count));
    return set_windows(plan, near);
}

/* A piece holds at least one unit of each pass, with what it reads beyond that. */
static void fit_staging(rc_cl_plan *plan)
{
    for (size_t k = 0; k < plan->step_count; ++k) {
        const rc_cl_step *step = &plan->steps[k];
        if (step->input != RC_NO_INPUT)
            hold_at_least(&plan->staging[step->input],
                          rc_min(step->unit_rows + step->before + step->after,
                                 rc_view_rows(&plan->spec->inputs[step->input])));
        if (step->gradient != RC_NO_INPUT)
            hold_at_least(&plan->gradient_staging[step->gradient], step->unit_rows);
    }
}

static ratecl_status add_all(rc_cl_plan *plan, rc_cl_programs *ahead)
{
    rc_cl_builder b = { .plan = plan, .ahead = ahead, .spec = plan->spec, .at = lay_out(plan) };
    RC_TRY(rc_cl_scratch_reals(&b, b.at.quantities * PARTIALS, &b.partials));
    b.none = b.row_z = b.row_sums = b.exponents = b.lag_sums = b.taus = b.row_factors = b.partials;
    b.row_energies = b.batch_energies = b.product = b.step_sums = b.batch_parts.parts = b.none;
    b.records[RC_STATES].moments = b.records[RC_REFERENCE].moments = b.none;
    b.statistics[RC_STATES] = b.statistics[RC_REFERENCE] = b.none;
    b.lines[RC_STATES] = b.lines[RC_REFERENCE] = b.factors = b.none;
    RC_TRY(rc_cl_add_sweeps(&b));
    RC_TRY(rc_cl_add_correlation(&b));
    RC_TRY(rc_cl_add_merge(&b));
    for (size_t k = 0; k < plan->spec->entropy_count; ++k)
        if (plan->spec->epsilons[k] > 0) {
            RC_TRY(rc_cl_add_entropy_sweep(&b, k));
            RC_TRY(rc_cl_add_merge_entropy(&b, k));
        }
    RC_TRY(rc_cl_add_deviations(&b));
    RC_TRY(rc_cl_add_finish(&b));
    return rc_cl_add_gradients(&b);
}

/* Walk through the plan's steps twice: for their programs, which are compiled side by side, and then to make
 * them. */
static ratecl_status build_steps(rc_cl_plan *plan)
{
    rc_cl_programs ahead = { NULL, 0 };
    const ratecl_status status = add_all(plan, &ahead);
    if (status == RATECL_OK)
        rc_cl_compile_ahead(plan->context, ahead.wanted, ahead.count);
    rc_cl_programs_free(&ahead);
    plan->step_count = 0;
    plan->coefficients = NULL;
    RC_TRY(status);
    RC_TRY(add_all(plan, NULL));
    RC_TRY(cut_windows(plan));
    fit_staging(plan);
    return RATECL_OK;
}

static ratecl_status make_queue(rc_cl_plan *plan)
{
    cl_int code;
    plan->transfers = clCreateCommandQueue(plan->context->context, plan->context->device, 0, &code);
    return plan->transfers ? RATECL_OK : rc_cl_fail("clCreateCommandQueue", code);
}

/* Make room for the values and, behind them, the numbers of skipped neurons and whether a gradient is
 * spoiled. */
static ratecl_status make_results(rc_cl_plan *plan)
{
    const size_t values_bytes = (plan->spec->value_count + 1) * plan->real_bytes;
    plan->skipped_offset = (values_bytes + sizeof(cl_long) - 1) / sizeof(cl_long) * sizeof(cl_long);
    plan->results_bytes = plan->skipped_offset + (plan->spec->term_count + 1) * sizeof(cl_long);
    plan->host_results = calloc(1, plan->results_bytes);
    if (!plan->host_results)
        return rc_fail_memory(plan->results_bytes);
    cl_int code;
    plan->results =
        clCreateBuffer(plan->context->context, CL_MEM_READ_WRITE, plan->results_bytes, NULL, &code);
    return plan->results ? RATECL_OK : rc_cl_fail("clCreateBuffer", code);
}

static ratecl_status plan_fill(rc_cl_plan *plan, const rc_spec *spec, const rc_spec *model)
{
    plan->spec = spec;
    plan->model = model;
    plan->queue = plan->context->queue;
    plan->out_of_order = plan->context->out_of_order;
    RC_TRY(make_queue(plan));
    plan->real_bytes = spec->precision == RATECL_PRECISION_F64 ? sizeof(cl_double) : sizeof(cl_float);
    rc_device_limits limits = plan->context->limits;
    limits.group_lanes = plan->group_lanes;
    RC_TRY(rc_tuning_choose(&limits, spec->precision, plan->context->tuned[spec->precision], &plan->tuning));
    plan->shares_host_memory = plan->context->shares_host_memory && rc_is_cpu_family(&plan->tuning);
    rc_cl_fit_width(spec, &plan->tuning);
    rc_cl_fit_products(&plan->tuning, model);
    choose_staging(plan);
    const size_t cotangents = spec->cotangent_count * (size_t)spec->inputs[RC_STATES].shape[2] + 1;
    plan->host_cotangents = calloc(cotangents, plan->real_bytes);
    if (!plan->host_cotangents)
        return rc_fail_memory(cotangents * plan->real_bytes);
    RC_TRY(make_results(plan));
    return build_steps(plan);
}

static void release_objects(rc_cl_plan *plan)
{
    if (plan->unsettled)
        rc_cl_plan_settle(plan);
    if (plan->last) {
        clWaitForEvents(1, &plan->last);
        clReleaseEvent(plan->last);
    }
    rc_cl_release_inputs(plan->inputs);
    rc_cl_release_inputs(plan->copies);
    for (int k = 0; k < RC_INPUT_COUNT; ++k) {
        rc_cl_staging_release(&plan->staging[k]);
        rc_cl_staging_release(&plan->gradient_staging[k]);
        if (plan->gradients[k].memory)
            clReleaseMemObject(plan->gradients[k].memory);
    }
    rc_cl_pinned_release(plan);
    if (plan->transfers)
        clReleaseCommandQueue(plan->transfers);
    if (plan->results)
        clReleaseMemObject(plan->results);
    for (size_t k = 0; k < plan->step_count; ++k)
        clReleaseKernel(plan->steps[k].kernel);
    for (size_t k = 0; k < plan->buffer_count; ++k)
        clReleaseMemObject(plan->buffers[k]);
}

/* In a process that cannot use OpenCL the objects are left to the process that made them. */
void rc_cl_plan_release(void *plan_state)
{
    rc_cl_plan *plan = plan_state;
    if (rc_cl_is_usable_here())
        release_objects(plan);
    for (int k = 0; k < RC_INPUT_COUNT; ++k)
        free(plan->staging[k].window_at);
    free(plan->steps);
    free(plan->buffers);
    free(plan->host_results);
    free(plan->host_cotangents);
    free(plan);
}

ratecl_status rc_cl_plan_make(rc_cl_context *context, const rc_spec *spec, const rc_spec *model,
                              size_t *lanes, rc_cl_plan **made)
{
    rc_cl_plan *plan = calloc(1, sizeof *plan);
    if (!plan)
        return rc_fail_memory(sizeof *plan);
    plan->context = context;
    plan->group_lanes = *lanes;
    const ratecl_status status = plan_fill(plan, spec, model);
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
    RC_TRY(rc_cl_check_process());
    do {
        tried = lanes;
        status = rc_cl_plan_make(context, spec, spec, &lanes, &plan);
    } while (status == RATECL_ERROR_UNSUPPORTED && lanes > 0 && lanes < tried);
    if (status == RATECL_OK)
        status = rc_cl_prepare(plan);
    if (status == RATECL_OK)
        *plan_state = plan;
    else if (plan)
        rc_cl_plan_release(plan);
    return status;
}
