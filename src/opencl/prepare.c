/* SPDX-License-Identifier: Apache-2.0 */
/* The first launch of a plan's kernels, which is made with the plan: drivers leave part of the compiling to
 * it. PoCL compiles a kernel's whole machine code then, and Mesa's and NVIDIA's bring it to the device. */
#include "cl.h"

/* In the place of an array: all its strides are 0, so that only what lies at its start is touched. */
enum { SPARE_BYTES = 16 * sizeof(cl_double) };

static ratecl_status set_spare(const rc_cl_step *step, cl_uint first, cl_mem spare)
{
    const cl_long zero = 0;
    CL_TRY(clSetKernelArg(step->kernel, first, sizeof spare, &spare));
    for (cl_uint k = 1; k < 5; ++k)
        CL_TRY(clSetKernelArg(step->kernel, first + k, sizeof zero, &zero));
    return RATECL_OK;
}

/* PoCL 3.1 compiles a kernel twice, for launches of fewer work-items than this, and of more. */
static const int64_t small_launch = 65535;

/* Groups of the launch: of a step that is cut, and works for long, one; else as many as make a launch of the
 * kind that an evaluation has. Where a cut step is launched with so many work-items, its first evaluation
 * compiles. */
static int64_t groups_of(const rc_cl_step *step)
{
    const int64_t lanes = (int64_t)step->lanes, enough = (small_launch + lanes - 1) / lanes;
    return step->first_unit || step->groups < enough ? 1 : enough;
}

static ratecl_status launch(cl_command_queue queue, const rc_cl_step *step, cl_mem spare)
{
    const size_t global = (size_t)groups_of(step) * step->lanes;
    if (step->input != RC_NO_INPUT)
        RC_TRY(set_spare(step, 0, spare));
    if (step->gradient != RC_NO_INPUT)
        RC_TRY(set_spare(step, step->gradient_argument, spare));
    CL_TRY(clEnqueueNDRangeKernel(queue, step->kernel, 1, NULL, &global, &step->lanes, 0, NULL, NULL));
    return RATECL_OK;
}

/* In a queue of the plan's own: the caller's may wait for the caller. */
static ratecl_status launch_all(const rc_cl_plan *plan, cl_command_queue queue, cl_mem spare)
{
    const rc_cl_exchange none = { .values = NULL };
    RC_TRY(rc_cl_set_coefficients(plan, &none));
    for (size_t k = 0; k < plan->step_count; ++k)
        RC_TRY(launch(queue, &plan->steps[k], spare));
    CL_TRY(clFinish(queue));
    return RATECL_OK;
}

ratecl_status rc_cl_plan_prepare(const rc_cl_plan *plan)
{
    if (plan->context->limits.kind == RATECL_DEVICE_SOFTWARE)
        return RATECL_OK; /* which runs slowly, or looks for uses of what was never written */
    const rc_cl_context *context = plan->context;
    cl_int code;
    cl_mem spare = clCreateBuffer(context->context, CL_MEM_READ_WRITE, SPARE_BYTES, NULL, &code);
    if (!spare)
        return rc_cl_fail("clCreateBuffer", code);
    cl_command_queue queue = clCreateCommandQueue(context->context, context->device, 0, &code);
    const ratecl_status status =
        queue ? launch_all(plan, queue, spare) : rc_cl_fail("clCreateCommandQueue", code);
    if (queue)
        clReleaseCommandQueue(queue);
    clReleaseMemObject(spare);
    return status;
}
