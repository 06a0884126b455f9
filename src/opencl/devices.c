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

ratecl_status rc_cl_device_describe(cl_device_id device, int platform_index, int index,
                                    ratecl_device_info *info, bool *usable)
{
    *info = (ratecl_device_info){ .size = sizeof *info };
    snprintf(info->id, sizeof info->id, "opencl:%d.%d", platform_index, index);
    cl_platform_id platform;
    cl_device_type type;
    cl_bool available = CL_FALSE, compiler = CL_FALSE;
    cl_uint units;
    cl_ulong memory, largest, fp64 = 0;
    char text[1024] = "";
#define GET(query, field) CL_TRY(clGetDeviceInfo(device, query, sizeof(field), &(field), NULL))
#define KEEP_TEXT(field) snprintf(info->field, sizeof info->field, "%.*s", (int)sizeof info->field - 1, text)
    GET(CL_DEVICE_PLATFORM, platform);
    GET(CL_DEVICE_TYPE, type);
    GET(CL_DEVICE_AVAILABLE, available);
    GET(CL_DEVICE_COMPILER_AVAILABLE, compiler);
    GET(CL_DEVICE_MAX_COMPUTE_UNITS, units);
    GET(CL_DEVICE_GLOBAL_MEM_SIZE, memory);
    GET(CL_DEVICE_MAX_MEM_ALLOC_SIZE, largest);
    GET(CL_DEVICE_NAME, text);
    KEEP_TEXT(name);
    GET(CL_DEVICE_VERSION, text);
    KEEP_TEXT(version);
    CL_TRY(clGetPlatformInfo(platform, CL_PLATFORM_NAME, sizeof text, text, NULL));
    KEEP_TEXT(platform);
#undef GET
#undef KEEP_TEXT
    /* A bit field, which a device without fp64 may not know. */
    const cl_int code = clGetDeviceInfo(device, CL_DEVICE_DOUBLE_FP_CONFIG, sizeof fp64, &fp64, NULL);
    if (code != CL_SUCCESS && code != CL_INVALID_VALUE)
        return rc_cl_fail("clGetDeviceInfo", code);
    info->fp64 = fp64 != 0;
    info->compute_units = (int32_t)units;
    info->memory = memory;
    info->largest_buffer = largest;
    info->kind = kind_of(info, type);
    *usable = available && compiler;
    return RATECL_OK;
}

/* ---- Walking over all devices ---- */

/* The first failure of a driver. What it hides is left out, and the other devices are visited all the same.
 */
typedef struct first_failure {
    ratecl_status status;
    char message[512];
} first_failure;

/* Keep the calling thread's message, unless a failure came before. */
static void keep_failure(first_failure *first, ratecl_status status, int platform)
{
    if (status == RATECL_OK || first->status != RATECL_OK)
        return;
    first->status = status;
    snprintf(first->message, sizeof first->message, "OpenCL platform %d: %s", platform, ratecl_last_error());
}

/* True if a call says that there is nothing to list, which is no failure: the loader found no platform
 * (CL_PLATFORM_NOT_FOUND_KHR of cl_khr_icd), or a platform has no device. */
static bool is_absence(cl_int code)
{
    enum { PLATFORM_NOT_FOUND = -1001 };
    return code == CL_DEVICE_NOT_FOUND || code == CL_INVALID_PLATFORM || code == PLATFORM_NOT_FOUND;
}

typedef ratecl_status visit_device(void *user, cl_device_id device, int platform, int index);

static void visit_platform(cl_platform_id platform, int p, visit_device *visit, void *user,
                           first_failure *first)
{
    cl_device_id devices[DEVICE_MAX];
    cl_uint count = 0;
    const cl_int code = clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, DEVICE_MAX, devices, &count);
    if (code != CL_SUCCESS) {
        if (!is_absence(code))
            keep_failure(first, rc_cl_fail("clGetDeviceIDs", code), p);
        return;
    }
    for (cl_uint d = 0; d < count && d < DEVICE_MAX; ++d)
        keep_failure(first, visit(user, devices[d], p, (int)d), p);
}

/* Call `visit` for each device. Returns the first failure, the visitor's or a driver's, with its message. */
static ratecl_status each_device(visit_device *visit, void *user)
{
    first_failure first = { .status = RATECL_OK };
    cl_platform_id platforms[PLATFORM_MAX];
    cl_uint count = 0;
    RC_TRY(rc_cl_check_process());
    const cl_int code = clGetPlatformIDs(PLATFORM_MAX, platforms, &count);
    if (code != CL_SUCCESS)
        return is_absence(code) ? RATECL_OK : rc_cl_fail("clGetPlatformIDs", code);
    for (cl_uint p = 0; p < count && p < PLATFORM_MAX; ++p)
        visit_platform(platforms[p], (int)p, visit, user, &first);
    if (first.status != RATECL_OK)
        rc_message("%s", first.message);
    return first.status;
}

typedef struct device_array {
    ratecl_device_info *list;
    size_t count;
} device_array;

static ratecl_status append(void *user, cl_device_id device, int platform, int index)
{
    device_array *array = user;
    ratecl_device_info info;
    bool usable;
    RC_TRY(rc_cl_device_describe(device, platform, index, &info, &usable));
    if (!usable)
        return RATECL_OK;
    ratecl_device_info *longer = realloc(array->list, (array->count + 1) * sizeof *longer);
    if (!longer)
        return rc_fail_memory((array->count + 1) * sizeof *longer);
    array->list = longer;
    array->list[array->count++] = info;
    return RATECL_OK;
}

ratecl_status rc_cl_device_list(ratecl_device_info **list, size_t *count)
{
    device_array array = { 0 };
    const ratecl_status status = each_device(append, &array);
    *list = array.list;
    *count = array.count;
    return status;
}

/* ---- Searching ---- */

typedef struct search {
    const char *id;      /* the one that is wanted, or NULL */
    cl_device_id device; /* wanted where there is no ID, found where there is */
    int platform, index;
    bool found;
} search;

static ratecl_status compare(void *user, cl_device_id device, int platform, int index)
{
    search *wanted = user;
    char id[32];
    snprintf(id, sizeof id, "opencl:%d.%d", platform, index);
    if (wanted->found || (wanted->id ? strcmp(id, wanted->id) != 0 : device != wanted->device))
        return RATECL_OK;
    wanted->device = device;
    wanted->platform = platform;
    wanted->index = index;
    wanted->found = true;
    return RATECL_OK;
}

ratecl_status rc_cl_device_find(const char *id, cl_device_id *device)
{
    search wanted = { .id = id };
    const ratecl_status status = each_device(compare, &wanted);
    if (!wanted.found)
        return status != RATECL_OK
                   ? status
                   : rc_fail(RATECL_ERROR_NO_DEVICE, "%s is gone: expected it to be there still", id);
    *device = wanted.device;
    return RATECL_OK;
}

void rc_cl_device_place(cl_device_id device, int *platform, int *index)
{
    search wanted = { .device = device };
    each_device(compare, &wanted); /* whose failures are other devices' */
    *platform = wanted.platform;
    *index = wanted.index;
}
