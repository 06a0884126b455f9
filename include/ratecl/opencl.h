/* SPDX-License-Identifier: Apache-2.0 */
/**
 * ratecl on the caller's own OpenCL objects: nothing is copied, and nothing waits unless asked to.
 *
 * The states stay in the caller's buffers, read in place with the layout's strides and offset. All
 * work goes to the caller's queue, in order or out of order.
 */
#ifndef RATECL_OPENCL_H
#define RATECL_OPENCL_H

#ifndef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 120
#endif
#ifdef __APPLE__
#include <OpenCL/cl.h>
#else
#include <CL/cl.h>
#endif

#include <ratecl/ratecl.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Make a context on the caller's context, device and queue. They are retained, never owned: the
 *  caller may release its own references at any time. Of `options`, which may be NULL, `device` must
 *  be NULL. Errors: ARGUMENT (an object is NULL, or the queue belongs to another context or device). */
RATECL_EXPORT ratecl_status ratecl_cl_context_create(cl_context context, cl_device_id device,
                                                     cl_command_queue queue,
                                                     const ratecl_context_options *options,
                                                     ratecl_context **created);

/** Buffers that an evaluation reads, of the plan's context. They are retained until the results have
 *  been waited for, and must not be written before. */
typedef struct ratecl_cl_inputs {
    size_t size;
    cl_mem states;
    cl_mem reference; /**< needed where the plan has a population_kl term, else not read */
    cl_mem weights;   /**< needed where the plan has a hebbian term, else not read */
    /* For gradients, float in f32 arithmetic and double in f64; each may be NULL, as in ratecl_inputs. */
    cl_mem scale;      /**< one number: the factor of every gradient */
    cl_mem cotangents; /**< (n, N) */
} ratecl_cl_inputs;

#define RATECL_CL_INPUTS_INIT                                  \
    {                                                          \
        sizeof(ratecl_cl_inputs), NULL, NULL, NULL, NULL, NULL \
    }
RATECL_EXPORT void ratecl_cl_inputs_init_sized(ratecl_cl_inputs *inputs, size_t size);
#define ratecl_cl_inputs_init(inputs) ratecl_cl_inputs_init_sized((inputs), sizeof(ratecl_cl_inputs))

/** Buffers that an evaluation writes, likewise retained until then. `values` may be NULL; so may a gradient
 *  that the plan does not give. A gradient must not overlap an input or another gradient, though they may be
 *  parts of one buffer. */
typedef struct ratecl_cl_outputs {
    size_t size;
    cl_mem values; /**< receives ratecl_plan_value_count() values and then their total, as float in f32
                        arithmetic and as double in f64, from its start. Where degenerate = skip
                        leaves out every neuron, it has 0 for their divergences, while
                        ratecl_cl_wait() gives NaN and DOMAIN */
    cl_mem gradient_states; /**< laid out as the plan's options say */
    cl_mem gradient_reference;
    cl_mem gradient_weights;
} ratecl_cl_outputs;

#define RATECL_CL_OUTPUTS_INIT                            \
    {                                                     \
        sizeof(ratecl_cl_outputs), NULL, NULL, NULL, NULL \
    }
RATECL_EXPORT void ratecl_cl_outputs_init_sized(ratecl_cl_outputs *outputs, size_t size);
#define ratecl_cl_outputs_init(outputs) ratecl_cl_outputs_init_sized((outputs), sizeof(ratecl_cl_outputs))

/** Enqueue an evaluation after the `wait_count` events of `wait_list`, and return at once.
 *
 *  `outputs` may be NULL where the plan gives no gradient. `event`, which may be NULL, receives an event that
 *  is complete when values and gradients are there; the caller releases it.
 *
 *  A plan holds one evaluation in flight: enqueueing a second one lets it follow the first in the
 *  queue, and ratecl_cl_wait() then gives the second one's results. A call never waits, on failure
 *  neither; after one there is nothing to wait for, and the plan can be enqueued again.
 *  Errors: ARGUMENT (a buffer is missing, too small or of another context; nothing is enqueued),
 *  DEVICE, MEMORY. */
RATECL_EXPORT ratecl_status ratecl_cl_enqueue(ratecl_plan *plan, const ratecl_cl_inputs *inputs,
                                              const ratecl_cl_outputs *outputs, cl_uint wait_count,
                                              const cl_event *wait_list, cl_event *event);

/** Wait for the evaluation that was enqueued last, and for nothing that was enqueued after it, and give its
 *  values as ratecl_evaluate() does; the gradients are in the caller's buffers, and the fields for them are
 *  not read.
 *  Errors: ARGUMENT (nothing was enqueued, or `outputs` is too small), DOMAIN (also where the values are
 *  finite but an element of a gradient is not, which the device notes as it writes it), DEVICE, MEMORY. */
RATECL_EXPORT ratecl_status ratecl_cl_wait(ratecl_plan *plan, const ratecl_outputs *outputs);

#ifdef __cplusplus
}
#endif

#endif
