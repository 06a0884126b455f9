/* SPDX-License-Identifier: Apache-2.0 */
#include "caller.h"

#include <stdio.h>
#include <stdlib.h>

caller caller_make(const char *id, cl_command_queue_properties properties)
{
    cl_platform_id platform;
    caller made = { .device = suite_cl_device(id, &platform) };
    const cl_context_properties of[] = { CL_CONTEXT_PLATFORM, (cl_context_properties)platform, 0 };
    cl_int code;
    made.context = clCreateContext(of, 1, &made.device, NULL, NULL, &code);
    ASSERT_CL(code);
    made.queue = clCreateCommandQueue(made.context, made.device, properties, &code);
    ASSERT_CL(code);
    return made;
}

void caller_release(caller *made)
{
    ASSERT_CL(clReleaseCommandQueue(made->queue));
    ASSERT_CL(clReleaseContext(made->context));
}

cl_mem caller_buffer(const caller *owner, const void *memory, size_t bytes)
{
    cl_int code;
    const cl_mem_flags flags = memory ? CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR : CL_MEM_READ_WRITE;
    void *copy = memory ? suite_copy(memory, bytes) : NULL; /* OpenCL wants a pointer without const */
    cl_mem buffer = clCreateBuffer(owner->context, flags, bytes, copy, &code);
    ASSERT_CL(code);
    free(copy);
    return buffer;
}

ratecl_cl_inputs caller_upload(const caller *owner, const problem *given)
{
    ratecl_cl_inputs inputs = RATECL_CL_INPUTS_INIT;
    inputs.states = caller_buffer(owner, given->inputs[STATES].memory, given->inputs[STATES].bytes);
    inputs.reference = caller_buffer(owner, given->inputs[REFERENCE].memory, given->inputs[REFERENCE].bytes);
    inputs.weights = caller_buffer(owner, given->inputs[WEIGHTS].memory, given->inputs[WEIGHTS].bytes);
    return inputs;
}

void caller_release_inputs(const ratecl_cl_inputs *inputs)
{
    ASSERT_CL(clReleaseMemObject(inputs->states));
    ASSERT_CL(clReleaseMemObject(inputs->reference));
    ASSERT_CL(clReleaseMemObject(inputs->weights));
}

ratecl_context *caller_context(const caller *owner)
{
    ratecl_context *context = NULL;
    ASSERT_OK(ratecl_cl_context_create(owner->context, owner->device, owner->queue, NULL, &context));
    return context;
}

problem caller_problem(ratecl_element element, array_order order, uint64_t seed)
{
    const array_spec states = { .shape = { 2, suite_is_small() ? 3 : 31, 7 },
                                .kind = ARRAY_RATES,
                                .element = element,
                                .order = order,
                                .seed = seed };
    array_spec specs[INPUT_COUNT];
    problem_specs(specs, &states);
    problem made;
    problem_make(&made, specs, NULL, 0);
    return made;
}

/* Wait, and compare with the oracle. */
void caller_wait_and_check(ratecl_plan *plan, const problem *given, const char *device)
{
    outcome got = { .value_count = ratecl_plan_value_count(plan), .term_count = given->term_count };
    got.values = suite_allocate(got.value_count * sizeof *got.values);
    got.skipped = suite_allocate(got.term_count * sizeof *got.skipped);
    ratecl_outputs outputs = RATECL_OUTPUTS_INIT;
    outputs.values = got.values;
    outputs.value_count = got.value_count;
    outputs.total = &got.total;
    outputs.skipped = got.skipped;
    outputs.skipped_count = got.term_count;
    got.status = ratecl_cl_wait(plan, &outputs);
    problem_check(given, &got, 0, device);
    outcome_free(&got);
}

/* Run a test on each OpenCL device with an in-order and with an out-of-order queue. */
void caller_each(void (*test)(caller *owner, const char *device))
{
    ratecl_device_info devices[SUITE_DEVICES_MAX];
    const size_t count = suite_devices(devices);
    size_t tested = 0;
    for (size_t d = 0; d < count; d++) {
        if (devices[d].kind == RATECL_DEVICE_OPENMP)
            continue;
        cl_platform_id platform;
        cl_command_queue_properties can = 0;
        ASSERT_CL(clGetDeviceInfo(suite_cl_device(devices[d].id, &platform), CL_DEVICE_QUEUE_PROPERTIES,
                                  sizeof can, &can, NULL));
        const cl_command_queue_properties orders[] = { 0, CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE };
        for (size_t k = 0; k < COUNT(orders); k++) {
            if ((orders[k] & can) != orders[k]) {
                printf("%s: out-of-order queue skipped: the device has none\n", devices[d].id);
                continue;
            }
            caller owner = caller_make(devices[d].id, orders[k]);
            test(&owner, devices[d].id);
            caller_release(&owner);
            tested++;
        }
    }
    if (tested == 0)
        printf("skipped: no OpenCL device among those to test\n");
}
