/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a device, or adopting the caller's. */
#include <stdlib.h>
#include <string.h>

#include "../process.h"
#include "cl.h"

/* ---- Processes ---- */

static rc_owner opencl_owner;

bool rc_cl_is_usable_here(void)
{
    return rc_own(&opencl_owner);
}

ratecl_status rc_cl_check_process(void)
{
    if (rc_cl_is_usable_here())
        return RATECL_OK;
    return rc_fail(RATECL_ERROR_UNSUPPORTED,
                   "OpenCL was used by process %ld before fork() made this one: expected that process, or "
                   "the cpu device",
                   atomic_load(&opencl_owner));
}

/* ---- The path's functions ---- */

static bool has_fp64(const void *context_state)
{
    return ((const rc_cl_context *)context_state)->fp64;
}

static void device_info(const void *context_state, ratecl_device_info *info)
{
    *info = ((const rc_cl_context *)context_state)->info;
}

static void release_objects(rc_cl_context *context)
{
    for (const rc_cl_program *program = context->programs; program; program = program->next)
        clReleaseProgram(program->program);
    rc_workers_release(context->workers);
    pthread_mutex_destroy(&context->lock);
    if (context->queue)
        clReleaseCommandQueue(context->queue);
    if (context->context)
        clReleaseContext(context->context);
    if (context->device)
        clReleaseDevice(context->device);
}

static void context_release(void *context_state)
{
    rc_cl_context *context = context_state;
    if (rc_cl_is_usable_here())
        release_objects(context);
    else
        rc_workers_abandon(context->workers);
    while (context->programs) {
        rc_cl_program *program = context->programs;
        context->programs = program->next;
        free(program->key);
        free(program);
    }
    free(context);
}

const rc_path rc_cl_path = {
    .context_release = context_release,
    .device_info = device_info,
    .has_fp64 = has_fp64,
    .plan_create = rc_cl_plan_create,
    .plan_release = rc_cl_plan_release,
    .evaluate = rc_cl_plan_evaluate,
    .read_moments = rc_cl_read_moments,
    .tuner = &rc_cl_tuner,
};

static ratecl_status query_limits(rc_cl_context *context)
{
    rc_device_limits *limits = &context->limits;
    cl_ulong local_bytes;
    cl_uint floats;
    cl_bool unified;
    CL_TRY(clGetDeviceInfo(context->device, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof limits->group_lanes,
                           &limits->group_lanes, NULL));
    CL_TRY(
        clGetDeviceInfo(context->device, CL_DEVICE_LOCAL_MEM_SIZE, sizeof local_bytes, &local_bytes, NULL));
    CL_TRY(
        clGetDeviceInfo(context->device, CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT, sizeof floats, &floats, NULL));
    CL_TRY(clGetDeviceInfo(context->device, CL_DEVICE_HOST_UNIFIED_MEMORY, sizeof unified, &unified, NULL));
    limits->local_bytes = (size_t)local_bytes;
    limits->vector_bytes = floats * sizeof(cl_float);
    limits->kind = context->info.kind;
    limits->device = context->info.name;
    limits->platform = context->info.platform;
    const char *host_memory = getenv("RATECL_HOST_MEMORY");
    const bool staged = host_memory && strcmp(host_memory, "staged") == 0;
    context->shares_host_memory = unified && limits->kind == RATECL_DEVICE_CPU && !staged;
    return RATECL_OK;
}

static ratecl_status context_fill(rc_cl_context *context, const ratecl_context_options *options)
{
    int platform, index;
    bool usable;
    rc_cl_device_place(context->device, &platform, &index);
    RC_TRY(rc_cl_device_describe(context->device, platform, index, &context->info, &usable));
    context->fp64 = context->info.fp64;
    context->log = options->log;
    context->log_user = options->log_user;
    context->staging_limit = context->info.largest_buffer;
    if (options->staging_limit && options->staging_limit < context->staging_limit)
        context->staging_limit = options->staging_limit;
    cl_command_queue_properties properties;
    CL_TRY(clGetCommandQueueInfo(context->queue, CL_QUEUE_PROPERTIES, sizeof properties, &properties, NULL));
    context->out_of_order = (properties & CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE) != 0;
    rc_cl_cache_open(&context->cache, context->device, options->program_cache);
    RC_TRY(query_limits(context));
    rc_cl_tuned_read(context);
    return RATECL_OK;
}

static ratecl_status retain(rc_cl_context *context, cl_context cl, cl_device_id device,
                            cl_command_queue queue)
{
    CL_TRY(clRetainDevice(device));
    context->device = device;
    CL_TRY(clRetainContext(cl));
    context->context = cl;
    CL_TRY(clRetainCommandQueue(queue));
    context->queue = queue;
    return RATECL_OK;
}

ratecl_status rc_cl_context_adopt(cl_context cl, cl_device_id device, cl_command_queue queue,
                                  const ratecl_context_options *options, void **context_state)
{
    rc_cl_context *context = calloc(1, sizeof *context);
    if (!context)
        return rc_fail_memory(sizeof *context);
    pthread_mutex_init(&context->lock, NULL);
    ratecl_status status = retain(context, cl, device, queue);
    if (status == RATECL_OK)
        status = context_fill(context, options);
    if (status == RATECL_OK)
        *context_state = context;
    else
        context_release(context);
    return status;
}

ratecl_status rc_cl_context_open(const ratecl_device_info *chosen, const ratecl_context_options *options,
                                 void **context_state)
{
    cl_device_id device;
    RC_TRY(rc_cl_device_find(chosen->id, &device));
    cl_int code;
    cl_context context = clCreateContext(NULL, 1, &device, NULL, NULL, &code);
    if (!context)
        return rc_cl_fail("clCreateContext", code);
    cl_command_queue queue = clCreateCommandQueue(context, device, 0, &code);
    const ratecl_status status = queue ? rc_cl_context_adopt(context, device, queue, options, context_state)
                                       : rc_cl_fail("clCreateCommandQueue", code);
    if (queue)
        clReleaseCommandQueue(queue);
    clReleaseContext(context);
    return status;
}
