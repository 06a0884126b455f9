/* SPDX-License-Identifier: Apache-2.0 */
/* The first launch of a plan's kernels, which happens when the plan is made: drivers leave part of the
 * compiling to it. PoCL compiles a kernel's whole machine code then, and Mesa's and NVIDIA's bring it to the
 * device.
 *
 * What is launched is an ordinary evaluation, of a few rows. Its plan has the original's compile-time
 * options, and hence the programs that the context holds since the original was made: the same N, element
 * types, number of lags and contiguous axes, and strides that are multiples of the same powers of two. */
#include <stdlib.h>
#include <string.h>

#include "builder.h"

enum {
    FEW_STEPS = 8,
    ALIGNMENT = 16, /* elements: strides and offsets keep what they are modulo this */
};

/* Return the least number from `least` on that equals `value` modulo ALIGNMENT. */
static int64_t alike_from(int64_t least, int64_t value)
{
    const int64_t apart = (value - least) % ALIGNMENT;
    return least + (apart < 0 ? apart + ALIGNMENT : apart);
}

/* Lay a view of at most two batches out in little memory, with the contiguous axis that it has and strides
 * that are aligned as they are. Rows overlap if `overlaps`, which only an input may. */
static void lay_out(rc_view *view, int64_t steps, bool overlaps)
{
    const bool along = view->strides[1] == 1 && (view->shape[2] == 1 || view->strides[2] != 1);
    const int fast = along ? 1 : 2, slow = along ? 2 : 1;
    view->shape[0] = rc_min(view->shape[0], 2);
    view->shape[1] = steps;
    const int64_t apart = view->strides[fast] == 1 ? 1 : 2;
    const int64_t pitch = view->shape[fast] * apart;
    view->strides[fast] = apart;
    view->strides[slow] = alike_from(overlaps ? 2 : rc_max(2, pitch), view->strides[slow]);
    view->strides[0] = alike_from(view->shape[slow] * view->strides[slow], view->strides[0]);
    view->offset = alike_from(0, view->offset);
    view->extent = view->offset + 1;
    for (int axis = 0; axis < 3; ++axis)
        view->extent += (view->shape[axis] - 1) * view->strides[axis];
}

/* Make room for lags in few time steps; the last one is compared with the first. */
static void shorten_lags(rc_spec *small, int64_t steps)
{
    for (size_t k = 0; k < small->lag_count; ++k)
        small->lags[k] = rc_min(small->lags[k], steps - 1);
    for (size_t k = 0; k < small->term_count; ++k)
        if (small->terms[k].options.criterion == RATECL_STATE_PREDICTION)
            small->terms[k].options.tau = rc_min(small->terms[k].options.tau, steps - 1);
}

/* Describe a small plan with the compile-time options of `spec`. Its terms and lags are to be freed. */
static ratecl_status shrink(const rc_spec *spec, rc_spec *small)
{
    *small = *spec;
    small->terms = malloc(spec->term_count * sizeof *small->terms);
    small->lags = malloc(spec->term_count * sizeof *small->lags);
    if (!small->terms || !small->lags)
        return rc_fail_memory(spec->term_count * sizeof *small->terms);
    memcpy(small->terms, spec->terms, spec->term_count * sizeof *small->terms);
    memcpy(small->lags, spec->lags, spec->term_count * sizeof *small->lags);
    for (int k = 0; k < RC_INPUT_COUNT; ++k) {
        const int64_t T = spec->inputs[k].shape[1],
                      steps = k == RC_WEIGHTS ? T : rc_min(T, alike_from(FEW_STEPS, T));
        if (spec->uses[k])
            lay_out(&small->inputs[k], steps, true);
        if (spec->gradients[k].wanted)
            lay_out(&small->gradients[k].view, steps, false);
    }
    shorten_lags(small, small->inputs[RC_STATES].shape[1]);
    return RATECL_OK;
}

/* Two ordinary rates, 1 and 2. */
static const cl_float rates_f32[2] = { 1, 2 };
static const cl_double rates_f64[2] = { 1, 2 };
static const cl_ushort rates_f16[2] = { 0x3c00, 0x4000 };
static const cl_uchar rates_u8[2] = { 1, 2 };
static const void *const rates[] = {
    [RATECL_F32] = rates_f32, [RATECL_F64] = rates_f64, [RATECL_F16] = rates_f16, [RATECL_U8] = rates_u8
};

/* Make a buffer for an array; if `filled`, its elements are 1 and 2 in turn. */
static ratecl_status make_array(const rc_cl_plan *plan, const rc_view *view, bool filled, cl_mem *memory)
{
    const size_t pair = 2 * rc_element_bytes(view->element), pairs = ((size_t)view->extent + 1) / 2;
    char *content = filled ? malloc(pairs * pair) : NULL;
    if (filled && !content)
        return rc_fail_memory(pairs * pair);
    for (size_t k = 0; k < pairs && filled; ++k)
        memcpy(content + k * pair, rates[view->element], pair);
    const cl_mem_flags flags = CL_MEM_READ_WRITE | (filled ? CL_MEM_COPY_HOST_PTR : 0);
    cl_int code;
    *memory = clCreateBuffer(plan->context->context, flags, pairs * pair, content, &code);
    free(content);
    return *memory ? RATECL_OK : rc_cl_fail("clCreateBuffer", code);
}

static ratecl_status evaluate_on(rc_cl_plan *plan, rc_cl_exchange *exchange)
{
    const rc_spec *spec = plan->spec;
    for (int k = 0; k < RC_INPUT_COUNT; ++k) {
        const rc_gradient *gradient = &spec->gradients[k];
        if (spec->uses[k])
            RC_TRY(make_array(plan, &spec->inputs[k], true, &exchange->inputs[k].memory));
        if (gradient->wanted)
            RC_TRY(make_array(plan, &gradient->view, gradient->accumulate, &exchange->gradients[k].memory));
    }
    RC_TRY(rc_cl_plan_enqueue(plan, exchange, 0, NULL));
    CL_TRY(clWaitForEvents(1, &plan->last));
    return RATECL_OK;
}

/* Evaluate on the plan's own queue, since the caller's may wait for the caller. */
static ratecl_status evaluate_once(rc_cl_plan *plan)
{
    rc_cl_exchange exchange = { .scale_value = 1 };
    plan->queue = plan->transfers;
    plan->out_of_order = false;
    const ratecl_status status = evaluate_on(plan, &exchange);
    clFinish(plan->queue);
    rc_cl_exchange_release(&exchange);
    return status;
}

ratecl_status rc_cl_prepare(const rc_cl_plan *plan)
{
    rc_spec small;
    rc_cl_plan *warm_up = NULL;
    size_t lanes = plan->group_lanes;
    ratecl_status status = shrink(plan->spec, &small);
    if (status == RATECL_OK)
        status = rc_cl_plan_make(plan->context, &small, plan->spec, &lanes, &warm_up);
    if (status == RATECL_OK) {
        status = evaluate_once(warm_up);
        rc_cl_plan_release(warm_up);
    }
    free(small.terms);
    free(small.lags);
    /* A plan that fills the device's memory goes without. */
    return status == RATECL_ERROR_MEMORY ? RATECL_OK : status;
}
