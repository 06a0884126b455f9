/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* RTLD_NEXT */
#include "injector.h"

#include <dlfcn.h>
#include <string.h>

enum { NAMES_MAX = 64 };

static injection how;
static bool started;
static size_t calls, waits, buffers, name_count;
static long objects;
static const char *names[NAMES_MAX]; /* of the calls that failed */

void injector_start(const injection *given)
{
    how = *given;
    calls = waits = name_count = 0;
    started = true;
}

size_t injector_stop(void)
{
    started = false;
    return calls;
}

size_t injector_waits(void)
{
    return waits;
}

bool injector_names_failure(const char *text)
{
    for (size_t k = 0; k < name_count; k++)
        if (strstr(text, names[k]))
            return true;
    return false;
}

const char *injector_first_failure(void)
{
    return name_count > 0 ? names[0] : "no call";
}

long injector_objects(void)
{
    return objects;
}

size_t injector_buffers(void)
{
    return buffers;
}

/* Count a call. True if it has to fail. */
static bool fails(const char *name, bool may_wait)
{
    if (!started)
        return false;
    calls++;
    const bool waited = may_wait && !how.may_wait;
    waits += waited;
    if (!waited && (how.onward ? calls < how.at : calls != how.at))
        return false;
    bool known = false;
    for (size_t k = 0; k < name_count; k++)
        known = known || strcmp(names[k], name) == 0;
    if (!known && name_count < NAMES_MAX)
        names[name_count++] = name;
    return true;
}

/* ---- Functions that return a code ---- */

#define NEXT(function)            \
    __typeof__(&(function)) next; \
    *(void **)(void *)&next = dlsym(RTLD_NEXT, #function)

/* `made`: an object that the caller has to release, where the call succeeds. */
#define CODE(function, may_wait, made, parameters, ...) \
    cl_int CL_API_CALL function parameters              \
    {                                                   \
        NEXT(function);                                 \
        if (fails(#function, may_wait))                 \
            return how.code;                            \
        const cl_int code = next(__VA_ARGS__);          \
        objects += code == CL_SUCCESS && (made);        \
        return code;                                    \
    }

CODE(clGetPlatformIDs, false, false, (cl_uint count, cl_platform_id *list, cl_uint *found), count, list,
     found)
CODE(clGetPlatformInfo, false, false,
     (cl_platform_id platform, cl_platform_info name, size_t size, void *value, size_t *needed), platform,
     name, size, value, needed)
CODE(clGetDeviceIDs, false, false,
     (cl_platform_id platform, cl_device_type type, cl_uint count, cl_device_id *list, cl_uint *found),
     platform, type, count, list, found)
CODE(clGetDeviceInfo, false, false,
     (cl_device_id device, cl_device_info name, size_t size, void *value, size_t *needed), device, name, size,
     value, needed)
CODE(clGetCommandQueueInfo, false, false,
     (cl_command_queue queue, cl_command_queue_info name, size_t size, void *value, size_t *needed), queue,
     name, size, value, needed)
CODE(clGetMemObjectInfo, false, false,
     (cl_mem memory, cl_mem_info name, size_t size, void *value, size_t *needed), memory, name, size, value,
     needed)
CODE(clGetEventInfo, false, false,
     (cl_event event, cl_event_info name, size_t size, void *value, size_t *needed), event, name, size, value,
     needed)
CODE(clGetKernelWorkGroupInfo, false, false,
     (cl_kernel kernel, cl_device_id device, cl_kernel_work_group_info name, size_t size, void *value,
      size_t *needed),
     kernel, device, name, size, value, needed)
CODE(clGetProgramInfo, false, false,
     (cl_program program, cl_program_info name, size_t size, void *value, size_t *needed), program, name,
     size, value, needed)
CODE(clGetProgramBuildInfo, false, false,
     (cl_program program, cl_device_id device, cl_program_build_info name, size_t size, void *value,
      size_t *needed),
     program, device, name, size, value, needed)
CODE(clBuildProgram, false, false,
     (cl_program program, cl_uint count, const cl_device_id *devices, const char *options,
      void(CL_CALLBACK *notify)(cl_program program, void *user), void *user),
     program, count, devices, options, notify, user)
CODE(clSetKernelArg, false, false, (cl_kernel kernel, cl_uint index, size_t size, const void *value), kernel,
     index, size, value)

CODE(clRetainDevice, false, true, (cl_device_id device), device)
CODE(clRetainContext, false, true, (cl_context context), context)
CODE(clRetainCommandQueue, false, true, (cl_command_queue queue), queue)
CODE(clRetainMemObject, false, true, (cl_mem memory), memory)
CODE(clRetainEvent, false, true, (cl_event event), event)

CODE(clFlush, false, false, (cl_command_queue queue), queue)
CODE(clFinish, true, false, (cl_command_queue queue), queue)
CODE(clWaitForEvents, true, false, (cl_uint count, const cl_event *list), count, list)

CODE(clEnqueueNDRangeKernel, false, event != NULL,
     (cl_command_queue queue, cl_kernel kernel, cl_uint dimensions, const size_t *offset,
      const size_t *global, const size_t *local, cl_uint count, const cl_event *list, cl_event *event),
     queue, kernel, dimensions, offset, global, local, count, list, event)
CODE(clEnqueueMarkerWithWaitList, false, event != NULL,
     (cl_command_queue queue, cl_uint count, const cl_event *list, cl_event *event), queue, count, list,
     event)
CODE(clEnqueueBarrierWithWaitList, false, event != NULL,
     (cl_command_queue queue, cl_uint count, const cl_event *list, cl_event *event), queue, count, list,
     event)
CODE(clEnqueueCopyBuffer, false, event != NULL,
     (cl_command_queue queue, cl_mem from, cl_mem to, size_t from_offset, size_t to_offset, size_t bytes,
      cl_uint count, const cl_event *list, cl_event *event),
     queue, from, to, from_offset, to_offset, bytes, count, list, event)
CODE(clEnqueueUnmapMemObject, false, event != NULL,
     (cl_command_queue queue, cl_mem memory, void *mapped, cl_uint count, const cl_event *list,
      cl_event *event),
     queue, memory, mapped, count, list, event)

/* Transfers of the host's memory count as waits: drivers may make them so. */
CODE(clEnqueueReadBuffer, true, event != NULL,
     (cl_command_queue queue, cl_mem buffer, cl_bool blocking, size_t offset, size_t bytes, void *memory,
      cl_uint count, const cl_event *list, cl_event *event),
     queue, buffer, blocking, offset, bytes, memory, count, list, event)
CODE(clEnqueueWriteBuffer, true, event != NULL,
     (cl_command_queue queue, cl_mem buffer, cl_bool blocking, size_t offset, size_t bytes,
      const void *memory, cl_uint count, const cl_event *list, cl_event *event),
     queue, buffer, blocking, offset, bytes, memory, count, list, event)

/* What gives a reference back does so, and then says that it failed. */
#define RELEASE(function, type)                           \
    cl_int CL_API_CALL function(type object)              \
    {                                                     \
        NEXT(function);                                   \
        const cl_int code = next(object);                 \
        objects -= code == CL_SUCCESS;                    \
        return fails(#function, false) ? how.code : code; \
    }

RELEASE(clReleaseDevice, cl_device_id)
RELEASE(clReleaseContext, cl_context)
RELEASE(clReleaseCommandQueue, cl_command_queue)
RELEASE(clReleaseMemObject, cl_mem)
RELEASE(clReleaseEvent, cl_event)
RELEASE(clReleaseKernel, cl_kernel)
RELEASE(clReleaseProgram, cl_program)

/* ---- Functions that return an object ---- */

#define OBJECT(type, function, may_wait, counted, parameters, ...) \
    type CL_API_CALL function parameters                           \
    {                                                              \
        NEXT(function);                                            \
        if (fails(#function, may_wait)) {                          \
            if (code)                                              \
                *code = how.code;                                  \
            return NULL;                                           \
        }                                                          \
        type made = next(__VA_ARGS__, code);                       \
        objects += made && (counted);                              \
        return made;                                               \
    }

OBJECT(cl_context, clCreateContext, false, true,
       (const cl_context_properties *properties, cl_uint count, const cl_device_id *devices,
        void(CL_CALLBACK *notify)(const char *text, const void *info, size_t bytes, void *user), void *user,
        cl_int *code),
       properties, count, devices, notify, user)
OBJECT(cl_command_queue, clCreateCommandQueue, false, true,
       (cl_context context, cl_device_id device, cl_command_queue_properties properties, cl_int *code),
       context, device, properties)
OBJECT(cl_program, clCreateProgramWithSource, false, true,
       (cl_context context, cl_uint count, const char **texts, const size_t *lengths, cl_int *code), context,
       count, texts, lengths)
OBJECT(cl_program, clCreateProgramWithBinary, false, true,
       (cl_context context, cl_uint count, const cl_device_id *devices, const size_t *lengths,
        const unsigned char **binaries, cl_int *status, cl_int *code),
       context, count, devices, lengths, binaries, status)
OBJECT(cl_kernel, clCreateKernel, false, true, (cl_program program, const char *name, cl_int *code), program,
       name)
OBJECT(void *, clEnqueueMapBuffer, true, false,
       (cl_command_queue queue, cl_mem buffer, cl_bool blocking, cl_map_flags flags, size_t offset,
        size_t bytes, cl_uint count, const cl_event *list, cl_event *event, cl_int *code),
       queue, buffer, blocking, flags, offset, bytes, count, list, event)

cl_mem CL_API_CALL clCreateBuffer(cl_context context, cl_mem_flags flags, size_t bytes, void *memory,
                                  cl_int *code)
{
    NEXT(clCreateBuffer);
    if (fails("clCreateBuffer", false)) {
        if (code)
            *code = how.code;
        return NULL;
    }
    cl_mem made = next(context, flags, bytes, memory, code);
    buffers++;
    objects += made != NULL;
    return made;
}

/* Not the library's: so that the events that a test makes are counted, whose release is. */
cl_event CL_API_CALL clCreateUserEvent(cl_context context, cl_int *code)
{
    NEXT(clCreateUserEvent);
    cl_event made = next(context, code);
    objects += made != NULL;
    return made;
}
