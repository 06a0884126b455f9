/* SPDX-License-Identifier: Apache-2.0 */
/* The library's launches pass through this file: a program's own definition of a function is found before
 * that of the OpenCL loader, for calls of shared libraries too. */
#define _GNU_SOURCE /* RTLD_NEXT */
#include "profile.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"

#ifdef RATECL_WITH_OPENCL
#include <dlfcn.h>
#include <pthread.h>

/* A buffer, or another argument of the same size, that a kernel was given. */
typedef struct argument {
    cl_kernel kernel;
    cl_uint index;
    void *value;
} argument;

typedef struct launch {
    kernel_time what;
    cl_event event;
    int run;
} launch;

static struct recorder {
    pthread_mutex_t lock;
    bool enabled, recording;
    const target *where;
    int runs;
    argument *arguments;
    size_t argument_count, argument_room;
    launch *launches;
    size_t launch_count, launch_room;
} all = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Return the next definition of a function after this program's. */
static void find_next(const char *name, void *function, size_t bytes)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (!found)
        fail(name, "was not found in the OpenCL library");
    memcpy(function, &found, bytes);
}

/* Declare `next`, the function of that name which this program's hides. */
#define NEXT(function)                 \
    static __typeof__(&function) next; \
    if (!next)                         \
    find_next(#function, &next, sizeof next)

static void *grow(void *items, size_t count, size_t *room, size_t bytes)
{
    if (count < *room)
        return items;
    *room = 2 * *room + 64;
    void *grown = realloc(items, *room * bytes);
    if (!grown)
        fail("memory", "there is too little");
    return grown;
}

static void keep_argument(cl_kernel kernel, cl_uint index, const void *value)
{
    size_t k = 0;
    while (k < all.argument_count && (all.arguments[k].kernel != kernel || all.arguments[k].index != index))
        ++k;
    if (k == all.argument_count) {
        all.arguments = grow(all.arguments, k, &all.argument_room, sizeof *all.arguments);
        all.arguments[all.argument_count++] = (argument){ kernel, index, NULL };
    }
    memcpy(&all.arguments[k].value, value, sizeof all.arguments[k].value);
}

/* Return a bit for each of the caller's buffers that the kernel was given last. */
static unsigned arrays_of(cl_kernel kernel)
{
    unsigned found = 0;
    for (size_t k = 0; k < all.argument_count; ++k)
        for (int a = 0; a < ARRAYS && all.arguments[k].kernel == kernel; ++a)
            if (all.where->buffers[a] && all.arguments[k].value == (void *)all.where->buffers[a])
                found |= 1u << a;
    return found;
}

static size_t product(const size_t *sizes, cl_uint count)
{
    size_t total = 1;
    for (cl_uint k = 0; sizes && k < count; ++k)
        total *= sizes[k];
    return total;
}

static void keep_launch(cl_kernel kernel, size_t global, size_t local, cl_event event)
{
    all.launches = grow(all.launches, all.launch_count, &all.launch_room, sizeof *all.launches);
    launch *made = &all.launches[all.launch_count++];
    *made = (launch){ .what = { .groups = global / local, .items = local, .arrays = arrays_of(kernel) },
                      .event = event,
                      .run = all.runs };
    clGetKernelInfo(kernel, CL_KERNEL_FUNCTION_NAME, sizeof made->what.name, made->what.name, NULL);
    CL(clRetainEvent(event));
}

/* ---- The hidden functions ---- */

__attribute__((visibility("default"))) cl_command_queue
clCreateCommandQueue(cl_context context, cl_device_id device, cl_command_queue_properties properties,
                     cl_int *code)
{
    NEXT(clCreateCommandQueue);
    return next(context, device, all.enabled ? properties | CL_QUEUE_PROFILING_ENABLE : properties, code);
}

__attribute__((visibility("default"))) cl_int clSetKernelArg(cl_kernel kernel, cl_uint index, size_t bytes,
                                                             const void *value)
{
    NEXT(clSetKernelArg);
    if (all.recording && value && bytes == sizeof(cl_mem)) {
        pthread_mutex_lock(&all.lock);
        keep_argument(kernel, index, value);
        pthread_mutex_unlock(&all.lock);
    }
    return next(kernel, index, bytes, value);
}

__attribute__((visibility("default"))) cl_int
clEnqueueNDRangeKernel(cl_command_queue queue, cl_kernel kernel, cl_uint dimensions, const size_t *offset,
                       const size_t *global, const size_t *local, cl_uint wait_count,
                       const cl_event *wait_list, cl_event *event)
{
    NEXT(clEnqueueNDRangeKernel);
    if (!all.recording)
        return next(queue, kernel, dimensions, offset, global, local, wait_count, wait_list, event);
    cl_event done = NULL;
    const cl_int code = next(queue, kernel, dimensions, offset, global, local, wait_count, wait_list, &done);
    if (code != CL_SUCCESS)
        return code;
    pthread_mutex_lock(&all.lock);
    keep_launch(kernel, product(global, dimensions), product(local, dimensions), done);
    pthread_mutex_unlock(&all.lock);
    if (event)
        *event = done;
    else
        clReleaseEvent(done);
    return code;
}

/* ---- What was recorded ---- */

void enable_profiling(void)
{
    all.enabled = true;
}

void begin_profile(const target *where)
{
    all.where = where;
    all.runs = 0;
    all.recording = all.enabled;
}

void begin_profiled_run(void)
{
    ++all.runs;
}

/* Seconds that a launch took; NaN where its queue took no times. */
static double seconds_of(const launch *one)
{
    cl_ulong start = 0, end = 0;
    if (clGetEventProfilingInfo(one->event, CL_PROFILING_COMMAND_START, sizeof start, &start, NULL) !=
            CL_SUCCESS ||
        clGetEventProfilingInfo(one->event, CL_PROFILING_COMMAND_END, sizeof end, &end, NULL) != CL_SUCCESS)
        return NAN;
    return 1e-9 * (double)(end - start);
}

/* Return the kernel's place among those found so far; KERNELS_MAX where there is no room for another. */
static size_t place_of(profile *found, const kernel_time *what)
{
    size_t k = 0;
    while (k < found->count &&
           (found->kernels[k].arrays != what->arrays || strcmp(found->kernels[k].name, what->name) != 0))
        ++k;
    if (k == found->count && k < KERNELS_MAX) {
        found->kernels[found->count++] = *what;
        found->kernels[k].seconds = INFINITY;
    }
    return k;
}

/* Add up the launches of run `run`, and keep the sums that are the least so far. */
static void add_run(profile *found, int run)
{
    double seconds[KERNELS_MAX] = { 0 };
    int launches[KERNELS_MAX] = { 0 };
    for (size_t k = 0; k < all.launch_count; ++k) {
        const launch *one = &all.launches[k];
        const size_t place = one->run == run ? place_of(found, &one->what) : KERNELS_MAX;
        if (place == KERNELS_MAX)
            continue;
        seconds[place] += seconds_of(one);
        ++launches[place];
    }
    for (size_t k = 0; k < found->count; ++k) {
        if (!launches[k])
            continue;
        found->kernels[k].launches = launches[k];
        found->kernels[k].seconds = fmin(found->kernels[k].seconds, seconds[k]);
    }
}

profile end_profile(void)
{
    profile found = { .count = 0 };
    for (int run = 1; run <= all.runs; ++run)
        add_run(&found, run);
    for (size_t k = 0; k < all.launch_count; ++k)
        clReleaseEvent(all.launches[k].event);
    free(all.arguments);
    free(all.launches);
    all.arguments = NULL;
    all.launches = NULL;
    all.argument_count = all.argument_room = all.launch_count = all.launch_room = 0;
    all.recording = false;
    return found;
}

#else

void enable_profiling(void) {}

void begin_profile(const target *where)
{
    (void)where;
}

void begin_profiled_run(void) {}

profile end_profile(void)
{
    return (profile){ .count = 0 };
}

#endif
