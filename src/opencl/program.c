/* SPDX-License-Identifier: Apache-2.0 */
/* Kernel sources, embedded or from a developer's folder, and their programs. */
#include "program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl.h"

/* The whole of a file; the caller frees it. */
static ratecl_status read_file(const char *folder, const char *file, char **text)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    FILE *stream = fopen(path, "rb");
    if (!stream)
        return rc_fail(RATECL_ERROR_BUILD, "RATECL_KERNELS names %s: expected %s to be readable", folder,
                       path);
    size_t used = 0, capacity = 1 << 16;
    char *content = malloc(capacity);
    while (content) {
        used += fread(content + used, 1, capacity - 1 - used, stream);
        if (used + 1 < capacity)
            break;
        char *longer = realloc(content, capacity *= 2);
        if (!longer)
            free(content);
        content = longer;
    }
    const bool bad = content && ferror(stream);
    fclose(stream);
    if (!content)
        return rc_fail_memory(capacity);
    if (bad) {
        free(content);
        return rc_fail(RATECL_ERROR_BUILD, "%s could not be read", path);
    }
    content[used] = '\0';
    *text = content;
    return RATECL_OK;
}

/* The text of a kernel file; *owned is to be freed, and NULL for an embedded one. */
static ratecl_status source_of(const char *file, const char **text, char **owned)
{
    *owned = NULL;
    const char *folder = getenv("RATECL_KERNELS");
    if (folder && *folder) {
        RC_TRY(read_file(folder, file, owned));
        *text = *owned;
        return RATECL_OK;
    }
    for (const rc_kernel_source *source = rc_kernel_sources; source->file; ++source)
        if (strcmp(source->file, file) == 0)
            *text = source->text;
    return RATECL_OK;
}

static void append_build_log(const rc_cl_context *context, cl_program program)
{
    size_t bytes = 0;
    if (clGetProgramBuildInfo(program, context->device, CL_PROGRAM_BUILD_LOG, 0, NULL, &bytes) != CL_SUCCESS)
        return;
    char *log = malloc(bytes + 1);
    if (log && clGetProgramBuildInfo(program, context->device, CL_PROGRAM_BUILD_LOG, bytes, log, NULL) ==
                   CL_SUCCESS) {
        log[bytes] = '\0';
        rc_message_append(log);
    }
    free(log);
}

static ratecl_status compile(const rc_cl_context *context, const char *const texts[2], const char *file,
                             const char *options, cl_program *program)
{
    cl_int code;
    const char *sources[2] = { texts[0], texts[1] }; /* OpenCL wants them in an array that is not const */
    *program = clCreateProgramWithSource(context->context, 2, sources, NULL, &code);
    if (!*program)
        return rc_cl_fail("clCreateProgramWithSource", code);
    code = clBuildProgram(*program, 1, &context->device, options, NULL, NULL);
    if (code == CL_SUCCESS)
        return RATECL_OK;
    rc_message("%s did not compile (clBuildProgram gives %d) with %s:\n", file, (int)code, options);
    append_build_log(context, *program);
    clReleaseProgram(*program);
    return RATECL_ERROR_BUILD;
}

static ratecl_status build(const rc_cl_context *context, const char *file, const char *options,
                           cl_program *program)
{
    const char *texts[2] = { "", "" };
    char *owned[2] = { NULL, NULL };
    ratecl_status status = source_of("prelude.cl", &texts[0], &owned[0]);
    if (status == RATECL_OK)
        status = source_of(file, &texts[1], &owned[1]);
    if (status == RATECL_OK)
        status = compile(context, texts, file, options, program);
    free(owned[0]);
    free(owned[1]);
    return status;
}

/* The context's program of that key, built if it is new; the caller holds the lock. */
static ratecl_status find_or_build(rc_cl_context *context, const char *file, const char *options,
                                   const char *key, cl_program *program, bool *is_new)
{
    *is_new = false;
    for (const rc_cl_program *p = context->programs; p; p = p->next)
        if (strcmp(p->key, key) == 0) {
            *program = p->program;
            return RATECL_OK;
        }
    rc_cl_program *made = calloc(1, sizeof *made);
    char *copy = malloc(strlen(key) + 1);
    ratecl_status status =
        made && copy ? build(context, file, options, program) : rc_fail_memory(strlen(key) + 1);
    if (status != RATECL_OK) {
        free(made);
        free(copy);
        return status;
    }
    memcpy(copy, key, strlen(key) + 1);
    *made = (rc_cl_program){ context->programs, copy, *program };
    context->programs = made;
    *is_new = true;
    return RATECL_OK;
}

ratecl_status rc_cl_kernel(rc_cl_context *context, const char *file, const char *options, const char *name,
                           cl_kernel *kernel)
{
    char key[1024];
    snprintf(key, sizeof key, "%s %s", file, options);
    cl_program program = NULL;
    bool is_new;
    pthread_mutex_lock(&context->lock);
    const ratecl_status status = find_or_build(context, file, options, key, &program, &is_new);
    cl_int code = CL_SUCCESS;
    cl_kernel made = status == RATECL_OK ? clCreateKernel(program, name, &code) : NULL;
    pthread_mutex_unlock(&context->lock);

    if (status != RATECL_OK)
        return status;
    if (!made)
        return rc_cl_fail("clCreateKernel", code);
    if (is_new && context->log)
        context->log(key, context->log_user);
    *kernel = made;
    return RATECL_OK;
}
