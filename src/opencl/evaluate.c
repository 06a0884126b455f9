/* SPDX-License-Identifier: Apache-2.0 */
/* An evaluation: inputs to the device, the plan's steps, results to the host. */
#include <stdlib.h>
#include <string.h>

#include "cl.h"

/* ---- Commands, one after the other ---- */

/* In a queue that is out of order, each command waits for the one before. */
typedef struct chain {
    rc_cl_plan *plan;
    cl_uint wait_count; /* of the next command */
    const cl_event *wait_list;
    cl_event last; /* owned */
} chain;

/* After a command that gave `event`. */
static void chain_on(chain *c, cl_event event)
{
    if (c->last)
        clReleaseEvent(c->last);
    c->last = event;
    c->wait_count = c->plan->context->out_of_order && event;
    c->wait_list = c->wait_count ? &c->last : NULL;
}

/* Where a command of the chain puts its event: an in-order queue needs none. */
static cl_event *event_of(const chain *c, cl_event *event)
{
    *event = NULL;
    return c->plan->context->out_of_order ? event : NULL;
}

static ratecl_status enqueue_groups(chain *c, const rc_cl_step *step, int64_t groups)
{
    const size_t global = (size_t)groups * step->lanes;
    cl_event event;
    cl_event *wanted = event_of(c, &event);
    CL_TRY(clEnqueueNDRangeKernel(c->plan->context->queue, step->kernel, 1, NULL, &global, &step->lanes,
                                  c->wait_count, c->wait_list, wanted));
    chain_on(c, event);
    return RATECL_OK;
}

static ratecl_status enqueue_read(chain *c, cl_mem buffer, size_t bytes, void *host, cl_event *event)
{
    CL_TRY(clEnqueueReadBuffer(c->plan->context->queue, buffer, CL_FALSE, 0, bytes, host, c->wait_count,
                               c->wait_list, event));
    chain_on(c, *event);
    return RATECL_OK;
}

/* ---- Steps that read an input ---- */

static ratecl_status set_input(const rc_cl_step *step, cl_mem memory, cl_long offset,
                               const cl_long strides[3])
{
    CL_TRY(clSetKernelArg(step->kernel, 0, sizeof memory, &memory));
    CL_TRY(clSetKernelArg(step->kernel, 1, sizeof offset, &offset));
    for (cl_uint axis = 0; axis < 3; ++axis)
        CL_TRY(clSetKernelArg(step->kernel, 2 + axis, sizeof strides[axis], &strides[axis]));
    return RATECL_OK;
}

/* The units [first, end) of a step, in launches that every driver's counters hold. */
static ratecl_status enqueue_units(chain *c, const rc_cl_step *step, cl_long first, cl_long end)
{
    const int64_t most_groups = INT32_MAX / (int64_t)step->lanes;
    const int64_t most_units = most_groups > step->groups ? most_groups / step->groups : 1;
    for (cl_long next; first < end; first = next) {
        next = end - first > most_units ? first + most_units : end;
        if (step->first_unit)
            CL_TRY(clSetKernelArg(step->kernel, step->first_unit, sizeof first, &first));
        RC_TRY(enqueue_groups(c, step, (next - first) * step->groups));
    }
    return RATECL_OK;
}

static ratecl_status enqueue_whole(chain *c, const rc_cl_step *step, cl_mem memory)
{
    const rc_view *view = &c->plan->spec->inputs[step->input];
    const cl_long strides[3] = { view->strides[0], view->strides[1], view->strides[2] };
    RC_TRY(set_input(step, memory, view->offset, strides));
    return enqueue_units(c, step, 0, step->units);
}

/* ---- Pieces ---- */

/* Rows that unit `unit` reads: from the first one to the one after the last. */
static void unit_rows(const rc_cl_step *step, const rc_view *view, int64_t unit, int64_t *first, int64_t *end)
{
    const int64_t T = view->shape[1], per_batch = step->units_per_batch;
    *first = per_batch ? unit / per_batch * T + unit % per_batch * step->unit_rows : unit * step->unit_rows;
    const int64_t bound = per_batch ? (unit / per_batch + 1) * T : rc_view_rows(view);
    *end = *first + step->unit_rows + step->overlap;
    if (*end > bound)
        *end = bound;
}

/* Copy the rows [first, end) side by side. */
static void pack_rows(const rc_view *view, const char *host, int64_t first, int64_t end, char *packed)
{
    const int64_t T = view->shape[1], N = view->shape[2];
    const size_t element = rc_element_bytes(view->element);
    for (int64_t row = first; row < end; ++row) {
        const int64_t begin = view->offset + row / T * view->strides[0] + row % T * view->strides[1];
        if (view->strides[2] == 1) {
            memcpy(packed, host + begin * (int64_t)element, (size_t)N * element);
            packed += (size_t)N * element;
            continue;
        }
        for (int64_t i = 0; i < N; ++i, packed += element)
            memcpy(packed, host + (begin + i * view->strides[2]) * (int64_t)element, element);
    }
}

static ratecl_status stage_rows(chain *c, const rc_view *view, const rc_cl_source *source, int64_t first,
                                int64_t end)
{
    cl_command_queue queue = c->plan->context->queue;
    const size_t bytes = (size_t)((end - first) * view->shape[2]) * rc_element_bytes(view->element);
    cl_int code;
    cl_event event;
    /* Blocking: the kernels that read the piece before are done. */
    char *mapped = clEnqueueMapBuffer(queue, source->memory, CL_TRUE, CL_MAP_WRITE_INVALIDATE_REGION, 0,
                                      bytes, c->wait_count, c->wait_list, NULL, &code);
    if (!mapped)
        return rc_cl_fail("clEnqueueMapBuffer", code);
    pack_rows(view, source->host, first, end, mapped);
    cl_event *wanted = event_of(c, &event);
    CL_TRY(clEnqueueUnmapMemObject(queue, source->memory, mapped, 0, NULL, wanted));
    chain_on(c, event);
    return RATECL_OK;
}

static ratecl_status enqueue_pieces(chain *c, const rc_cl_step *step, const rc_cl_source *source)
{
    const rc_view *view = &c->plan->spec->inputs[step->input];
    const int64_t T = view->shape[1], N = view->shape[2];
    const cl_long strides[3] = { T * N, N, 1 };
    for (int64_t unit = 0, next; unit < step->units; unit = next) {
        int64_t first, end, unused, further;
        unit_rows(step, view, unit, &first, &end);
        for (next = unit + 1; next < step->units; ++next) {
            unit_rows(step, view, next, &unused, &further);
            if (further - first > c->plan->staging_rows[step->input])
                break;
            end = further;
        }
        RC_TRY(stage_rows(c, view, source, first, end));
        RC_TRY(set_input(step, source->memory, -first * N, strides));
        RC_TRY(enqueue_units(c, step, unit, next));
    }
    return RATECL_OK;
}

/* ---- The whole ---- */

static ratecl_status enqueue_steps(chain *c, const rc_cl_source sources[RC_INPUT_COUNT])
{
    for (size_t k = 0; k < c->plan->step_count; ++k) {
        const rc_cl_step *step = &c->plan->steps[k];
        const rc_cl_source *source = &sources[step->input];
        if (!step->reads_input)
            RC_TRY(enqueue_groups(c, step, step->groups));
        else if (source->host)
            RC_TRY(enqueue_pieces(c, step, source));
        else
            RC_TRY(enqueue_whole(c, step, source->memory));
    }
    return RATECL_OK;
}

static ratecl_status enqueue_results(chain *c, cl_mem values)
{
    rc_cl_plan *plan = c->plan;
    const size_t bytes = (plan->spec->value_count + 1) * plan->real_bytes;
    cl_event event;
    if (values) {
        cl_event *wanted = event_of(c, &event);
        CL_TRY(clEnqueueCopyBuffer(plan->context->queue, plan->values, values, 0, 0, bytes, c->wait_count,
                                   c->wait_list, wanted));
        chain_on(c, event);
    }
    RC_TRY(enqueue_read(c, plan->values, bytes, plan->host_values, &event));
    return enqueue_read(c, plan->skipped, plan->spec->term_count * sizeof(cl_long), plan->host_skipped,
                        &event);
}

/* The scratch is the plan's one: the evaluation before must be through with it. In a queue in order it is. */
static ratecl_status follow_last(chain *c, cl_event both[2])
{
    rc_cl_plan *plan = c->plan;
    if (!plan->last || !plan->context->out_of_order)
        return RATECL_OK;
    both[0] = plan->last;
    c->last = NULL;
    if (c->wait_count)
        CL_TRY(clEnqueueMarkerWithWaitList(plan->context->queue, c->wait_count, c->wait_list, &c->last));
    both[1] = c->last;
    c->wait_list = both;
    c->wait_count = c->last ? 2 : 1;
    return RATECL_OK;
}

ratecl_status rc_cl_plan_enqueue(rc_cl_plan *plan, const rc_cl_source sources[RC_INPUT_COUNT], cl_mem values,
                                 cl_uint wait_count, const cl_event *wait_list)
{
    chain c = { plan, wait_count, wait_list, NULL };
    cl_event both[2];
    ratecl_status status = follow_last(&c, both);
    if (status == RATECL_OK)
        status = enqueue_steps(&c, sources);
    if (status == RATECL_OK)
        status = enqueue_results(&c, values);
    if (status != RATECL_OK)
        clFinish(plan->context->queue); /* leaves nothing behind that uses the scratch or the inputs */
    if (plan->last)
        clReleaseEvent(plan->last);
    plan->last = c.last;
    if (status != RATECL_OK && plan->last) {
        clReleaseEvent(plan->last);
        plan->last = NULL;
    }
    if (status == RATECL_OK)
        CL_TRY(clFlush(plan->context->queue));
    return status;
}

ratecl_status rc_cl_plan_wait(rc_cl_plan *plan, double *values, int64_t *skipped)
{
    CL_TRY(clWaitForEvents(1, &plan->last));
    for (size_t k = 0; k < plan->spec->value_count; ++k)
        values[k] = plan->real_bytes == sizeof(cl_double) ? ((const cl_double *)plan->host_values)[k]
                                                          : (double)((const cl_float *)plan->host_values)[k];
    for (size_t k = 0; k < plan->spec->term_count; ++k)
        skipped[k] = plan->host_skipped[k];
    return RATECL_OK;
}

/* ---- Host memory ---- */

/* Device memory of the plan's for input k, kept from the first call on. */
static ratecl_status staging_of(rc_cl_plan *plan, int k, size_t bytes)
{
    cl_int code = CL_SUCCESS;
    if (!plan->staging[k])
        plan->staging[k] = clCreateBuffer(plan->context->context, CL_MEM_READ_ONLY, bytes, NULL, &code);
    return plan->staging[k] ? RATECL_OK : rc_cl_fail("clCreateBuffer", code);
}

/* `source->memory` is retained for the caller. */
static ratecl_status source_of(rc_cl_plan *plan, int k, const void *host, rc_cl_source *source)
{
    const rc_view *view = &plan->spec->inputs[k];
    const size_t element = rc_element_bytes(view->element), bytes = (size_t)view->extent * element;
    if (plan->staging_rows[k] > 0) {
        RC_TRY(staging_of(plan, k, (size_t)(plan->staging_rows[k] * view->shape[2]) * element));
        source->host = host;
    } else if (plan->context->shares_host_memory) {
        cl_int code;
        source->memory = clCreateBuffer(plan->context->context, CL_MEM_READ_ONLY | CL_MEM_USE_HOST_PTR, bytes,
                                        (void *)host, &code);
        return source->memory ? RATECL_OK : rc_cl_fail("clCreateBuffer", code);
    } else {
        RC_TRY(staging_of(plan, k, bytes));
        CL_TRY(clEnqueueWriteBuffer(plan->context->queue, plan->staging[k], CL_TRUE, 0, bytes, host, 0, NULL,
                                    NULL));
    }
    CL_TRY(clRetainMemObject(plan->staging[k]));
    source->memory = plan->staging[k];
    return RATECL_OK;
}

ratecl_status rc_cl_plan_evaluate(void *plan_state, const void *const inputs[RC_INPUT_COUNT], double *values,
                                  int64_t *skipped)
{
    rc_cl_plan *plan = plan_state;
    rc_cl_source sources[RC_INPUT_COUNT] = { { 0 } };
    ratecl_status status = RATECL_OK;
    if (plan->last) /* an evaluation in flight; its results give way to this one's */
        CL_TRY(clWaitForEvents(1, &plan->last));
    for (int k = 0; k < RC_INPUT_COUNT; ++k) {
        if (plan->inputs[k])
            clReleaseMemObject(plan->inputs[k]);
        plan->inputs[k] = NULL;
    }
    for (int k = 0; k < RC_INPUT_COUNT && status == RATECL_OK; ++k)
        if (inputs[k])
            status = source_of(plan, k, inputs[k], &sources[k]);
    if (status == RATECL_OK)
        status = rc_cl_plan_enqueue(plan, sources, NULL, 0, NULL);
    if (status == RATECL_OK)
        status = rc_cl_plan_wait(plan, values, skipped);
    for (int k = 0; k < RC_INPUT_COUNT; ++k)
        if (sources[k].memory)
            clReleaseMemObject(sources[k].memory);
    return status;
}
