/* SPDX-License-Identifier: Apache-2.0 */
/* An evaluation: inputs to the device, the plan's steps, results to the host. */
#include <stdlib.h>
#include <string.h>

#include "chain.h"

/* The arguments of coefficients that differ from one evaluation to the next. */
ratecl_status rc_cl_set_coefficients(const rc_cl_plan *plan, const rc_cl_exchange *exchange)
{
    if (!plan->coefficients)
        return RATECL_OK;
    const cl_float narrow = (cl_float)exchange->scale_value;
    const bool wide = plan->real_bytes == sizeof(cl_double);
    const cl_int scale_given = exchange->scale != NULL, cotangents_given = exchange->cotangents != NULL;
    cl_mem scale = scale_given ? exchange->scale : plan->results;
    cl_mem cotangents = cotangents_given ? exchange->cotangents : plan->cotangents;
    cl_kernel kernel = plan->coefficients;
    CL_TRY(
        clSetKernelArg(kernel, 0, plan->real_bytes, wide ? (const void *)&exchange->scale_value : &narrow));
    CL_TRY(clSetKernelArg(kernel, 1, sizeof scale_given, &scale_given));
    CL_TRY(clSetKernelArg(kernel, 2, sizeof scale, &scale));
    CL_TRY(clSetKernelArg(kernel, 3, sizeof cotangents_given, &cotangents_given));
    CL_TRY(clSetKernelArg(kernel, 4, sizeof cotangents, &cotangents));
    return RATECL_OK;
}

static ratecl_status enqueue_steps(rc_cl_chain *c, const rc_cl_exchange *exchange)
{
    RC_TRY(rc_cl_set_coefficients(c->plan, exchange));
    for (size_t k = 0; k < c->plan->step_count; ++k)
        RC_TRY(rc_cl_enqueue_step(c, &c->plan->steps[k], exchange));
    return RATECL_OK;
}

static ratecl_status copy_values(rc_cl_chain *c, cl_mem values)
{
    if (!values)
        return RATECL_OK;
    const size_t bytes = (c->plan->spec->value_count + 1) * c->plan->real_bytes;
    cl_event event;
    cl_event *wanted = rc_cl_chain_event(c, &event);
    CL_TRY(clEnqueueCopyBuffer(c->plan->queue, c->plan->results, values, 0, 0, bytes, c->wait_count,
                               c->wait_list, wanted));
    rc_cl_chain_on(c, event);
    return RATECL_OK;
}

/* Leave an event that is complete when all commands of the chain are. */
static ratecl_status mark_end(rc_cl_chain *c)
{
    cl_event event;
    if (c->plan->out_of_order)
        return RATECL_OK; /* the last command waits for all others */
    CL_TRY(clEnqueueMarkerWithWaitList(c->plan->queue, 0, NULL, &event));
    rc_cl_chain_on(c, event);
    return RATECL_OK;
}

/* The state of a command: CL_COMPLETE, or more as long as it is open, or less where it was given up. */
static cl_int state_of(cl_event event)
{
    cl_int state = CL_QUEUED;
    const cl_int code = clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof state, &state, NULL);
    return code == CL_SUCCESS ? state : CL_QUEUED;
}

/* A plan has one scratch area, so the previous evaluation must finish first. In an in-order queue it does.
 * One that was given up may have left commands behind that it did not get to wait for, so all of the queue
 * counts then. */
static ratecl_status follow_last(rc_cl_chain *c)
{
    rc_cl_plan *plan = c->plan;
    if (!plan->last || !plan->out_of_order)
        return RATECL_OK;
    const cl_int state = state_of(plan->last);
    if (state == CL_COMPLETE)
        return RATECL_OK;
    if (state < CL_COMPLETE) {
        CL_TRY(clEnqueueBarrierWithWaitList(plan->queue, 0, NULL, NULL));
        return RATECL_OK;
    }
    if (c->wait_count) {
        cl_event both[2] = { plan->last, NULL };
        CL_TRY(clEnqueueMarkerWithWaitList(plan->queue, c->wait_count, c->wait_list, &both[1]));
        const cl_int code = clEnqueueMarkerWithWaitList(plan->queue, 2, both, &c->last);
        clReleaseEvent(both[1]);
        if (code != CL_SUCCESS)
            return rc_cl_fail("clEnqueueMarkerWithWaitList", code);
    }
    c->wait_list = c->wait_count ? &c->last : &plan->last;
    c->wait_count = 1;
    return RATECL_OK;
}

ratecl_status rc_cl_plan_enqueue(rc_cl_plan *plan, const rc_cl_exchange *exchange, cl_uint wait_count,
                                 const cl_event *wait_list)
{
    rc_cl_chain c = { plan, wait_count, wait_list, NULL };
    ratecl_status status = follow_last(&c);
    if (status == RATECL_OK)
        status = enqueue_steps(&c, exchange);
    if (status == RATECL_OK)
        status = copy_values(&c, exchange->values);
    if (status == RATECL_OK)
        status = mark_end(&c);
    if (c.last) { /* after a failure, too: what was enqueued before it uses the scratch */
        if (plan->last)
            clReleaseEvent(plan->last);
        plan->last = c.last;
    }
    const cl_int code = clFlush(plan->queue);
    return status == RATECL_OK && code != CL_SUCCESS ? rc_cl_fail("clFlush", code) : status;
}

/* The read is blocking, on the plan's own queue: the caller's may hold later commands that wait for the
 * caller. */
ratecl_status rc_cl_plan_wait(rc_cl_plan *plan, double *values, int64_t *skipped)
{
    CL_TRY(clEnqueueReadBuffer(plan->transfers, plan->results, CL_TRUE, 0, plan->results_bytes,
                               plan->host_results, 1, &plan->last, NULL));
    for (size_t k = 0; k < plan->spec->value_count; ++k)
        if (plan->real_bytes == sizeof(cl_double))
            memcpy(&values[k], plan->host_results + k * sizeof(cl_double), sizeof(cl_double));
        else {
            cl_float narrow;
            memcpy(&narrow, plan->host_results + k * sizeof narrow, sizeof narrow);
            values[k] = (double)narrow;
        }
    for (size_t k = 0; k <= plan->spec->term_count; ++k) {
        cl_long count;
        memcpy(&count, plan->host_results + plan->skipped_offset + k * sizeof count, sizeof count);
        skipped[k] = count;
    }
    return RATECL_OK;
}

/* ---- Host memory ---- */

void rc_cl_release_inputs(cl_mem inputs[RC_INPUT_COUNT])
{
    for (int k = 0; k < RC_INPUT_COUNT; ++k) {
        if (inputs[k])
            clReleaseMemObject(inputs[k]);
        inputs[k] = NULL;
    }
}

void rc_cl_exchange_release(const rc_cl_exchange *exchange)
{
    for (int k = 0; k < RC_INPUT_COUNT; ++k) {
        if (exchange->inputs[k].memory)
            clReleaseMemObject(exchange->inputs[k].memory);
        if (exchange->gradients[k].memory)
            clReleaseMemObject(exchange->gradients[k].memory);
    }
}

/* Host memory as a buffer, where the device shares it. */
static ratecl_status wrap(const rc_cl_plan *plan, cl_mem_flags flags, size_t bytes, const void *host,
                          cl_mem *memory)
{
    cl_int code;
    *memory = clCreateBuffer(plan->context->context, flags | CL_MEM_USE_HOST_PTR, bytes, (void *)host, &code);
    return *memory ? RATECL_OK : rc_cl_fail("clCreateBuffer", code);
}

/* Make device memory that the plan owns, where it is not there yet, and retain it for the caller. */
static ratecl_status hold_memory(const rc_cl_plan *plan, cl_mem *owned, size_t bytes, cl_mem *memory)
{
    RC_TRY(rc_cl_make_buffer(plan, owned, CL_MEM_READ_WRITE, bytes));
    CL_TRY(clRetainMemObject(*owned));
    *memory = *owned;
    return RATECL_OK;
}

/* Copy an input to the device, in the layout's own form. */
static ratecl_status copy_whole(rc_cl_plan *plan, int k, size_t bytes, const void *host, cl_mem *memory,
                                cl_event *sent)
{
    const rc_cl_host_array array = { NULL, (void *)host };
    cl_event event;
    RC_TRY(hold_memory(plan, &plan->copies[k], bytes, memory));
    RC_TRY(rc_cl_send(plan, &array, (rc_cl_rows){ 0, (int64_t)bytes }, *memory, 0, NULL, &event));
    rc_cl_replace_event(sent, event);
    return RATECL_OK;
}

/* `source->memory` is retained for the caller, as is the sink's. */
static ratecl_status source_of(rc_cl_plan *plan, int k, const void *host, rc_cl_source *source,
                               cl_event *sent)
{
    const rc_view *view = &plan->spec->inputs[k];
    const size_t bytes = (size_t)view->extent * rc_element_bytes(view->element);
    if (plan->staging[k].rows > 0) {
        source->host = host;
        return rc_cl_staging_make(plan, &plan->staging[k], view, CL_MEM_READ_ONLY);
    }
    return plan->shares_host_memory ? wrap(plan, CL_MEM_READ_ONLY, bytes, host, &source->memory)
                                    : copy_whole(plan, k, bytes, host, &source->memory, sent);
}

/* A gradient that goes back whole: the host's array, and its rows or bytes. */
typedef struct way_back {
    rc_cl_host_array array;
    rc_cl_rows rows;
    size_t bytes;
} way_back;

static way_back way_back_of(const rc_cl_plan *plan, int k, void *host)
{
    const rc_view *view = &plan->spec->gradients[k].view;
    const rc_cl_result *result = &plan->gradients[k];
    const int64_t element = (int64_t)rc_element_bytes(view->element);
    const int64_t bytes = result->view.extent * element;
    if (result->has_gaps)
        return (way_back){ { view, host }, { 0, rc_view_rows(view) }, (size_t)bytes };
    return (way_back){ { NULL, (char *)host + view->offset * element }, { 0, bytes }, (size_t)bytes };
}

/* Give a gradient its place in device memory, with what it is added to. */
static ratecl_status place_result(rc_cl_plan *plan, int k, void *host, rc_cl_sink *sink, cl_event *sent)
{
    rc_cl_result *result = &plan->gradients[k];
    const way_back way = way_back_of(plan, k, host);
    sink->view = &result->view;
    RC_TRY(hold_memory(plan, &result->memory, way.bytes, &sink->memory));
    if (!plan->spec->gradients[k].accumulate)
        return RATECL_OK;
    cl_event event;
    RC_TRY(rc_cl_send(plan, &way.array, way.rows, result->memory, 0, NULL, &event));
    rc_cl_replace_event(sent, event);
    return RATECL_OK;
}

static ratecl_status sink_of(rc_cl_plan *plan, int k, void *host, rc_cl_sink *sink, cl_event *sent)
{
    const rc_view *view = &plan->spec->gradients[k].view;
    const size_t bytes = (size_t)view->extent * rc_element_bytes(view->element);
    if (plan->gradients[k].wanted)
        return place_result(plan, k, host, sink, sent);
    if (plan->gradient_staging[k].rows > 0) {
        sink->host = host;
        return rc_cl_staging_make(plan, &plan->gradient_staging[k], view, CL_MEM_READ_WRITE);
    }
    return wrap(plan, CL_MEM_READ_WRITE, bytes, host, &sink->memory);
}

/* Send the cotangents. The event is what orders the launches behind them: on Intel's runtime for CPUs, a
 * blocking write in another queue does not. */
static ratecl_status bring_cotangents(rc_cl_plan *plan, const double *cotangents, rc_cl_exchange *exchange,
                                      cl_event *sent)
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
    cl_event event;
    CL_TRY(clEnqueueWriteBuffer(plan->transfers, plan->cotangents, CL_FALSE, 0, count * plan->real_bytes,
                                plan->host_cotangents, 0, NULL, &event));
    rc_cl_replace_event(sent, event);
    CL_TRY(clFlush(plan->transfers)); /* another queue waits for it */
    return RATECL_OK;
}

/* `*sent` becomes the event of the last transfer, which all others come before, or stays NULL. */
static ratecl_status bring_all(rc_cl_plan *plan, const rc_evaluation *evaluation, rc_cl_exchange *exchange,
                               cl_event *sent)
{
    for (int k = 0; k < RC_INPUT_COUNT; ++k) {
        if (evaluation->inputs[k])
            RC_TRY(source_of(plan, k, evaluation->inputs[k], &exchange->inputs[k], sent));
        if (evaluation->gradients[k])
            RC_TRY(sink_of(plan, k, evaluation->gradients[k], &exchange->gradients[k], sent));
    }
    exchange->scale_value = evaluation->scale;
    return bring_cotangents(plan, evaluation->cotangents, exchange, sent);
}

static ratecl_status fetch_gradients(rc_cl_plan *plan, const rc_evaluation *evaluation)
{
    for (int k = 0; k < RC_INPUT_COUNT; ++k) {
        if (!plan->gradients[k].wanted)
            continue;
        const way_back way = way_back_of(plan, k, evaluation->gradients[k]);
        RC_TRY(rc_cl_fetch(plan, &way.array, way.rows, plan->gradients[k].memory, plan->last));
    }
    return RATECL_OK;
}

/* Gradients that were written in host memory: mapping makes them visible there. */
static ratecl_status show_gradients(const rc_cl_plan *plan, const rc_cl_exchange *exchange)
{
    cl_command_queue queue = plan->transfers;
    for (int k = 0; k < RC_INPUT_COUNT; ++k) {
        const rc_cl_sink *sink = &exchange->gradients[k];
        const rc_view *view = &plan->spec->gradients[k].view;
        if (!sink->memory)
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

/* Wait for a command. True if it is complete, or was given up. */
static bool wait_until_over(cl_event event)
{
    return clWaitForEvents(1, &event) == CL_SUCCESS || state_of(event) <= CL_COMPLETE;
}

/* Wait for all that the plan has enqueued in the queue of its launches, and for no later command. */
static bool wait_for_launches(const rc_cl_plan *plan)
{
    cl_event end;
    if (plan->out_of_order)
        return !plan->last || wait_until_over(plan->last);
    if (clEnqueueMarkerWithWaitList(plan->queue, 0, NULL, &end) != CL_SUCCESS)
        return clFinish(plan->queue) == CL_SUCCESS;
    const bool over = wait_until_over(end);
    clReleaseEvent(end);
    return over;
}

void rc_cl_plan_settle(rc_cl_plan *plan)
{
    clFlush(plan->transfers);
    const bool launches = wait_for_launches(plan);
    plan->unsettled = clFinish(plan->transfers) != CL_SUCCESS || !launches;
}

ratecl_status rc_cl_plan_check_settled(const rc_cl_plan *plan)
{
    if (!plan->unsettled)
        return RATECL_OK;
    return rc_fail(
        RATECL_ERROR_DEVICE,
        "the plan's last evaluation failed, and clWaitForEvents or clFinish for its commands, too: "
        "expected ratecl_evaluate() to be called first, or another plan");
}

/* An evaluation in flight is waited for: its results give way to the next one's. */
static ratecl_status drop_last(rc_cl_plan *plan)
{
    if (plan->unsettled)
        rc_cl_plan_settle(plan);
    RC_TRY(rc_cl_plan_check_settled(plan));
    const cl_int code = plan->last ? clWaitForEvents(1, &plan->last) : CL_SUCCESS;
    if (code != CL_SUCCESS && state_of(plan->last) > CL_COMPLETE)
        return rc_cl_fail("clWaitForEvents", code);
    rc_cl_release_inputs(plan->inputs);
    return RATECL_OK;
}

/* After an evaluation, or a failure during one: nothing of the caller's memory stays in use, or the
 * message says so. */
static void let_go(rc_cl_plan *plan, const rc_cl_exchange *exchange, ratecl_status status)
{
    if (status != RATECL_OK)
        rc_cl_plan_settle(plan);
    if (plan->unsettled)
        rc_message_append("; the device may still use the memory of this evaluation");
    rc_cl_exchange_release(exchange);
    for (int k = 0; k < RC_INPUT_COUNT; ++k) {
        rc_cl_staging_reset(&plan->staging[k]);
        rc_cl_staging_reset(&plan->gradient_staging[k]);
    }
}

ratecl_status rc_cl_plan_evaluate(void *plan_state, const rc_evaluation *evaluation)
{
    rc_cl_plan *plan = plan_state;
    rc_cl_exchange exchange = { .values = NULL };
    cl_event sent = NULL;
    RC_TRY(rc_cl_check_process());
    RC_TRY(drop_last(plan));
    ratecl_status status = bring_all(plan, evaluation, &exchange, &sent);
    if (status == RATECL_OK)
        status = rc_cl_plan_enqueue(plan, &exchange, sent != NULL, sent ? &sent : NULL);
    if (status == RATECL_OK)
        status = rc_cl_plan_wait(plan, evaluation->values, evaluation->skipped);
    if (status == RATECL_OK)
        status =
            plan->shares_host_memory ? show_gradients(plan, &exchange) : fetch_gradients(plan, evaluation);
    rc_cl_replace_event(&sent, NULL);
    let_go(plan, &exchange, status);
    return status;
}
