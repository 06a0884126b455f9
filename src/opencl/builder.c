/* SPDX-License-Identifier: Apache-2.0 */
#include "builder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_BYTES = 64, OPTION_BYTES = 640 };

/* ---- Scratch ---- */

ratecl_status rc_cl_scratch(rc_cl_builder *b, int64_t count, size_t bytes, const void *content,
                            cl_mem *buffer)
{
    rc_cl_plan *plan = b->plan;
    *buffer = NULL;
    if (b->ahead)
        return RATECL_OK;
    cl_mem *longer = realloc(plan->buffers, (plan->buffer_count + 1) * sizeof *longer);
    if (!longer)
        return rc_fail_memory((plan->buffer_count + 1) * sizeof *longer);
    plan->buffers = longer;
    cl_int code;
    const cl_mem_flags flags = content ? CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR : CL_MEM_READ_WRITE;
    *buffer = clCreateBuffer(plan->context->context, flags, (size_t)(count > 0 ? count : 1) * bytes,
                             (void *)content, &code);
    if (!*buffer)
        return rc_cl_fail("clCreateBuffer", code);
    plan->buffers[plan->buffer_count++] = *buffer;
    return RATECL_OK;
}

ratecl_status rc_cl_scratch_reals(rc_cl_builder *b, int64_t count, cl_mem *buffer)
{
    return rc_cl_scratch(b, count, b->plan->real_bytes, NULL, buffer);
}

ratecl_status rc_cl_scratch_epsilons(rc_cl_builder *b, size_t count, cl_mem *buffer)
{
    const bool wide = b->plan->real_bytes == sizeof(cl_double);
    char *reals = calloc(2 * count + 1, b->plan->real_bytes);
    if (!reals)
        return rc_fail_memory(2 * count * b->plan->real_bytes);
    for (size_t k = 0; k < count; ++k) {
        const rc_cl_real both[2] = { rc_cl_positive_real_of(b->spec->epsilons[k]),
                                     rc_cl_real_of(log(b->spec->epsilons[k])) };
        for (size_t l = 0; l < 2; ++l)
            memcpy(reals + (l * count + k) * b->plan->real_bytes,
                   wide ? (const void *)&both[l].f64 : &both[l].f32, b->plan->real_bytes);
    }
    const ratecl_status status =
        rc_cl_scratch(b, 2 * (int64_t)count, b->plan->real_bytes, count > 0 ? reals : NULL, buffer);
    free(reals);
    return status;
}

/* ---- Kernels and their arguments ---- */

ratecl_status rc_cl_set_arguments(cl_kernel kernel, cl_uint first, const rc_cl_argument *arguments,
                                  size_t count)
{
    for (size_t k = 0; k < count && kernel; ++k)
        CL_TRY(clSetKernelArg(kernel, first + (cl_uint)k, arguments[k].bytes, arguments[k].value));
    return RATECL_OK;
}

rc_cl_argument rc_cl_real_argument(const rc_cl_plan *plan, const rc_cl_real *real)
{
    return plan->real_bytes == sizeof(cl_double) ? (rc_cl_argument)ARGUMENT(real->f64)
                                                 : (rc_cl_argument)ARGUMENT(real->f32);
}

/* A kernel may allow fewer lanes than the device does; then the plan is made again with so many. */
static ratecl_status check_lanes(rc_cl_plan *plan, cl_kernel kernel, const char *name, size_t lanes)
{
    size_t most;
    CL_TRY(clGetKernelWorkGroupInfo(kernel, plan->context->device, CL_KERNEL_WORK_GROUP_SIZE, sizeof most,
                                    &most, NULL));
    if (most < plan->group_lanes)
        plan->group_lanes = most;
    if (most < lanes)
        return rc_fail(RATECL_ERROR_UNSUPPORTED,
                       "kernel %s can have groups of at most %zu lanes: expected %zu", name, most, lanes);
    return RATECL_OK;
}

/* Write the path of a kernel file in the kernels' folder: it is in its family's, but finish.cl serves both.
 */
static void path_of(const rc_kernel_set *set, const char *file, char path[FILE_BYTES])
{
    const bool common = strcmp(file, "finish.cl") == 0;
    snprintf(path, FILE_BYTES, "%s%s%s", common ? "" : set->folder, common ? "" : "/", file);
}

/* Note a program that the plan will need. */
static ratecl_status note_program(rc_cl_programs *ahead, const char *path, const char *options)
{
    rc_cl_wanted *longer = realloc(ahead->wanted, (ahead->count + 1) * sizeof *longer);
    if (!longer)
        return rc_fail_memory((ahead->count + 1) * sizeof *longer);
    ahead->wanted = longer;
    const size_t path_bytes = strlen(path) + 1, options_bytes = strlen(options) + 1;
    char *texts = malloc(path_bytes + options_bytes);
    if (!texts)
        return rc_fail_memory(path_bytes + options_bytes);
    memcpy(texts, path, path_bytes);
    memcpy(texts + path_bytes, options, options_bytes);
    longer[ahead->count++] = (rc_cl_wanted){ .file = texts, .options = texts + path_bytes };
    return RATECL_OK;
}

void rc_cl_programs_free(rc_cl_programs *ahead)
{
    for (size_t k = 0; k < ahead->count; ++k)
        free((void *)ahead->wanted[k].file);
    free(ahead->wanted);
}

ratecl_status rc_cl_add_step(rc_cl_builder *b, const char *file, const char *given_options, const char *name,
                             int32_t lanes, rc_cl_step **step)
{
    rc_cl_plan *plan = b->plan;
    const rc_kernel_set *set = rc_kernel_set_of(&plan->tuning);
    char path[FILE_BYTES], options[OPTION_BYTES];
    path_of(set, file, path);
    snprintf(options, sizeof options, "-cl-std=CL1.2 %s%s", given_options, set->options);
    rc_cl_step *longer = realloc(plan->steps, (plan->step_count + 1) * sizeof *longer);
    if (!longer)
        return rc_fail_memory((plan->step_count + 1) * sizeof *longer);
    plan->steps = longer;
    cl_kernel kernel = NULL;
    RC_TRY(b->ahead ? note_program(b->ahead, path, options)
                    : rc_cl_kernel(plan->context, path, options, name, &kernel));
    *step = &plan->steps[plan->step_count++];
    **step = (rc_cl_step){
        .kernel = kernel, .lanes = (size_t)lanes, .input = RC_NO_INPUT, .gradient = RC_NO_INPUT
    };
    return kernel ? check_lanes(plan, kernel, name, (size_t)lanes) : RATECL_OK;
}
