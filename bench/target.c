/* SPDX-License-Identifier: Apache-2.0 */
#include "target.h"

#include <stdio.h>
#include <string.h>

#include "support.h"

target open_host(const char *name)
{
    target where = { .device.size = sizeof where.device };
    ratecl_context_options options = RATECL_CONTEXT_OPTIONS_INIT;
    options.device = name;
    CHECK(ratecl_context_create(&options, &where.context));
    CHECK(ratecl_context_device(where.context, &where.device));
    return where;
}

bool is_cpu(const ratecl_device_info *device)
{
    return device->kind != RATECL_DEVICE_GPU && device->kind != RATECL_DEVICE_ACCELERATOR;
}

const char *memory_of(const target *where)
{
    return where->in_place ? "device" : "host";
}

static void evaluate_host(ratecl_plan *plan, arrays *host, const operands *used, double *values,
                          size_t value_count)
{
    const ratecl_inputs inputs = { .size = sizeof inputs,
                                   .states = memory_for(host, used->states),
                                   .reference = memory_for(host, used->reference),
                                   .weights = memory_for(host, used->weights) };
    const ratecl_outputs outputs = { .size = sizeof outputs,
                                     .values = values,
                                     .value_count = value_count,
                                     .gradient_states = memory_for(host, used->gradient_states),
                                     .gradient_weights = memory_for(host, used->gradient_weights) };
    CHECK(ratecl_evaluate(plan, &inputs, &outputs));
}

#ifdef RATECL_WITH_OPENCL

void check_code(cl_int code, const char *call)
{
    char why[32];
    snprintf(why, sizeof why, "OpenCL error %d", (int)code);
    if (code != CL_SUCCESS)
        fail(call, why);
}

target open_in_place(const ratecl_device_info *device)
{
    enum { MOST = 64 };
    cl_platform_id platforms[MOST];
    cl_device_id devices[MOST];
    unsigned p = MOST, d = MOST;
    if (sscanf(device->id, "opencl:%u.%u", &p, &d) != 2 || p >= MOST || d >= MOST)
        fail(device->id, "is no OpenCL device");
    CL(clGetPlatformIDs(MOST, platforms, NULL));
    CL(clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, MOST, devices, NULL));

    target where = { .device = *device, .in_place = true, .id = devices[d] };
    CL_NEW(where.cl, clCreateContext(NULL, 1, &where.id, NULL, NULL, &code));
    CL_NEW(where.queue, clCreateCommandQueue(where.cl, where.id, 0, &code));
    CHECK(ratecl_cl_context_create(where.cl, where.id, where.queue, NULL, &where.context));
    return where;
}

static void load_array(target *where, arrays *host, array which)
{
    if (which == NO_ARRAY || where->buffers[which])
        return;
    void *memory = memory_for(host, which);
    const cl_mem_flags how = is_cpu(&where->device) ? CL_MEM_USE_HOST_PTR : CL_MEM_COPY_HOST_PTR;
    CL_NEW(where->buffers[which],
           clCreateBuffer(where->cl, CL_MEM_READ_WRITE | how, host->bytes[which], memory, &code));
}

void load(target *where, arrays *host, const operands *used)
{
    const array all[] = { used->states, used->reference, used->weights, used->gradient_states,
                          used->gradient_weights };
    for (size_t k = 0; where->in_place && k < sizeof all / sizeof *all; ++k)
        load_array(where, host, all[k]);
}

/* Of a buffer that is the host's array, mapping it is enough. */
void read_back(const target *where, arrays *host, array which, size_t bytes)
{
    if (!where->in_place)
        return;
    void *memory = memory_for(host, which), *mapped;
    CL_NEW(mapped, clEnqueueMapBuffer(where->queue, where->buffers[which], CL_TRUE, CL_MAP_READ, 0, bytes, 0,
                                      NULL, NULL, &code));
    if (mapped != memory)
        memcpy(memory, mapped, bytes);
    CL(clEnqueueUnmapMemObject(where->queue, where->buffers[which], mapped, 0, NULL, NULL));
    CL(clFinish(where->queue));
}

static cl_mem buffer_for(const target *where, array which)
{
    return which == NO_ARRAY ? NULL : where->buffers[which];
}

static void evaluate_in_place(const target *where, ratecl_plan *plan, const operands *used, double *values,
                              size_t value_count)
{
    const ratecl_cl_inputs inputs = { .size = sizeof inputs,
                                      .states = buffer_for(where, used->states),
                                      .reference = buffer_for(where, used->reference),
                                      .weights = buffer_for(where, used->weights) };
    const ratecl_cl_outputs gradients = { .size = sizeof gradients,
                                          .gradient_states = buffer_for(where, used->gradient_states),
                                          .gradient_weights = buffer_for(where, used->gradient_weights) };
    const ratecl_outputs outputs = { .size = sizeof outputs, .values = values, .value_count = value_count };
    CHECK(ratecl_cl_enqueue(plan, &inputs, &gradients, 0, NULL, NULL));
    CHECK(ratecl_cl_wait(plan, &outputs));
}

void evaluate(const target *where, ratecl_plan *plan, arrays *host, const operands *used, double *values,
              size_t value_count)
{
    if (where->in_place)
        evaluate_in_place(where, plan, used, values, value_count);
    else
        evaluate_host(plan, host, used, values, value_count);
}

void close_target(target *where)
{
    ratecl_context_release(where->context);
    for (int k = 0; k < ARRAYS; ++k)
        if (where->buffers[k])
            CL(clReleaseMemObject(where->buffers[k]));
    if (where->in_place) {
        CL(clReleaseCommandQueue(where->queue));
        CL(clReleaseContext(where->cl));
    }
}

#else

void load(target *where, arrays *host, const operands *used)
{
    (void)where, (void)host, (void)used;
}

void read_back(const target *where, arrays *host, array which, size_t bytes)
{
    (void)where, (void)host, (void)which, (void)bytes;
}

void evaluate(const target *where, ratecl_plan *plan, arrays *host, const operands *used, double *values,
              size_t value_count)
{
    (void)where;
    evaluate_host(plan, host, used, values, value_count);
}

void close_target(target *where)
{
    ratecl_context_release(where->context);
}

#endif
