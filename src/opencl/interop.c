/* SPDX-License-Identifier: Apache-2.0 */
/* The public functions of opencl.h. */
#include <inttypes.h>
#include <string.h>

#include "../context.h"
#include "cl.h"

static ratecl_status refuse(const char *argument, const char *expected)
{
    return rc_fail(RATECL_ERROR_ARGUMENT, "%s: expected %s", argument, expected);
}

/* ---- Contexts ---- */

ratecl_status ratecl_cl_context_create(cl_context context, cl_device_id device, cl_command_queue queue,
                                       const ratecl_context_options *given, ratecl_context **created)
{
    RC_REFUSE_NULL(context);
    RC_REFUSE_NULL(device);
    RC_REFUSE_NULL(queue);
    RC_REFUSE_NULL(created);
    ratecl_context_options options;
    RC_TRY(rc_context_options_complete(given, &options));
    if (options.device)
        return rc_fail(RATECL_ERROR_ARGUMENT,
                       "options.device is \"%s\": expected NULL, since the device is given", options.device);
    RC_TRY(rc_cl_check_process());
    cl_context queue_context;
    cl_device_id queue_device;
    CL_TRY(clGetCommandQueueInfo(queue, CL_QUEUE_CONTEXT, sizeof queue_context, &queue_context, NULL));
    CL_TRY(clGetCommandQueueInfo(queue, CL_QUEUE_DEVICE, sizeof queue_device, &queue_device, NULL));
    if (queue_context != context)
        return refuse("queue is of another context", "a queue of the one that is given");
    if (queue_device != device)
        return refuse("queue is of another device", "a queue of the one that is given");
    void *state;
    RC_TRY(rc_cl_context_adopt(context, device, queue, &options, &state));
    return rc_context_wrap(&rc_cl_path, state, &options, created);
}

/* ---- Structs ---- */

void ratecl_cl_inputs_init_sized(ratecl_cl_inputs *inputs, size_t size)
{
    const ratecl_cl_inputs defaults = RATECL_CL_INPUTS_INIT;
    rc_struct_init(inputs, size, &defaults, sizeof defaults);
}

void ratecl_cl_outputs_init_sized(ratecl_cl_outputs *outputs, size_t size)
{
    const ratecl_cl_outputs defaults = RATECL_CL_OUTPUTS_INIT;
    rc_struct_init(outputs, size, &defaults, sizeof defaults);
}

/* ---- Evaluation ---- */

static ratecl_status check_events(const rc_cl_plan *plan, cl_uint count, const cl_event *list)
{
    if ((count == 0) != (list == NULL))
        return rc_fail(RATECL_ERROR_ARGUMENT, "wait_list is %s with wait_count %u: expected both or neither",
                       list ? "given" : "NULL", (unsigned)count);
    for (cl_uint k = 0; k < count; ++k) {
        cl_context context = NULL;
        const cl_int code = list[k]
                                ? clGetEventInfo(list[k], CL_EVENT_CONTEXT, sizeof context, &context, NULL)
                                : CL_INVALID_EVENT;
        if (code != CL_SUCCESS && code != CL_INVALID_EVENT)
            return rc_cl_fail("clGetEventInfo", code);
        if (context != plan->context->context)
            return rc_fail(RATECL_ERROR_ARGUMENT,
                           "wait_list[%u] is %p: expected an event of the plan's OpenCL context", (unsigned)k,
                           (void *)list[k]);
    }
    return RATECL_OK;
}

/* Check that a buffer is of the plan's context and holds so many bytes. */
static ratecl_status check_buffer(const rc_cl_plan *plan, cl_mem buffer, const char *name, uint64_t bytes)
{
    cl_context context;
    size_t size;
    const cl_int code = clGetMemObjectInfo(buffer, CL_MEM_CONTEXT, sizeof context, &context, NULL);
    if (code != CL_SUCCESS && code != CL_INVALID_MEM_OBJECT)
        return rc_cl_fail("clGetMemObjectInfo", code);
    if (code != CL_SUCCESS)
        return rc_fail(RATECL_ERROR_ARGUMENT, "%s is %p: expected an OpenCL buffer", name, (void *)buffer);
    if (context != plan->context->context)
        return rc_fail(RATECL_ERROR_ARGUMENT,
                       "%s is of another OpenCL context: expected a buffer of the plan's", name);
    CL_TRY(clGetMemObjectInfo(buffer, CL_MEM_SIZE, sizeof size, &size, NULL));
    if (size < bytes)
        return rc_fail(RATECL_ERROR_ARGUMENT, "%s holds %zu bytes: expected at least %" PRIu64, name, size,
                       bytes);
    return RATECL_OK;
}

static ratecl_status check_plan(const ratecl_plan *plan)
{
    RC_REFUSE_NULL(plan);
    if (plan->context->path != &rc_cl_path)
        return refuse("plan is one of the cpu device", "a plan of an OpenCL device");
    return rc_cl_check_process();
}

static ratecl_status check_inputs(const ratecl_plan *plan, const ratecl_cl_inputs *inputs,
                                  cl_mem buffers[RC_INPUT_COUNT])
{
    const cl_mem given[RC_INPUT_COUNT] = { inputs->states, inputs->reference, inputs->weights };
    static const char *const names[RC_INPUT_COUNT] = { "inputs.states", "inputs.reference",
                                                       "inputs.weights" };
    for (int k = 0; k < RC_INPUT_COUNT; ++k) {
        const rc_view *view = &plan->spec.inputs[k];
        buffers[k] = plan->spec.uses[k] ? given[k] : NULL;
        if (plan->spec.uses[k] && !given[k])
            return rc_fail(RATECL_ERROR_ARGUMENT,
                           "%s is NULL: expected a buffer, since a term of the plan needs it", names[k]);
        if (buffers[k])
            RC_TRY(check_buffer(plan->state, buffers[k], names[k],
                                (uint64_t)view->extent * rc_element_bytes(view->element)));
    }
    return RATECL_OK;
}

static ratecl_status check_gradients(const ratecl_plan *plan, const ratecl_cl_outputs *outputs,
                                     rc_cl_exchange *exchange)
{
    static const char *const names[RC_INPUT_COUNT] = { "outputs.gradient_states",
                                                       "outputs.gradient_reference",
                                                       "outputs.gradient_weights" };
    const cl_mem given[RC_INPUT_COUNT] = { outputs->gradient_states, outputs->gradient_reference,
                                           outputs->gradient_weights };
    for (int k = 0; k < RC_INPUT_COUNT; ++k) {
        const rc_gradient *gradient = &plan->spec.gradients[k];
        if (!gradient->wanted)
            continue;
        if (!given[k])
            return rc_fail(RATECL_ERROR_ARGUMENT,
                           "%s is NULL: expected a buffer, since the plan gives that gradient", names[k]);
        RC_TRY(check_buffer(plan->state, given[k], names[k],
                            (uint64_t)gradient->view.extent * rc_element_bytes(gradient->view.element)));
        exchange->gradients[k].memory = given[k];
    }
    return RATECL_OK;
}

static ratecl_status check_factors(const ratecl_plan *plan, const ratecl_cl_inputs *inputs,
                                   rc_cl_exchange *exchange)
{
    const rc_cl_plan *state = plan->state;
    const uint64_t cotangents = plan->spec.cotangent_count * (uint64_t)plan->spec.inputs[RC_STATES].shape[2];
    if (inputs->scale)
        RC_TRY(check_buffer(state, inputs->scale, "inputs.scale", state->real_bytes));
    if (inputs->cotangents)
        RC_TRY(check_buffer(state, inputs->cotangents, "inputs.cotangents", cotangents * state->real_bytes));
    exchange->scale_value = 1;
    exchange->scale = inputs->scale;
    exchange->cotangents = inputs->cotangents;
    return RATECL_OK;
}

/* Retain those that are there, or none of them. */
static ratecl_status retain_inputs(const cl_mem given[RC_INPUT_COUNT], cl_mem retained[RC_INPUT_COUNT])
{
    for (int k = 0; k < RC_INPUT_COUNT; ++k) {
        const cl_int code = given[k] ? clRetainMemObject(given[k]) : CL_SUCCESS;
        if (code != CL_SUCCESS) {
            rc_cl_release_inputs(retained);
            return rc_cl_fail("clRetainMemObject", code);
        }
        retained[k] = given[k];
    }
    return RATECL_OK;
}

/* Enqueue, and give the caller the last event where it is wanted. */
static ratecl_status enqueue(rc_cl_plan *state, const rc_cl_exchange *exchange, cl_uint wait_count,
                             const cl_event *wait_list, cl_event *event)
{
    RC_TRY(rc_cl_plan_enqueue(state, exchange, wait_count, wait_list));
    if (event) {
        CL_TRY(clRetainEvent(state->last));
        *event = state->last;
    }
    return RATECL_OK;
}

ratecl_status ratecl_cl_enqueue(ratecl_plan *plan, const ratecl_cl_inputs *given,
                                const ratecl_cl_outputs *given_outputs, cl_uint wait_count,
                                const cl_event *wait_list, cl_event *event)
{
    RC_TRY(check_plan(plan));
    if (!given)
        return refuse("inputs is NULL", "a pointer");
    rc_cl_plan *state = plan->state;
    ratecl_cl_inputs inputs = RATECL_CL_INPUTS_INIT;
    RC_TRY(RC_OPTIONS(&inputs, given, "inputs"));
    ratecl_cl_outputs outputs = RATECL_CL_OUTPUTS_INIT;
    if (given_outputs)
        RC_TRY(RC_OPTIONS(&outputs, given_outputs, "outputs"));
    RC_TRY(check_events(state, wait_count, wait_list));
    cl_mem buffers[RC_INPUT_COUNT];
    RC_TRY(check_inputs(plan, &inputs, buffers));
    rc_cl_exchange exchange = { .values = outputs.values };
    RC_TRY(check_factors(plan, &inputs, &exchange));
    RC_TRY(check_gradients(plan, &outputs, &exchange));
    if (outputs.values)
        RC_TRY(check_buffer(state, outputs.values, "outputs.values",
                            (uint64_t)(plan->spec.value_count + 1) * state->real_bytes));

    RC_TRY(rc_cl_plan_check_settled(state));

    for (int k = 0; k < RC_INPUT_COUNT; ++k)
        exchange.inputs[k].memory = buffers[k];
    cl_mem retained[RC_INPUT_COUNT] = { NULL };
    RC_TRY(retain_inputs(buffers, retained));
    rc_cl_release_inputs(
        state->inputs); /* whatever happens, the results of the evaluation before are overwritten */
    const ratecl_status status = enqueue(state, &exchange, wait_count, wait_list, event);
    if (status == RATECL_OK)
        memcpy(state->inputs, retained, sizeof retained);
    else
        rc_cl_release_inputs(retained);
    return status;
}

/* Map the inputs into host memory and diagnose; what was mapped is unmapped whatever happens. All of it goes
 * through the plan's own queue, since the caller's may hold later commands that wait for the caller. */
static ratecl_status diagnose(const ratecl_plan *plan)
{
    const rc_cl_plan *state = plan->state;
    cl_command_queue queue = state->transfers;
    void *mapped[RC_INPUT_COUNT] = { NULL };
    ratecl_status status = RATECL_OK;
    for (int k = 0; k < RC_INPUT_COUNT && status == RATECL_OK; ++k) {
        const rc_view *view = &plan->spec.inputs[k];
        if (!plan->spec.uses[k])
            continue;
        cl_int code;
        mapped[k] = clEnqueueMapBuffer(queue, state->inputs[k], CL_TRUE, CL_MAP_READ, 0,
                                       (size_t)view->extent * rc_element_bytes(view->element), 1,
                                       &state->last, NULL, &code);
        if (!mapped[k]) /* the buffer may be closed to the host: the result is what it is all the same */
            status = rc_fail(
                RATECL_ERROR_DOMAIN,
                "a result is not finite; %s could not be read to find out why (clEnqueueMapBuffer gives %d)",
                rc_input_names[k], (int)code);
    }
    const void *const memory[RC_INPUT_COUNT] = { mapped[0], mapped[1], mapped[2] };
    if (status == RATECL_OK)
        status = rc_diagnose(plan, memory, NULL);
    for (int k = 0; k < RC_INPUT_COUNT; ++k)
        if (mapped[k])
            clEnqueueUnmapMemObject(queue, state->inputs[k], mapped[k], 0, NULL, NULL);
    clFinish(queue);
    return status;
}

ratecl_status ratecl_cl_wait(ratecl_plan *plan, const ratecl_outputs *given)
{
    RC_TRY(check_plan(plan));
    if (!given)
        return refuse("outputs is NULL", "a pointer");
    ratecl_outputs outputs;
    RC_TRY(rc_outputs_check(plan, given, &outputs));
    rc_cl_plan *state = plan->state;
    if (!state->inputs[RC_STATES] || !state->last)
        return refuse("plan has nothing enqueued", "ratecl_cl_enqueue() before");
    RC_TRY(rc_cl_plan_wait(state, plan->values, plan->skipped));
    ratecl_status status = rc_outputs_write(plan, &outputs) ? RATECL_OK : diagnose(plan);
    rc_cl_release_inputs(state->inputs);
    return status;
}
