/* SPDX-License-Identifier: Apache-2.0 */
/* The caller's own OpenCL objects: queues of either kind, buffers read in place, events, and objects that do
 * not belong together. */
#define _GNU_SOURCE /* RTLD_NEXT */
#include "caller.h"
#include "gradient_check.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- What the library creates: its calls find these functions before OpenCL's ---- */

static size_t creations;

#define NEXT(function, ...)                                    \
    do {                                                       \
        __typeof__(&(function)) next;                          \
        *(void **)(void *)&next = dlsym(RTLD_NEXT, #function); \
        creations++;                                           \
        return next(__VA_ARGS__);                              \
    } while (0)

cl_mem CL_API_CALL clCreateBuffer(cl_context context, cl_mem_flags flags, size_t size, void *host,
                                  cl_int *code)
{
    NEXT(clCreateBuffer, context, flags, size, host, code);
}

cl_kernel CL_API_CALL clCreateKernel(cl_program program, const char *name, cl_int *code)
{
    NEXT(clCreateKernel, program, name, code);
}

cl_command_queue CL_API_CALL clCreateCommandQueue(cl_context context, cl_device_id device,
                                                  cl_command_queue_properties properties, cl_int *code)
{
    NEXT(clCreateCommandQueue, context, device, properties, code);
}

/* ---- Buffers in place ---- */

static void in_place_on(caller *owner, const char *device)
{
    static const array_order orders[] = { ORDER_C, ORDER_OFFSET, ORDER_TIME_FIRST, ORDER_REVERSED };
    ratecl_context *context = caller_context(owner);
    for (size_t k = 0; k < COUNT(orders); k++) {
        problem given = caller_problem(k % 2 ? RATECL_F32 : RATECL_U8, orders[k], 41);
        const size_t before = creations;
        ratecl_plan *plan = problem_plan(&given, context, 0, given.term_count);
        ck_assert_uint_gt(creations, before); /* the library's calls are counted */
        const ratecl_cl_inputs inputs = caller_upload(owner, &given);
        for (int again = 0; again < 2; again++) {
            ASSERT_OK(ratecl_cl_enqueue(plan, &inputs, NULL, 0, NULL, NULL));
            caller_wait_and_check(plan, &given, device);
        }
        caller_release_inputs(&inputs);
        ratecl_plan_release(plan);
        problem_free(&given);
    }
    ratecl_context_release(context);
}

START_TEST(in_place)
{
    caller_each(in_place_on);
}
END_TEST

/* Host memory on the caller's queue gives the bits that the buffers give. */
static void host_memory_on(caller *owner, const char *device)
{
    ratecl_context *context = caller_context(owner);
    problem given = caller_problem(RATECL_F32, ORDER_C, 43);
    outcome got = problem_evaluate(&given, context, 0, given.term_count);
    problem_check(&given, &got, 0, device);

    ratecl_plan *plan = problem_plan(&given, context, 0, given.term_count);
    const ratecl_cl_inputs inputs = caller_upload(owner, &given);
    ASSERT_OK(ratecl_cl_enqueue(plan, &inputs, NULL, 0, NULL, NULL));
    double *values = suite_allocate(got.value_count * sizeof *values);
    ratecl_outputs outputs = RATECL_OUTPUTS_INIT;
    outputs.values = values;
    outputs.value_count = got.value_count;
    ASSERT_OK(ratecl_cl_wait(plan, &outputs));
    ck_assert_mem_eq(values, got.values, got.value_count * sizeof *values);
    free(values);
    caller_release_inputs(&inputs);
    ratecl_plan_release(plan);
    outcome_free(&got);
    problem_free(&given);
    ratecl_context_release(context);
}

START_TEST(host_memory)
{
    caller_each(host_memory_on);
}
END_TEST

/* Host memory in pieces of a few rows, which the plan's own queue brings: the caller's one waits for them,
 * and they for it. An evaluation of buffers that is still in flight gives way. */
static void pieces_on(caller *owner, const char *device)
{
    static const array_order orders[] = { ORDER_C, ORDER_PADDED, ORDER_NEURON_FIRST };
    ratecl_context_options options = RATECL_CONTEXT_OPTIONS_INIT;
    options.staging_limit = 300;
    ratecl_context *context = NULL;
    ASSERT_OK(ratecl_cl_context_create(owner->context, owner->device, owner->queue, &options, &context));
    for (size_t k = 0; k < COUNT(orders); k++) {
        problem given = caller_problem(RATECL_F32, orders[k], 47);
        ratecl_plan *plan = problem_plan(&given, context, 0, given.term_count);
        const ratecl_cl_inputs buffers = caller_upload(owner, &given);
        const ratecl_inputs inputs = problem_inputs(&given);
        double total;
        ratecl_outputs outputs = RATECL_OUTPUTS_INIT;
        outputs.total = &total;
        ASSERT_OK(ratecl_cl_enqueue(plan, &buffers, NULL, 0, NULL, NULL));
        ASSERT_OK(ratecl_evaluate(plan, &inputs, &outputs));
        caller_release_inputs(&buffers);
        ratecl_plan_release(plan);

        gradients of;
        gradients_take(&of, &given);
        for (int accumulates = 0; accumulates < 2; accumulates++) {
            const gradient_options how = { .accumulates = accumulates, .order = orders[k] };
            gradients_check(&of, context, device, 0, of.given.term_count, &how);
        }
        gradients_free(&of);
    }
    ratecl_context_release(context);
}

START_TEST(host_memory_in_pieces)
{
    caller_each(pieces_on);
}
END_TEST

/* ---- Events ---- */

static cl_int state_of(cl_event event)
{
    cl_int state = 0;
    ASSERT_CL(clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof state, &state, NULL));
    return state;
}

/* Oclgrind flushes in the caller's thread and never returns while a user event is open. */
static bool can_gate(const ratecl_context *context, const char *device)
{
    ratecl_device_info info = { .size = sizeof info };
    ASSERT_OK(ratecl_context_device(context, &info));
    const bool can = !strstr(info.name, "Oclgrind");
    if (!can)
        printf("%s: the open user event is skipped: Oclgrind hangs on it\n", device);
    return can;
}

/* The states are copied into place only after a user event, and the evaluation waits for that copy. The call
 * returns before, the event is complete after. */
static void events_on(caller *owner, const char *device)
{
    ratecl_context *context = caller_context(owner);
    problem given = caller_problem(RATECL_F32, ORDER_C, 47);
    ratecl_plan *plan = problem_plan(&given, context, 0, given.term_count);
    ratecl_cl_inputs inputs = caller_upload(owner, &given);
    const array *states = &given.inputs[STATES];
    cl_mem source = inputs.states;
    inputs.states = caller_buffer(owner, NULL, states->bytes);

    cl_int code;
    cl_event gate = clCreateUserEvent(owner->context, &code), written = NULL, done = NULL;
    ASSERT_CL(code);
    const bool gates = can_gate(context, device);
    if (!gates)
        ASSERT_CL(clSetUserEventStatus(gate, CL_COMPLETE));
    ASSERT_CL(
        clEnqueueCopyBuffer(owner->queue, source, inputs.states, 0, 0, states->bytes, 1, &gate, &written));
    ASSERT_OK(ratecl_cl_enqueue(plan, &inputs, NULL, 1, &written, &done));
    ck_assert_ptr_nonnull(done);
    if (gates) {
        ck_assert_int_ne(state_of(done), CL_COMPLETE);
        ASSERT_CL(clSetUserEventStatus(gate, CL_COMPLETE));
    }
    ASSERT_CL(clWaitForEvents(1, &done));
    ck_assert_int_eq(state_of(done), CL_COMPLETE);
    caller_wait_and_check(plan, &given, device);

    ASSERT_CL(clReleaseEvent(gate));
    ASSERT_CL(clReleaseEvent(written));
    ASSERT_CL(clReleaseEvent(done));
    ASSERT_CL(clReleaseMemObject(source));
    caller_release_inputs(&inputs);
    ratecl_plan_release(plan);
    problem_free(&given);
    ratecl_context_release(context);
}

START_TEST(events)
{
    caller_each(events_on);
}
END_TEST

/* Commands that the caller enqueues after an evaluation, and that wait for the caller, keep neither its
 * results nor the diagnosis of a bad one. */
static void later_commands_on(caller *owner, const char *device)
{
    ratecl_context *context = caller_context(owner);
    if (can_gate(context, device)) {
        problem given = caller_problem(RATECL_F32, ORDER_C, 101);
        ratecl_plan *plan = problem_plan(&given, context, 0, given.term_count);
        const array *states = &given.inputs[STATES];
        ratecl_cl_inputs good = caller_upload(owner, &given);
        array_store(RATECL_F32, (char *)states->memory + array_place(&states->layout, 1, 2, 3), (double)NAN);
        ratecl_cl_inputs bad = caller_upload(owner, &given);

        cl_int code;
        cl_event gates[2];
        for (int k = 0; k < 2; k++) {
            ratecl_outputs outputs = RATECL_OUTPUTS_INIT;
            gates[k] = clCreateUserEvent(owner->context, &code);
            ASSERT_CL(code);
            ASSERT_OK(ratecl_cl_enqueue(plan, k ? &bad : &good, NULL, 0, NULL, NULL));
            ASSERT_CL(clEnqueueMarkerWithWaitList(owner->queue, 1, &gates[k], NULL));
            ASSERT_CL(clFlush(owner->queue));
            if (k == 0)
                caller_wait_and_check(plan, &given, device);
            else
                ASSERT_FAILS(ratecl_cl_wait(plan, &outputs), RATECL_ERROR_DOMAIN, "states", "[1,2,3]");
            ASSERT_CL(clSetUserEventStatus(gates[k], CL_COMPLETE));
            ASSERT_CL(clReleaseEvent(gates[k]));
        }
        ASSERT_CL(clFinish(owner->queue));
        caller_release_inputs(&good);
        caller_release_inputs(&bad);
        ratecl_plan_release(plan);
        problem_free(&given);
    }
    ratecl_context_release(context);
}

START_TEST(later_commands)
{
    caller_each(later_commands_on);
}
END_TEST

/* ---- The caller's buffer of values ---- */

static void values_buffer_on(caller *owner, const char *device)
{
    enum { ZONE = 8 };
    ratecl_context *context = caller_context(owner);
    problem given = caller_problem(RATECL_F32, ORDER_C, 53);
    ratecl_plan *plan = problem_plan(&given, context, 0, given.term_count);
    const ratecl_cl_inputs inputs = caller_upload(owner, &given);
    const size_t count = ratecl_plan_value_count(plan) + 1;
    float *zeros = suite_allocate((count + ZONE) * sizeof *zeros);
    cl_mem values = caller_buffer(owner, NULL, (count + ZONE) * sizeof(float));
    cl_mem small = caller_buffer(owner, NULL, (count - 1) * sizeof(float));
    const ratecl_cl_outputs outputs = { .size = sizeof outputs, .values = values };
    const ratecl_cl_outputs too_small = { .size = sizeof outputs, .values = small };
    for (size_t k = 0; k < count + ZONE; k++)
        zeros[k] = -12345;
    ASSERT_CL(clEnqueueWriteBuffer(owner->queue, values, CL_TRUE, 0, (count + ZONE) * sizeof *zeros, zeros, 0,
                                   NULL, NULL));

    ASSERT_REFUSED(ratecl_cl_enqueue(plan, &inputs, &too_small, 0, NULL, NULL), "values", "expected");
    cl_event done = NULL;
    ASSERT_OK(ratecl_cl_enqueue(plan, &inputs, &outputs, 0, NULL, &done));
    float *got = suite_allocate((count + ZONE) * sizeof *got);
    ASSERT_CL(clEnqueueReadBuffer(owner->queue, values, CL_TRUE, 0, (count + ZONE) * sizeof *got, got, 1,
                                  &done, NULL));
    double total = 0, magnitude = 0;
    for (size_t k = 0; k < given.term_count; k++) {
        for (size_t v = given.first[k]; v < given.first[k + 1]; v++)
            ck_assert_msg(fabs((double)got[v] - given.values[v]) <=
                              given.tolerances[v] + 0x1p-24 * fabs(given.values[v]),
                          "%s: %s [%zu]: %.9g, expected %.9g", device, given.texts[k], v, (double)got[v],
                          given.values[v]);
        if (given.terms[k].reduction != RATECL_REDUCTION_NONE) {
            total += given.terms[k].weight * given.values[given.first[k]];
            magnitude += fabs(given.terms[k].weight * given.values[given.first[k]]);
        }
    }
    ck_assert_double_eq_tol((double)got[count - 1], total, 1e-5 * magnitude);
    ck_assert_mem_eq(got + count, zeros + count, ZONE * sizeof *got);
    caller_wait_and_check(plan, &given, device);

    free(got);
    free(zeros);
    ASSERT_CL(clReleaseEvent(done));
    ASSERT_CL(clReleaseMemObject(small));
    ASSERT_CL(clReleaseMemObject(values));
    caller_release_inputs(&inputs);
    ratecl_plan_release(plan);
    problem_free(&given);
    ratecl_context_release(context);
}

START_TEST(values_buffer)
{
    caller_each(values_buffer_on);
}
END_TEST

/* ---- Several at once ---- */

static void in_flight_on(caller *owner, const char *device)
{
    ratecl_context *context = caller_context(owner);
    problem first = caller_problem(RATECL_F32, ORDER_C, 59), second = caller_problem(RATECL_F32, ORDER_C, 61);
    ratecl_plan *plan = problem_plan(&first, context, 0, first.term_count);
    ratecl_plan *other = problem_plan(&first, context, 0, first.term_count);
    const ratecl_cl_inputs from_first = caller_upload(owner, &first),
                           from_second = caller_upload(owner, &second);

    /* One plan twice: the second one's results. Another plan between them keeps its own. */
    ASSERT_OK(ratecl_cl_enqueue(plan, &from_first, NULL, 0, NULL, NULL));
    ASSERT_OK(ratecl_cl_enqueue(other, &from_first, NULL, 0, NULL, NULL));
    ASSERT_OK(ratecl_cl_enqueue(plan, &from_second, NULL, 0, NULL, NULL));
    caller_wait_and_check(plan, &second, device);
    caller_wait_and_check(other, &first, device);

    ratecl_plan_release(plan);
    ratecl_plan_release(other);
    caller_release_inputs(&from_first);
    caller_release_inputs(&from_second);
    problem_free(&first);
    problem_free(&second);
    ratecl_context_release(context);
}

START_TEST(two_in_flight)
{
    caller_each(in_flight_on);
}
END_TEST

/* ---- Gradients ---- */

/* Gradients into the caller's buffers; scale and cotangents from them. */
typedef struct buffer_run {
    caller *owner;
    ratecl_precision precision;
} buffer_run;

/* `values` as the plan's reals. */
static cl_mem buffer_of_reals(const buffer_run *run, const double *values, size_t count)
{
    if (run->precision == RATECL_PRECISION_F64)
        return caller_buffer(run->owner, values, count * sizeof *values);
    float *narrow = suite_allocate(count * sizeof *narrow);
    for (size_t k = 0; k < count; k++)
        narrow[k] = (float)values[k];
    cl_mem made = caller_buffer(run->owner, narrow, count * sizeof *narrow);
    free(narrow);
    return made;
}

/* What is in the buffer then, as it was where nothing is written. */
static cl_mem buffer_to_write(const caller *owner, const void *memory, size_t bytes)
{
    cl_mem made = caller_buffer(owner, NULL, bytes);
    ASSERT_CL(clEnqueueWriteBuffer(owner->queue, made, CL_TRUE, 0, bytes, memory, 0, NULL, NULL));
    return made;
}

static void take_back(const caller *owner, cl_mem buffer, void *memory, size_t bytes, cl_event done)
{
    ASSERT_CL(clEnqueueReadBuffer(owner->queue, buffer, CL_TRUE, 0, bytes, memory, 1, &done, NULL));
    ASSERT_CL(clReleaseMemObject(buffer));
}

static ratecl_status evaluate_in_buffers(ratecl_plan *plan, const ratecl_inputs *given,
                                         const ratecl_outputs *to, const void *argument)
{
    const buffer_run *run = argument;
    const caller *owner = run->owner;
    const double one = 1;
    ratecl_cl_inputs inputs = RATECL_CL_INPUTS_INIT;
    inputs.states = caller_buffer(owner, given->states, given->states_bytes);
    inputs.reference = caller_buffer(owner, given->reference, given->reference_bytes);
    inputs.weights = caller_buffer(owner, given->weights, given->weights_bytes);
    inputs.scale = given->scale ? buffer_of_reals(run, given->scale, 1) : NULL;
    inputs.cotangents = given->cotangent_count
                            ? buffer_of_reals(run, given->cotangents, given->cotangent_count)
                            : buffer_of_reals(run, &one, 1);
    ratecl_cl_outputs outputs = RATECL_CL_OUTPUTS_INIT;
    outputs.gradient_states = buffer_to_write(owner, to->gradient_states, to->gradient_states_bytes);
    outputs.gradient_reference = buffer_to_write(owner, to->gradient_reference, to->gradient_reference_bytes);
    outputs.gradient_weights = buffer_to_write(owner, to->gradient_weights, to->gradient_weights_bytes);

    const size_t before = creations;
    cl_event done = NULL;
    ASSERT_OK(ratecl_cl_enqueue(plan, &inputs, &outputs, 0, NULL, &done));
    take_back(owner, outputs.gradient_states, to->gradient_states, to->gradient_states_bytes, done);
    take_back(owner, outputs.gradient_reference, to->gradient_reference, to->gradient_reference_bytes, done);
    take_back(owner, outputs.gradient_weights, to->gradient_weights, to->gradient_weights_bytes, done);
    ASSERT_CL(clReleaseEvent(done));
    const ratecl_status status = ratecl_cl_wait(plan, to);
    ck_assert_uint_eq(creations, before); /* an evaluation creates no buffer, kernel or queue */
    caller_release_inputs(&inputs);
    ASSERT_CL(clReleaseMemObject(inputs.cotangents));
    if (inputs.scale)
        ASSERT_CL(clReleaseMemObject(inputs.scale));
    return status;
}

static void gradients_on(caller *owner, const char *device)
{
    static const gradient_options ways[] = {
        { .scale = 0, .element = RATECL_F32 },
        { .scale = -2.5, .element = RATECL_F32, .order = ORDER_REVERSED, .accumulates = true },
    };
    ratecl_context *context = caller_context(owner);
    for (size_t k = 0; k < COUNT(ways); k++) {
        const problem given = caller_problem(RATECL_F32, k ? ORDER_TIME_FIRST : ORDER_C, 83);
        gradients of;
        gradients_take(&of, &given);
        const buffer_run run = { owner, of.given.precision };
        gradient_options how = ways[k];
        how.evaluate = evaluate_in_buffers;
        how.argument = &run;
        gradients_check(&of, context, device, 0, of.given.term_count, &how);
        gradients_check(&of, context, device, 0, 1, &how); /* the rates alone, which need no read */
        gradients_free(&of);
    }
    ratecl_context_release(context);
}

START_TEST(gradients_in_place)
{
    caller_each(gradients_on);
}
END_TEST

/* A plan with gradients refuses buffers that are missing, too small or foreign, and then works. */
static void gradient_refusals_on(caller *owner, const char *device)
{
    static const uint32_t all = RATECL_OUTPUT_VALUES | RATECL_OUTPUT_GRADIENT_STATES |
                                RATECL_OUTPUT_GRADIENT_REFERENCE | RATECL_OUTPUT_GRADIENT_WEIGHTS;
    enum { ENOUGH = 1 << 16 };
    ratecl_context *context = caller_context(owner);
    caller stranger = caller_make(device, 0);
    problem given = caller_problem(RATECL_F32, ORDER_C, 89);
    ratecl_plan_options options = problem_options(&given, 0, given.term_count);
    options.outputs = all;
    ratecl_plan *plan = NULL;
    ASSERT_OK(ratecl_plan_create(context, &options, &plan));

    const ratecl_cl_inputs good = caller_upload(owner, &given);
    cl_mem enough = caller_buffer(owner, NULL, ENOUGH), small = caller_buffer(owner, NULL, 2),
           foreign = caller_buffer(&stranger, NULL, ENOUGH);
    cl_mem more[] = { caller_buffer(owner, NULL, ENOUGH), caller_buffer(owner, NULL, ENOUGH) };
    const ratecl_cl_outputs outputs = { .size = sizeof outputs,
                                        .gradient_states = enough,
                                        .gradient_reference = more[0],
                                        .gradient_weights = more[1] };
    ratecl_cl_outputs bad[9];
    static const char *const names[] = { "gradient_states", "gradient_reference", "gradient_weights" };
    static const char *const reasons[] = { "NULL", "at least", "context" };
    const cl_mem wrong[] = { NULL, small, foreign };
    for (size_t k = 0; k < COUNT(bad); k++) {
        bad[k] = outputs;
        *(cl_mem *[]){ &bad[k].gradient_states, &bad[k].gradient_reference,
                       &bad[k].gradient_weights }[k / 3] = wrong[k % 3];
        ASSERT_REFUSED(ratecl_cl_enqueue(plan, &good, &bad[k], 0, NULL, NULL), names[k / 3], reasons[k % 3]);
    }
    ASSERT_REFUSED(ratecl_cl_enqueue(plan, &good, NULL, 0, NULL, NULL), "gradient_states", "NULL");
    ratecl_cl_inputs factors = good;
    factors.scale = small;
    ASSERT_REFUSED(ratecl_cl_enqueue(plan, &factors, &outputs, 0, NULL, NULL), "scale", "at least");
    factors.scale = foreign;
    ASSERT_REFUSED(ratecl_cl_enqueue(plan, &factors, &outputs, 0, NULL, NULL), "scale", "context");
    factors = good;
    factors.cotangents = small;
    ASSERT_REFUSED(ratecl_cl_enqueue(plan, &factors, &outputs, 0, NULL, NULL), "cotangents", "at least");

    ASSERT_OK(ratecl_cl_enqueue(plan, &good, &outputs, 0, NULL, NULL));
    caller_wait_and_check(plan, &given, device);
    const cl_mem made[] = { enough, small, foreign, more[0], more[1] };
    for (size_t k = 0; k < COUNT(made); k++)
        ASSERT_CL(clReleaseMemObject(made[k]));
    caller_release_inputs(&good);
    ratecl_plan_release(plan);
    problem_free(&given);
    ratecl_context_release(context);
    caller_release(&stranger);
}

START_TEST(gradient_refusals)
{
    caller_each(gradient_refusals_on);
}
END_TEST

/* ---- Ownership ---- */

static cl_uint references(cl_context context)
{
    cl_uint count = 0;
    ASSERT_CL(clGetContextInfo(context, CL_CONTEXT_REFERENCE_COUNT, sizeof count, &count, NULL));
    return count;
}

/* A driver's own threads may let go of finished commands a little later: wait up to a second. */
static cl_uint references_left(cl_context context, cl_uint expected)
{
    const struct timespec pause = { 0, 10 * 1000 * 1000 };
    for (int k = 0; k < 100 && references(context) != expected; k++)
        nanosleep(&pause, NULL);
    return references(context);
}

/* Everything the caller holds is released as early as it may be; a plan outlives its context; in the end the
 * caller's context has the references that it began with. */
static void ownership_on(caller *owner, const char *device)
{
    const cl_uint before = references(owner->context);
    problem given = caller_problem(RATECL_F32, ORDER_C, 67);
    cl_int code;
    caller brief = *owner;
    brief.queue = clCreateCommandQueue(owner->context, owner->device, 0, &code);
    ASSERT_CL(code);
    ratecl_context *context = caller_context(&brief);
    ratecl_plan *plan = problem_plan(&given, context, 0, given.term_count);
    const ratecl_cl_inputs inputs = caller_upload(&brief, &given);
    ASSERT_CL(clReleaseCommandQueue(brief.queue));
    ratecl_context_release(context);
    ASSERT_OK(ratecl_cl_enqueue(plan, &inputs, NULL, 0, NULL, NULL));
    caller_release_inputs(&inputs);
    caller_wait_and_check(plan, &given, device);
    ratecl_plan_release(plan);
    problem_free(&given);
    ck_assert_uint_eq(references_left(owner->context, before), before);
}

START_TEST(ownership)
{
    caller_each(ownership_on);
}
END_TEST

/* ---- Refusals ---- */

static void refusals_on(caller *owner, const char *device)
{
    caller stranger = caller_make(device, 0);
    ratecl_context *context = NULL, *created = NULL;
    ratecl_context_options options = RATECL_CONTEXT_OPTIONS_INIT;
    options.device = "cpu";
    ASSERT_REFUSED(ratecl_cl_context_create(NULL, owner->device, owner->queue, NULL, &created), "context",
                   "NULL");
    ASSERT_REFUSED(ratecl_cl_context_create(owner->context, NULL, owner->queue, NULL, &created), "device",
                   "NULL");
    ASSERT_REFUSED(ratecl_cl_context_create(owner->context, owner->device, NULL, NULL, &created), "queue",
                   "NULL");
    ASSERT_REFUSED(ratecl_cl_context_create(owner->context, owner->device, owner->queue, NULL, NULL),
                   "created", "NULL");
    ASSERT_REFUSED(ratecl_cl_context_create(owner->context, owner->device, stranger.queue, NULL, &created),
                   "queue", "context");
    ASSERT_REFUSED(ratecl_cl_context_create(owner->context, owner->device, owner->queue, &options, &created),
                   "device", "cpu", "NULL");
    ck_assert_ptr_null(created);

    problem given = caller_problem(RATECL_F32, ORDER_C, 71);
    context = caller_context(owner);
    ratecl_plan *plan = problem_plan(&given, context, 0, given.term_count);
    ratecl_outputs outputs = RATECL_OUTPUTS_INIT;
    ASSERT_REFUSED(ratecl_cl_wait(plan, &outputs), "enqueue");
    ASSERT_REFUSED(ratecl_cl_wait(NULL, &outputs), "plan", "NULL");

    const ratecl_cl_inputs good = caller_upload(owner, &given), foreign = caller_upload(&stranger, &given);
    cl_mem short_states = caller_buffer(owner, NULL, given.inputs[STATES].bytes - 1);
    cl_mem foreign_values = caller_buffer(&stranger, NULL, 1 << 16);
    cl_int code;
    cl_event foreign_event = clCreateUserEvent(stranger.context, &code);
    ASSERT_CL(code);
    struct {
        ratecl_cl_inputs inputs;
        const char *name, *reason;
    } bad[] = {
        { good, "states", "NULL" },     { good, "reference", "NULL" },       { good, "weights", "NULL" },
        { good, "states", "context" },  { good, "reference", "context" },    { good, "weights", "context" },
        { good, "states", "at least" }, { good, "inputs.size", "expected" },
    };
    bad[0].inputs.states = bad[1].inputs.reference = bad[2].inputs.weights = NULL;
    bad[3].inputs.states = foreign.states;
    bad[4].inputs.reference = foreign.reference;
    bad[5].inputs.weights = foreign.weights;
    bad[6].inputs.states = short_states;
    bad[7].inputs.size = 0;
    const ratecl_cl_outputs foreign_outputs = { .size = sizeof foreign_outputs, .values = foreign_values };
    cl_event event = NULL;
    for (size_t k = 0; k < COUNT(bad); k++)
        ASSERT_REFUSED(ratecl_cl_enqueue(plan, &bad[k].inputs, NULL, 0, NULL, &event), bad[k].name,
                       bad[k].reason);
    ASSERT_REFUSED(ratecl_cl_enqueue(plan, &good, &foreign_outputs, 0, NULL, &event), "values", "context");
    ASSERT_REFUSED(ratecl_cl_enqueue(plan, &good, NULL, 1, NULL, &event), "wait_list", "NULL");
    ASSERT_REFUSED(ratecl_cl_enqueue(plan, &good, NULL, 1, &foreign_event, &event), "wait_list", "context");
    ASSERT_REFUSED(ratecl_cl_enqueue(NULL, &good, NULL, 0, NULL, &event), "plan", "NULL");
    ASSERT_REFUSED(ratecl_cl_enqueue(plan, NULL, NULL, 0, NULL, &event), "inputs", "NULL");
    ck_assert_ptr_null(event);

    /* Nothing was enqueued by any of them, and the plan is as good as before. */
    ASSERT_REFUSED(ratecl_cl_wait(plan, &outputs), "enqueue");
    ASSERT_OK(ratecl_cl_enqueue(plan, &good, NULL, 0, NULL, NULL));
    double value = 0;
    outputs.values = &value;
    outputs.value_count = 1;
    ASSERT_REFUSED(ratecl_cl_wait(plan, &outputs), "value_count", "1");
    ck_assert_double_eq(value, 0);
    caller_wait_and_check(plan, &given, device);

    ASSERT_CL(clReleaseEvent(foreign_event));
    ASSERT_CL(clReleaseMemObject(foreign_values));
    ASSERT_CL(clReleaseMemObject(short_states));
    caller_release_inputs(&good);
    caller_release_inputs(&foreign);
    ratecl_plan_release(plan);
    problem_free(&given);
    ratecl_context_release(context);
    caller_release(&stranger);
}

START_TEST(refusals)
{
    caller_each(refusals_on);
}
END_TEST

/* A plan of the CPU path has no queue. */
START_TEST(plan_without_opencl)
{
    ratecl_context *context = suite_context("cpu");
    problem given = caller_problem(RATECL_F32, ORDER_C, 73);
    ratecl_plan *plan = problem_plan(&given, context, 0, given.term_count);
    const ratecl_cl_inputs inputs = RATECL_CL_INPUTS_INIT;
    const ratecl_outputs outputs = RATECL_OUTPUTS_INIT;
    ASSERT_REFUSED(ratecl_cl_enqueue(plan, &inputs, NULL, 0, NULL, NULL), "plan", "OpenCL");
    ASSERT_REFUSED(ratecl_cl_wait(plan, &outputs), "plan", "OpenCL");
    ratecl_plan_release(plan);
    problem_free(&given);
    ratecl_context_release(context);
}
END_TEST

/* ---- Domain ---- */

/* The diagnosis reads the caller's buffer. */
static void domain_on(caller *owner, const char *device)
{
    ratecl_context *context = caller_context(owner);
    problem given = caller_problem(RATECL_F32, ORDER_TIME_FIRST, 79);
    ratecl_plan *plan = problem_plan(&given, context, 0, given.term_count);
    const ratecl_cl_inputs good = caller_upload(owner, &given);
    const array *states = &given.inputs[STATES];
    array_store(RATECL_F32, (char *)states->memory + array_place(&states->layout, 1, 2, 3), (double)NAN);
    const ratecl_cl_inputs bad = caller_upload(owner, &given);

    ratecl_outputs outputs = RATECL_OUTPUTS_INIT;
    ASSERT_OK(ratecl_cl_enqueue(plan, &bad, NULL, 0, NULL, NULL));
    ASSERT_FAILS(ratecl_cl_wait(plan, &outputs), RATECL_ERROR_DOMAIN, "states", "1 of ", "[1,2,3]");
    ASSERT_OK(ratecl_cl_enqueue(plan, &good, NULL, 0, NULL, NULL));
    caller_wait_and_check(plan, &given, device);
    caller_release_inputs(&good);
    caller_release_inputs(&bad);
    ratecl_plan_release(plan);
    problem_free(&given);
    ratecl_context_release(context);
}

START_TEST(domain)
{
    caller_each(domain_on);
}
END_TEST

/* A gradient that is not finite although the value is: the device notes it, and the wait tells. */
static void spoiled_gradient_on(caller *owner, const char *device)
{
    (void)device;
    static const char *const texts[] = { "population_kl:reg=0,weight=1e37" };
    const array_spec states = { .shape = { 2, 9, 5 }, .kind = ARRAY_RATES, .seed = 97, .exponent = -60 };
    array_spec specs[INPUT_COUNT];
    problem_specs(specs, &states);
    problem given;
    problem_make(&given, specs, texts, COUNT(texts));
    ratecl_context *context = caller_context(owner);
    ratecl_plan_options options = problem_options(&given, 0, 1);
    options.outputs |= RATECL_OUTPUT_GRADIENT_STATES;
    ratecl_plan *plan = NULL;
    ASSERT_OK(ratecl_plan_create(context, &options, &plan));
    const ratecl_cl_inputs inputs = caller_upload(owner, &given);
    cl_int code;
    ratecl_cl_outputs written = RATECL_CL_OUTPUTS_INIT;
    written.gradient_states =
        clCreateBuffer(owner->context, CL_MEM_READ_WRITE, 2 * 9 * 5 * sizeof(float), NULL, &code);
    ASSERT_CL(code);
    double value;
    ratecl_outputs outputs = RATECL_OUTPUTS_INIT;
    outputs.values = &value;
    outputs.value_count = 1;
    for (int again = 0; again < 2; again++) {
        ASSERT_OK(ratecl_cl_enqueue(plan, &inputs, &written, 0, NULL, NULL));
        ASSERT_FAILS(ratecl_cl_wait(plan, &outputs), RATECL_ERROR_DOMAIN, "gradient", "--precision f64",
                     "neuron ");
        ck_assert(isfinite(value));
    }
    clReleaseMemObject(written.gradient_states);
    caller_release_inputs(&inputs);
    ratecl_plan_release(plan);
    ratecl_context_release(context);
    problem_free(&given);
}

START_TEST(spoiled_gradient)
{
    caller_each(spoiled_gradient_on);
}
END_TEST

/* A library that cannot be preloaded is left out without an error. */
START_TEST(preloaded)
{
    const char *name = getenv("RATECL_TEST_PRELOADED");
    if (name)
        ck_assert_msg(dlsym(RTLD_DEFAULT, name) != NULL, "%s was not preloaded", name);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { preloaded,
                                   in_place,
                                   host_memory,
                                   host_memory_in_pieces,
                                   events,
                                   later_commands,
                                   values_buffer,
                                   two_in_flight,
                                   gradients_in_place,
                                   gradient_refusals,
                                   ownership,
                                   refusals,
                                   plan_without_opencl,
                                   domain,
                                   spoiled_gradient };
    return suite_run("interop", tests, COUNT(tests));
}
