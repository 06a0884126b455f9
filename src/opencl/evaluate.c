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

/* ---- Steps that read an input or write a gradient ---- */

/* Set the five arguments of an array from number `first` on. */
static ratecl_status set_array(const rc_cl_step *step, cl_uint first, cl_mem memory, cl_long offset,
                               const int64_t strides[3])
{
    CL_TRY(clSetKernelArg(step->kernel, first, sizeof memory, &memory));
    CL_TRY(clSetKernelArg(step->kernel, first + 1, sizeof offset, &offset));
    for (cl_uint axis = 0; axis < 3; ++axis) {
        const cl_long stride = strides[axis];
        CL_TRY(clSetKernelArg(step->kernel, first + 2 + axis, sizeof stride, &stride));
    }
    return RATECL_OK;
}

/* The units [first, end) of a step, in launches that every driver's counters hold. */
static ratecl_status enqueue_units(chain *c, const rc_cl_step *step, cl_long first, cl_long end)
{
    const int64_t most_groups = INT32_MAX / (int64_t)step->lanes;
    int64_t most_units = most_groups > step->groups ? most_groups / step->groups : 1;
    if (step->most_units && step->most_units < most_units)
        most_units = step->most_units;
    for (cl_long next; first < end; first = next) {
        next = end - first > most_units ? first + most_units : end;
        if (step->first_unit)
            CL_TRY(clSetKernelArg(step->kernel, step->first_unit, sizeof first, &first));
        RC_TRY(enqueue_groups(c, step, (next - first) * step->groups));
    }
    return RATECL_OK;
}

/* ---- Pieces ---- */

typedef struct row_range {
    int64_t first, end;
} row_range;

/* The rows of the units [first, end), and those before and after that they read. */
static row_range rows_of(const rc_cl_step *step, const rc_view *view, int64_t first, int64_t end)
{
    const int64_t T = view->shape[1], per_batch = step->units_per_batch, last = end - 1;
    row_range rows = { first * step->unit_rows, end * step->unit_rows };
    int64_t bound = rc_view_rows(view);
    if (per_batch) {
        rows.first = first / per_batch * T + first % per_batch * step->unit_rows;
        rows.end = last / per_batch * T + (last % per_batch + 1) * step->unit_rows;
        bound = (last / per_batch + 1) * T;
    }
    rows.first = rows.first > step->before ? rows.first - step->before : 0;
    rows.end = rows.end + step->after < bound ? rows.end + step->after : bound;
    return rows;
}

/* The rows that the units [first, end) write. */
static row_range rows_written(const rc_cl_step *step, const rc_view *view, int64_t first, int64_t end)
{
    const int64_t R = rc_view_rows(view), last = end * step->unit_rows;
    return (row_range){ first * step->unit_rows, last < R ? last : R };
}

typedef enum direction { PACK, UNPACK } direction;

/* Copy rows of host memory into `packed`, side by side, or back. */
static void copy_rows(direction where, const rc_view *view, char *host, row_range rows, char *packed)
{
    const int64_t T = view->shape[1], N = view->shape[2];
    const size_t element = rc_element_bytes(view->element);
    const int64_t run = view->strides[2] == 1 ? N : 1; /* elements that are neighbours */
    const size_t bytes = (size_t)run * element;
    for (int64_t row = rows.first; row < rows.end; ++row) {
        const int64_t begin = view->offset + row / T * view->strides[0] + row % T * view->strides[1];
        for (int64_t i = 0; i < N; i += run, packed += bytes) {
            char *there = host + (begin + i * view->strides[2]) * (int64_t)element;
            memcpy(where == PACK ? packed : there, where == PACK ? there : packed, bytes);
        }
    }
}

/* Copy rows between host memory and a piece in device memory; what was enqueued before is done then. */
static ratecl_status transfer_rows(chain *c, direction where, const rc_view *view, cl_mem memory, void *host,
                                   row_range rows)
{
    cl_command_queue queue = c->plan->context->queue;
    const size_t bytes = (size_t)((rows.end - rows.first) * view->shape[2]) * rc_element_bytes(view->element);
    const cl_map_flags flags = where == PACK ? CL_MAP_WRITE_INVALIDATE_REGION : CL_MAP_READ;
    cl_int code;
    cl_event event;
    char *mapped =
        clEnqueueMapBuffer(queue, memory, CL_TRUE, flags, 0, bytes, c->wait_count, c->wait_list, NULL, &code);
    if (!mapped)
        return rc_cl_fail("clEnqueueMapBuffer", code);
    copy_rows(where, view, host, rows, mapped);
    cl_event *wanted = event_of(c, &event);
    CL_TRY(clEnqueueUnmapMemObject(queue, memory, mapped, 0, NULL, wanted));
    chain_on(c, event);
    return RATECL_OK;
}

/* A step with the arrays that it reads and writes; NULL where there is none. */
typedef struct exchange_step {
    const rc_cl_step *step;
    const rc_cl_source *source;
    const rc_cl_sink *sink;
    const rc_view *input;
    const rc_gradient *gradient;
} exchange_step;

/* Whether the units [first, end) fit into the pieces. */
static bool fits(const rc_cl_plan *plan, const exchange_step *x, int64_t first, int64_t end)
{
    if (x->source && x->source->host) {
        const row_range rows = rows_of(x->step, x->input, first, end);
        if (rows.end - rows.first > plan->staging_rows[x->step->input])
            return false;
    }
    if (x->sink && x->sink->host) {
        const row_range rows = rows_written(x->step, &x->gradient->view, first, end);
        if (rows.end - rows.first > plan->gradient_rows[x->step->gradient])
            return false;
    }
    return true;
}

/* Make the units' input ready and set its arguments. */
static ratecl_status bring_input(chain *c, const exchange_step *x, int64_t first, int64_t end)
{
    const rc_view *view = x->input;
    const int64_t packed[3] = { view->shape[1] * view->shape[2], view->shape[2], 1 };
    if (!x->source->host)
        return set_array(x->step, 0, x->source->memory, view->offset, view->strides);
    const row_range rows = rows_of(x->step, view, first, end);
    RC_TRY(transfer_rows(c, PACK, view, x->source->memory, (void *)x->source->host, rows));
    return set_array(x->step, 0, x->source->memory, -rows.first * view->shape[2], packed);
}

static ratecl_status bring_gradient(chain *c, const exchange_step *x, int64_t first, int64_t end)
{
    const rc_view *view = &x->gradient->view;
    const int64_t packed[3] = { view->shape[1] * view->shape[2], view->shape[2], 1 };
    const cl_uint argument = x->step->gradient_argument;
    if (!x->sink->host)
        return set_array(x->step, argument, x->sink->memory, view->offset, view->strides);
    const row_range rows = rows_written(x->step, view, first, end);
    if (x->gradient->accumulate)
        RC_TRY(transfer_rows(c, PACK, view, x->sink->memory, x->sink->host, rows));
    return set_array(x->step, argument, x->sink->memory, -rows.first * view->shape[2], packed);
}

/* All units, in as many pieces as host memory needs. */
static ratecl_status enqueue_step(chain *c, const exchange_step *x)
{
    const rc_cl_step *step = x->step;
    for (int64_t unit = 0, next; unit < step->units; unit = next) {
        next = step->units;
        if (!fits(c->plan, x, unit, next))
            for (next = unit + 1; next < step->units && fits(c->plan, x, unit, next + 1);)
                ++next;
        if (x->source)
            RC_TRY(bring_input(c, x, unit, next));
        if (x->sink)
            RC_TRY(bring_gradient(c, x, unit, next));
        RC_TRY(enqueue_units(c, step, unit, next));
        if (x->sink && x->sink->host)
            RC_TRY(transfer_rows(c, UNPACK, &x->gradient->view, x->sink->memory, x->sink->host,
                                 rows_written(step, &x->gradient->view, unit, next)));
    }
    return RATECL_OK;
}

/* ---- The whole ---- */

/* The arguments of coefficients that differ from one evaluation to the next. */
static ratecl_status set_coefficients(const rc_cl_plan *plan, const rc_cl_exchange *exchange)
{
    if (!plan->coefficients)
        return RATECL_OK;
    const cl_float narrow = (cl_float)exchange->scale_value;
    const bool wide = plan->real_bytes == sizeof(cl_double);
    const cl_int scale_given = exchange->scale != NULL, cotangents_given = exchange->cotangents != NULL;
    const cl_mem scale = scale_given ? exchange->scale : plan->values;
    const cl_mem cotangents = cotangents_given ? exchange->cotangents : plan->cotangents;
    cl_kernel kernel = plan->coefficients;
    CL_TRY(
        clSetKernelArg(kernel, 0, plan->real_bytes, wide ? (const void *)&exchange->scale_value : &narrow));
    CL_TRY(clSetKernelArg(kernel, 1, sizeof scale_given, &scale_given));
    CL_TRY(clSetKernelArg(kernel, 2, sizeof scale, &scale));
    CL_TRY(clSetKernelArg(kernel, 3, sizeof cotangents_given, &cotangents_given));
    CL_TRY(clSetKernelArg(kernel, 4, sizeof cotangents, &cotangents));
    return RATECL_OK;
}

static ratecl_status enqueue_steps(chain *c, const rc_cl_exchange *exchange)
{
    const rc_spec *spec = c->plan->spec;
    RC_TRY(set_coefficients(c->plan, exchange));
    for (size_t k = 0; k < c->plan->step_count; ++k) {
        const rc_cl_step *step = &c->plan->steps[k];
        exchange_step x = { .step = step };
        if (step->input != RC_NO_INPUT) {
            x.source = &exchange->inputs[step->input];
            x.input = &spec->inputs[step->input];
        }
        if (step->gradient != RC_NO_INPUT) {
            x.sink = &exchange->gradients[step->gradient];
            x.gradient = &spec->gradients[step->gradient];
        }
        RC_TRY(step->units ? enqueue_step(c, &x) : enqueue_groups(c, step, step->groups));
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

ratecl_status rc_cl_plan_enqueue(rc_cl_plan *plan, const rc_cl_exchange *exchange, cl_uint wait_count,
                                 const cl_event *wait_list)
{
    chain c = { plan, wait_count, wait_list, NULL };
    cl_event both[2];
    ratecl_status status = follow_last(&c, both);
    if (status == RATECL_OK)
        status = enqueue_steps(&c, exchange);
    if (status == RATECL_OK)
        status = enqueue_results(&c, exchange->values);
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

/* Device memory that the plan keeps from the first call on. */
static ratecl_status keep_staging(const rc_cl_plan *plan, cl_mem *staging, cl_mem_flags flags, size_t bytes)
{
    cl_int code = CL_SUCCESS;
    if (!*staging)
        *staging = clCreateBuffer(plan->context->context, flags, bytes, NULL, &code);
    return *staging ? RATECL_OK : rc_cl_fail("clCreateBuffer", code);
}

/* Host memory as a buffer, where the device shares it. */
static ratecl_status wrap(const rc_cl_plan *plan, cl_mem_flags flags, size_t bytes, const void *host,
                          cl_mem *memory)
{
    cl_int code;
    *memory = clCreateBuffer(plan->context->context, flags | CL_MEM_USE_HOST_PTR, bytes, (void *)host, &code);
    return *memory ? RATECL_OK : rc_cl_fail("clCreateBuffer", code);
}

/* `source->memory` is retained for the caller. */
static ratecl_status source_of(rc_cl_plan *plan, int k, const void *host, rc_cl_source *source)
{
    const rc_view *view = &plan->spec->inputs[k];
    const size_t element = rc_element_bytes(view->element), bytes = (size_t)view->extent * element;
    if (plan->staging_rows[k] > 0) {
        RC_TRY(keep_staging(plan, &plan->staging[k], CL_MEM_READ_ONLY,
                            (size_t)(plan->staging_rows[k] * view->shape[2]) * element));
        source->host = host;
    } else if (plan->context->shares_host_memory) {
        return wrap(plan, CL_MEM_READ_ONLY, bytes, host, &source->memory);
    } else {
        RC_TRY(keep_staging(plan, &plan->staging[k], CL_MEM_READ_ONLY, bytes));
        CL_TRY(clEnqueueWriteBuffer(plan->context->queue, plan->staging[k], CL_TRUE, 0, bytes, host, 0, NULL,
                                    NULL));
    }
    CL_TRY(clRetainMemObject(plan->staging[k]));
    source->memory = plan->staging[k];
    return RATECL_OK;
}

/* The same for a gradient. Where memory is not shared its rows come back packed, so that gaps stay untouched.
 */
static ratecl_status sink_of(rc_cl_plan *plan, int k, void *host, rc_cl_sink *sink)
{
    const rc_view *view = &plan->spec->gradients[k].view;
    const size_t element = rc_element_bytes(view->element), bytes = (size_t)view->extent * element;
    if (plan->context->shares_host_memory && bytes <= plan->context->staging_limit)
        return wrap(plan, CL_MEM_READ_WRITE, bytes, host, &sink->memory);
    RC_TRY(keep_staging(plan, &plan->gradient_staging[k], CL_MEM_READ_WRITE,
                        (size_t)(plan->gradient_rows[k] * view->shape[2]) * element));
    sink->host = host;
    CL_TRY(clRetainMemObject(plan->gradient_staging[k]));
    sink->memory = plan->gradient_staging[k];
    return RATECL_OK;
}

static ratecl_status bring_cotangents(rc_cl_plan *plan, const double *cotangents, rc_cl_exchange *exchange)
{
    const size_t count = plan->spec->cotangent_count * (size_t)plan->spec->inputs[RC_STATES].shape[2];
    if (!cotangents || !count || !plan->coefficients)
        return RATECL_OK;
    for (size_t k = 0; k < count; ++k)
        if (plan->real_bytes == sizeof(cl_double))
            ((cl_double *)plan->host_cotangents)[k] = cotangents[k];
        else
            ((cl_float *)plan->host_cotangents)[k] = (cl_float)cotangents[k];
    exchange->cotangents = plan->cotangents;
    CL_TRY(clEnqueueWriteBuffer(plan->context->queue, plan->cotangents, CL_TRUE, 0, count * plan->real_bytes,
                                plan->host_cotangents, 0, NULL, NULL));
    return RATECL_OK;
}

static ratecl_status bring_all(rc_cl_plan *plan, const rc_evaluation *evaluation, rc_cl_exchange *exchange)
{
    for (int k = 0; k < RC_INPUT_COUNT; ++k) {
        if (evaluation->inputs[k])
            RC_TRY(source_of(plan, k, evaluation->inputs[k], &exchange->inputs[k]));
        if (evaluation->gradients[k])
            RC_TRY(sink_of(plan, k, evaluation->gradients[k], &exchange->gradients[k]));
    }
    exchange->scale_value = evaluation->scale;
    return bring_cotangents(plan, evaluation->cotangents, exchange);
}

/* Gradients that were written in host memory: mapping makes them visible there. */
static ratecl_status show_gradients(const rc_cl_plan *plan, const rc_cl_exchange *exchange)
{
    cl_command_queue queue = plan->context->queue;
    for (int k = 0; k < RC_INPUT_COUNT; ++k) {
        const rc_cl_sink *sink = &exchange->gradients[k];
        const rc_view *view = &plan->spec->gradients[k].view;
        if (!sink->memory || sink->host)
            continue;
        cl_int code;
        void *mapped =
            clEnqueueMapBuffer(queue, sink->memory, CL_TRUE, CL_MAP_READ, 0,
                               (size_t)view->extent * rc_element_bytes(view->element), 0, NULL, NULL, &code);
        if (!mapped)
            return rc_cl_fail("clEnqueueMapBuffer", code);
        CL_TRY(clEnqueueUnmapMemObject(queue, sink->memory, mapped, 0, NULL, NULL));
        CL_TRY(clFinish(queue));
    }
    return RATECL_OK;
}

ratecl_status rc_cl_plan_evaluate(void *plan_state, const rc_evaluation *evaluation)
{
    rc_cl_plan *plan = plan_state;
    rc_cl_exchange exchange = { .values = NULL };
    if (plan->last) /* an evaluation in flight; its results give way to this one's */
        CL_TRY(clWaitForEvents(1, &plan->last));
    for (int k = 0; k < RC_INPUT_COUNT; ++k) {
        if (plan->inputs[k])
            clReleaseMemObject(plan->inputs[k]);
        plan->inputs[k] = NULL;
    }
    ratecl_status status = bring_all(plan, evaluation, &exchange);
    if (status == RATECL_OK)
        status = rc_cl_plan_enqueue(plan, &exchange, 0, NULL);
    if (status == RATECL_OK)
        status = rc_cl_plan_wait(plan, evaluation->values, evaluation->skipped);
    if (status == RATECL_OK)
        status = show_gradients(plan, &exchange);
    for (int k = 0; k < RC_INPUT_COUNT; ++k) {
        if (exchange.inputs[k].memory)
            clReleaseMemObject(exchange.inputs[k].memory);
        if (exchange.gradients[k].memory)
            clReleaseMemObject(exchange.gradients[k].memory);
    }
    return status;
}
