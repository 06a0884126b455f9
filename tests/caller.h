/* SPDX-License-Identifier: Apache-2.0 */
/* A caller with OpenCL objects of its own, for tests of opencl.h. */
#ifndef RATECL_TESTS_CALLER_H
#define RATECL_TESTS_CALLER_H

#include "problem.h"
#include "suite_opencl.h"

typedef struct caller {
    cl_device_id device;
    cl_context context;
    cl_command_queue queue;
} caller;

caller caller_make(const char *id, cl_command_queue_properties properties);
void caller_release(caller *made);

/* Make a buffer with a copy of `memory`, or without content where that is NULL. */
cl_mem caller_buffer(const caller *owner, const void *memory, size_t bytes);

/* Copy a problem's inputs into buffers. */
ratecl_cl_inputs caller_upload(const caller *owner, const problem *given);
void caller_release_inputs(const ratecl_cl_inputs *inputs);

/* Make a context of the library on the caller's objects. */
ratecl_context *caller_context(const caller *owner);

/* Make a small problem of all terms. */
problem caller_problem(ratecl_element element, array_order order, uint64_t seed);

/* Wait for what the plan has enqueued, and compare with the oracle. */
void caller_wait_and_check(ratecl_plan *plan, const problem *given, const char *device);

/* Run a test on each OpenCL device with an in-order and with an out-of-order queue. */
void caller_each(void (*test)(caller *owner, const char *device));

#endif
