/* SPDX-License-Identifier: Apache-2.0 */
/* Failures of OpenCL in the middle of an evaluation: each call of the library fails once, and the plan's next
 * evaluation is right. ratecl_cl_enqueue() returns without waiting even behind an event that the caller has
 * not fired. */
#define _GNU_SOURCE /* RTLD_NEXT */
#include "caller.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- The library's calls find these functions before OpenCL's ---- */

/* What gives something back does not fail: it would stay in use. */

static size_t creations; /* that were made */
static struct {
    bool armed, may_wait;
    size_t calls, fails_at, waits;
} injector;

static bool fails(bool waits)
{
    if (!injector.armed)
        return false;
    waits = waits && !injector.may_wait;
    injector.waits += waits;
    injector.calls++;
    return waits || injector.calls == injector.fails_at;
}

#define NEXT(next, function) *(void **)(void *)&(next) = dlsym(RTLD_NEXT, #function)
#define STATUS_OF(waits, function, ...) \
    do {                                \
        __typeof__(&(function)) next;   \
        NEXT(next, function);           \
        if (fails(waits))               \
            return CL_OUT_OF_RESOURCES; \
        return next(__VA_ARGS__);       \
    } while (0)

cl_int CL_API_CALL clGetEventInfo(cl_event event, cl_event_info name, size_t size, void *value,
                                  size_t *needed)
{
    if (name != CL_EVENT_COMMAND_EXECUTION_STATUS) /* else a failure is none: the event counts as open */
        STATUS_OF(false, clGetEventInfo, event, name, size, value, needed);
    __typeof__(&clGetEventInfo) next;
    NEXT(next, clGetEventInfo);
    return next(event, name, size, value, needed);
}

cl_int CL_API_CALL clGetMemObjectInfo(cl_mem memory, cl_mem_info name, size_t size, void *value,
                                      size_t *needed)
{
    STATUS_OF(false, clGetMemObjectInfo, memory, name, size, value, needed);
}

cl_int CL_API_CALL clRetainMemObject(cl_mem memory)
{
    STATUS_OF(false, clRetainMemObject, memory);
}

cl_int CL_API_CALL clRetainEvent(cl_event event)
{
    STATUS_OF(false, clRetainEvent, event);
}

cl_int CL_API_CALL clSetKernelArg(cl_kernel kernel, cl_uint index, size_t size, const void *value)
{
    STATUS_OF(false, clSetKernelArg, kernel, index, size, value);
}

cl_int CL_API_CALL clEnqueueNDRangeKernel(cl_command_queue queue, cl_kernel kernel, cl_uint dimensions,
                                          const size_t *offset, const size_t *global, const size_t *local,
                                          cl_uint count, const cl_event *list, cl_event *event)
{
    STATUS_OF(false, clEnqueueNDRangeKernel, queue, kernel, dimensions, offset, global, local, count, list,
              event);
}

cl_int CL_API_CALL clEnqueueMarkerWithWaitList(cl_command_queue queue, cl_uint count, const cl_event *list,
                                               cl_event *event)
{
    STATUS_OF(false, clEnqueueMarkerWithWaitList, queue, count, list, event);
}

cl_int CL_API_CALL clEnqueueBarrierWithWaitList(cl_command_queue queue, cl_uint count, const cl_event *list,
                                                cl_event *event)
{
    STATUS_OF(false, clEnqueueBarrierWithWaitList, queue, count, list, event);
}

cl_int CL_API_CALL clEnqueueCopyBuffer(cl_command_queue queue, cl_mem from, cl_mem to, size_t from_offset,
                                       size_t to_offset, size_t bytes, cl_uint count, const cl_event *list,
                                       cl_event *event)
{
    STATUS_OF(false, clEnqueueCopyBuffer, queue, from, to, from_offset, to_offset, bytes, count, list, event);
}

/* Transfers of the host's memory count as waits: drivers may make them so. */
cl_int CL_API_CALL clEnqueueReadBuffer(cl_command_queue queue, cl_mem buffer, cl_bool blocking, size_t offset,
                                       size_t bytes, void *memory, cl_uint count, const cl_event *list,
                                       cl_event *event)
{
    STATUS_OF(true, clEnqueueReadBuffer, queue, buffer, blocking, offset, bytes, memory, count, list, event);
}

cl_int CL_API_CALL clEnqueueWriteBuffer(cl_command_queue queue, cl_mem buffer, cl_bool blocking,
                                        size_t offset, size_t bytes, const void *memory, cl_uint count,
                                        const cl_event *list, cl_event *event)
{
    STATUS_OF(true, clEnqueueWriteBuffer, queue, buffer, blocking, offset, bytes, memory, count, list, event);
}

void *CL_API_CALL clEnqueueMapBuffer(cl_command_queue queue, cl_mem buffer, cl_bool blocking,
                                     cl_map_flags flags, size_t offset, size_t bytes, cl_uint count,
                                     const cl_event *list, cl_event *event, cl_int *code)
{
    __typeof__(&clEnqueueMapBuffer) next;
    NEXT(next, clEnqueueMapBuffer);
    if (!fails(true))
        return next(queue, buffer, blocking, flags, offset, bytes, count, list, event, code);
    *code = CL_MAP_FAILURE;
    return NULL;
}

cl_mem CL_API_CALL clCreateBuffer(cl_context context, cl_mem_flags flags, size_t bytes, void *memory,
                                  cl_int *code)
{
    __typeof__(&clCreateBuffer) next;
    NEXT(next, clCreateBuffer);
    creations++;
    if (!fails(false))
        return next(context, flags, bytes, memory, code);
    *code = CL_MEM_OBJECT_ALLOCATION_FAILURE;
    return NULL;
}

cl_int CL_API_CALL clFlush(cl_command_queue queue)
{
    STATUS_OF(false, clFlush, queue);
}

cl_int CL_API_CALL clFinish(cl_command_queue queue)
{
    STATUS_OF(true, clFinish, queue);
}

cl_int CL_API_CALL clWaitForEvents(cl_uint count, const cl_event *list)
{
    STATUS_OF(true, clWaitForEvents, count, list);
}

/* ---- The caller's buffers ---- */

typedef struct run {
    caller *owner;
    const char *device;
    problem given[2];
    ratecl_cl_inputs inputs[2];
    ratecl_cl_outputs outputs;
    ratecl_plan *plan;
} run;

static void run_open(run *made, ratecl_context *context)
{
    for (size_t k = 0; k < COUNT(made->given); k++) {
        made->given[k] = caller_problem(RATECL_F32, ORDER_C, 91 + k);
        made->inputs[k] = caller_upload(made->owner, &made->given[k]);
    }
    ratecl_plan_options options = problem_options(&made->given[0], 0, made->given[0].term_count);
    options.outputs = RATECL_OUTPUT_VALUES | RATECL_OUTPUT_GRADIENT_STATES |
                      RATECL_OUTPUT_GRADIENT_REFERENCE | RATECL_OUTPUT_GRADIENT_WEIGHTS;
    ASSERT_OK(ratecl_plan_create(context, &options, &made->plan));
    const array *inputs = made->given[0].inputs;
    made->outputs = (ratecl_cl_outputs)RATECL_CL_OUTPUTS_INIT;
    made->outputs.values =
        caller_buffer(made->owner, NULL, (ratecl_plan_value_count(made->plan) + 1) * sizeof(float));
    made->outputs.gradient_states = caller_buffer(made->owner, NULL, inputs[STATES].bytes);
    made->outputs.gradient_reference = caller_buffer(made->owner, NULL, inputs[REFERENCE].bytes);
    made->outputs.gradient_weights = caller_buffer(made->owner, NULL, inputs[WEIGHTS].bytes);
}

static void run_close(run *made)
{
    const cl_mem buffers[] = { made->outputs.values, made->outputs.gradient_states,
                               made->outputs.gradient_reference, made->outputs.gradient_weights };
    ratecl_plan_release(made->plan);
    for (size_t k = 0; k < COUNT(buffers); k++)
        ASSERT_CL(clReleaseMemObject(buffers[k]));
    for (size_t k = 0; k < COUNT(made->given); k++) {
        caller_release_inputs(&made->inputs[k]);
        problem_free(&made->given[k]);
    }
}

/* Enqueue behind `gate` while the call number `fails_at` fails. True if there was such a call. */
static bool enqueue_failing(const run *r, size_t fails_at, const cl_event *gate)
{
    cl_event done = NULL;
    injector.calls = injector.waits = 0;
    injector.fails_at = fails_at;
    injector.armed = true;
    const ratecl_status status = ratecl_cl_enqueue(r->plan, &r->inputs[0], &r->outputs, 1, gate, &done);
    injector.armed = false;
    ck_assert_msg(injector.waits == 0, "%s: call %zu failed, and then the library waited", r->device,
                  fails_at);
    if (injector.calls < fails_at) {
        ASSERT_OK(status);
        ASSERT_CL(clReleaseEvent(done));
        return false;
    }
    ck_assert_msg(status != RATECL_OK, "%s: the failure of call %zu was ignored", r->device, fails_at);
    ck_assert_ptr_null(done);
    const ratecl_outputs none = RATECL_OUTPUTS_INIT;
    ASSERT_REFUSED(ratecl_cl_wait(r->plan, &none), "enqueue");
    return true;
}

/* The next evaluation is enqueued before the gate opens, so that it has to follow what the failure left. */
static void failures_on(caller *owner, const char *device)
{
    ratecl_context *context = caller_context(owner);
    ratecl_device_info info = { .size = sizeof info };
    ASSERT_OK(ratecl_context_device(context, &info));
    if (strstr(info.name, "Oclgrind")) {
        printf("%s: skipped: Oclgrind hangs on an open user event\n", device);
        ratecl_context_release(context);
        return;
    }
    run r = { .owner = owner, .device = device };
    run_open(&r, context);
    size_t failed = 0;
    for (bool fails_now = true; fails_now;) {
        cl_int code;
        cl_event gate = clCreateUserEvent(owner->context, &code);
        ASSERT_CL(code);
        fails_now = enqueue_failing(&r, failed + 1, &gate);
        failed += fails_now;
        if (fails_now)
            ASSERT_OK(ratecl_cl_enqueue(r.plan, &r.inputs[1], &r.outputs, 0, NULL, NULL));
        ASSERT_CL(clSetUserEventStatus(gate, CL_COMPLETE));
        caller_wait_and_check(r.plan, &r.given[fails_now], device);
        ASSERT_CL(clReleaseEvent(gate));
    }
    printf("%s: %zu calls failed\n", device, failed);
    ck_assert_uint_gt(failed, 20); /* the library's calls are seen */
    run_close(&r);
    ratecl_context_release(context);
}

START_TEST(failures)
{
    caller_each(failures_on);
}
END_TEST

/* ---- Host memory ---- */

typedef struct host_run {
    ratecl_plan *plan;
    ratecl_inputs inputs;
    ratecl_outputs outputs;
} host_run;

static host_run host_open(const problem *given, ratecl_context *context)
{
    host_run made = { .inputs = problem_inputs(given) };
    ratecl_plan_options options = problem_options(given, 0, given->term_count);
    options.outputs = RATECL_OUTPUT_VALUES | RATECL_OUTPUT_GRADIENT_STATES;
    options.accumulate = RATECL_OUTPUT_GRADIENT_STATES;
    ASSERT_OK(ratecl_plan_create(context, &options, &made.plan));
    made.outputs = (ratecl_outputs)RATECL_OUTPUTS_INIT;
    made.outputs.value_count = ratecl_plan_value_count(made.plan);
    made.outputs.values = suite_allocate(made.outputs.value_count * sizeof *made.outputs.values);
    made.outputs.gradient_states = suite_allocate(given->inputs[STATES].bytes);
    return made;
}

static void host_close(host_run *made)
{
    ratecl_plan_release(made->plan);
    free(made->outputs.values);
    free(made->outputs.gradient_states);
}

/* Evaluate a new plan, which makes its memory then, while the call number `fails_at` fails, and once more; a
 * plan that `keeps` its memory makes no buffer the second time. True if there was such a call. */
static bool evaluate_failing(const problem *given, ratecl_context *context, size_t fails_at,
                             const double *values, bool keeps, const char *device)
{
    host_run r = host_open(given, context);
    injector.calls = 0;
    injector.fails_at = fails_at;
    injector.armed = injector.may_wait = true;
    const ratecl_status status = ratecl_evaluate(r.plan, &r.inputs, &r.outputs);
    injector.armed = injector.may_wait = false;
    const bool failed = injector.calls >= fails_at;
    ck_assert_msg((status != RATECL_OK) == failed, "%s: call %zu of %zu failed: %s", device, fails_at,
                  injector.calls, ratecl_status_name(status));
    const size_t before = creations;
    ASSERT_OK(ratecl_evaluate(r.plan, &r.inputs, &r.outputs));
    ck_assert(failed || !keeps || creations == before);
    ck_assert_mem_eq(r.outputs.values, values, r.outputs.value_count * sizeof *values);
    host_close(&r);
    return failed;
}

/* Host memory that is read in place, copied whole, and copied in pieces. */
static void host_failures_on(caller *owner, const char *device)
{
    static const struct {
        const char *memory;
        uint64_t limit;
    } ways[] = { { "", 0 }, { "staged", 0 }, { "staged", 300 } };
    static const char *const texts[] = { "firing_rate", "state_prediction", "entropy" };
    const array_spec states = { .shape = { 2, 31, 7 }, .kind = ARRAY_RATES, .seed = 97 };
    array_spec specs[INPUT_COUNT];
    problem given;
    problem_specs(specs, &states);
    problem_make(&given, specs, texts, COUNT(texts));
    for (size_t k = 0; k < COUNT(ways); k++) {
        setenv("RATECL_HOST_MEMORY", ways[k].memory, 1);
        ratecl_context_options options = RATECL_CONTEXT_OPTIONS_INIT;
        options.staging_limit = ways[k].limit;
        ratecl_context *context = NULL;
        ASSERT_OK(ratecl_cl_context_create(owner->context, owner->device, owner->queue, &options, &context));
        outcome expected = problem_evaluate(&given, context, 0, given.term_count);
        problem_check(&given, &expected, 0, device);
        size_t failed = 0;
        while (evaluate_failing(&given, context, failed + 1, expected.values, *ways[k].memory, device))
            failed++;
        printf("%s: host memory%s%s, limit %d: %zu calls failed\n", device, *ways[k].memory ? " " : "",
               ways[k].memory, (int)ways[k].limit, failed);
        ck_assert_uint_gt(failed, 10);
        outcome_free(&expected);
        ratecl_context_release(context);
    }
    setenv("RATECL_HOST_MEMORY", "", 1);
    problem_free(&given);
}

START_TEST(host_failures)
{
    caller_each(host_failures_on);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { failures, host_failures };
    return suite_run("failures", tests, COUNT(tests));
}
