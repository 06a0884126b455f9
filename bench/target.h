/* SPDX-License-Identifier: Apache-2.0 */
/* Where lines are measured: a device that evaluates host memory or, with OpenCL, its own buffers in place. */
#ifndef RATECL_BENCH_TARGET_H
#define RATECL_BENCH_TARGET_H

#include <stdbool.h>

#include <ratecl/ratecl.h>
#ifdef RATECL_WITH_OPENCL
#include <ratecl/opencl.h>
#endif

#include "arrays.h"

typedef struct target {
    ratecl_device_info device;
    ratecl_context *context;
    bool in_place;
#ifdef RATECL_WITH_OPENCL
    cl_context cl;
    cl_device_id id;
    cl_command_queue queue;
    cl_mem buffers[ARRAYS]; /* the device's copies of the host's arrays, or those on a CPU; made when first
                               used */
#endif
} target;

/* `name` as ratecl_context_options.device has it. */
target open_host(const char *name);
#ifdef RATECL_WITH_OPENCL
target open_in_place(const ratecl_device_info *device);

void check_code(cl_int code, const char *call);
#define CL(call) check_code((call), #call)
#define CL_NEW(object, call)     \
    do {                         \
        cl_int code;             \
        (object) = (call);       \
        check_code(code, #call); \
    } while (0)
#endif
void close_target(target *where);

/* Whether it works in the host's memory. */
bool is_cpu(const ratecl_device_info *device);

/* "host" or "device" memory. */
const char *memory_of(const target *where);

/* The arrays of one evaluation, each used from its start. */
typedef struct operands {
    array states, reference, weights, gradient_states, gradient_weights; /* NO_ARRAY: none */
} operands;

/* Copy to the device what it has not. */
void load(target *where, arrays *host, const operands *used);
/* Copy so many bytes of an array that was written back to the host. */
void read_back(const target *where, arrays *host, array which, size_t bytes);
void evaluate(const target *where, ratecl_plan *plan, arrays *host, const operands *used, double *values,
              size_t value_count);

#endif
