/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a device, or adopting the caller's. */
#include <stdlib.h>
#include <string.h>

#include "cl.h"

static bool has_fp64(const void *context_state)
{
    return ((const rc_cl_context *)context_state)->fp64;
}

static void device_info(const void *context_state, ratecl_device_info *info)
{
    *info = ((const rc_cl_context *)context_state)->info;
}

static void context_release(void *context_state)
{
    rc_cl_context *context = context_state;
    while (context->programs) {
        rc_cl_program *program = context->programs;
        context->programs = program->next;
        clReleaseProgram(program->program);
        free(program->key);
        free(program);
    }
    rc_workers_release(context->workers);
    pthread_mutex_destroy(&context->lock);
    if (context->queue)
        clReleaseCommandQueue(context->queue);
    if (context->context)
        clReleaseContext(context->context);
    if (context->device)
        clReleaseDevice(context->device);
    free(context);
}

const rc_path rc_cl_path = {
    .context_release = context_release,
    .device_info = device_info,
    .has_fp64 = has_fp64,
    .plan_create = rc_cl_plan_create,
    .plan_release = rc_cl_plan_release,
    .evaluate = rc_cl_plan_evaluate,
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

/* The place of a device that the caller gave, among all. */
static void find_place(cl_device_id device, ratecl_device_info *info)
{
    ratecl_device_info *list;
    size_t count;
    rc_cl_device_describe(device, 0, 0, info);
    if (rc_cl_device_list(&list, &count) != RATECL_OK)
        return;
    for (size_t k = 0; k < count; ++k) {
        cl_device_id listed;
        if (rc_cl_device_find(list[k].id, &listed) == RATECL_OK && listed == device)
            *info = list[k];
    }
    free(list);
}

static ratecl_status context_fill(rc_cl_context *context, const ratecl_context_options *options)
{
    find_place(context->device, &context->info);
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

ratecl_status rc_cl_context_adopt(cl_context cl, cl_device_id device, cl_command_queue queue,
                                  const ratecl_context_options *options, void **context_state)
{
    rc_cl_context *context = calloc(1, sizeof *context);
    if (!context)
        return rc_fail_memory(sizeof *context);
    pthread_mutex_init(&context->lock, NULL);
    if (clRetainDevice(device) == CL_SUCCESS)
        context->device = device;
    if (clRetainContext(cl) == CL_SUCCESS)
        context->context = cl;
    if (clRetainCommandQueue(queue) == CL_SUCCESS)
        context->queue = queue;
    const ratecl_status status = context_fill(context, options);
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
