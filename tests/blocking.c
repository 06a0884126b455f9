/* SPDX-License-Identifier: Apache-2.0 */
/* A library to be preloaded, which makes OpenCL transfer the host's pageable memory as NVIDIA's driver does:
 * a non-blocking copy from or to it returns only when the copy is complete, and hence all that it waits for.
 * Memory that OpenCL has mapped is not pageable. */
#define _GNU_SOURCE /* RTLD_NEXT */
#define CL_TARGET_OPENCL_VERSION 120
#ifdef __APPLE__
#include <OpenCL/cl.h>
#else
#include <CL/cl.h>
#endif
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>

#define CALL_NEXT(function, ...)                               \
    do {                                                       \
        __typeof__(&(function)) next;                          \
        *(void **)(void *)&next = dlsym(RTLD_NEXT, #function); \
        return next(__VA_ARGS__);                              \
    } while (0)

/* By this name interop.c finds out that the library was loaded. */
extern const int blocking_transfers;
const int blocking_transfers = 1;

/* ---- What is mapped ---- */

enum { MAPS_MAX = 1024 };
static struct {
    const char *start;
    size_t bytes;
} maps[MAPS_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Return the number of the entry that holds `memory`, or MAPS_MAX; with NULL that of a free entry. The caller
 * holds the lock. */
static size_t find(const char *memory)
{
    size_t k = 0;
    while (k < MAPS_MAX &&
           (memory ? !maps[k].start || memory < maps[k].start || memory >= maps[k].start + maps[k].bytes
                   : maps[k].start != NULL))
        k++;
    return k;
}

static bool is_mapped(const void *memory)
{
    pthread_mutex_lock(&lock);
    const size_t k = find(memory);
    pthread_mutex_unlock(&lock);
    return k < MAPS_MAX;
}

static void *map_buffer(cl_command_queue queue, cl_mem buffer, cl_bool blocking, cl_map_flags flags,
                        size_t offset, size_t bytes, cl_uint count, const cl_event *list, cl_event *event,
                        cl_int *code)
{
    CALL_NEXT(clEnqueueMapBuffer, queue, buffer, blocking, flags, offset, bytes, count, list, event, code);
}

void *CL_API_CALL clEnqueueMapBuffer(cl_command_queue queue, cl_mem buffer, cl_bool blocking,
                                     cl_map_flags flags, size_t offset, size_t bytes, cl_uint count,
                                     const cl_event *list, cl_event *event, cl_int *code)
{
    void *memory = map_buffer(queue, buffer, blocking, flags, offset, bytes, count, list, event, code);
    pthread_mutex_lock(&lock);
    const size_t k = find(NULL);
    if (memory && k < MAPS_MAX) {
        maps[k].start = memory;
        maps[k].bytes = bytes;
    }
    pthread_mutex_unlock(&lock);
    return memory;
}

cl_int CL_API_CALL clEnqueueUnmapMemObject(cl_command_queue queue, cl_mem buffer, void *memory, cl_uint count,
                                           const cl_event *list, cl_event *event)
{
    pthread_mutex_lock(&lock);
    const size_t k = find(memory);
    if (k < MAPS_MAX)
        maps[k].start = NULL;
    pthread_mutex_unlock(&lock);
    CALL_NEXT(clEnqueueUnmapMemObject, queue, buffer, memory, count, list, event);
}

/* ---- Transfers ---- */

cl_int CL_API_CALL clEnqueueReadBuffer(cl_command_queue queue, cl_mem buffer, cl_bool blocking, size_t offset,
                                       size_t bytes, void *memory, cl_uint count, const cl_event *list,
                                       cl_event *event)
{
    blocking = blocking || !is_mapped(memory);
    CALL_NEXT(clEnqueueReadBuffer, queue, buffer, blocking, offset, bytes, memory, count, list, event);
}

cl_int CL_API_CALL clEnqueueWriteBuffer(cl_command_queue queue, cl_mem buffer, cl_bool blocking,
                                        size_t offset, size_t bytes, const void *memory, cl_uint count,
                                        const cl_event *list, cl_event *event)
{
    blocking = blocking || !is_mapped(memory);
    CALL_NEXT(clEnqueueWriteBuffer, queue, buffer, blocking, offset, bytes, memory, count, list, event);
}

cl_int CL_API_CALL clEnqueueReadBufferRect(cl_command_queue queue, cl_mem buffer, cl_bool blocking,
                                           const size_t *buffer_origin, const size_t *host_origin,
                                           const size_t *region, size_t buffer_row, size_t buffer_slice,
                                           size_t host_row, size_t host_slice, void *memory, cl_uint count,
                                           const cl_event *list, cl_event *event)
{
    blocking = blocking || !is_mapped(memory);
    CALL_NEXT(clEnqueueReadBufferRect, queue, buffer, blocking, buffer_origin, host_origin, region,
              buffer_row, buffer_slice, host_row, host_slice, memory, count, list, event);
}

cl_int CL_API_CALL clEnqueueWriteBufferRect(cl_command_queue queue, cl_mem buffer, cl_bool blocking,
                                            const size_t *buffer_origin, const size_t *host_origin,
                                            const size_t *region, size_t buffer_row, size_t buffer_slice,
                                            size_t host_row, size_t host_slice, const void *memory,
                                            cl_uint count, const cl_event *list, cl_event *event)
{
    blocking = blocking || !is_mapped(memory);
    CALL_NEXT(clEnqueueWriteBufferRect, queue, buffer, blocking, buffer_origin, host_origin, region,
              buffer_row, buffer_slice, host_row, host_slice, memory, count, list, event);
}
