/* SPDX-License-Identifier: Apache-2.0 */
/* Which OpenCL devices there are. */
#define _GNU_SOURCE /* strcasestr */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl.h"

/* Platforms and devices beyond these are not seen. */
enum { PLATFORM_MAX = 32, DEVICE_MAX = 64 };

typedef struct code_name {
    cl_int code;
    const char *name;
} code_name;

#define CODE(name)  \
    {               \
        name, #name \
    }
static const code_name code_names[] = {
    CODE(CL_DEVICE_NOT_FOUND),
    CODE(CL_DEVICE_NOT_AVAILABLE),
    CODE(CL_COMPILER_NOT_AVAILABLE),
    CODE(CL_MEM_OBJECT_ALLOCATION_FAILURE),
    CODE(CL_OUT_OF_RESOURCES),
    CODE(CL_OUT_OF_HOST_MEMORY),
    CODE(CL_BUILD_PROGRAM_FAILURE),
    CODE(CL_MAP_FAILURE),
    CODE(CL_MISALIGNED_SUB_BUFFER_OFFSET),
    CODE(CL_INVALID_PLATFORM),
    CODE(CL_INVALID_BINARY),
    CODE(CL_INVALID_PROGRAM),
    CODE(CL_INVALID_PROGRAM_EXECUTABLE),
    CODE(CL_INVALID_KERNEL_DEFINITION),
    CODE(CL_INVALID_KERNEL),
    CODE(CL_INVALID_WORK_DIMENSION),
    CODE(CL_INVALID_GLOBAL_OFFSET),
    CODE(CL_INVALID_OPERATION),
    CODE(CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST),
    CODE(CL_INVALID_VALUE),
    CODE(CL_INVALID_DEVICE),
    CODE(CL_INVALID_CONTEXT),
    CODE(CL_INVALID_COMMAND_QUEUE),
    CODE(CL_INVALID_HOST_PTR),
    CODE(CL_INVALID_MEM_OBJECT),
    CODE(CL_INVALID_BUILD_OPTIONS),
    CODE(CL_INVALID_KERNEL_NAME),
    CODE(CL_INVALID_ARG_INDEX),
    CODE(CL_INVALID_ARG_VALUE),
    CODE(CL_INVALID_ARG_SIZE),
    CODE(CL_INVALID_KERNEL_ARGS),
    CODE(CL_INVALID_WORK_GROUP_SIZE),
    CODE(CL_INVALID_WORK_ITEM_SIZE),
    CODE(CL_INVALID_EVENT_WAIT_LIST),
    CODE(CL_INVALID_EVENT),
    CODE(CL_INVALID_BUFFER_SIZE),
    CODE(CL_INVALID_GLOBAL_WORK_SIZE),
};

void rc_cl_message(const char *call, cl_int code)
{
    const char *name = "";
    for (size_t k = 0; k < sizeof code_names / sizeof *code_names; ++k)
        if (code_names[k].code == code)
            name = code_names[k].name;
    rc_message("%.*s failed: %s (%d)", (int)strcspn(call, "("), call, name, (int)code);
}

static ratecl_device_kind kind_of(const ratecl_device_info *info, cl_device_type type)
{
    static const char *const software[] = { "oclgrind", "llvmpipe", "softpipe", "swrast", "swiftshader" };
    for (size_t k = 0; k < sizeof software / sizeof *software; ++k)
        if (strcasestr(info->name, software[k]) || strcasestr(info->platform, software[k]))
            return RATECL_DEVICE_SOFTWARE;
    return type & CL_DEVICE_TYPE_GPU           ? RATECL_DEVICE_GPU
           : type & CL_DEVICE_TYPE_ACCELERATOR ? RATECL_DEVICE_ACCELERATOR
                                               : RATECL_DEVICE_CPU;
}

bool rc_cl_device_describe(cl_device_id device, int platform_index, int index, ratecl_device_info *info)
{
    *info = (ratecl_device_info){ .size = sizeof *info };
    snprintf(info->id, sizeof info->id, "opencl:%d.%d", platform_index, index);
    cl_platform_id platform;
    cl_device_type type;
    cl_bool available = CL_FALSE, compiler = CL_FALSE;
    cl_uint units;
    cl_ulong memory, largest;
    char text[1024] = "";
#define GET(query, field) (clGetDeviceInfo(device, query, sizeof(field), &(field), NULL) == CL_SUCCESS)
#define GET_TEXT(query, field)                                                \
    (clGetDeviceInfo(device, query, sizeof text, text, NULL) == CL_SUCCESS && \
     snprintf(info->field, sizeof info->field, "%.*s", (int)sizeof info->field - 1, text) >= 0)
    if (!GET(CL_DEVICE_PLATFORM, platform) || !GET(CL_DEVICE_TYPE, type) ||
        !GET(CL_DEVICE_AVAILABLE, available) || !GET(CL_DEVICE_COMPILER_AVAILABLE, compiler) || !available ||
        !compiler || !GET(CL_DEVICE_MAX_COMPUTE_UNITS, units) || !GET(CL_DEVICE_GLOBAL_MEM_SIZE, memory) ||
        !GET(CL_DEVICE_MAX_MEM_ALLOC_SIZE, largest) || !GET_TEXT(CL_DEVICE_NAME, name) ||
        !GET_TEXT(CL_DEVICE_VERSION, version))
        return false;
    if (clGetPlatformInfo(platform, CL_PLATFORM_NAME, sizeof text, text, NULL) != CL_SUCCESS)
        return false;
    snprintf(info->platform, sizeof info->platform, "%.*s", (int)sizeof info->platform - 1, text);

    cl_ulong fp64 = 0; /* a bit field; 0 or an error where there is none */
    info->fp64 = GET(CL_DEVICE_DOUBLE_FP_CONFIG, fp64) && fp64 != 0;
    info->compute_units = (int32_t)units;
    info->memory = memory;
    info->largest_buffer = largest;
    info->kind = kind_of(info, type);
    return true;
#undef GET
#undef GET_TEXT
}

/* Call `visit` for each device until it returns false. */
static void each_device(bool (*visit)(void *user, cl_device_id device, int platform, int index), void *user)
{
    cl_platform_id platforms[PLATFORM_MAX];
    cl_uint platform_count = 0;
    if (clGetPlatformIDs(PLATFORM_MAX, platforms, &platform_count) != CL_SUCCESS)
        return; /* the loader has no platform */
    for (cl_uint p = 0; p < platform_count && p < PLATFORM_MAX; ++p) {
        cl_device_id devices[DEVICE_MAX];
        cl_uint count = 0;
        if (clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, DEVICE_MAX, devices, &count) != CL_SUCCESS)
            continue;
        for (cl_uint d = 0; d < count && d < DEVICE_MAX; ++d)
            if (!visit(user, devices[d], (int)p, (int)d))
                return;
    }
}

typedef struct device_array {
    ratecl_device_info *list;
    size_t count;
    bool failed;
} device_array;

static bool append(void *user, cl_device_id device, int platform, int index)
{
    device_array *array = user;
    ratecl_device_info info;
    if (!rc_cl_device_describe(device, platform, index, &info))
        return true;
    ratecl_device_info *longer = realloc(array->list, (array->count + 1) * sizeof *longer);
    if (!longer) {
        array->failed = true;
        return false;
    }
    array->list = longer;
    array->list[array->count++] = info;
    return true;
}

ratecl_status rc_cl_device_list(ratecl_device_info **list, size_t *count)
{
    device_array array = { 0 };
    each_device(append, &array);
    if (array.failed) {
        free(array.list);
        return rc_fail_memory((array.count + 1) * sizeof *array.list);
    }
    *list = array.list;
    *count = array.count;
    return RATECL_OK;
}

typedef struct search {
    const char *id;
    cl_device_id found;
} search;

static bool compare(void *user, cl_device_id device, int platform, int index)
{
    search *wanted = user;
    char id[32];
    snprintf(id, sizeof id, "opencl:%d.%d", platform, index);
    if (strcmp(id, wanted->id) == 0)
        wanted->found = device;
    return !wanted->found;
}

ratecl_status rc_cl_device_find(const char *id, cl_device_id *device)
{
    search wanted = { id, NULL };
    each_device(compare, &wanted);
    if (!wanted.found)
        return rc_fail(RATECL_ERROR_NO_DEVICE, "%s is gone: expected it to be there still", id);
    *device = wanted.found;
    return RATECL_OK;
}
